package vending

import (
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestStaleDuringOutage(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		a := h.reject(first.id())
		h.want(a, "stale")
		if a.expiresIn() != DefaultMinTTL {
			t.Errorf("a stale token expires in %s", a.expiresIn())
		}
		other := h.vend() // other callers also learn that it is stale
		h.want(other, "stale")
		if a.grant.RefreshErr == nil || other.grant.RefreshErr == nil {
			t.Error("the result does not say why the token is stale")
		}
		h.Org.ClearFaults()
		time.Sleep(time.Second)
		h.want(h.reject(first.id()), "stale") // it was checked a moment ago
		time.Sleep(rejectedCheckInterval)
		h.want(h.reject(first.id()), "confirmed")
		h.want(h.vend(), "hit") // and it is trusted again
	})
}

func TestDeadTokenIsNotStale(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.KillSession(first.token())
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		h.want(h.reject(first.id()), "temporarily_unavailable") // introspection has just reported it as dead
		h.want(h.vend(), "temporarily_unavailable")
		h.Org.ClearFaults()
		time.Sleep(time.Second)
		h.want(h.vend(), "miss")
	})
}

func TestStaleUntilIntrospectedExpiry(t *testing.T) {
	o := options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true}}
	run(t, o, func(t *testing.T, h *harness) {
		h.App.NewToken() // another process's login begins the session
		time.Sleep(7 * time.Minute)
		first := h.vend()
		time.Sleep(5 * time.Minute)
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		a := h.reject(first.id())
		h.want(a, "stale")
		h.wantTrueExpiry(a)
	})
}

func TestLoginOnceTokenExpiresDuringIntrospectionOutage(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		for name, fault := range map[string]sfoauthtest.Fault{
			"down": sfoauthtest.Unavailable(), "silent": sfoauthtest.Hang(), "odd": sfoauthtest.Body("{"),
		} {
			h.Org.InjectFault(sfoauthtest.Introspect, fault, 0)
			time.Sleep(6 * time.Minute)
			h.want(h.vend(), "stale")
			time.Sleep(2 * time.Minute)
			if a := h.vend(); a.String() != "miss" || a.took > 6*time.Second {
				t.Fatalf("introspection is %s: after %s, %s", name, a.took, a)
			}
			h.Org.ClearFaults()
		}
		time.Sleep(16 * time.Minute)
		h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.TooManyRequests(7*time.Second, false), 1)
		logins := h.Logins()
		h.want(h.vend(), "temporarily_unavailable")
		if h.Logins() != logins {
			t.Error("a login in spite of the rate limit")
		}
	})
}

func TestStaleNeedsASecond(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		time.Sleep(DefaultTokenTTL - time.Second)
		a := h.vend()
		h.want(a, "stale")
		if a.expiresIn() != time.Second {
			t.Errorf("expires in %s", a.expiresIn())
		}
		time.Sleep(time.Millisecond)
		h.want(h.vend(), "temporarily_unavailable") // expires_in would be 0
	})
}

func TestNoStaleTokenForAnotherHost(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		h.StoreWith("baseUri", "http://localhost:8443")
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		time.Sleep(DefaultSecretTTL)
		if a := h.vend(); a.err == nil || a.token() != "" {
			t.Errorf("got %s for the org that the secret named before", a)
		}
	})
}

func TestNoStaleTokenForAnotherOrg(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		h.StoreWith("orgId", "00Dxx0000000009EAA")
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "temporarily_unavailable")
	})
}

func TestRejectedJWT(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: 30 * time.Minute}}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.want(h.reject(first.id()), "confirmed")
		h.wantLogins(1)
		h.Org.KillSession(first.token())
		time.Sleep(rejectedCheckInterval)
		h.want(h.reject(first.id()), "miss")
	})
}
