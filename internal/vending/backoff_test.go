package vending

import (
	"errors"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	const app = "crm"
	now := time.Now()
	salesforce := func(kind sfoauth.Kind, retryAfter time.Duration) func(backoff) backoff {
		return func(before backoff) backoff {
			err := &sfoauth.Error{Kind: kind, Code: "x", RetryAfter: retryAfter}
			return before.next(loginError(app, err), err, nil, func() float64 { return 1 }, now)
		}
	}
	secret := func(problem appsecret.ErrorKind) func(backoff) backoff {
		return func(before backoff) backoff {
			err := &appsecret.Error{Kind: problem, Err: errors.New("x")}
			return before.next(secretError(app, err), err, nil, func() float64 { return 1 }, now)
		}
	}
	refused, down, limited := salesforce(
		sfoauth.Permanent,
		0,
	), salesforce(
		sfoauth.Temporary,
		0,
	), salesforce(
		sfoauth.RateLimited,
		0,
	)
	for name, c := range map[string]struct {
		failures []func(backoff) backoff
		want     time.Duration
	}{
		"refused":                  {[]func(backoff) backoff{refused}, 30 * time.Second},
		"refused, after an outage": {[]func(backoff) backoff{down, down, down, refused}, 30 * time.Second},
		"down":                     {[]func(backoff) backoff{down}, time.Second},
		"down again":               {[]func(backoff) backoff{down, down}, 2 * time.Second},
		"down, after a refusal":    {[]func(backoff) backoff{refused, refused, down}, time.Second},
		"down, with Retry-After": {
			[]func(backoff) backoff{salesforce(sfoauth.Temporary, 20*time.Second)}, 20 * time.Second,
		},
		"down, with a Retry-After of a day": {
			[]func(backoff) backoff{salesforce(sfoauth.Temporary, 24*time.Hour)}, 5 * time.Minute,
		},
		"down again, with a short Retry-After": {
			[]func(backoff) backoff{down, down, salesforce(sfoauth.Temporary, time.Second)}, 4 * time.Second,
		},
		"rate limited": {[]func(backoff) backoff{limited}, time.Minute},
		"rate limited, with Retry-After": {
			[]func(backoff) backoff{salesforce(sfoauth.RateLimited, 7*time.Second)}, 7 * time.Second,
		},
		"invalid response": {[]func(backoff) backoff{salesforce(sfoauth.InvalidResponse, 0)}, time.Second},
		"no such secret":   {[]func(backoff) backoff{secret(appsecret.NotFound)}, 5 * time.Second},
		"no such secret, three times": {
			[]func(backoff) backoff{secret(appsecret.NotFound), secret(appsecret.NotFound), secret(appsecret.NotFound)},
			5 * time.Second,
		},
		"the secret may not be read": {[]func(backoff) backoff{secret(appsecret.Denied)}, 5 * time.Second},
		"a malformed secret, twice": {
			[]func(backoff) backoff{secret(appsecret.Malformed), secret(appsecret.Malformed)}, time.Second,
		},
		"Secrets Manager is down": {[]func(backoff) backoff{secret(appsecret.Unavailable)}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var state backoff
			for _, fail := range c.failures {
				state = fail(state)
			}
			if got := state.retryAt.Sub(now); got != c.want {
				t.Errorf("retried after %s, want %s", got, c.want)
			}
			temporary := state.err.isTemporary()
			if after := state.callerError(now).RetryAfter; temporary && after != c.want || !temporary && after != 0 {
				t.Errorf("RetryAfter is %s", after)
			}
			if after := state.callerError(now.Add(c.want)).RetryAfter; temporary && after != time.Second {
				t.Errorf("when the wait is over, RetryAfter is %s", after)
			}
		})
	}
}

func TestIsIntrospectionDenied(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  *sfoauth.Error
		want bool
	}{
		"OAuth error":               {&sfoauth.Error{Kind: sfoauth.Permanent, Status: 400, Code: "invalid_grant"}, true},
		"credentials refused":       {&sfoauth.Error{Kind: sfoauth.Permanent, Status: 400, Code: "invalid_client"}, false},
		"invalid address":           {&sfoauth.Error{Kind: sfoauth.Permanent}, false},
		"server in front":           {&sfoauth.Error{Kind: sfoauth.Temporary, Status: 420}, false},
		"outage, as an OAuth error": {&sfoauth.Error{Kind: sfoauth.Temporary, Status: 400, Code: "unknown_error"}, false},
		"rate limit": {
			&sfoauth.Error{Kind: sfoauth.RateLimited, Status: 400, Code: "rate_limit_exceeded"}, false,
		},
	} {
		if got := isIntrospectionDenied(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
