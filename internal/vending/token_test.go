package vending

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestCachedTokenLifecycle(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.want(first, "miss")
		if first.expiresIn() != DefaultTokenTTL {
			t.Errorf("a new token expires in %s", first.expiresIn())
		}
		time.Sleep(DefaultTokenTTL - DefaultMinTTL)
		h.want(h.vend(), "hit")
		time.Sleep(time.Second)
		h.want(h.vend(), "confirmed")
		time.Sleep(DefaultIntrospectInterval - DefaultMinTTL)
		h.want(h.vend(), "hit")
		time.Sleep(time.Second)
		confirmed := h.vend()
		h.want(confirmed, "confirmed")
		if confirmed.expiresIn() != DefaultIntrospectInterval || confirmed.id() != first.id() {
			t.Errorf("the confirmed token: %s", confirmed)
		}
		h.wantLogins(1)
	})
}

func TestInactiveTokenIsReplaced(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.KillSession(first.token())
		if a := h.vend(); a.String() != "hit" {
			t.Errorf("got %s; Salesforce has not been asked yet", a)
		}
		time.Sleep(11 * time.Minute)
		second := h.vend()
		h.want(second, "miss")
		if second.id() == first.id() {
			t.Error("the dead token was handed out again")
		}
	})
}

func TestLoginsWithoutIntrospection(t *testing.T) {
	t.Parallel()
	for _, minTTL := range []time.Duration{time.Minute, DefaultMinTTL, 7 * time.Minute, 14 * time.Minute} {
		o := options{app: sfoauthtest.AppOptions{NoIntrospection: true}, config: Config{MinTTL: minTTL}}
		subtest(t, "MIN_TTL "+minTTL.String(), o, func(t *testing.T, h *harness) {
			for range 61 {
				a := h.vend()
				h.wantSound(a)
				if e := a.expiresIn(); a.String() == "miss" && e != DefaultTokenTTL {
					t.Errorf("a token that cannot be introspected expires in %s", e)
				}
				time.Sleep(time.Minute)
			}
			if n := h.Logins(); n > 17 {
				t.Errorf("%d logins within an hour", n)
			}
			if n := h.Introspections(); n != 2 {
				t.Errorf("%d introspections within an hour: a refusal is remembered for 30 minutes", n)
			}
		})
	}
}

func TestJWTExpiry(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: 30 * time.Minute}}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.want(first, "miss")
		if e := first.expiresIn(); e < 29*time.Minute || e > 30*time.Minute {
			t.Errorf("expires in %s", e)
		}
		time.Sleep(24 * time.Minute)
		h.want(h.vend(), "hit")
		time.Sleep(90 * time.Second)
		h.want(h.vend(), "miss")
		if n := h.Introspections(); n != 0 {
			t.Errorf("%d introspections of a token that has its own expiry", n)
		}
	})
}

func TestShortJWTIsCached(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: 4 * time.Minute}}, func(t *testing.T, h *harness) {
		h.vend()
		h.want(h.vend(), "hit")
	})
}

func TestExpiredJWT(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: -time.Minute}}, func(t *testing.T, h *harness) {
		for range 10 {
			h.want(h.vend(), "bad_upstream_response")
		}
		h.wantLogins(1)
	})
}

func TestSlowLoginShortensToken(t *testing.T) {
	run(t, options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute}}, func(t *testing.T, h *harness) {
		// The session begins, and then the response trickles.
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Trickle(5*time.Millisecond), 1)
		a := h.vend()
		h.want(a, "miss")
		if left := time.Until(h.Org.TokenExpiry(a.token())); a.took < time.Second || left < a.expiresIn() {
			t.Errorf("after %s: expires_in is %s, and the session ends in %s", a.took, a.expiresIn(), left)
		}
	})
}

func TestConcurrentColdRequests(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 0)
		var wg sync.WaitGroup
		results := make([]result, 1000)
		for i := range results {
			wg.Go(func() { results[i] = h.vend() })
		}
		wg.Wait()
		counted := 0
		for _, a := range results {
			counted += len(a.stats.Logins)
			h.want(a, "miss")
			if a.id() != results[0].id() {
				t.Fatal("the requests got different tokens")
			}
		}
		h.wantLogins(1)
		if n := h.AWS.Calls()["GetSecretValue"]; n != 1 {
			t.Errorf("the secret was read %d times", n)
		}
		if counted != 1 {
			t.Errorf("the one login is counted %d times", counted)
		}
	})
}

func TestCancelledRequestLeavesLogin(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(3*time.Second), 0)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { h.want(h.do(ctx, 15*time.Second, Request{Principal: billing}), "temporarily_unavailable") })
		time.Sleep(time.Second)
		wg.Go(func() { h.want(h.vend(), "miss") })
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		h.wantLogins(1)
	})
}

func TestLoginsPerDay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		used   bool
		logins int
	}{
		// A session of two hours is good for 115 minutes, since a token is returned with 5 left: 1,440/115 is 12.5.
		"unused tokens": {false, 13},
		// Use extends a session, so that one lasts all day.
		"tokens in use": {true, 1},
	} {
		o := options{org: sfoauthtest.Config{SessionTimeout: 2 * time.Hour, RequestsPerDay: 1 << 30}}
		subtest(t, name, o, func(t *testing.T, h *harness) {
			client := h.vendor.HTTPClient
			step := 1 // seconds between requests
			if testing.Short() {
				step = 20
			}
			for second := 0; second < 24*60*60; second += step {
				a := h.vend()
				if a.err != nil || a.expiresIn() < DefaultMinTTL {
					t.Fatalf("second %d: %s", second, a)
				}
				if left := time.Until(h.Org.TokenExpiry(a.token())); left < a.expiresIn() {
					t.Fatalf("second %d: expires_in is %s, and the session ends in %s", second, a.expiresIn(), left)
				}
				if c.used && second%60 == 0 {
					use(t, client, a)
				}
				time.Sleep(time.Duration(step) * time.Second)
			}
			h.wantLogins(c.logins)
		})
	}
}

// use calls the REST API with the token.
func use(t *testing.T, client *http.Client, a result) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", a.grant.Token.InstanceURL+"/services/data/v65.0/limits", nil)
	req.Header.Set("Authorization", "Bearer "+a.token())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("the REST API refuses a vended token: %s", resp.Status)
	}
}

func TestRejectedTokenThatIsActive(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		for range 1000 {
			a := h.reject(first.id())
			if a.err != nil || a.id() != first.id() {
				t.Fatalf("got %s", a)
			}
			time.Sleep(100 * time.Millisecond)
		}
		h.wantLogins(1)
		if n := h.Introspections(); n > 21 { // 100 seconds, one in 5
			t.Errorf("%d introspections", n)
		}
	})
}

func TestRejectedTokenThatIsDead(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.KillSession(first.token())
		second := h.reject(first.id())
		h.want(second, "miss")
		again := h.reject(first.id()) // from another caller
		h.want(again, "hit")
		if again.id() != second.id() || h.Logins() != 2 {
			t.Errorf("%d logins", h.Logins())
		}
		h.want(h.reject("0123456789abcdef"), "hit")
	})
}

func TestConcurrentRejections(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.KillSession(first.token())
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Latency(time.Second), 0)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { h.want(h.reject(first.id()), "miss") })
			time.Sleep(50 * time.Millisecond)
		}
		wg.Wait()
		if n := h.Introspections(); n != 1 || h.Logins() != 2 {
			t.Errorf("%d introspections, %d logins", n, h.Logins())
		}
	})
}

func TestRejectedTokenWithoutIntrospection(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, h *harness) {
		id := h.vend().id()
		for range 120 {
			a := h.reject(id)
			if a.err != nil {
				t.Fatalf("got %s", a)
			}
			id = a.id()
			time.Sleep(time.Second)
		}
		if h.Logins() > 4 {
			t.Errorf("%d logins in two minutes", h.Logins())
		}
	})
}

func TestAllowedPrincipalsOnEveryRequest(t *testing.T) {
	o := options{secret: map[string]any{"allowedPrincipals": []string{"arn:aws:iam::222222222222:role/billing"}}}
	run(t, o, func(t *testing.T, h *harness) {
		const other = "arn:aws:sts::222222222222:assumed-role/shipping/anna"
		h.want(h.vendAs(other), "access_denied")
		if h.Requests() != 0 {
			t.Error("Salesforce was called for a caller that is denied")
		}
		h.want(h.vend(), "miss")
		h.want(h.vendAs(other), "access_denied")
		h.want(h.revokeAs(other), "access_denied")
		h.want(h.vend(), "hit")
	})
}

func TestNewSecretVersionReplacesToken(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.StoreWith("allowedPrincipals", []string{"333333333333"})
		time.Sleep(DefaultSecretTTL - time.Second)
		h.want(h.vend(), "confirmed")
		time.Sleep(time.Second)
		h.want(h.vend(), "access_denied")
		second := h.vendAs("arn:aws:sts::333333333333:assumed-role/x/y")
		h.want(second, "miss")
		if second.id() == first.id() || !h.Org.TokenActive(first.token()) {
			t.Error("the old version's token must be replaced but not revoked, since others may hold it")
		}
	})
}

func TestRevoke(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.want(h.revoke(), "revoked")
		first := h.vend()
		h.want(h.revoke(), "revoked")
		h.wantDead(first)
		h.want(h.vend(), "miss")

		second := h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1)
		h.want(h.revoke(), "temporarily_unavailable")
		h.want(h.revoke(), "revoked") // revokes it
		h.wantDead(second)

		h.want(h.vend(), "miss")
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.ResetAfterCommit(), 3)
		h.want(h.revoke(), "temporarily_unavailable") // the response is lost, and the token is dead
		h.want(h.vend(), "miss")

		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.ResetAfterCommit(), 3)
		h.want(h.revoke(), "temporarily_unavailable")
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		h.want(h.vend(), "temporarily_unavailable") // the token may be active
	})
}

func TestRevocationOutlivesRequest(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Latency(3*time.Second), 0)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		h.want(h.do(ctx, 15*time.Second, Request{Principal: billing, revoke: true}), "temporarily_unavailable")
		time.Sleep(3 * time.Second)
		h.wantDead(first)
		h.want(h.vend(), "miss")
	})
}
