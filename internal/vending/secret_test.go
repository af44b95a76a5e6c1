package vending

import (
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestFallbackDuringRotation(t *testing.T) {
	t.Parallel()
	for _, label := range appsecret.FallbackLabels {
		subtest(t, label, options{}, func(t *testing.T, h *harness) {
			key, secret := h.App.Regenerate()
			if label == appsecret.Previous { // the new credentials were stored, and then overwritten
				h.Store(h.Value(key, secret))
				h.Store(h.Value("3MVG9wrong", "wrong"))
			} else {
				h.Store(h.Value(key, secret), label)
			}
			a := h.vend()
			h.want(a, "miss")
			h.wantLogins(2) // one with each credentials
			if a.grant.VersionID == h.Current() {
				t.Error("VersionID is that of AWSCURRENT, whose credentials were refused")
			}
			h.want(h.vend(), "hit")
		})
	}
}

func TestFallbackOrder(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		others := map[string]*sfoauthtest.App{} // each version has the working credentials of another app
		for _, label := range []string{appsecret.Previous, appsecret.Candidate, appsecret.Pending} {
			others[label] = h.Org.AddApp(sfoauthtest.AppOptions{})
		}
		h.Store(h.Value(others[appsecret.Previous].Credentials()))
		h.Store(h.Value("3MVG9wrong", "wrong"))
		h.Store(h.Value(others[appsecret.Candidate].Credentials()), appsecret.Candidate)
		h.Store(h.Value(others[appsecret.Pending].Credentials()), appsecret.Pending)
		for i, label := range []string{appsecret.Pending, appsecret.Candidate, appsecret.Previous} {
			h.Org.ResetStats()
			a := h.vend()
			h.want(a, "miss")
			if n := h.Logins(); n != i+2 || others[label].Logins().Succeeded != 1 {
				t.Errorf("%d logins, %d with %s, the first version that works", n, others[label].Logins().Succeeded, label)
			}
			others[label].Regenerate()
			h.Org.KillSession(a.token())
			time.Sleep(15 * time.Minute)
		}
		h.Org.ResetStats()
		h.want(h.vend(), "app_misconfigured")
		if h.Logins() != 4 {
			t.Errorf("%d logins where no version works", h.Logins())
		}
	})
}

func TestSecretIsReadAgainWhenRefused(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, h *harness) {
		h.want(h.vend(), "miss")
		key, secret := h.App.Regenerate()
		time.Sleep(4 * time.Minute)
		h.want(h.revoke(), "revoked") // forgets the token, so that a login is due within SECRET_TTL
		h.Store(h.Value(key, secret))
		h.want(h.vend(), "miss")
		h.wantLogins(3)
	})
}

func TestVersionFoundAtLoginIsKept(t *testing.T) {
	run(t, options{config: Config{SecretTTL: time.Hour}}, func(t *testing.T, h *harness) {
		h.vend()
		h.Store(h.Value(h.App.Regenerate()))
		time.Sleep(11 * time.Minute)
		h.want(h.vend(), "miss") // the old credentials can neither introspect nor log in
		h.want(h.vend(), "hit")
		time.Sleep(11 * time.Minute)
		h.want(h.vend(), "confirmed") // introspection was denied only to the old credentials
		h.wantLogins(3)
	})
}

func TestIntrospectionDeniedEndsWithNewSecret(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{NoIntrospection: true}}, func(t *testing.T, h *harness) {
		h.vend()
		time.Sleep(11 * time.Minute)
		h.want(h.vend(), "miss")
		h.Store(h.Value(h.Org.AddApp(sfoauthtest.AppOptions{}).Credentials()))
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "miss")
		time.Sleep(11 * time.Minute)
		h.want(h.vend(), "confirmed")
	})
}

func TestNoFallbackToAnotherOrg(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Store(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": simtest.OrgURL + "/"})
		h.want(h.vend(), "miss") // AWSPREVIOUS, in the same org

		key, secret := h.App.Credentials()
		h.Store(map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": "https://other.my.salesforce.com"})
		h.Store(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": simtest.OrgURL})
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "stale")
		time.Sleep(15 * time.Minute)
		h.want(h.vend(), "app_misconfigured")
	})
}

func TestFallbackVerifiesIdentity(t *testing.T) {
	t.Parallel()
	for field, other := range map[string]string{"orgId": "00Dxx0000000009EAA", "userId": "005xx0000000009AAA"} {
		subtest(t, field, options{}, func(t *testing.T, h *harness) {
			value := h.Value(h.App.Credentials())
			value[field] = other
			h.Store(value, appsecret.Candidate)
			h.Store(h.Value("3MVG9wrong", "wrong"))
			h.want(h.vend(), "app_misconfigured")
			h.wantLogins(2) // AWSPREVIOUS has the credentials of CANDIDATE
		})
	}
}

func TestRecoveryOnceCredentialsAreStored(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"AWSCURRENT", "CANDIDATE", "AWSPENDING"} {
		subtest(t, label, options{}, func(t *testing.T, h *harness) {
			key, secret := h.App.Regenerate() // at Salesforce, and not stored
			for range 100 {
				h.want(h.vend(), "app_misconfigured")
				time.Sleep(time.Second)
			}
			if n := h.Logins(); n > 4 {
				t.Errorf("%d logins with refused credentials", n)
			}
			h.Store(h.Value(key, secret), label)
			h.want(h.vend(), "miss")
		})
	}
}

func TestUnknownApp(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		for range 100 {
			a := h.request(Request{App: "erp", Principal: billing})
			h.want(a, "unknown_app")
			if a.err.AppExists {
				t.Fatal("an app that a caller made up is said to exist")
			}
		}
		if n := h.AWS.Calls()["GetSecretValue"]; n != 1 {
			t.Errorf("Secrets Manager was called %d times at the same time", n)
		}
	})
}

func TestPlaceholder(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Store(h.Value(appsecret.Placeholder, appsecret.Placeholder))
		a := h.vend()
		h.want(a, "app_misconfigured")
		if h.Requests() != 0 {
			t.Error("Salesforce was called with the placeholder")
		}
		key, secret := h.App.Credentials()
		time.Sleep(time.Second)
		h.Store(h.Value(key, secret))
		h.want(h.vend(), "miss")
	})
}

func TestMalformedSecret(t *testing.T) {
	t.Parallel()
	subtest(t, "with a known version", options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Store(map[string]any{"consumerKey": "only"})
		time.Sleep(DefaultSecretTTL)
		a := h.vend()
		h.want(a, "confirmed")
		if a.id() != first.id() {
			t.Error("another token")
		}
		if a.stats.Err == nil {
			t.Error("the malformed secret is not reported")
		}
	})
	subtest(t, "without", options{}, func(t *testing.T, h *harness) {
		h.Store(map[string]any{"consumerKey": "only"})
		h.want(h.vend(), "app_misconfigured")
		h.Store(h.Value(h.App.Credentials()))
		time.Sleep(time.Second)
		h.want(h.vend(), "miss")
	})
}
