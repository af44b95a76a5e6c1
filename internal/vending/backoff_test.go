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
	type failure = func(backoff) backoff
	salesforce := func(kind sfoauth.Kind, retryAfter time.Duration) failure {
		return func(before backoff) backoff {
			err := &sfoauth.Error{Kind: kind, Code: "x", RetryAfter: retryAfter}
			return before.next(loginError(app, err), err, nil, func() float64 { return 1 }, now)
		}
	}
	secret := func(kind appsecret.ErrorKind) failure {
		return func(before backoff) backoff {
			err := &appsecret.Error{Kind: kind, Err: errors.New("x")}
			return before.next(secretError(app, err), err, nil, func() float64 { return 1 }, now)
		}
	}
	refused, down, limited := salesforce(sfoauth.Permanent, 0), salesforce(sfoauth.Temporary, 0), sfoauth.RateLimited
	brief := salesforce(sfoauth.Temporary, time.Second) // its Retry-After is shorter than the backoff
	gone, malformed := secret(appsecret.NotFound), secret(appsecret.Malformed)
	for name, c := range map[string]struct {
		want     time.Duration
		failures []failure
	}{
		"refused":                             {30 * time.Second, []failure{refused}},
		"refused, after an outage":            {30 * time.Second, []failure{down, down, down, refused}},
		"down":                                {time.Second, []failure{down}},
		"down again":                          {2 * time.Second, []failure{down, down}},
		"down, after a refusal":               {time.Second, []failure{refused, refused, down}},
		"down, Retry-After 20 seconds":        {20 * time.Second, []failure{salesforce(sfoauth.Temporary, 20*time.Second)}},
		"down, Retry-After a day":             {5 * time.Minute, []failure{salesforce(sfoauth.Temporary, 24*time.Hour)}},
		"down again, briefly":                 {4 * time.Second, []failure{down, down, brief}},
		"rate limited":                        {time.Minute, []failure{salesforce(limited, 0)}},
		"rate limited, Retry-After 7 seconds": {7 * time.Second, []failure{salesforce(limited, 7*time.Second)}},
		"invalid response":                    {time.Second, []failure{salesforce(sfoauth.InvalidResponse, 0)}},
		"no such secret":                      {5 * time.Second, []failure{gone}},
		"no such secret, three times":         {5 * time.Second, []failure{gone, gone, gone}},
		"the secret may not be read":          {5 * time.Second, []failure{secret(appsecret.Denied)}},
		"a malformed secret, twice":           {time.Second, []failure{malformed, malformed}},
		"Secrets Manager is down":             {time.Second, []failure{secret(appsecret.Unavailable)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
