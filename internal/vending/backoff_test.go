package vending

import (
	"errors"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestHowLongAFailureIsRemembered(t *testing.T) {
	const app = "crm"
	now := time.Now()
	salesforce := func(kind sfoauth.Kind, retryAfter time.Duration) func(trouble) trouble {
		return func(before trouble) trouble {
			err := &sfoauth.Error{Kind: kind, Code: "x", RetryAfter: retryAfter}
			return before.after(ungranted(app, err), err, nil, func() float64 { return 1 }, now)
		}
	}
	secret := func(problem appsecret.ErrorKind) func(trouble) trouble {
		return func(before trouble) trouble {
			err := &appsecret.Error{Kind: problem, Err: errors.New("x")}
			return before.after(unreadable(app, err), err, nil, func() float64 { return 1 }, now)
		}
	}
	refused, down, limited := salesforce(sfoauth.Permanent, 0), salesforce(sfoauth.Temporary, 0), salesforce(sfoauth.RateLimited, 0)
	for name, c := range map[string]struct {
		failures []func(trouble) trouble
		want     time.Duration
	}{
		"refused":                             {[]func(trouble) trouble{refused}, 30 * time.Second},
		"refused, after an outage":            {[]func(trouble) trouble{down, down, down, refused}, 30 * time.Second},
		"down":                                {[]func(trouble) trouble{down}, time.Second},
		"down again":                          {[]func(trouble) trouble{down, down}, 2 * time.Second},
		"down, after a refusal":               {[]func(trouble) trouble{refused, refused, down}, time.Second},
		"down, and says until when":           {[]func(trouble) trouble{salesforce(sfoauth.Temporary, 20*time.Second)}, 20 * time.Second},
		"down, and says until tomorrow":       {[]func(trouble) trouble{salesforce(sfoauth.Temporary, 24*time.Hour)}, 5 * time.Minute},
		"down again, and says in no time":     {[]func(trouble) trouble{down, down, salesforce(sfoauth.Temporary, time.Second)}, 4 * time.Second},
		"limited":                             {[]func(trouble) trouble{limited}, time.Minute},
		"limited, and says until when":        {[]func(trouble) trouble{salesforce(sfoauth.RateLimited, 7*time.Second)}, 7 * time.Second},
		"not to be trusted":                   {[]func(trouble) trouble{salesforce(sfoauth.InvalidResponse, 0)}, time.Second},
		"no such secret":                      {[]func(trouble) trouble{secret(appsecret.NotFound)}, 5 * time.Second},
		"no such secret, asked for all day":   {[]func(trouble) trouble{secret(appsecret.NotFound), secret(appsecret.NotFound), secret(appsecret.NotFound)}, 5 * time.Second},
		"may not read the secret":             {[]func(trouble) trouble{secret(appsecret.Denied)}, 5 * time.Second},
		"a malformed secret, asked for twice": {[]func(trouble) trouble{secret(appsecret.Malformed), secret(appsecret.Malformed)}, time.Second},
		"Secrets Manager is down":             {[]func(trouble) trouble{secret(appsecret.Unavailable)}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var state trouble
			for _, fail := range c.failures {
				state = fail(state)
			}
			if got := state.until.Sub(now); got != c.want {
				t.Errorf("remembered for %s, want %s", got, c.want)
			}
			passes := state.told.Code == TemporarilyUnavailable || state.told.Code == BadUpstreamResponse
			if after := state.answer(now).RetryAfter; passes && after != c.want || !passes && after != 0 {
				t.Errorf("the caller is told to try again after %s", after)
			}
			if after := state.answer(now.Add(c.want)).RetryAfter; passes && after != time.Second {
				t.Errorf("when the wait is over, the caller is told to try again after %s", after)
			}
		})
	}
}

func TestWhoSaysThatAnAppMayNotIntrospect(t *testing.T) {
	for name, c := range map[string]struct {
		err  *sfoauth.Error
		want bool
	}{
		"an OAuth error":               {&sfoauth.Error{Kind: sfoauth.Permanent, Status: 400, Code: "invalid_grant"}, true},
		"the credentials are refused":  {&sfoauth.Error{Kind: sfoauth.Permanent, Status: 400, Code: "invalid_client"}, false},
		"an address that is not taken": {&sfoauth.Error{Kind: sfoauth.Permanent}, false},
		"a server in front":            {&sfoauth.Error{Kind: sfoauth.Temporary, Status: 420}, false},
		"an outage, by Salesforce":     {&sfoauth.Error{Kind: sfoauth.Temporary, Status: 400, Code: "unknown_error"}, false},
		"a limit":                      {&sfoauth.Error{Kind: sfoauth.RateLimited, Status: 400, Code: "rate_limit_exceeded"}, false},
	} {
		if got := refusesIntrospection(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
