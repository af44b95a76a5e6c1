package vending

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// TestDecide needs no clock, network or goroutine.
func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	config := &New(Config{}).Config
	secret := func(id, fields string) *appsecret.Version {
		const credentials = `"consumerKey":"k","consumerSecret":"s","baseUri":"https://x.my.salesforce.com"`
		v, err := appsecret.Parse(id, "{"+credentials+fields+"}")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	fresh := func() state {
		v1 := secret("v1", "")
		token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("t"), OrganizationID: "00Dxx0000000001AAA"}
		cached := config.newToken(token, v1.Client(nil, nil), v1, v1, now)
		cached.id = "t1"
		return state{secret: v1, readAt: now.Add(-time.Minute), cached: cached}
	}
	const denyAll = `,"allowedPrincipals":[]`
	blocked := backoff{err: &Error{Code: TemporarilyUnavailable, Err: errors.New("down")}, retryAt: now.Add(time.Minute)}
	exhausted := blocked
	exhausted.budgetExhausted = true
	ago := func(d time.Duration) *cachedToken { // from a login that long ago
		t := fresh().cached
		t.trustedUntil, t.expiresAt = t.trustedUntil.Add(-d), t.expiresAt.Add(-d)
		return t
	}
	jwt := func(left time.Duration) *cachedToken {
		t := fresh().cached
		t.token.Expiry = now.Add(left)
		return config.trust(t, t.token.Expiry, now.Add(-time.Hour))
	}
	in := input{Request: Request{App: "crm", Principal: "arn:aws:iam::222222222222:role/billing"}}
	rejecting, revoking, waited, busy := in, in, in, in
	rejecting.Rejected, revoking.revoke, busy.Rejected, busy.busy = "t1", true, "t1", true
	revoked := revoking
	waited.obtained = config.confirmed(ago(0), time.Time{}, now)
	revoked.revoked, revoked.revokedID = true, "t1"
	for _, test := range []struct {
		name   string
		want   string // a step, or what is returned
		in     input
		change func(*state) // of an app with a fresh token
	}{
		{"nothing known", "loadSecret", in, func(s *state) { *s = state{} }},
		{"secret in backoff", "temporarily_unavailable", in, func(s *state) { *s = state{secretErr: blocked} }},
		{"secret too old", "loadSecret", in, func(s *state) { s.readAt = now.Add(-DefaultSecretTTL) }},
		{"secret too old, in backoff", "hit", in, func(s *state) { s.readAt, s.secretErr = now.Add(-time.Hour), blocked }},
		{"refused a second ago", "loadSecret", in, func(s *state) {
			s.readAt, s.loginErr = now.Add(-rereadInterval), blocked
			s.loginErr.permanent = true
		}},
		{"budget exhausted after a refusal", "loadSecret", in, func(s *state) {
			s.readAt, s.loginErr = now.Add(-rereadInterval), exhausted
			s.loginErr.tried = []*appsecret.Version{s.secret}
		}},
		{"denied", "access_denied", in, func(s *state) { s.secret = secret("v1", denyAll) }},
		{"revocation denied", "access_denied", revoking, func(s *state) { s.secret = secret("v1", denyAll) }},
		{"no token", "logIn", in, func(s *state) { s.cached = nil }},
		{"no token, in backoff", "temporarily_unavailable", in, func(s *state) { s.cached, s.loginErr = nil, blocked }},
		{"fresh", "hit", in, func(*state) {}},
		{"due", "refresh", in, func(s *state) { s.cached = ago(DefaultTokenTTL - DefaultMinTTL + 1) }},
		{"due, after a call for another token", "refresh", waited, func(s *state) { s.cached = ago(4 * time.Minute) }},
		{"just confirmed", "confirmed", waited, func(s *state) { s.cached = waited.obtained }},
		{"due, in backoff", "stale", in, func(s *state) { s.cached, s.loginErr = ago(4*time.Minute), blocked }},
		{"expired, in backoff", "temporarily_unavailable", in, func(s *state) {
			s.cached, s.loginErr = ago(DefaultTokenTTL), blocked
		}},
		{"due, of another org, in backoff", "temporarily_unavailable", in, func(s *state) {
			s.cached, s.loginErr, s.secret = ago(4*time.Minute), blocked, secret("v1", `,"orgId":"00Dxx0000000009AAA"`)
		}},
		{"due, without introspection", "logIn", in, func(s *state) {
			s.cached, s.introspectionDeniedUntil = ago(4*time.Minute), now.Add(time.Minute)
		}},
		{"fresh, of another version", "logIn", in, func(s *state) { s.secret = secret("v2", "") }},
		{"fresh JWT", "hit", in, func(s *state) { s.cached = jwt(20 * time.Minute) }},
		{"due JWT", "logIn", in, func(s *state) { s.cached = jwt(4 * time.Minute) }},
		{"rejected JWT", "refresh, check", rejecting, func(s *state) { s.cached = jwt(20 * time.Minute) }},
		{"rejected", "refresh, check", rejecting, func(*state) {}},
		{"another token rejected", "hit", rejecting, func(s *state) { s.cached.id = "t2" }},
		{"rejected, checked a second ago", "hit", rejecting, func(s *state) { s.lastRejectedCheck = now.Add(-time.Second) }},
		{"rejected during a check", "refresh, check", busy, func(s *state) { s.lastRejectedCheck = now.Add(-time.Second) }},
		{"rejected, without introspection", "logIn, check", rejecting, func(s *state) {
			s.introspectionDeniedUntil = now.Add(time.Minute)
		}},
		{"rejected, without introspection, checked 6 seconds ago", "hit", rejecting, func(s *state) {
			s.introspectionDeniedUntil, s.lastRejectedCheck = now.Add(time.Minute), now.Add(-6*time.Second)
		}},
		{"rejected, in backoff", "stale", rejecting, func(s *state) { s.loginErr = blocked }},
		{"rejected, budget exhausted", "introspect, check", rejecting, func(s *state) { s.loginErr = exhausted }},
		{"rejected, budget exhausted, without introspection", "stale", rejecting, func(s *state) {
			s.loginErr, s.introspectionDeniedUntil = exhausted, now.Add(time.Minute)
		}},
		{"doubted", "stale", in, func(s *state) { s.doubtedID, s.lastRejectedCheck = "t1", now }},
		{"doubted, check due", "refresh, check", in, func(s *state) { s.doubtedID = "t1" }},
		{"revocation", "revoke", revoking, func(*state) {}},
		{"revocation in backoff", "revoke", revoking, func(s *state) { s.loginErr = blocked }},
		{"nothing to revoke", "revoked ", revoking, func(s *state) { s.cached = nil }},
		{"pending revocations", "revoke", revoking, func(s *state) { s.cached, s.pending = nil, []pendingRevocation{{}} }},
		{"revoked", "revoked t1", revoked, func(*state) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := fresh()
			test.change(&s)
			before := s
			a := decide(config, &s, test.in, now)
			got := string(a.step)
			switch {
			case a.rejectedCheck:
				got += ", check"
			case a.err != nil:
				got = string(a.err.Code)
			case a.step == respond && test.in.revoke:
				got = "revoked " + a.grant.TokenID
			case a.step == respond:
				got = string(a.grant.CacheStatus)
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !reflect.DeepEqual(s, before) {
				t.Error("decide has changed the state")
			}
			if a.err == nil && a.step == respond && !test.in.revoke && a.grant.ExpiresIn < time.Second {
				t.Errorf("the token expires in %s", a.grant.ExpiresIn)
			}
			if (a.grant.CacheStatus == Stale) != (a.grant.RefreshErr != nil) {
				t.Errorf("the token is %s, not renewed because of %v", a.grant.CacheStatus, a.grant.RefreshErr)
			}
			// In every state, a caller that is not allowed gets an error, and causes no call to Salesforce.
			if s.secret == nil || a.step == loadSecret {
				return
			}
			s.secret = secret(s.secret.ID, denyAll)
			if a := decide(config, &s, test.in, now); a.step != respond || a.err == nil || a.err.Code != AccessDenied {
				t.Errorf("a caller that is not allowed: %s, %v", a.step, a.err)
			}
		})
	}
}
