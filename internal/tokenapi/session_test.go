package tokenapi

import (
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// within fails the test if the token is promised to live for longer than it does.
func (w *world) within(a answer) {
	w.t.Helper()
	if left := time.Until(w.org.TokenExpiry(a.token())); a.expiresIn() > left {
		w.t.Errorf("%s: the token is said to live %s, and has %s", a.cache(), a.expiresIn(), left)
	}
}

func TestALoginThatReturnsAnExistingSessionPromisesNoMoreThanThatHas(t *testing.T) {
	for name, c := range map[string]struct {
		config sfoauthtest.Config
		minTTL time.Duration
	}{
		"MIN_TTL of 5 minutes":  {sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true}, 5 * time.Minute},
		"MIN_TTL of 10 minutes": {sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{org: c.config, config: vending.Config{MinTTL: c.minTTL}}, func(t *testing.T, w *world) {
				w.app.NewToken() // another process's login begins the session
				time.Sleep(7 * time.Minute)
				for range 60 {
					a := w.get()
					w.want(a, 200, a.cache())
					w.within(a)
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// Nothing tells how old a session is that another process has begun, where introspection is refused.
func TestATokenThatCannotBeIntrospectedIsBelievedForHalfTheShortestTimeout(t *testing.T) {
	for name, noUse := range map[string]bool{"a login is use": false, "a login is no use": true} {
		t.Run(name, func(t *testing.T) {
			o := options{
				org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginDoesNotExtend: noUse},
				app: sfoauthtest.AppOptions{NoIntrospection: true},
			}
			bubble(t, o, func(t *testing.T, w *world) {
				w.get()
				time.Sleep(8 * time.Minute)
				w.get() // it is known now that introspection is refused
				w.org.RevokeAll()
				w.app.NewToken() // another process's login begins a session
				time.Sleep(7 * time.Minute)
				for range 20 {
					a := w.get()
					w.want(a, 200, a.cache())
					if !noUse { // otherwise nothing tells how long the session lives: see docs/how-it-works.md
						w.within(a)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// A session may end soon, or have ended, by the time that a login of this process returns it for the second time.
func TestATokenThatALoginReturnsAgainIsAskedAbout(t *testing.T) {
	for name, idle := range map[string]time.Duration{"8 minutes left": 7 * time.Minute, "2 minutes left": 13 * time.Minute, "nothing left": 15 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			o := options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginDoesNotExtend: true}}
			bubble(t, o, func(t *testing.T, w *world) {
				w.want(w.get(), 200, "miss")
				time.Sleep(idle)
				value := w.pair(w.app.Credentials())
				value["allowedPrincipals"] = []string{"222222222222"}
				w.store(value) // so that a login is due, and not an introspection
				time.Sleep(time.Until(time.Now().Truncate(time.Second)))
				introspections := w.org.Stats().Calls[sfoauthtest.Introspect]
				a := w.get()
				w.want(a, 200, "miss")
				w.within(a)
				if n := w.org.Stats().Calls[sfoauthtest.Introspect] - introspections; idle < 15*time.Minute && n != 1 {
					t.Errorf("%d introspections", n)
				}
				logins := w.logins()
				for range 10 {
					w.within(w.get())
				}
				if n := w.logins() - logins; n > 0 {
					t.Errorf("%d more logins for a token that is known", n)
				}
			})
		})
	}
}

func TestATokenThatALoginReturnsAgainWhileIntrospectionFails(t *testing.T) {
	o := options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginDoesNotExtend: true}}
	bubble(t, o, func(t *testing.T, w *world) {
		w.get()
		time.Sleep(12 * time.Minute)
		w.org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 0)
		a := w.get()
		w.want(a, 200, "miss")
		w.within(a)
	})
}

func TestALoginThatReturnsADeadTokenIsNoToken(t *testing.T) {
	bubble(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, w *world) {
		first := w.get()
		w.want(w.revoke(), 204, "")
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Field("access_token", first.token()), 1)
		a := w.get()
		w.want(a, 503, "temporarily_unavailable")
		w.isExplained(a)
		time.Sleep(time.Second)
		w.want(w.get(), 200, "miss")
	})
}

// An answer without an OAuth error code comes from a server in front, and says nothing of the app.
func TestOnlyAnOAuthErrorSaysThatAnAppMayNotIntrospect(t *testing.T) {
	for name, fault := range map[string]sfoauthtest.Fault{
		"420": sfoauthtest.ErrorResponse(420, "", ""), "302": sfoauthtest.Redirect(302, "https://acme.my.salesforce.com/"), "404": sfoauthtest.ErrorResponse(404, "", ""),
		"a web page": sfoauthtest.Body("<html>"), "down": sfoauthtest.Unavailable(),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				first := w.get()
				w.org.KillSession(first.token())
				w.org.InjectFault(sfoauthtest.Introspect, fault, 1)
				a := w.reject(first.id())
				if a.status != 200 || a.cache() != "stale" || w.logins() != 1 {
					t.Fatalf("got %s, %d logins: one failed introspection must not cause a login", a, w.logins())
				}
				if a := w.get(); a.cache() != "stale" {
					t.Errorf("got %s for a token that may be dead", a)
				}
				time.Sleep(rejectedEvery)
				w.want(w.reject(first.id()), 200, "miss") // and not a minute later
			})
		})
	}
}

func TestThatAnAppMayNotIntrospectIsLookedAtAgain(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, w *world) {
		w.get()
		time.Sleep(11 * time.Minute)
		w.want(w.get(), 200, "miss")
		w.app.Change(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = false })
		time.Sleep(31 * time.Minute)
		w.want(w.get(), 200, "confirmed")
	})
}

// While introspection fails, callers who report a dead token get another one soon, and cannot force a login each time.
func TestAReportedTokenWhileIntrospectionKeepsFailing(t *testing.T) {
	bubble(t, options{config: vending.Config{Logins: loginbudget.New(1000, 0)}}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.KillSession(first.token())
		w.org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 0)
		begun := time.Now()
		a := w.reject(first.id())
		for a.id() == first.id() {
			if a.cache() != "stale" {
				t.Fatalf("a token that may be dead: %s", a)
			}
			time.Sleep(time.Second)
			a = w.reject(first.id())
		}
		w.want(a, 200, "miss")
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("another token after %s", took)
		}
		logins := w.logins()
		for range 10 * 60 {
			a = w.reject(a.id())
			w.want(a, 200, a.cache())
			time.Sleep(time.Second)
		}
		if n := w.logins() - logins; n > 10 {
			t.Errorf("%d logins in ten minutes", n)
		}
	})
}

func TestALoginThatFailsForTheMomentIsTriedAgainSoon(t *testing.T) {
	for name, fault := range map[string]sfoauthtest.Fault{
		"420": sfoauthtest.ErrorResponse(420, "", ""), "400": sfoauthtest.ErrorResponse(400, "", ""), "403": sfoauthtest.ErrorResponse(403, "", ""), "404": sfoauthtest.ErrorResponse(404, "", ""), "421": sfoauthtest.ErrorResponse(421, "", ""),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				w.org.InjectFault(sfoauthtest.Token, fault, 1)
				a := w.get()
				w.want(a, 503, "temporarily_unavailable")
				w.isExplained(a)
				time.Sleep(time.Second)
				w.want(w.get(), 200, "miss")
			})
		})
	}
}
