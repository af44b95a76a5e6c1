package vending

import (
	"errors"
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
		v, err := appsecret.Parse(
			id,
			`{"consumerKey":"k","consumerSecret":"s","baseUri":"https://x.my.salesforce.com"`+fields+`}`,
		)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	// base is an app with a fresh token.
	base := func(change func(*state)) *state {
		v1 := secret("v1", "")
		token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("t"), OrganizationID: "00Dxx0000000001AAA"}
		s := &state{
			secret: v1,
			readAt: now.Add(-time.Minute),
			cached: config.newToken(token, v1.Client(nil, nil), v1, v1, now),
		}
		s.cached.id = "t1"
		if change != nil {
			change(s)
		}
		return s
	}
	blocked := backoff{err: &Error{Code: TemporarilyUnavailable, Err: errors.New("down")}, retryAt: now.Add(time.Minute)}
	ago := func(d time.Duration) *cachedToken { // a token from a login that long ago
		s := base(nil)
		c := *s.cached
		c.trustedUntil, c.expiresAt = c.trustedUntil.Add(-d), c.expiresAt.Add(-d)
		return &c
	}
	jwt := func(left time.Duration) *cachedToken {
		c := *ago(0)
		token := *c.token
		token.Expiry = now.Add(left)
		c.token = &token
		return config.trust(&c, token.Expiry, now.Add(-time.Hour))
	}
	in := input{Request: Request{App: "crm", Principal: "arn:aws:iam::222222222222:role/billing"}}
	rejecting, revoking, waited, busy := in, in, in, in
	rejecting.Rejected, revoking.revoke, busy.Rejected, busy.busy = "t1", true, "t1", true
	revoked, other := revoking, in
	other.obtained = ago(0)
	revoked.revoked, revoked.revokedID = true, "t1"
	for _, test := range []struct {
		name string
		s    *state
		in   input
		want string // a step, or what is returned
	}{
		{"nothing known", &state{}, in, "loadSecret"},
		{"secret in backoff", &state{secretErr: blocked}, in, "temporarily_unavailable"},
		{"secret too old", base(func(s *state) { s.readAt = now.Add(-DefaultSecretTTL) }), in, "loadSecret"},
		{
			"secret too old, in backoff", base(func(s *state) { s.readAt, s.secretErr = now.Add(-time.Hour), blocked }), in,
			"hit",
		},
		{"refused a second ago", base(func(s *state) {
			s.readAt, s.loginErr = now.Add(-rereadInterval), blocked
			s.loginErr.permanent = true
		}), in, "loadSecret"},
		{
			"denied", base(func(s *state) { s.secret = secret("v1", `,"allowedPrincipals":["333333333333"]`) }), in,
			"access_denied",
		},
		{
			"denied revocation", base(func(s *state) { s.secret = secret("v1", `,"allowedPrincipals":[]`) }), revoking,
			"access_denied",
		},
		{"no token", base(func(s *state) { s.cached = nil }), in, "logIn"},
		{"no token, in backoff", base(func(s *state) { s.cached, s.loginErr = nil, blocked }), in, "temporarily_unavailable"},
		{"fresh", base(nil), in, "hit"},
		{"due, after a call for another token", base(func(s *state) { s.cached = ago(4 * time.Minute) }), other, "refresh"},
		{"due", base(func(s *state) { s.cached = ago(DefaultTokenTTL - DefaultMinTTL + 1) }), in, "refresh"},
		{"due, in backoff", base(func(s *state) { s.cached, s.loginErr = ago(4*time.Minute), blocked }), in, "stale"},
		{
			"expired, in backoff", base(func(s *state) { s.cached, s.loginErr = ago(DefaultTokenTTL), blocked }), in,
			"temporarily_unavailable",
		},
		{"due, of another org, in backoff", base(func(s *state) {
			s.cached, s.loginErr, s.secret = ago(4*time.Minute), blocked, secret("v1", `,"orgId":"00Dxx0000000009AAA"`)
		}), in, "temporarily_unavailable"},
		{"due, without introspection", base(func(s *state) {
			s.cached, s.introspectionDeniedUntil = ago(4*time.Minute), now.Add(time.Minute)
		}), in, "logIn"},
		{"fresh, of another version", base(func(s *state) { s.secret = secret("v2", "") }), in, "logIn"},
		{"fresh JWT", base(func(s *state) { s.cached = jwt(20 * time.Minute) }), in, "hit"},
		{"due JWT", base(func(s *state) { s.cached = jwt(4 * time.Minute) }), in, "logIn"},
		{"rejected JWT", base(func(s *state) { s.cached = jwt(20 * time.Minute) }), rejecting, "refresh, check"},
		{"rejected", base(nil), rejecting, "refresh, check"},
		{"another token rejected", base(func(s *state) { s.cached.id = "t2" }), rejecting, "hit"},
		{
			"rejected, checked a second ago", base(func(s *state) { s.lastRejectedCheck = now.Add(-time.Second) }), rejecting,
			"hit",
		},
		{
			"rejected during a check", base(func(s *state) { s.lastRejectedCheck = now.Add(-time.Second) }), busy,
			"refresh, check",
		},
		{
			"rejected, without introspection", base(func(s *state) { s.introspectionDeniedUntil = now.Add(time.Minute) }),
			rejecting, "logIn, check",
		},
		{"rejected, without introspection, checked 6 seconds ago", base(func(s *state) {
			s.introspectionDeniedUntil, s.lastRejectedCheck = now.Add(time.Minute), now.Add(-6*time.Second)
		}), rejecting, "hit"},
		{"rejected, in backoff", base(func(s *state) { s.loginErr = blocked }), rejecting, "stale"},
		{
			"rejected, budget exhausted", base(func(s *state) { s.loginErr = blocked; s.loginErr.budgetExhausted = true }),
			rejecting, "introspect, check",
		},
		{"rejected, budget exhausted, without introspection", base(func(s *state) {
			s.loginErr, s.introspectionDeniedUntil = blocked, now.Add(time.Minute)
			s.loginErr.budgetExhausted = true
		}), rejecting, "stale"},
		{"doubted", base(func(s *state) { s.doubtedID, s.lastRejectedCheck = "t1", now }), in, "stale"},
		{"doubted, check due", base(func(s *state) { s.doubtedID = "t1" }), in, "refresh, check"},
		{"revocation", base(nil), revoking, "revoke"},
		{"revocation in backoff", base(func(s *state) { s.loginErr = blocked }), revoking, "revoke"},
		{"nothing to revoke", base(func(s *state) { s.cached = nil }), revoking, "revoked "},
		{
			"pending revocations", base(func(s *state) { s.cached, s.pending = nil, []pendingRevocation{{}} }), revoking,
			"revoke",
		},
		{"revoked", base(nil), revoked, "revoked t1"},
		{
			"just confirmed",
			base(func(s *state) { s.cached = config.confirmed(s.cached, time.Time{}, now); waited.obtained = s.cached }),
			input{}, "confirmed",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.in.App == "" {
				test.in = waited
			}
			before := *test.s
			a := decide(config, test.s, test.in, now)
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
			if before.lastRejectedCheck != test.s.lastRejectedCheck || before.cached != test.s.cached {
				t.Error("decide has changed the state")
			}
			if a.err == nil && a.step == respond && !test.in.revoke && a.grant.ExpiresIn < time.Second {
				t.Errorf("the token expires in %s", a.grant.ExpiresIn)
			}
		})
	}
}
