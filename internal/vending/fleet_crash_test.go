package vending

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

// brokenProcess stops a process at one of its calls.
type brokenProcess struct {
	after bool          // the call has reached the other side, which has acted
	pause time.Duration // zero: the process never goes on

	mu    sync.Mutex
	left  int           // calls until the one at which it stops; zero or less: it has been reached
	ended chan struct{} // closed when the test ends
}

var errStopped = errors.New("the process has stopped")

// start makes the process stop at the n-th call from now, counted from one.
func (b *brokenProcess) start(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = n
}

func (b *brokenProcess) stopped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left <= 0
}

// call makes one call of the process.
func (b *brokenProcess) call(do func()) {
	b.mu.Lock()
	b.left--
	left := b.left
	b.mu.Unlock()
	switch {
	case left > 0 || left < 0 && b.pause > 0:
		do()
		return
	case left == 0 && b.after:
		do()
	}
	if b.pause == 0 {
		<-b.ended
		return
	}
	time.Sleep(b.pause)
	if !b.after {
		do()
	}
}

// install makes c the configuration of the process.
func (b *brokenProcess) install(c *Config) {
	c.HTTPClient = &http.Client{Transport: brokenTransport{b, c.HTTPClient.Transport}}
	c.Secrets.Client = brokenSecrets{b, c.Secrets.Client}
	c.Table = brokenTable{b, c.Table}
}

type brokenTransport struct {
	*brokenProcess
	next http.RoundTripper
}

func (b brokenTransport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	err = errStopped
	b.call(func() { resp, err = b.next.RoundTrip(r) })
	return resp, err
}

type brokenTable struct {
	*brokenProcess
	next tokenstore.Store
}

func (b brokenTable) Get(ctx context.Context, app string) (item tokenstore.Item, err error) {
	err = errStopped
	b.call(func() { item, err = b.next.Get(ctx, app) })
	return item, err
}

func (b brokenTable) Peek(ctx context.Context, app string) (item tokenstore.Item, err error) {
	err = errStopped
	b.call(func() { item, err = b.next.Peek(ctx, app) })
	return item, err
}

func (b brokenTable) CompareAndSwap(
	ctx context.Context, app string, seen int64, next tokenstore.Item,
) (current tokenstore.Item, swapped bool, err error) {
	err = errStopped
	b.call(func() { current, swapped, err = b.next.CompareAndSwap(ctx, app, seen, next) })
	return current, swapped, err
}

type brokenSecrets struct {
	*brokenProcess
	next appsecret.Getter
}

func (b brokenSecrets) GetSecretValue(
	ctx context.Context, in *secretsmanager.GetSecretValueInput, options ...func(*secretsmanager.Options),
) (out *secretsmanager.GetSecretValueOutput, err error) {
	err = errStopped
	b.call(func() { out, err = b.next.GetSecretValue(ctx, in, options...) })
	return out, err
}

// situations are what the first process of a fleet does when it breaks.
var situations = []struct {
	name    string
	prepare func(f fleet)
	request func(h *harness) result
	logins  int // of the whole fleet, if no process breaks
	calls   int // of the first process: so many at least
}{
	{"login", func(fleet) {}, (*harness).vend, 1, 5},
	{"introspection", func(f fleet) { f.vend(); time.Sleep(4 * time.Minute) }, (*harness).vend, 0, 4},
	{"dead token", func(f fleet) {
		f.vend()
		time.Sleep(DefaultTokenTTL + time.Second)
		f[0].Org.RevokeAll()
	}, (*harness).vend, 1, 5},
	{"compromised credentials", func(f fleet) {
		f.vend()
		f[0].Compromise()
		time.Sleep(DefaultSecretTTL + time.Second)
	}, (*harness).vend, 1, 7},
	{"revocation", func(f fleet) { f.vend() }, (*harness).revoke, 0, 5},
}

// TestFleetHolderKilled stops a process before and after each of its calls, for ever or for longer than its lease. The
// others go on after at most one lease, with at most one more login, and never with a dead token.
func TestFleetHolderKilled(t *testing.T) {
	t.Parallel()
	for _, situation := range situations {
		for _, pause := range []time.Duration{0, 2 * leaseTime} {
			for _, after := range []bool{false, true} {
				name := fmt.Sprintf("%s, pause %s, after the call %t", situation.name, pause, after)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					at, reached := 0, true
					for reached && !t.Failed() {
						at++
						synctest.Test(t, func(t *testing.T) {
							broken := &brokenProcess{after: after, pause: pause, left: 1 << 30, ended: make(chan struct{})}
							f := newFleet(t, 4, options{table: true}, func(i int, c *Config) {
								if i == 0 {
									broken.install(c)
								}
							})
							situation.prepare(f)
							h, logins := f[1], f[1].Logins()
							var old string
							if cached := f[1].vendor.app(simtest.AppName).state.cached; cached != nil {
								old = cached.token.AccessToken.Reveal()
							}
							broken.start(at)
							var wg sync.WaitGroup
							wg.Go(func() { situation.request(f[0]) })
							defer wg.Wait()
							defer close(broken.ended)
							time.Sleep(20 * time.Millisecond)
							begun := time.Now()
							f[1:].all(situation.request)
							if took := time.Since(begun); took > leaseTime+2*time.Second {
								t.Errorf("call %d: the others waited for %s", at, took)
							}
							if pause > 0 {
								time.Sleep(pause + 15*time.Second)
								f.vend() // with the process that has thawed
							}
							most := situation.logins + 1
							if situation.name == "revocation" && pause > 0 {
								most++ // for the last request
							}
							if n := h.Logins() - logins; n > most {
								t.Errorf("call %d: %d logins", at, n)
							}
							if situation.name == "compromised credentials" && h.Org.TokenActive(old) {
								t.Errorf("call %d: the compromised token is active", at)
							}
							reached = broken.stopped()
						})
					}
					if at <= situation.calls {
						t.Errorf("only %d calls were tried", at-1)
					}
				})
			}
		}
	}
}
