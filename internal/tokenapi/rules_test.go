package tokenapi

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// bubble runs a test in time that passes only when everybody sleeps.
func bubble(t *testing.T, o options, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, o)) })
}

func TestATokenIsReusedUntilItsHorizonAndThenConfirmed(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.want(first, 200, "miss")
		if first.expiresIn() != vending.DefaultTokenTTL {
			t.Errorf("a new token expires in %s", first.expiresIn())
		}
		time.Sleep(vending.DefaultTokenTTL - vending.DefaultMinTTL)
		w.want(w.get(), 200, "hit")
		time.Sleep(time.Second)
		w.want(w.get(), 200, "confirmed")
		time.Sleep(vending.DefaultIntrospectInterval - vending.DefaultMinTTL)
		w.want(w.get(), 200, "hit")
		time.Sleep(time.Second)
		confirmed := w.get()
		w.want(confirmed, 200, "confirmed")
		if confirmed.expiresIn() != vending.DefaultIntrospectInterval || confirmed.id() != first.id() {
			t.Errorf("the confirmed token: %s", confirmed)
		}
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
	})
}

func TestATokenThatIsNotActiveIsReplaced(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.KillSession(first.token())
		if a := w.get(); a.cache() != "hit" {
			t.Errorf("got %s; nobody can know yet", a)
		}
		time.Sleep(11 * time.Minute)
		second := w.get()
		w.want(second, 200, "miss")
		if second.id() == first.id() {
			t.Error("the dead token was handed out again")
		}
	})
}

func TestWhereIntrospectionIsRefusedLoginsTakeItsPlace(t *testing.T) {
	for _, minTTL := range []time.Duration{time.Minute, vending.DefaultMinTTL, 7 * time.Minute, 14 * time.Minute} {
		t.Run("MIN_TTL "+minTTL.String(), func(t *testing.T) {
			o := options{app: sfoauthtest.AppOptions{NoIntrospection: true}, config: vending.Config{MinTTL: minTTL}}
			bubble(t, o, func(t *testing.T, w *world) {
				for range 61 {
					a := w.get()
					w.want(a, 200, a.cache())
					if e := a.expiresIn(); a.cache() == "miss" && e != vending.DefaultTokenTTL {
						t.Errorf("a token that cannot be introspected expires in %s", e)
					}
					time.Sleep(time.Minute)
				}
				if n := w.logins(); n > 17 {
					t.Errorf("%d logins within an hour", n)
				}
				if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n != 2 {
					t.Errorf("%d introspections within an hour: a refusal is remembered for 30 minutes, and then tried again", n)
				}
			})
		})
	}
}

func TestAJWTCarriesItsOwnExpiry(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: 30 * time.Minute}}, func(t *testing.T, w *world) {
		first := w.get()
		w.want(first, 200, "miss")
		if e := first.expiresIn(); e < 29*time.Minute || e > 30*time.Minute {
			t.Errorf("expires in %s", e)
		}
		time.Sleep(24 * time.Minute)
		w.want(w.get(), 200, "hit")
		time.Sleep(90 * time.Second)
		w.want(w.get(), 200, "miss")
		if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n != 0 {
			t.Errorf("%d introspections of a token that says when it ends", n)
		}
	})
}

func TestAShortJWTIsNotReplacedAtEveryRequest(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: 4 * time.Minute}}, func(t *testing.T, w *world) {
		w.get()
		w.want(w.get(), 200, "hit")
	})
}

func TestAJWTThatHasEndedAlreadyIsNotHandedOut(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: -time.Minute}}, func(t *testing.T, w *world) {
		for range 10 {
			w.want(w.get(), 502, "bad_upstream_response")
		}
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
	})
}

func TestTheTimeThatALoginTakesIsTheTokensToo(t *testing.T) {
	bubble(t, options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute}}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Trickle(5*time.Millisecond), 1) // the session begins, and then the answer comes slowly
		a := w.get()
		w.want(a, 200, "miss")
		if left := time.Until(w.org.TokenExpiry(a.token())); a.took < time.Second || left < a.expiresIn() {
			t.Errorf("after %s: the token is said to live %s, and has %s", a.took, a.expiresIn(), left)
		}
	})
}

func TestOneLoginForAThousandColdRequests(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 0)
		var wg sync.WaitGroup
		answers := make([]answer, 1000)
		for i := range answers {
			wg.Go(func() { answers[i] = w.get() })
		}
		wg.Wait()
		for _, a := range answers {
			w.want(a, 200, "miss")
			if a.id() != answers[0].id() {
				t.Fatal("not everybody got the same token")
			}
		}
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
		if n := w.aws.Calls()["GetSecretValue"]; n != 1 {
			t.Errorf("the secret was read %d times", n)
		}
		counted := 0
		for _, line := range w.lines() {
			if line["Logins"] != nil {
				counted++
			}
		}
		if counted != 1 {
			t.Errorf("the one login is counted %d times", counted)
		}
	})
}

func TestWhoGivesUpDoesNotCancelTheLoginForTheOthers(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(3*time.Second), 0)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.want(w.callIn(ctx, 15*time.Second, nil), 503, "temporarily_unavailable") })
		time.Sleep(time.Second)
		wg.Go(func() { w.want(w.get(), 200, "miss") })
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
	})
}

func TestADayAtARequestASecondTakesTheFewestLogins(t *testing.T) {
	for name, c := range map[string]struct {
		used   bool
		logins int
	}{
		// A session of two hours is good for 115 minutes, since what is handed out lives for 5 more: 1,440/115 is 12.5.
		"tokens that nobody uses": {false, 13},
		// Use extends a session, so that one lasts all day.
		"tokens in use": {true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{org: sfoauthtest.Config{SessionTimeout: 2 * time.Hour, RequestsPerDay: 1 << 30}}, func(t *testing.T, w *world) {
				client := w.handler.vendor.HTTPClient
				for second := range 24 * 60 * 60 {
					a := w.get()
					if a.status != 200 || a.expiresIn() < vending.DefaultMinTTL {
						t.Fatalf("second %d: %s", second, a)
					}
					if left := time.Until(w.org.TokenExpiry(a.token())); left < a.expiresIn() {
						t.Fatalf("second %d: the token is said to live %s, and has %s", second, a.expiresIn(), left)
					}
					if c.used && second%60 == 0 {
						use(t, client, a)
					}
					time.Sleep(time.Second)
				}
				if w.logins() != c.logins {
					t.Errorf("%d logins, want %d", w.logins(), c.logins)
				}
			})
		})
	}
}

// use calls the REST API with the token.
func use(t *testing.T, client *http.Client, a answer) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", a.text("instance_url")+"/services/data/v65.0/limits", nil)
	req.Header.Set("Authorization", "Bearer "+a.token())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("the REST API answers %s to a token that was handed out", resp.Status)
	}
}

func TestNoCallerCanForceLogins(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		for range 1000 {
			a := w.reject(first.id())
			if a.status != 200 || a.id() != first.id() {
				t.Fatalf("got %s", a)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
		if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n > 21 { // 100 seconds, one in 5
			t.Errorf("%d introspections", n)
		}
	})
}

func TestARejectedTokenThatIsDeadIsReplaced(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.KillSession(first.token())
		second := w.reject(first.id())
		w.want(second, 200, "miss")
		again := w.reject(first.id()) // another caller, a moment later
		w.want(again, 200, "hit")
		if again.id() != second.id() || w.logins() != 2 {
			t.Errorf("%d logins", w.logins())
		}
		w.want(w.reject("0123456789abcdef"), 200, "hit")
	})
}

func TestEverybodyWhoseTokenWasRefusedWaitsForTheOneWhoAsksSalesforce(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.KillSession(first.token())
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Latency(time.Second), 0)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { w.want(w.reject(first.id()), 200, "miss") })
			time.Sleep(50 * time.Millisecond)
		}
		wg.Wait()
		if n := w.org.Stats().Calls[sfoauthtest.Introspect]; n != 1 || w.logins() != 2 {
			t.Errorf("%d introspections, %d logins", n, w.logins())
		}
	})
}

// rejectedEvery is how often a caller's word is looked into.
const rejectedEvery = 5 * time.Second

func TestARejectedTokenWhereIntrospectionIsRefusedCostsOneLoginAMinute(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, w *world) {
		id := w.get().id()
		for range 120 {
			a := w.reject(id)
			if a.status != 200 {
				t.Fatalf("got %s", a)
			}
			id = a.id()
			time.Sleep(time.Second)
		}
		if w.logins() > 4 {
			t.Errorf("%d logins in two minutes", w.logins())
		}
	})
}

func TestAllowedPrincipalsAreCheckedOnEveryRequest(t *testing.T) {
	bubble(t, options{secret: map[string]any{"allowedPrincipals": []string{"arn:aws:iam::222222222222:role/billing"}}}, func(t *testing.T, w *world) {
		other := as("arn:aws:sts::222222222222:assumed-role/shipping/anna")
		w.want(w.call(other), 403, "access_denied")
		if w.asked() != 0 {
			t.Error("Salesforce was asked for a caller who may not have the token")
		}
		w.want(w.get(), 200, "miss")
		w.want(w.call(other), 403, "access_denied")
		w.want(w.call(func(e map[string]any) { other(e); e["httpMethod"] = "DELETE" }), 403, "access_denied")
		w.want(w.get(), 200, "hit")
	})
}

func TestANewVersionOfTheSecretMakesTheTokenObsolete(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		key, secret := w.app.Credentials()
		value := w.pair(key, secret)
		value["allowedPrincipals"] = []string{"333333333333"}
		w.store(value)
		time.Sleep(vending.DefaultSecretTTL - time.Second)
		w.want(w.get(), 200, "confirmed")
		time.Sleep(time.Second)
		w.want(w.get(), 403, "access_denied")
		second := w.call(as("arn:aws:sts::333333333333:assumed-role/x/y"))
		w.want(second, 200, "miss")
		if second.id() == first.id() || !w.org.TokenActive(first.token()) {
			t.Error("the token of the old version must be replaced, and not revoked: others may hold it")
		}
	})
}

func (w *world) current() string {
	w.t.Helper()
	out, err := w.secrets.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(secretName)})
	w.must(err)
	return *out.VersionId
}

func TestDeleteRevokesTheCachedToken(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.want(w.revoke(), 204, "")
		first := w.get()
		w.want(w.revoke(), 204, "")
		if w.org.TokenActive(first.token()) {
			t.Error("the token lives")
		}
		w.want(w.get(), 200, "miss")

		second := w.get()
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1)
		w.want(w.revoke(), 503, "temporarily_unavailable")
		w.want(w.revoke(), 204, "") // the next try revokes it
		if w.org.TokenActive(second.token()) {
			t.Error("the token lives")
		}

		w.want(w.get(), 200, "miss")
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.ResetAfterCommit(), 3)
		w.want(w.revoke(), 503, "temporarily_unavailable") // the answer is lost, and the token is dead
		w.want(w.get(), 200, "miss")

		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.ResetAfterCommit(), 3)
		w.want(w.revoke(), 503, "temporarily_unavailable")
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		w.want(w.get(), 503, "temporarily_unavailable") // nobody can say whether the token is dead
	})
}

func TestARevocationWhoseCallerGivesUpGoesOn(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Latency(3*time.Second), 0)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		w.want(w.callIn(ctx, 15*time.Second, func(e map[string]any) { e["httpMethod"] = "DELETE" }), 503, "temporarily_unavailable")
		time.Sleep(3 * time.Second)
		if w.org.TokenActive(first.token()) {
			t.Error("the token lives")
		}
		w.want(w.get(), 200, "miss")
	})
}
