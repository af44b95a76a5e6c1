package vending

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestFleetRevocation(t *testing.T) {
	runFleet(t, 4, options{}, func(t *testing.T, f fleet) {
		first := f[0].vend()
		f[1].vend()
		r := f[2].revoke() // of a process that knows of no token
		f[2].want(r, "revoked")
		f[0].wantDead(first)
		if r.revokedID != first.id() {
			t.Errorf("revoked token %s", r.revokedID)
		}
		f[3].want(f[3].vend(), "miss") // a cold process
		second := f[1].reject(first.id())
		f[1].want(second, "hit")
		f[0].wantLogins(2)
		if n := f[0].Introspections(); n != 0 {
			t.Errorf("%d introspections of a token that is known to be revoked", n)
		}
	})
}

// TestFleetRevocationIsTakenOver: a revocation that has failed is made by the next process that logs in.
func TestFleetRevocationIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]bool{"same version": false, "next version": true} {
		t.Run(name, func(t *testing.T) {
			runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
				h, first := f[0], f[0].vend()
				h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
				h.want(h.revoke(), "temporarily_unavailable")
				h.Org.ClearFaults()
				if rotate {
					h.StoreWith("allowedPrincipals", []string{"222222222222"})
				}
				h.want(f[1].vend(), "miss")
				h.wantDead(first)
			})
		})
	}
}

func TestFleetCompromisedToken(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared sessions %t", shared), func(t *testing.T) {
			o := options{org: sfoauthtest.Config{SharedSessions: shared}, config: Config{SecretTTL: time.Minute}}
			runFleet(t, 3, o, func(t *testing.T, f fleet) {
				h, first := f[0], f[0].vend()
				h.Compromise()
				h.want(f[1].vend(), "miss") // the process that obtained the token does nothing any more
				h.wantDead(first)
				time.Sleep(time.Minute)
				revocations := h.Org.Stats().Calls[sfoauthtest.Revoke]
				f[0:2].want(f[0:2].vend(), "hit:2")
				if n := h.Org.Stats().Calls[sfoauthtest.Revoke]; n != revocations {
					t.Error("the token was revoked again")
				}
				h.want(f[2].vend(), "hit")
			})
		})
	}
}

// TestFleetRevokeAfterFailure: a revocation that finds another process's permanent failure in the table revokes.
func TestFleetRevokeAfterFailure(t *testing.T) {
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

// TestFleetRevokeWhileSecretExpires: likewise if the secret must be read again while the lease is another process's.
func TestFleetRevokeWhileSecretExpires(t *testing.T) {
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

// TestFleetCompromisedTokenAfterFailedLogin: the token of compromised credentials is revoked although the first login
// with the new version has failed, and the processes that knew the token are gone.
func TestFleetCompromisedTokenAfterFailedLogin(t *testing.T) {
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

// TestFleetFallbackTokenOfOldEntry: a token that the entry's process got with a fallback, whose credentials are
// compromised, is revoked by the process that logs in with the next version.
func TestFleetFallbackTokenOfOldEntry(t *testing.T) {
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

// TestFleetRevokeOwnToken: a revocation revokes this process's token even if the table has another one.
func TestFleetRevokeOwnToken(t *testing.T) {
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

// TestFleetRevokeTimesOut: a revocation that never gets the lease does not report success.
func TestFleetRevokeTimesOut(t *testing.T) {
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

// TestFleetRevocationFails: if a login returns the token whose revocation has failed, it is one login for all.
func TestFleetRevocationFails(t *testing.T) {
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
