package vending

import (
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestLoginReturnsExistingSession(t *testing.T) {
	t.Parallel()
	org := sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true}
	for _, minTTL := range []time.Duration{5 * time.Minute, 10 * time.Minute} {
		o := options{org: org, config: Config{MinTTL: minTTL}}
		subtest(t, "MIN_TTL "+minTTL.String(), o, func(t *testing.T, h *harness) {
			h.App.NewToken() // another process's login begins the session
			time.Sleep(7 * time.Minute)
			for range 60 {
				a := h.vend()
				h.wantSound(a)
				h.wantTrueExpiry(a)
				time.Sleep(time.Minute)
			}
		})
	}
}

// Without introspection, the age of a session that another process began is unknown.
func TestTokenTTLWithoutIntrospection(t *testing.T) {
	t.Parallel()
	for name, notExtended := range map[string]bool{"login extends the session": false, "login does not": true} {
		o := options{
			org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginDoesNotExtend: notExtended},
			app: sfoauthtest.AppOptions{NoIntrospection: true},
		}
		subtest(t, name, o, func(t *testing.T, h *harness) {
			h.vend()
			time.Sleep(8 * time.Minute)
			h.vend() // from now on introspection is known to be denied
			h.Org.RevokeAll()
			h.App.NewToken() // another process's login begins a session
			time.Sleep(7 * time.Minute)
			for range 20 {
				a := h.vend()
				h.wantSound(a)
				if !notExtended { // otherwise the expiry is unknown: see docs/explanation/how-it-works.md
					h.wantTrueExpiry(a)
				}
				time.Sleep(time.Minute)
			}
		})
	}
}

// A session may end soon, or have ended, when a login of this process returns it again.
func TestLoginReturnsSameToken(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{
		"8 minutes left": 7 * time.Minute, "2 minutes left": 13 * time.Minute, "nothing left": 15 * time.Minute,
	} {
		o := options{
			org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginDoesNotExtend: true},
		}
		subtest(t, name, o, func(t *testing.T, h *harness) {
			h.want(h.vend(), "miss")
			time.Sleep(idle)
			h.StoreWith("allowedPrincipals", []string{"222222222222"}) // so that a login is due, and not an introspection
			introspections := h.Introspections()
			a := h.vend()
			h.want(a, "miss")
			h.wantTrueExpiry(a)
			if n := h.Introspections() - introspections; idle < 15*time.Minute && n != 1 {
				t.Errorf("%d introspections", n)
			}
			logins := h.Logins()
			for range 10 {
				h.wantTrueExpiry(h.vend())
			}
			if n := h.Logins() - logins; n > 0 {
				t.Errorf("%d more logins for a token that is known", n)
			}
		})
	}
}

func TestLoginReturnsSameTokenWhileIntrospectionFails(t *testing.T) {
	o := options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginDoesNotExtend: true}}
	run(t, o, func(t *testing.T, h *harness) {
		h.vend()
		time.Sleep(12 * time.Minute)
		h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 0)
		a := h.vend()
		h.want(a, "miss")
		h.wantTrueExpiry(a)
	})
}

// A login that returns a doubted token again ends the doubt: its session is active.
func TestLoginReturnsDoubtedToken(t *testing.T) {
	run(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 0)
		h.want(h.reject(first.id()), "stale")
		time.Sleep(rejectedCheckInterval)
		again := h.reject(first.id())
		h.want(again, "miss")
		if again.id() != first.id() {
			t.Fatal("the session is not shared")
		}
		h.want(h.vend(), "hit")
	})
}

func TestLoginReturnsDeadToken(t *testing.T) {
	run(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.want(h.revoke(), "revoked")
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Field("access_token", first.token()), 1)
		a := h.vend()
		h.want(a, "temporarily_unavailable")
		time.Sleep(time.Second)
		h.want(h.vend(), "miss")
	})
}

// A response without an OAuth error code comes from a server in front of Salesforce, and tells nothing about the app.
func TestFailedIntrospectionCausesNoLogin(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]sfoauthtest.Fault{
		"420": sfoauthtest.ErrorResponse(420, "", ""), "302": sfoauthtest.Redirect(302, "https://acme.my.salesforce.com/"),
		"404":        sfoauthtest.ErrorResponse(404, "", ""),
		"a web page": sfoauthtest.Body("<html>"), "down": sfoauthtest.Unavailable(),
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			first := h.vend()
			h.Org.KillSession(first.token())
			h.Org.InjectFault(sfoauthtest.Introspect, fault, 1)
			a := h.reject(first.id())
			if a.String() != "stale" || h.Logins() != 1 {
				t.Fatalf("got %s, %d logins: one failed introspection must not cause a login", a, h.Logins())
			}
			if a := h.vend(); a.String() != "stale" {
				t.Errorf("got %s for a token that may be dead", a)
			}
			time.Sleep(rejectedCheckInterval)
			h.want(h.reject(first.id()), "miss") // and not a minute later
		})
	}
}

func TestIntrospectionDeniedIsRetried(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, h *harness) {
		h.vend()
		time.Sleep(11 * time.Minute)
		h.want(h.vend(), "miss")
		h.App.Change(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = false })
		time.Sleep(31 * time.Minute)
		h.want(h.vend(), "confirmed")
	})
}

// While introspection fails, callers that report a dead token get another one soon, but cannot force a login each time.
func TestRejectedTokenWhileIntrospectionFails(t *testing.T) {
	run(t, options{burst: 1000}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.KillSession(first.token())
		h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 0)
		begun := time.Now()
		a := h.reject(first.id())
		for a.id() == first.id() {
			if a.String() != "stale" {
				t.Fatalf("a token that may be dead: %s", a)
			}
			time.Sleep(time.Second)
			a = h.reject(first.id())
		}
		h.want(a, "miss")
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("another token after %s", took)
		}
		logins := h.Logins()
		for range 10 * 60 {
			a = h.reject(a.id())
			h.wantSound(a)
			time.Sleep(time.Second)
		}
		if n := h.Logins() - logins; n > 10 {
			t.Errorf("%d logins in ten minutes", n)
		}
	})
}

func TestTransientLoginFailure(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]sfoauthtest.Fault{
		"420": sfoauthtest.ErrorResponse(420, "", ""), "400": sfoauthtest.ErrorResponse(400, "", ""),
		"403": sfoauthtest.ErrorResponse(403, "", ""), "404": sfoauthtest.ErrorResponse(404, "", ""),
		"421": sfoauthtest.ErrorResponse(421, "", ""),
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			h.Org.InjectFault(sfoauthtest.Token, fault, 1)
			a := h.vend()
			h.want(a, "temporarily_unavailable")
			time.Sleep(time.Second)
			h.want(h.vend(), "miss")
		})
	}
}
