package vending

import (
	"slices"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// outcome is the result of a request whose login meets a fault, without a token to fall back on.
type outcome struct {
	want    string
	backoff time.Duration // how long at least Salesforce is not asked again
}

var (
	fine          = outcome{"miss", 0}
	down          = outcome{"temporarily_unavailable", 500 * time.Millisecond}
	misconfigured = outcome{"app_misconfigured", 30 * time.Second}
	untrusted     = outcome{"bad_upstream_response", 500 * time.Millisecond}
)

type outcomeOf struct {
	outcome
	faults []string
}

// atLogin lists the faults of the simulated org at the token endpoint by their outcome.
var atLogin = []outcomeOf{
	{fine, []string{"latency of 1s"}},
	{down, []string{
		"hang", "hang after the change", "reset", "reset after the change", "truncated body", "truncated header",
		"not HTTP", "body without a header", "body as a header", "trickling body", "huge header",
		"503 with a web page", "maintenance", "500 server_error an unexpected error occurred",
		"502 temporarily_unavailable upstream failed", "web page with 400", "web page with 403", "web page with 404",
		"web page with 420", "web page with 421", "400 invalid_grant token request is already being processed",
		"400 unknown_error retry your request",
	}},
	{untrusted, []string{
		"huge body", "huge compressed body", "empty body", "malformed JSON", "JSON null", "JSON string", "JSON list",
		"JSON object without fields", "200 with a web page", "200 with an error", "deeply nested JSON",
		"JSON fields of the wrong type", "wrong signature", "malformed signature", "no id", "malformed id",
		"malformed issued_at", "token_type MAC", "no token_type", "no access_token", "empty access_token",
		"access_token with a space", "access_token with a line break", "access_token that does not print",
		"access_token outside ASCII", "opaque token called a JWT", "no instance_url", "foreign instance_url",
		"instance_url with a user", "instance_url with a like name", "plain-http instance_url",
		"instance_url that is a file", "foreign api_instance_url", "plain-http api_instance_url", "foreign id",
		"id with a user", "plain-http id",
	}},
	{outcome{"temporarily_unavailable", 30 * time.Second}, []string{"429 with 30s in seconds"}},
	{outcome{"temporarily_unavailable", 59 * time.Second}, []string{"429 with 1m0s as a date"}},
	{misconfigured, []string{
		"redirect with 301", "redirect with 302", "redirect with 307", "redirect with 308", "token of another user",
		"token of another org", "400 app_not_found External client app is not installed in this org",
		"400 inactive_org organization is locked, closed, or suspended", "400 inactive_user user is inactive",
		"400 invalid_app_access user is not admin approved to access this app",
		"400 invalid_client invalid client credentials", "400 invalid_client_id client identifier invalid",
		"400 invalid_grant authentication failure", "400 invalid_grant inactive organization",
		"400 invalid_grant inactive user", "400 invalid_grant ip restricted",
		"400 invalid_grant ip restricted or invalid login hours",
		"400 invalid_grant no client credentials user enabled", "400 invalid_grant no valid scopes defined",
		"400 invalid_grant request not supported on this domain",
		"400 invalid_grant user hasn't approved this consumer", "400 invalid_request scope parameter not supported",
		"400 OAUTH_APP_BLOCKED this app is blocked by admin", "400 unsupported_grant_type grant type not supported",
	}},
	{outcome{"temporarily_unavailable", time.Minute}, []string{
		"400 invalid_grant login rate exceeded", "400 rate_limit_exceeded rate limit exceeded",
	}},
}

// newPinnedHarness returns a harness whose secret pins the org and the user.
func newPinnedHarness(t *testing.T, o options) *harness {
	t.Helper()
	h := newHarness(t, o)
	key, secret := h.App.Credentials()
	value := h.Value(key, secret)
	value["orgId"], value["userId"] = h.Org.ID(), h.App.User.ID[:15]
	h.Store(value)
	return h
}

func TestLoginFaultsWithoutToken(t *testing.T) {
	t.Parallel()
	forEachFault(t, sfoauthtest.Token, func(t *testing.T, h *harness, fault sfoauthtest.Fault) {
		at := slices.IndexFunc(atLogin, func(o outcomeOf) bool { return slices.Contains(o.faults, fault.String()) })
		if at < 0 {
			t.Fatalf("atLogin lacks the fault %q", fault)
		}
		want := atLogin[at]
		h.Org.InjectFault(sfoauthtest.Token, fault, 0)
		got := h.vend()
		h.want(got, want.want)
		h.wantOnTime(got)

		asked := h.Requests()
		if again := h.vend(); want.backoff > 0 && (h.Requests() != asked || again.String() != want.want) {
			t.Errorf("a second request: %s; %d calls to Salesforce during the backoff", again, h.Requests()-asked)
		}
		time.Sleep(want.backoff - time.Millisecond)
		if h.vend(); want.backoff > 0 && h.Requests() != asked {
			t.Errorf("Salesforce was called again within %s", want.backoff)
		}
		h.Org.ClearFaults()
		time.Sleep(5*time.Minute + time.Second) // the longest backoff
		h.wantHealthy()
	})
}

func TestFaultsWithCachedToken(t *testing.T) {
	t.Parallel()
	forEachFault(t, sfoauthtest.Introspect, func(t *testing.T, h *harness, fault sfoauthtest.Fault) {
		h.want(h.vend(), "miss")
		h.Org.InjectFault(sfoauthtest.AllEndpoints, fault, 0)
		time.Sleep(4 * time.Minute)
		got := h.vend()
		if !slices.Contains([]string{"stale", "confirmed", "miss"}, got.String()) {
			t.Fatalf("got %s; the token is trusted for 3 more minutes", got)
		}
		h.wantSound(got)
		if left := got.expiresIn(); got.String() == "stale" && (left < time.Second || left > DefaultMinTTL) {
			t.Errorf("a stale token expires in %s", left)
		}
		h.wantOnTime(got)
		h.Org.ClearFaults()
		time.Sleep(5*time.Minute + time.Second)
		h.wantHealthy()
	})
}

func TestBackoffGrows(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		gaps  []time.Duration // between the times when Salesforce is called
	}{
		"permanent": {
			sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"),
			[]time.Duration{30 * s, 60 * s, 120 * s, 240 * s, 300 * s, 300 * s},
		},
		// Jitter takes up to half of the wait, and all of that here.
		"down": {
			sfoauthtest.Unavailable(),
			[]time.Duration{s / 2, s, 2 * s, 4 * s, 8 * s, 15 * s, 15 * s},
		},
		"invalid response": {
			sfoauthtest.WrongSignature(),
			[]time.Duration{s / 2, s, 2 * s, 4 * s, 8 * s, 15 * s, 15 * s},
		},
		"rate limited": {
			sfoauthtest.TooManyRequests(7*s, false), []time.Duration{7 * s, 7 * s, 7 * s},
		},
		"rate limited without Retry-After": {
			sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded"),
			[]time.Duration{60 * s, 60 * s},
		},
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			h.Org.InjectFault(sfoauthtest.Token, c.fault, 0)
			var gaps []time.Duration
			last := time.Now()
			for len(gaps) < len(c.gaps)+1 {
				logins := h.Logins()
				if a := h.vend(); a.err == nil {
					t.Fatal("got a token")
				}
				if h.Logins() != logins {
					gaps = append(gaps, time.Since(last))
					last = time.Now()
				}
				time.Sleep(100 * time.Millisecond)
			}
			if gaps = gaps[1:]; !slices.Equal(gaps, c.gaps) {
				t.Errorf("Salesforce was called after %v, want %v", gaps, c.gaps)
			}
			h.Org.ClearFaults()
			time.Sleep(5 * time.Minute)
			h.want(h.vend(), "miss")
		})
	}
}

func TestRateLimitIsAtLeastASecond(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		time.Sleep(999 * time.Millisecond)
		// Retry-After is a date, a millisecond from now.
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.TooManyRequests(time.Second, true), 0)
		for range 4 {
			h.want(h.vend(), "temporarily_unavailable")
			time.Sleep(200 * time.Millisecond)
		}
		if h.Logins() != 1 {
			t.Errorf("%d logins within a second", h.Logins())
		}
		time.Sleep(time.Second)
		h.Org.ClearFaults()
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.TooManyRequests(7*time.Second, false), 1)
		h.vend()
		time.Sleep(500 * time.Millisecond)
		if after := h.vend().retryAfter(); after != 6500*time.Millisecond {
			t.Errorf("RetryAfter is %s where 6.5 seconds are left", after)
		}
	})
}

// forEachFault runs the test for every fault that makes a difference at the endpoint.
func forEachFault(t *testing.T, at sfoauthtest.Endpoint, test func(*testing.T, *harness, sfoauthtest.Fault)) {
	tried := 0
	for _, fault := range sfoauthtest.AllFaults() {
		if fault.AppliesTo(at) {
			tried++
			t.Run(fault.String(), func(t *testing.T) {
				t.Parallel()
				inBothModes(t, options{}, func(t *testing.T, o options) { test(t, newPinnedHarness(t, o), fault) })
			})
		}
	}
	if tried < 25 {
		t.Errorf("only %d faults were tried", tried)
	}
}

// wantHealthy checks that a token is vended again, and that Salesforce was sent nothing improper.
func (h *harness) wantHealthy() {
	h.T.Helper()
	a := h.vend()
	if h.wantSound(a); a.err != nil {
		h.T.Errorf("afterwards: %s", a)
	}
	if violations := h.Org.Violations(); len(violations) > 0 {
		h.T.Errorf("sent to Salesforce: %q", violations)
	}
}
