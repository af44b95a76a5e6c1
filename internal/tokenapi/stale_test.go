package tokenapi

import (
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestARejectedTokenThatCannotBeConfirmedIsHandedOutAsStale(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		a := w.reject(first.id())
		w.want(a, 200, "stale")
		if a.expiresIn() != vending.DefaultMinTTL {
			t.Errorf("a stale token is good for %s, after which its holder should ask again", a.expiresIn())
		}
		w.want(w.get(), 200, "stale") // nor is it handed out to others as if nothing were known
		if warning := w.lines()[2]["warning"]; warning == nil {
			t.Error("the log does not say why the token is stale")
		}
		w.org.ClearFaults()
		time.Sleep(time.Second)
		w.want(w.reject(first.id()), 200, "stale") // it was looked into a moment ago
		time.Sleep(rejectedEvery)
		w.want(w.reject(first.id()), 200, "confirmed")
		w.want(w.get(), 200, "hit") // and nothing is held against it any more
	})
}

func TestATokenThatIsSaidToBeDeadIsNotHandedOutForLackOfAnother(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.KillSession(first.token())
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		w.want(w.reject(first.id()), 503, "temporarily_unavailable") // introspection has just said that it is dead
		w.want(w.get(), 503, "temporarily_unavailable")
		w.org.ClearFaults()
		time.Sleep(time.Second)
		w.want(w.get(), 200, "miss")
	})
}

func TestATokenThatEndsSoonIsStaleForNoLongerThanSalesforceSays(t *testing.T) {
	bubble(t, options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true}}, func(t *testing.T, w *world) {
		w.app.NewToken() // somebody else's login begins the session that this one shares
		time.Sleep(7 * time.Minute)
		first := w.get()
		time.Sleep(5 * time.Minute)
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		a := w.reject(first.id())
		w.want(a, 200, "stale")
		if left := time.Until(w.org.TokenExpiry(a.token())); a.expiresIn() > left {
			t.Errorf("the token is said to live %s, and has %s, as Salesforce has just said", a.expiresIn(), left)
		}
	})
}

func TestWhereIntrospectionIsDownThereIsALoginOnceTheTokenIsOver(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.get()
		for name, fault := range map[string]sfoauthtest.Fault{"down": sfoauthtest.Unavailable(), "silent": sfoauthtest.Hang(), "odd": sfoauthtest.Body("{")} {
			w.org.InjectFault(sfoauthtest.Introspect, fault, 0)
			time.Sleep(6 * time.Minute)
			w.want(w.get(), 200, "stale")
			time.Sleep(2 * time.Minute)
			if a := w.get(); a.cache() != "miss" || a.took > 6*time.Second {
				t.Fatalf("introspection is %s: after %s, %s", name, a.took, a)
			}
			w.org.ClearFaults()
		}
		time.Sleep(16 * time.Minute)
		w.org.InjectFault(sfoauthtest.Introspect, sfoauthtest.TooManyRequests(7*time.Second, false), 1)
		logins := w.logins()
		w.want(w.get(), 503, "temporarily_unavailable")
		if w.logins() != logins {
			t.Error("a login in answer to a limit")
		}
	})
}

func TestATokenWithoutASecondLeftIsNotHandedOutAsStale(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.get()
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		time.Sleep(vending.DefaultTokenTTL - time.Second)
		a := w.get()
		w.want(a, 200, "stale")
		if a.expiresIn() != time.Second {
			t.Errorf("expires in %s", a.expiresIn())
		}
		time.Sleep(time.Millisecond)
		w.want(w.get(), 503, "temporarily_unavailable") // expires_in would be 0
	})
}

func TestATokenOfAnotherHostThanTheSecretNowNamesIsNotHandedOutAsStale(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.get()
		value := w.pair(w.app.Credentials())
		value["baseUri"] = "http://localhost:8443"
		w.store(value)
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		time.Sleep(vending.DefaultSecretTTL)
		if a := w.get(); a.status == 200 || a.token() != "" {
			t.Errorf("got %s of the org that the secret named before", a)
		}
	})
}

func TestATokenOfAnotherOrgThanTheSecretNowPinsIsNotHandedOutAsStale(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.get()
		key, secret := w.app.Credentials()
		value := w.pair(key, secret)
		value["orgId"] = "00Dxx0000000009EAA"
		w.store(value)
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 503, "temporarily_unavailable")
	})
}

func TestARejectedJWTIsConfirmed(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: 30 * time.Minute}}, func(t *testing.T, w *world) {
		first := w.get()
		w.want(w.reject(first.id()), 200, "confirmed")
		if w.logins() != 1 {
			t.Errorf("%d logins", w.logins())
		}
		w.org.KillSession(first.token())
		time.Sleep(rejectedEvery)
		w.want(w.reject(first.id()), 200, "miss")
	})
}
