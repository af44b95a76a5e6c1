package tokenapi

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestAThousandHostileCallsStayWithinTheLoginBudget makes calls, one every 10 milliseconds and one every second, that
// are to cause as many logins as they can.
func TestAThousandHostileCallsStayWithinTheLoginBudget(t *testing.T) {
	const calls = 1000
	for name, c := range map[string]struct {
		options options
		prepare func(w *world)
		call    func(w *world, i int, last answer) answer
	}{
		"DELETE and GET in turn": {call: func(w *world, i int, _ answer) answer {
			if i%2 == 0 {
				return w.get()
			}
			return w.revoke()
		}},
		"DELETE and GET in turn, where Salesforce does not revoke": {
			prepare: func(w *world) { w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0) },
			call: func(w *world, i int, _ answer) answer {
				if i%2 == 0 {
					return w.get()
				}
				return w.revoke()
			},
		},
		"revoked at Salesforce, and reported": {call: func(w *world, _ int, last answer) answer {
			w.org.RevokeAll()
			return w.reject(idOr(last))
		}},
		"reported where introspection is refused": {
			options: options{app: sfoauthtest.AppOptions{NoIntrospection: true}},
			call:    func(w *world, _ int, last answer) answer { return w.reject(idOr(last)) },
		},
		"reported while introspection fails": {
			prepare: func(w *world) { w.org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 0) },
			call:    func(w *world, _ int, last answer) answer { return w.reject(idOr(last)) },
		},
		"revoked at Salesforce, where another version stands in": {
			prepare: func(w *world) { w.store(w.pair("3MVG9wrong", "wrong")) },
			call: func(w *world, _ int, last answer) answer {
				w.org.RevokeAll()
				return w.reject(idOr(last))
			},
		},
		"revoked, where no version works": {
			prepare: func(w *world) {
				w.store(w.pair("3MVG9wrong", "wrong"), "CANDIDATE")
				w.store(w.pair("3MVG9bad", "bad"))
				w.app.Regenerate()
			},
			call: func(w *world, i int, _ answer) answer {
				if i%2 == 0 {
					return w.get()
				}
				return w.revoke()
			},
		},
		"a new version of the secret each time": {
			options: options{config: vending.Config{SecretTTL: time.Millisecond}},
			call: func(w *world, _ int, _ answer) answer {
				w.store(w.pair(w.app.Credentials()))
				return w.get()
			},
		},
		"sessions that end at once": {
			prepare: func(w *world) { w.org.InjectFault(sfoauthtest.Token, sfoauthtest.EndSession(), 0) },
			call:    func(w *world, _ int, last answer) answer { return w.reject(idOr(last)) },
		},
	} {
		for _, pause := range []time.Duration{10 * time.Millisecond, time.Second} {
			t.Run(name+", every "+pause.String(), func(t *testing.T) {
				bubble(t, c.options, func(t *testing.T, w *world) {
					if c.prepare != nil {
						c.prepare(w)
					}
					begun, exhausted := time.Now(), 0
					var last answer
					for i := range calls {
						a := c.call(w, i, last)
						if a.id() != "" {
							last = a
						}
						if a.status == 503 && a.header.Get("Retry-After") == "" {
							t.Fatalf("no Retry-After: %s", a)
						}
						time.Sleep(pause)
					}
					for _, line := range w.lines() {
						if strings.Contains(metricNames(line), "LoginBudgetExhausted[app]") {
							exhausted++
						}
					}
					most := loginbudget.DefaultBurst + int(time.Since(begun)/(time.Hour/loginbudget.DefaultPerHour))
					if n := w.logins(); n > most {
						t.Errorf("%d logins within %s, want %d at the most", n, time.Since(begun), most)
					} else if n == most && exhausted == 0 {
						t.Error("no line has the metric LoginBudgetExhausted")
					}
					w.noSecrets(w.log.String())
				})
			})
		}
	}
}

// idOr returns the id of the last token, or one of none.
func idOr(last answer) string {
	if last.id() == "" {
		return "0123456789abcdef"
	}
	return last.id()
}

func TestOneAppsLoginsAreNotAnothersToSpend(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		erp := func(e map[string]any) { e["path"], e["pathParameters"] = "/tokens/erp", map[string]any{"app": "erp"} }
		_, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String("sftoken/erp"), SecretString: aws.String(encode(w.pair(w.org.AddApp(sfoauthtest.AppOptions{}).Credentials()))),
		})
		w.must(err)
		w.exhaust()
		w.want(w.call(erp), 200, "miss")
	})
}

// nextLogin is how long an exhausted budget of the default rate asks to wait, as Retry-After says it.
const nextLogin = time.Minute

// exhaust spends the login budget. No token is left.
func (w *world) exhaust() {
	w.t.Helper()
	for range loginbudget.DefaultBurst {
		w.want(w.get(), 200, "miss")
		w.want(w.revoke(), 204, "")
	}
}

func TestWhatIsAnsweredWhenTheLoginBudgetIsExhausted(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.exhaust()
		w.lines()
		asked := w.asked()
		for range 3 {
			a := w.get()
			w.want(a, 503, "temporarily_unavailable")
			if a.header.Get("Retry-After") != "60" || !strings.Contains(a.text("error_description"), "LOGIN_BURST") {
				t.Errorf("%s, Retry-After %s", a, a.header.Get("Retry-After"))
			}
		}
		if w.asked() != asked {
			t.Error("Salesforce was asked")
		}
		for _, line := range w.lines() {
			if cause, _ := line["cause"].(string); !strings.Contains(metricNames(line), "LoginBudgetExhausted[app]") || !strings.Contains(cause, "login budget") {
				t.Errorf("metrics %s, cause %q", metricNames(line), cause)
			}
		}
		w.want(w.revoke(), 204, "")
		time.Sleep(nextLogin)
		a := w.get()
		w.want(a, 200, "miss")
		w.want(w.revoke(), 204, "")
		if w.org.TokenActive(a.token()) {
			t.Error("DELETE does not revoke")
		}
	})
}

func TestATokenThatLivesIsStaleWhileTheLoginBudgetIsExhausted(t *testing.T) {
	bubble(t, options{config: vending.Config{Logins: loginbudget.New(1, 1)}}, func(t *testing.T, w *world) {
		first := w.get()
		value := w.pair(w.app.Credentials())
		value["allowedPrincipals"] = []string{"222222222222"}
		w.store(value)
		time.Sleep(vending.DefaultSecretTTL)
		w.lines()
		for range 2 { // the failure itself, and the memory of it
			a := w.get()
			w.want(a, 200, "stale")
			if a.id() != first.id() || a.expiresIn() > vending.DefaultTokenTTL-vending.DefaultSecretTTL {
				t.Errorf("got %s", a)
			}
		}
		for _, line := range w.lines() {
			if warning, _ := line["warning"].(string); !strings.Contains(metricNames(line), "LoginBudgetExhausted[app]") || !strings.Contains(warning, "login budget") {
				t.Errorf("metrics %s, warning %q", metricNames(line), warning)
			}
		}
		time.Sleep(3 * time.Minute)
		w.want(w.get(), 503, "temporarily_unavailable")
		time.Sleep(time.Hour)
		w.want(w.get(), 200, "miss")
	})
}

// spent is a world where the login budget is spent while the cached token is for an older version of the secret.
func spent(t *testing.T, test func(t *testing.T, w *world, token answer)) {
	t.Helper()
	o := options{config: vending.Config{Logins: loginbudget.New(1, 1), SecretTTL: time.Second}}
	bubble(t, o, func(t *testing.T, w *world) {
		token := w.get()
		value := w.pair(w.app.Credentials())
		value["allowedPrincipals"] = []string{"222222222222"}
		w.store(value)
		time.Sleep(2 * time.Second)
		w.want(w.get(), 200, "stale")
		test(t, w, token)
	})
}

func TestAReportedTokenThatIsDeadIsNotHandedOutWhileTheLoginBudgetIsExhausted(t *testing.T) {
	spent(t, func(t *testing.T, w *world, token answer) {
		w.org.RevokeAll()
		for range 20 {
			a := w.reject(token.id())
			w.want(a, 503, "temporarily_unavailable")
			if a.header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %s", a)
			}
			w.want(w.get(), 503, "temporarily_unavailable")
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Hour)
		w.want(w.get(), 200, "miss")
	})
}

func TestAReportedTokenThatLivesIsStaleWhileTheLoginBudgetIsExhausted(t *testing.T) {
	spent(t, func(t *testing.T, w *world, token answer) {
		for range 60 {
			a := w.reject(token.id())
			w.want(a, 200, "stale")
			w.within(a)
			time.Sleep(time.Second)
		}
		if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n < 2 || n > 12 {
			t.Errorf("%d introspections in a minute, want one in 5 seconds at the most", n)
		}
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
	})
}

// A limit of Salesforce's is kept, and so is a refusal to introspect.
func TestAReportedTokenThatCannotBeIntrospectedWhileTheLoginBudgetIsExhausted(t *testing.T) {
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		most  int // introspections in a minute
	}{
		"refused": {sfoauthtest.ErrorResponse(403, "invalid_request", "not allowed to introspect"), 1},
		"limited": {sfoauthtest.TooManyRequests(30*time.Second, false), 2},
		"down":    {sfoauthtest.Unavailable(), 12},
	} {
		t.Run(name, func(t *testing.T) {
			spent(t, func(t *testing.T, w *world, token answer) {
				w.org.InjectFault(sfoauthtest.Introspect, c.fault, 0)
				for range 60 {
					w.want(w.reject(token.id()), 200, "stale")
					time.Sleep(time.Second)
				}
				if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n < 1 || n > c.most {
					t.Errorf("%d introspections in a minute, want %d at the most", n, c.most)
				}
				if w.logins() != 1 {
					t.Errorf("%d logins", w.logins())
				}
			})
		})
	}
}

func TestAReportedTokenForAnotherOrgIsNotHandedOutWhileTheLoginBudgetIsExhausted(t *testing.T) {
	for name, changed := range map[string]map[string]any{
		"another address": {"baseUri": "https://other.my.salesforce.com"}, "another pin": {"orgId": "00Dxx0000000009EAA"},
	} {
		t.Run(name, func(t *testing.T) {
			spent(t, func(t *testing.T, w *world, token answer) {
				value := w.pair(w.app.Credentials())
				for field, text := range changed {
					value[field] = text
				}
				w.store(value)
				time.Sleep(2 * time.Second)
				for range 3 {
					w.want(w.reject(token.id()), 503, "temporarily_unavailable")
					time.Sleep(rejectedEvery)
				}
			})
		})
	}
}

func TestCallersWhoReportATokenAtOnceWaitForOneIntrospectionWhileTheLoginBudgetIsExhausted(t *testing.T) {
	spent(t, func(t *testing.T, w *world, token answer) {
		w.org.RevokeAll()
		w.org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Latency(time.Second), 1)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if a := w.reject(token.id()); a.status != 503 {
					t.Errorf("got %s", a)
				}
			})
		}
		wg.Wait()
		if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n != 1 {
			t.Errorf("%d introspections", n)
		}
	})
}

// Where a login needs two tries, the pair that is refused and the one that works, a budget of one login at a time must
// not go to the first over and over.
func TestAScantBudgetReachesTheVersionThatWorks(t *testing.T) {
	bubble(t, options{config: vending.Config{Logins: loginbudget.New(1, 60)}}, func(t *testing.T, w *world) {
		w.store(w.pair("3MVG9wrong", "wrong"))
		w.want(w.get(), 503, "temporarily_unavailable") // AWSCURRENT is refused
		time.Sleep(nextLogin)
		w.want(w.get(), 200, "miss")
		w.want(w.revoke(), 204, "")
		time.Sleep(nextLogin)
		w.want(w.get(), 503, "temporarily_unavailable")
		w.app.Regenerate() // now none works
		time.Sleep(nextLogin)
		w.want(w.get(), 502, "app_misconfigured")
		w.store(w.pair(w.app.Credentials()))
		time.Sleep(nextLogin)
		w.want(w.get(), 200, "miss")
	})
}

// The answer while nobody may log in says what Salesforce said last.
func TestARefusalIsNotForgottenOverAnExhaustedBudget(t *testing.T) {
	bubble(t, options{config: vending.Config{Logins: loginbudget.New(1, 1)}}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"), 0)
		w.want(w.get(), 502, "app_misconfigured")
		time.Sleep(time.Minute)
		a := w.get()
		w.want(a, 503, "temporarily_unavailable")
		if a.text("salesforce_error") != "invalid_grant: ip restricted" {
			t.Errorf("salesforce_error is %q", a.text("salesforce_error"))
		}
	})
}
