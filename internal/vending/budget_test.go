package vending

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestLoginBudgetUnderAttack makes requests, every 10 milliseconds and every second, that try to cause many logins.
func TestLoginBudgetUnderAttack(t *testing.T) {
	t.Parallel()
	calls := 1000
	if testing.Short() {
		calls = 100
	}
	type attack = func(h *harness, i int, last result) result
	vendAndRevoke := func(h *harness, i int, _ result) result {
		if i%2 == 0 {
			return h.vend()
		}
		return h.revoke()
	}
	reject := func(h *harness, _ int, last result) result { return h.reject(idOr(last)) }
	killAndReject := func(h *harness, _ int, last result) result {
		h.Org.RevokeAll()
		return h.reject(idOr(last))
	}
	store := func(h *harness, _ int, _ result) result {
		h.Store(h.Value(h.App.Credentials()))
		return h.vend()
	}
	fail := func(at sfoauthtest.Endpoint) func(*harness) {
		return func(h *harness) { h.Org.InjectFault(at, sfoauthtest.Unavailable(), 0) }
	}
	endSessions := func(h *harness) { h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.EndSession(), 0) }
	nothing := func(*harness) {}
	denied := options{app: sfoauthtest.AppOptions{NoIntrospection: true}}
	for name, c := range map[string]struct {
		options options
		prepare func(h *harness)
		attack  attack
	}{
		"vend and revoke":                   {options{}, nothing, vendAndRevoke},
		"vend and revoke, where that fails": {options{}, fail(sfoauthtest.Revoke), vendAndRevoke},
		"vend and revoke, where no version works": {options{}, func(h *harness) {
			h.Store(h.Value("3MVG9wrong", "wrong"), "CANDIDATE")
			h.Store(h.Value("3MVG9bad", "bad"))
			h.App.Regenerate()
		}, vendAndRevoke},
		"revoked at Salesforce, and rejected": {options{}, nothing, killAndReject},
		"revoked at Salesforce, and rejected, with a fallback": {options{}, func(h *harness) {
			h.Store(h.Value("3MVG9wrong", "wrong"))
		}, killAndReject},
		"rejected without introspection":        {denied, nothing, reject},
		"rejected while introspection fails":    {options{}, fail(sfoauthtest.Introspect), reject},
		"sessions that end at once":             {options{}, endSessions, reject},
		"a new version of the secret each time": {options{config: Config{SecretTTL: time.Millisecond}}, nothing, store},
	} {
		for _, pause := range []time.Duration{10 * time.Millisecond, time.Second} {
			subtest(t, name+", every "+pause.String(), c.options, func(t *testing.T, h *harness) {
				c.prepare(h)
				begun, exhausted := time.Now(), 0
				var last result
				for i := range calls {
					a := c.attack(h, i, last)
					if a.id() != "" {
						last = a
					}
					if a.String() == "temporarily_unavailable" && a.retryAfter() == 0 {
						t.Fatalf("no RetryAfter: %s", a.description())
					}
					if a.budgetExhausted() {
						exhausted++
					}
					time.Sleep(pause)
				}
				most := loginbudget.DefaultBurst + int(time.Since(begun)/(time.Hour/loginbudget.DefaultPerHour))
				if n := h.Logins(); n > most {
					t.Errorf("%d logins within %s, want at most %d", n, time.Since(begun), most)
				} else if n == most && exhausted == 0 {
					t.Error("no request reports that the budget is exhausted")
				}
			})
		}
	}
}

// idOr returns the id of the last token, or one that no token has.
func idOr(last result) string {
	if last.id() == "" {
		return "0123456789abcdef"
	}
	return last.id()
}

func TestLoginBudgetIsPerApp(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.CreateSecret("sftoken/erp", h.Value(h.Org.AddApp(sfoauthtest.AppOptions{}).Credentials()))
		h.exhaust()
		h.want(h.request(Request{App: "erp", Principal: billing}), "miss")
	})
}

// nextLogin is the Retry-After of an exhausted budget with the default rate.
const nextLogin = time.Minute

// exhaust spends the login budget. No token is left.
func (h *harness) exhaust() {
	h.T.Helper()
	for range loginbudget.DefaultBurst {
		h.want(h.vend(), "miss")
		h.want(h.revoke(), "revoked")
	}
}

func TestLoginBudgetExhausted(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.exhaust()
		asked := h.Requests()
		for range 3 {
			a := h.vend()
			h.want(a, "temporarily_unavailable")
			if after := a.retryAfter().Round(time.Second); after != nextLogin ||
				!strings.Contains(a.description(), "LOGIN_BURST") {
				t.Errorf("%s, RetryAfter %s", a.description(), after)
			}
			if !a.budgetExhausted() || !strings.Contains(a.err.Error(), "login budget") {
				t.Errorf("the error is %v", a.err)
			}
		}
		if h.Requests() != asked {
			t.Error("Salesforce was called")
		}
		h.want(h.revoke(), "revoked")
		time.Sleep(nextLogin)
		a := h.vend()
		h.want(a, "miss")
		h.want(h.revoke(), "revoked")
		h.wantDead(a)
	})
}

func TestStaleWhileBudgetExhausted(t *testing.T) {
	run(t, options{burst: 1, hourly: 1}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.StoreWith("allowedPrincipals", []string{"222222222222"})
		time.Sleep(DefaultSecretTTL)
		for range 2 { // the failure itself, and the backoff
			a := h.vend()
			h.want(a, "stale")
			if a.id() != first.id() || a.expiresIn() > DefaultTokenTTL-DefaultSecretTTL {
				t.Errorf("got %s", a)
			}
			if !a.budgetExhausted() || !strings.Contains(a.grant.RefreshErr.Error(), "login budget") {
				t.Errorf("not renewed because of %v", a.grant.RefreshErr)
			}
		}
		time.Sleep(3 * time.Minute)
		h.want(h.vend(), "temporarily_unavailable")
		time.Sleep(time.Hour)
		h.want(h.vend(), "miss")
	})
}

// runExhausted runs a test where the login budget is exhausted while the cached token is for an older version of the
// secret.
func runExhausted(t *testing.T, test func(t *testing.T, h *harness, token result)) {
	t.Helper()
	o := options{burst: 1, hourly: 1, config: Config{SecretTTL: time.Second}}
	run(t, o, func(t *testing.T, h *harness) {
		token := h.vend()
		h.StoreWith("allowedPrincipals", []string{"222222222222"})
		time.Sleep(2 * time.Second)
		h.want(h.vend(), "stale")
		test(t, h, token)
	})
}

func TestDeadTokenWhileBudgetExhausted(t *testing.T) {
	runExhausted(t, func(t *testing.T, h *harness, token result) {
		h.Org.RevokeAll()
		for range 20 {
			a := h.reject(token.id())
			h.want(a, "temporarily_unavailable")
			h.want(h.vend(), "temporarily_unavailable")
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Hour)
		h.want(h.vend(), "miss")
	})
}

func TestRejectedTokenWhileBudgetExhausted(t *testing.T) {
	runExhausted(t, func(t *testing.T, h *harness, token result) {
		for range 60 {
			a := h.reject(token.id())
			h.want(a, "stale")
			h.wantTrueExpiry(a)
			time.Sleep(time.Second)
		}
		if n := h.Introspections(); n < 2 || n > 12 {
			t.Errorf("%d introspections in a minute, want at most one in 5 seconds", n)
		}
		h.wantLogins(1)
	})
}

// Salesforce's rate limit is respected, and so is its refusal to introspect.
func TestFailedIntrospectionWhileBudgetExhausted(t *testing.T) {
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		most  int // introspections in a minute
	}{
		"refused": {sfoauthtest.ErrorResponse(403, "invalid_request", "not allowed to introspect"), 1},
		"limited": {sfoauthtest.TooManyRequests(30*time.Second, false), 2},
		"down":    {sfoauthtest.Unavailable(), 12},
	} {
		t.Run(name, func(t *testing.T) {
			runExhausted(t, func(t *testing.T, h *harness, token result) {
				h.Org.InjectFault(sfoauthtest.Introspect, c.fault, 0)
				for range 60 {
					h.want(h.reject(token.id()), "stale")
					time.Sleep(time.Second)
				}
				if n := h.Introspections(); n < 1 || n > c.most {
					t.Errorf("%d introspections in a minute, want at most %d", n, c.most)
				}
				h.wantLogins(1)
			})
		})
	}
}

func TestTokenForAnotherOrgWhileBudgetExhausted(t *testing.T) {
	for field, content := range map[string]string{
		"baseUri": "https://other.my.salesforce.com", "orgId": "00Dxx0000000009EAA",
	} {
		t.Run(field, func(t *testing.T) {
			runExhausted(t, func(t *testing.T, h *harness, token result) {
				h.StoreWith(field, content)
				time.Sleep(2 * time.Second)
				for range 3 {
					h.want(h.reject(token.id()), "temporarily_unavailable")
					time.Sleep(rejectedCheckInterval)
				}
			})
		})
	}
}

func TestConcurrentRejectionsWhileBudgetExhausted(t *testing.T) {
	runExhausted(t, func(t *testing.T, h *harness, token result) {
		h.Org.RevokeAll()
		h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Latency(time.Second), 1)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if a := h.reject(token.id()); a.String() != "temporarily_unavailable" {
					t.Errorf("got %s", a)
				}
			})
		}
		wg.Wait()
		if n := h.Introspections(); n != 1 {
			t.Errorf("%d introspections", n)
		}
	})
}

// If a login needs two attempts, with the credentials that are refused and those that work, a budget of one login at a
// time must not be spent on the first again and again.
func TestFallbackWithScarceBudget(t *testing.T) {
	run(t, options{burst: 1, hourly: 60}, func(t *testing.T, h *harness) {
		h.Store(h.Value("3MVG9wrong", "wrong"))
		h.want(h.vend(), "temporarily_unavailable") // AWSCURRENT is refused
		time.Sleep(nextLogin)
		h.want(h.vend(), "miss")
		h.want(h.revoke(), "revoked")
		time.Sleep(nextLogin)
		h.want(h.vend(), "temporarily_unavailable")
		h.App.Regenerate() // now none works
		time.Sleep(nextLogin)
		h.want(h.vend(), "app_misconfigured")
		h.Store(h.Value(h.App.Credentials()))
		time.Sleep(nextLogin)
		h.want(h.vend(), "miss")
	})
}

// The versions that were refused before the budget ran out are not tried again before the others.
func TestRefusedVersionsWithScarceBudget(t *testing.T) {
	run(t, options{burst: 1, hourly: 60}, func(t *testing.T, h *harness) {
		h.App.Regenerate()            // what is stored does not work any more
		h.want(h.revoke(), "revoked") // reads the secret
		h.Store(h.Value("3MVG9wrong", "wrong"))
		h.want(h.vend(), "temporarily_unavailable") // the first version is refused, and the second is found
		time.Sleep(nextLogin)
		h.want(h.vend(), "app_misconfigured") // the second is refused as well, and AWSPREVIOUS is the first
	})
}

// While the budget is exhausted, the error still has what Salesforce said last.
func TestSalesforceErrorSurvivesExhaustedBudget(t *testing.T) {
	run(t, options{burst: 1, hourly: 1}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"), 0)
		h.want(h.vend(), "app_misconfigured")
		time.Sleep(time.Minute)
		a := h.vend()
		h.want(a, "temporarily_unavailable")
		if a.err.SalesforceError != "invalid_grant: ip restricted" {
			t.Errorf("salesforce_error is %q", a.err.SalesforceError)
		}
	})
}
