package vending

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// skewedClock is the table as a process sees it whose clock is ahead by offset.
type skewedClock struct {
	tokenstore.Store
	offset time.Duration
}

func (s skewedClock) Get(ctx context.Context, app string) (tokenstore.Item, error) {
	item, err := s.Store.Get(ctx, app)
	return s.read(item), err
}

func (s skewedClock) Peek(ctx context.Context, app string) (tokenstore.Item, error) {
	item, err := s.Store.Peek(ctx, app)
	return s.read(item), err
}

func (s skewedClock) CompareAndSwap(
	ctx context.Context, app string, seen int64, next tokenstore.Item,
) (tokenstore.Item, bool, error) {
	if !next.LeaseUntil.IsZero() {
		next.LeaseUntil = next.LeaseUntil.Add(s.offset)
	}
	current, swapped, err := s.Store.CompareAndSwap(ctx, app, seen, next)
	return s.read(current), swapped, err
}

func (s skewedClock) read(item tokenstore.Item) tokenstore.Item {
	if !item.LeaseUntil.IsZero() {
		item.LeaseUntil = item.LeaseUntil.Add(-s.offset)
	}
	return item
}

// TestFleetWrongClock: a process whose clock is a minute off costs one more login at most.
func TestFleetWrongClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{-time.Minute, time.Minute} {
		for wrong := range 3 {
			t.Run(fmt.Sprintf("process %d, %s", wrong, offset), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(t, 5, options{table: true}, func(i int, c *Config) {
						if i == wrong {
							c.Table = skewedClock{c.Table, offset}
						}
					})
					f[0].Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 0)
					go f[0].vend()
					time.Sleep(time.Second)
					f.vend()
					if n := f[0].Logins(); n > 2 {
						t.Errorf("%d logins", n)
					}
					time.Sleep(5 * time.Second)
					f.want(f.vend(), "hit:5")
				})
			})
		}
	}
}

// editRecord changes the record in the token table, as a process with that record would have written it.
func (h *harness) editRecord(change func(r *record)) {
	h.T.Helper()
	ctx, store := context.Background(), h.TokenStore()
	item, err := store.Get(ctx, simtest.AppName)
	h.Must(err)
	version, err := h.Secret().Read(ctx, item.Version)
	h.Must(err)
	text, err := tokenstore.Open(version.ConsumerSecret, simtest.AppName, item.Entry)
	h.Must(err)
	var r record
	h.Must(json.Unmarshal(text, &r))
	change(&r)
	text, err = json.Marshal(r)
	h.Must(err)
	entry := tokenstore.Entry{Version: item.Version, Counter: item.Counter + 1, Expires: item.Expires}
	entry, err = tokenstore.Seal(version.ConsumerSecret, simtest.AppName, entry, text)
	h.Must(err)
	_, swapped, err := store.CompareAndSwap(ctx, simtest.AppName, item.Counter, tokenstore.Item{Entry: entry})
	h.Must(err)
	if !swapped {
		h.T.Fatal("the item has changed")
	}
}

// skew moves every time in the record, as if the clock of the process that wrote it were ahead.
func skew(d time.Duration) func(r *record) {
	return func(r *record) {
		times := []*time.Time{
			&r.IntrospectionDeniedUntil, &r.LastRejectedCheck, &r.LastLoginInstead, &r.Written,
		}
		if r.Token != nil {
			times = append(times, &r.Token.TrustedUntil, &r.Token.ExpiresAt)
		}
		if r.Failure != nil {
			times = append(times, &r.Failure.RetryAt)
		}
		for _, t := range times {
			if !t.IsZero() {
				*t = t.Add(d)
			}
		}
	}
}

// TestFleetSkewedFailure: a clock that is a minute ahead does not make a failure last longer for the others.
func TestFleetSkewedFailure(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{time.Minute, time.Hour} {
		t.Run(offset.String(), func(t *testing.T) {
			runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
				h := f[0]
				h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Unavailable(), 1)
				h.want(h.vend(), "temporarily_unavailable")
				h.editRecord(skew(offset))
				time.Sleep(2 * time.Second)
				h.want(f[1].vend(), "temporarily_unavailable") // adopts it
				time.Sleep(2 * time.Second)
				h.want(f[1].vend(), "miss")
			})
		})
	}
}

// TestFleetSkewedRejectedCheck: nor does it keep the others from checking a token that is reported as dead.
func TestFleetSkewedRejectedCheck(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{time.Minute, time.Hour} {
		t.Run(offset.String(), func(t *testing.T) {
			runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
				h := f[0]
				first := h.vend()
				h.reject(first.id())
				h.editRecord(skew(offset))
				h.want(f[1].vend(), "hit")
				h.Org.KillSession(first.token())
				time.Sleep(2 * rejectedCheckInterval)
				h.want(f[1].reject(first.id()), "miss")
			})
		})
	}
}

// TestFleetSkewedTrust: nor does it extend the trust in a token.
func TestFleetSkewedTrust(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		first := h.vend()
		h.editRecord(skew(time.Hour))
		h.want(f[1].vend(), "hit")
		h.Org.KillSession(first.token())
		time.Sleep(DefaultTokenTTL + time.Second)
		h.want(f[1].vend(), "miss")
	})
}
