package vending

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

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

// TestRev1RevokeAfterFailure: a revocation that finds another process's permanent failure in the table revokes.
func TestRev1RevokeAfterFailure(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		first := h.vend()
		f[1].want(f[1].vend(), "hit")
		time.Sleep(DefaultTokenTTL - DefaultMinTTL + time.Second) // due for a check
		refused := sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials")
		h.Org.InjectFault(sfoauthtest.Introspect, refused, 0)
		h.Org.InjectFault(sfoauthtest.Token, refused, 0)
		h.want(h.vend(), "stale")
		h.Org.ClearFaults()
		f[1].want(f[1].revoke(), "revoked")
		h.wantDead(first)
	})
}

// TestRev1RevokeWhileSecretExpires: likewise if the secret must be read again while the lease is another process's.
func TestRev1RevokeWhileSecretExpires(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		first := h.vend()
		f[1].want(f[1].vend(), "hit")
		time.Sleep(DefaultSecretTTL - 2*time.Second)
		h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Latency(4*time.Second), 1)
		go h.reject(first.id())
		time.Sleep(time.Second)
		f[1].want(f[1].revoke(), "revoked")
		h.wantDead(first)
	})
}

// TestRev1CompromisedTokenAfterFailedLogin: the token of compromised credentials is revoked although the first login
// with the new version has failed, and the processes that knew the token are gone.
func TestRev1CompromisedTokenAfterFailedLogin(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]sfoauthtest.Fault{
		"down":    sfoauthtest.Unavailable(),
		"refused": sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials"),
	} {
		t.Run(name, func(t *testing.T) {
			runFleet(t, 3, options{}, func(t *testing.T, f fleet) {
				h, first := f[0], f[0].vend()
				h.Compromise()
				h.Org.InjectFault(sfoauthtest.Token, fault, 0)
				if r := f[1].vend(); r.err == nil {
					t.Fatalf("got %s", r)
				}
				h.Org.ClearFaults()
				time.Sleep(time.Minute)
				h.want(f[2].vend(), "miss")
				h.wantDead(first)
			})
		})
	}
}

// TestRev1FallbackTokenOfOldEntry: a token that the entry's process got with a fallback, whose credentials are
// compromised, is revoked by the process that logs in with the next version.
func TestRev1FallbackTokenOfOldEntry(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.Label(appsecret.Compromised, h.Current())
		key, _ := h.App.Credentials()
		h.Store(h.Value(key, "not-yet-known-everywhere"))
		first := h.vend() // with the compromised credentials
		h.want(first, "miss")
		h.Store(h.Value(h.App.Regenerate()))
		h.want(f[1].vend(), "miss")
		h.wantDead(first)
	})
}

// TestRev1SkewedFailure: a clock that is a minute ahead does not make a failure last longer for the others.
func TestRev1SkewedFailure(t *testing.T) {
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

// TestRev1SkewedRejectedCheck: nor does it keep the others from checking a token that is reported as dead.
func TestRev1SkewedRejectedCheck(t *testing.T) {
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

// TestRev1SkewedTrust: nor does it extend the trust in a token.
func TestRev1SkewedTrust(t *testing.T) {
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

// TestRev1RevokeOwnToken: a revocation revokes this process's token even if the table has another one.
func TestRev1RevokeOwnToken(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.Tables.InjectFault("", localaws.TableFault{Code: "ThrottlingException"}, 1)
		own := h.vend() // without the table
		h.want(own, "miss")
		other := f[1].vend()
		h.want(other, "miss")
		time.Sleep(tokenstore.BypassDuration + time.Second)
		h.want(h.revoke(), "revoked")
		h.wantDead(other)
		h.wantDead(own)
	})
}

// TestRev1RevokeTimesOut: a revocation that never gets the lease does not report success.
func TestRev1RevokeTimesOut(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h, first := f[0], f[0].vend()
		h.StoreWith("allowedPrincipals", []string{"222222222222"}) // the entry belongs to the version before
		ctx, store := context.Background(), h.TokenStore()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // another process that holds the lease for long
			defer close(stopped)
			for {
				item, err := store.Get(ctx, simtest.AppName)
				h.Must(err)
				next := tokenstore.Item{LeaseUntil: time.Now().Add(leaseTime), Entry: item.Entry}
				_, _, err = store.CompareAndSwap(ctx, simtest.AppName, item.Counter, next)
				h.Must(err)
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
			}
		}()
		time.Sleep(10 * time.Millisecond)
		r := f[1].revoke()
		close(stop)
		<-stopped
		if r.revoked && h.Org.TokenActive(first.token()) {
			t.Errorf("the request reports success (%q), and the token is active", r.stats.Notes)
		}
	})
}

// TestRev1LostLeaseNoLogin: a process that finds its lease lost before it has a result does not log in.
func TestRev1LostLeaseNoLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frozen := &brokenProcess{after: true, pause: leaseTime + time.Second, left: 1 << 30}
		f := newFleet(t, 2, options{table: true}, func(i int, c *Config) {
			if i == 0 {
				frozen.install(c)
			}
		})
		h := f[0]
		h.want(h.vend(), "miss")
		h.want(f[1].vend(), "hit")
		h.Org.RevokeAll()
		time.Sleep(20 * time.Minute) // the token has expired
		h.vendor.app(simtest.AppName).state.readAt = time.Now()
		frozen.start(2) // when it takes the lease
		late := make(chan result)
		go func() { late <- h.vend() }()
		time.Sleep(time.Millisecond)
		h.want(f[1].vend(), "miss")
		r := <-late
		if h.wantSound(r); r.err != nil || len(r.stats.Logins) != 0 {
			t.Errorf("got %s with %d logins", r, len(r.stats.Logins))
		}
		h.wantLogins(2)
	})
}

// TestRev1RevocationFails: if a login returns the token whose revocation has failed, it is one login for all.
func TestRev1RevocationFails(t *testing.T) {
	o := options{org: sfoauthtest.Config{SharedSessions: true}}
	runFleet(t, 8, o, func(t *testing.T, f fleet) {
		h := f[0]
		f.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		h.want(h.revoke(), "temporarily_unavailable")
		f.reject(f[1].vend().id())
		f.vend()
		// One more of the process that has tried to revoke it.
		if n := h.Logins(); n > 3 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestRev1DeletedItem: the item's counter begins anew when the item has been deleted.
func TestRev1DeletedItem(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.want(h.vend(), "miss")
		h.Org.RevokeAll()
		h.Tables.DeleteItem(simtest.AppName)
		h.want(f[1].vend(), "miss")
		time.Sleep(4 * time.Minute)
		h.want(h.vend(), "confirmed") // the token of the other process
		h.wantLogins(2)
	})
}

// TestRev1Placeholder: nothing is sealed with the placeholder's consumer secret, which everyone knows.
func TestRev1Placeholder(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		h.want(h.revoke(), "temporarily_unavailable") // the token is pending
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(time.Second), 0)
		go func() {
			time.Sleep(500 * time.Millisecond)
			h.Store(h.Value(appsecret.Placeholder, appsecret.Placeholder))
		}()
		h.App.Regenerate() // the credentials are refused
		h.want(h.vend(), "app_misconfigured")
		item, err := h.TokenStore().Get(t.Context(), simtest.AppName)
		h.Must(err)
		if _, err := tokenstore.Open(sfoauth.NewSecret(appsecret.Placeholder), simtest.AppName, item.Entry); err == nil {
			t.Error("the entry is sealed with the placeholder")
		}
	})
}
