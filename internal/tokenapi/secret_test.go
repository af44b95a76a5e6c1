package tokenapi

import (
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestAChangeOfThePairInFlightIsSurvived(t *testing.T) {
	for _, label := range appsecret.FallbackLabels {
		t.Run(label, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				key, secret := w.app.Regenerate()
				if label == appsecret.Previous { // the new pair was there, and somebody overwrote it
					w.store(w.pair(key, secret))
					w.store(w.pair("3MVG9wrong", "wrong"))
				} else {
					w.store(w.pair(key, secret), label)
				}
				a := w.get()
				w.want(a, 200, "miss")
				if seen := w.org.Stats(); seen.Calls[sfoauthtest.Token] != 2 {
					t.Errorf("%d logins: one for each pair that was tried", seen.Calls[sfoauthtest.Token])
				}
				line := w.lines()[0]
				if line["secret_version"] == w.current() {
					t.Error("the log names AWSCURRENT, whose pair was refused")
				}
				w.want(w.get(), 200, "hit")
			})
		})
	}
}

func TestVersionsAreTriedInOrderOneLoginEach(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		others := map[string]*sfoauthtest.App{} // each version has a pair that works, of an app of its own
		for _, label := range []string{appsecret.Previous, appsecret.Candidate, appsecret.Pending} {
			others[label] = w.org.AddApp(sfoauthtest.AppOptions{})
		}
		w.store(w.pair(others[appsecret.Previous].Credentials()))
		w.store(w.pair("3MVG9wrong", "wrong"))
		w.store(w.pair(others[appsecret.Candidate].Credentials()), appsecret.Candidate)
		w.store(w.pair(others[appsecret.Pending].Credentials()), appsecret.Pending)
		for i, label := range []string{appsecret.Pending, appsecret.Candidate, appsecret.Previous} {
			w.org.ResetStats()
			a := w.get()
			w.want(a, 200, "miss")
			if n := w.logins(); n != i+2 || others[label].Logins().Succeeded != 1 {
				t.Errorf("%d logins, %d of them with the pair of %s, which is the first that works", n, others[label].Logins().Succeeded, label)
			}
			others[label].Regenerate()
			w.org.KillSession(a.token())
			time.Sleep(15 * time.Minute)
		}
		w.org.ResetStats()
		w.want(w.get(), 502, "app_misconfigured")
		if w.logins() != 4 {
			t.Errorf("%d logins where no version works", w.logins())
		}
	})
}

func TestASecretThatWasJustStoredIsReadAgainWhenItsPairIsRefused(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, w *world) {
		w.want(w.get(), 200, "miss")
		key, secret := w.app.Regenerate()
		time.Sleep(4 * time.Minute)
		w.want(w.revoke(), 204, "") // forgets the token, so that a login is due within SECRET_TTL
		w.store(w.pair(key, secret))
		w.want(w.get(), 200, "miss")
		if n := w.logins(); n != 3 {
			t.Errorf("%d logins", n)
		}
	})
}

func TestAVersionThatALoginHasFoundIsKept(t *testing.T) {
	bubble(t, options{config: vending.Config{SecretTTL: time.Hour}}, func(t *testing.T, w *world) {
		w.get()
		w.store(w.pair(w.app.Regenerate()))
		time.Sleep(11 * time.Minute)
		w.want(w.get(), 200, "miss") // the old pair may neither introspect nor log in
		w.want(w.get(), 200, "hit")
		time.Sleep(11 * time.Minute)
		w.want(w.get(), 200, "confirmed") // that introspection is refused was the old pair's fault
		if n := w.logins(); n != 3 {
			t.Errorf("%d logins", n)
		}
	})
}

func TestANewAppMayIntrospectThoughTheOldOneMightNot(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, w *world) {
		w.get()
		time.Sleep(11 * time.Minute)
		w.want(w.get(), 200, "miss")
		w.store(w.pair(w.org.AddApp(sfoauthtest.AppOptions{}).Credentials()))
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 200, "miss")
		time.Sleep(11 * time.Minute)
		w.want(w.get(), 200, "confirmed")
	})
}

func TestAPairForAnotherOrgNeverStandsIn(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.store(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": "http://" + orgHost + "/"})
		w.want(w.get(), 200, "miss") // AWSPREVIOUS, in the same org

		key, secret := w.app.Credentials()
		w.store(map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": "https://other.my.salesforce.com"})
		w.store(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": "http://" + orgHost})
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 200, "stale")
		time.Sleep(15 * time.Minute)
		w.want(w.get(), 502, "app_misconfigured")
	})
}

func TestServedAgainWithinOneRequestOfTheStore(t *testing.T) {
	for _, label := range []string{"AWSCURRENT", "CANDIDATE", "AWSPENDING"} {
		t.Run(label, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				key, secret := w.app.Regenerate() // in Setup, and not stored
				for range 100 {
					w.want(w.get(), 502, "app_misconfigured")
					time.Sleep(time.Second)
				}
				if n := w.logins(); n > 4 {
					t.Errorf("%d logins with a pair that is refused", n)
				}
				w.store(w.pair(key, secret), label)
				w.want(w.get(), 200, "miss")
			})
		})
	}
}

func TestAnAppThatIsNotThere(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		other := func(e map[string]any) {
			e["path"], e["pathParameters"] = "/tokens/erp", map[string]any{"app": "erp"}
		}
		for range 100 {
			w.want(w.call(other), 404, "unknown_app")
		}
		if n := w.aws.Calls()["GetSecretValue"]; n != 1 {
			t.Errorf("Secrets Manager was asked %d times within a moment", n)
		}
		if m := metricNames(w.lines()[0]); m != "Refusals[error]" {
			t.Errorf("metrics %s: a caller must not be able to make metrics by naming apps", m)
		}
	})
}

func TestAPlaceholderSaysWhatToDo(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.store(w.pair(appsecret.Placeholder, appsecret.Placeholder))
		a := w.get()
		w.want(a, 502, "app_misconfigured")
		if w.asked() != 0 {
			t.Error("Salesforce was asked with the placeholder")
		}
		key, secret := w.app.Credentials()
		time.Sleep(time.Second)
		w.store(w.pair(key, secret))
		w.want(w.get(), 200, "miss")
	})
}

func TestAMalformedSecretLeavesWhatIsKnownInUse(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.store(map[string]any{"consumerKey": "only"})
		time.Sleep(vending.DefaultSecretTTL)
		a := w.get()
		w.want(a, 200, "confirmed")
		if a.id() != first.id() {
			t.Error("another token")
		}
		if line := w.lines()[1]; line["upstream_error"] == nil {
			t.Error("the log does not say that the secret is malformed")
		}
	})
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.store(map[string]any{"consumerKey": "only"})
		w.want(w.get(), 502, "app_misconfigured")
		key, secret := w.app.Credentials()
		w.store(w.pair(key, secret))
		time.Sleep(time.Second)
		w.want(w.get(), 200, "miss")
	})
}
