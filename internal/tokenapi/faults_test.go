package tokenapi

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// outcome is what a caller is told when a login meets a fault and there is no token to fall back on.
type outcome struct {
	status int
	err    string
	memory time.Duration // how long at least nobody asks Salesforce again
}

var (
	fine          = outcome{200, "miss", 0}
	down          = outcome{503, "temporarily_unavailable", 500 * time.Millisecond}
	misconfigured = outcome{502, "app_misconfigured", 30 * time.Second}
	untrusted     = outcome{502, "bad_upstream_response", 500 * time.Millisecond}
)

// atLogin is the outcome of every fault of the simulated org at the token endpoint.
var atLogin = map[string]outcome{
	"latency of 1s": fine,
	"hang":          down, "hang after the change": down, "reset": down, "reset after the change": down,
	"truncated body": down, "truncated header": down, "not HTTP": down, "body without a header": down, "body as a header": down, "trickling body": down,
	"huge body": untrusted, "huge compressed body": untrusted, "huge header": down,
	"503 with a web page": down, "maintenance": down,
	"429 with 30s in seconds":                       {503, "temporarily_unavailable", 30 * time.Second},
	"429 with 1m0s as a date":                       {503, "temporarily_unavailable", 59 * time.Second},
	"500 server_error an unexpected error occurred": down, "502 temporarily_unavailable upstream failed": down,
	"web page with 400": down, "web page with 403": down, "web page with 404": down, "web page with 420": down, "web page with 421": down,
	"redirect with 301": misconfigured, "redirect with 302": misconfigured, "redirect with 307": misconfigured, "redirect with 308": misconfigured,
	"empty body": untrusted, "malformed JSON": untrusted, "JSON null": untrusted, "JSON string": untrusted, "JSON list": untrusted,
	"JSON object without fields": untrusted, "200 with a web page": untrusted, "200 with an error": untrusted, "deeply nested JSON": untrusted, "JSON fields of the wrong type": untrusted,

	"wrong signature": untrusted, "malformed signature": untrusted, "no id": untrusted, "malformed id": untrusted, "malformed issued_at": untrusted,
	"token_type MAC": untrusted, "no token_type": untrusted, "no access_token": untrusted, "empty access_token": untrusted,
	"access_token with a space": untrusted, "access_token with a line break": untrusted, "access_token that does not print": untrusted,
	"access_token outside ASCII": untrusted, "opaque token called a JWT": untrusted, "no instance_url": untrusted, "foreign instance_url": untrusted,
	"instance_url with a user": untrusted, "instance_url with a like name": untrusted, "plain-http instance_url": untrusted,
	"instance_url that is a file": untrusted, "foreign api_instance_url": untrusted, "plain-http api_instance_url": untrusted,
	"foreign id": untrusted, "id with a user": untrusted, "plain-http id": untrusted,
	"token of another user": misconfigured, "token of another org": misconfigured, // the secret pins both

	"400 app_not_found External client app is not installed in this org":   misconfigured,
	"400 inactive_org organization is locked, closed, or suspended":        misconfigured,
	"400 inactive_user user is inactive":                                   misconfigured,
	"400 invalid_app_access user is not admin approved to access this app": misconfigured,
	"400 invalid_client invalid client credentials":                        misconfigured,
	"400 invalid_client_id client identifier invalid":                      misconfigured,
	"400 invalid_grant authentication failure":                             misconfigured,
	"400 invalid_grant inactive organization":                              misconfigured,
	"400 invalid_grant inactive user":                                      misconfigured,
	"400 invalid_grant ip restricted":                                      misconfigured,
	"400 invalid_grant ip restricted or invalid login hours":               misconfigured,
	"400 invalid_grant login rate exceeded":                                {503, "temporarily_unavailable", time.Minute},
	"400 invalid_grant no client credentials user enabled":                 misconfigured,
	"400 invalid_grant no valid scopes defined":                            misconfigured,
	"400 invalid_grant request not supported on this domain":               misconfigured,
	"400 invalid_grant token request is already being processed":           down,
	"400 invalid_grant user hasn't approved this consumer":                 misconfigured,
	"400 invalid_request scope parameter not supported":                    misconfigured,
	"400 OAUTH_APP_BLOCKED this app is blocked by admin":                   misconfigured,
	"400 rate_limit_exceeded rate limit exceeded":                          {503, "temporarily_unavailable", time.Minute},
	"400 unknown_error retry your request":                                 down,
	"400 unsupported_grant_type grant type not supported":                  misconfigured,
}

// pinned is a world whose secret pins the org and the user.
func pinned(t *testing.T) *world {
	w := newWorld(t, options{})
	key, secret := w.app.Credentials()
	value := w.pair(key, secret)
	value["orgId"], value["userId"] = w.org.ID(), w.app.User.ID[:15]
	w.store(value)
	return w
}

func TestEveryFaultOfALoginWithoutAToken(t *testing.T) {
	inBubbles(t, sfoauthtest.Token, func(t *testing.T, fault sfoauthtest.Fault) {
		want, known := atLogin[fault.String()]
		if !known {
			t.Fatalf("no outcome is written down for the fault %q", fault)
		}
		w := pinned(t)
		w.org.InjectFault(sfoauthtest.Token, fault, 0)
		got := w.get()
		w.want(got, want.status, want.err)
		w.inTime(got)
		w.isExplained(got)

		asked := w.asked()
		if again := w.get(); want.memory > 0 && (w.asked() != asked || again.status != want.status) {
			t.Errorf("a second request: %s; %d calls to Salesforce while the failure is remembered", again, w.asked()-asked)
		}
		time.Sleep(want.memory - time.Millisecond)
		if w.get(); want.memory > 0 && w.asked() != asked {
			t.Errorf("Salesforce was asked again within %s", want.memory)
		}
		w.org.ClearFaults()
		time.Sleep(5*time.Minute + time.Second) // the longest memory
		w.heals()
	})
}

func TestEveryFaultWithATokenThatCouldNotBeConfirmed(t *testing.T) {
	inBubbles(t, sfoauthtest.Introspect, func(t *testing.T, fault sfoauthtest.Fault) {
		w := pinned(t)
		w.want(w.get(), 200, "miss")
		w.org.InjectFault(sfoauthtest.AllEndpoints, fault, 0)
		time.Sleep(4 * time.Minute)
		got := w.get()
		if got.status != 200 || !slices.Contains([]string{"stale", "confirmed", "miss"}, got.cache()) {
			t.Fatalf("got %s; the token lives for 3 minutes more by what is known", got)
		}
		if !w.org.TokenActive(got.token()) {
			t.Error("a dead token was handed out")
		}
		if left := got.expiresIn(); got.cache() == "stale" && (left < time.Second || left > vending.DefaultMinTTL) {
			t.Errorf("a stale token is said to live for %s", left)
		}
		w.inTime(got)
		w.org.ClearFaults()
		time.Sleep(5*time.Minute + time.Second)
		w.heals()
	})
}

func TestFailuresAreRememberedForLongerEachTime(t *testing.T) {
	const seconds = time.Second
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		gaps  []time.Duration // between the times when Salesforce is asked
	}{
		"refused for good": {sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"), []time.Duration{30 * seconds, 60 * seconds, 120 * seconds, 240 * seconds, 300 * seconds, 300 * seconds}},
		// Jitter takes up to half of the wait, and all of that here.
		"down":          {sfoauthtest.Unavailable(), []time.Duration{seconds / 2, seconds, 2 * seconds, 4 * seconds, 8 * seconds, 15 * seconds, 15 * seconds}},
		"not trusted":   {sfoauthtest.WrongSignature(), []time.Duration{seconds / 2, seconds, 2 * seconds, 4 * seconds, 8 * seconds, 15 * seconds, 15 * seconds}},
		"limiting":      {sfoauthtest.TooManyRequests(7*seconds, false), []time.Duration{7 * seconds, 7 * seconds, 7 * seconds}},
		"limiting, mum": {sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded"), []time.Duration{60 * seconds, 60 * seconds}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, options{})
				w.org.InjectFault(sfoauthtest.Token, c.fault, 0)
				var gaps []time.Duration
				last := time.Now()
				for len(gaps) < len(c.gaps)+1 {
					logins := w.logins()
					if a := w.get(); a.status == 200 {
						t.Fatal("there is a token")
					}
					if w.logins() != logins {
						gaps = append(gaps, time.Since(last))
						last = time.Now()
					}
					time.Sleep(100 * time.Millisecond)
				}
				if gaps = gaps[1:]; !slices.Equal(gaps, c.gaps) {
					t.Errorf("Salesforce was asked after %v, want %v", gaps, c.gaps)
				}
				w.org.ClearFaults()
				time.Sleep(5 * time.Minute)
				w.want(w.get(), 200, "miss")
			})
		})
	}
}

func TestALimitIsRememberedForASecondAtTheLeast(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		time.Sleep(999 * time.Millisecond)
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.TooManyRequests(time.Second, true), 0) // a date, a millisecond from now
		for range 4 {
			w.want(w.get(), 503, "temporarily_unavailable")
			time.Sleep(200 * time.Millisecond)
		}
		if w.logins() != 1 {
			t.Errorf("%d logins within a second", w.logins())
		}
		time.Sleep(time.Second)
		w.org.ClearFaults()
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.TooManyRequests(7*time.Second, false), 1)
		w.get()
		time.Sleep(500 * time.Millisecond)
		if after := w.get().header.Get("Retry-After"); after != "7" {
			t.Errorf("Retry-After is %q where 6.5 seconds are left", after)
		}
	})
}

// inBubbles runs the test for every fault that makes a difference at the endpoint.
func inBubbles(t *testing.T, at sfoauthtest.Endpoint, test func(*testing.T, sfoauthtest.Fault)) {
	tried := 0
	for _, fault := range sfoauthtest.AllFaults() {
		if fault.AppliesTo(at) {
			tried++
			t.Run(fault.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, fault) }) })
		}
	}
	if tried < 25 {
		t.Errorf("only %d faults were tried", tried)
	}
}

// inTime checks that the answer came before Lambda would have killed the function.
func (w *world) inTime(a answer) {
	w.t.Helper()
	if a.took > 14500*time.Millisecond {
		w.t.Errorf("the answer took %s", a.took)
	}
}

// isExplained checks that an error says what a person or a program needs.
func (w *world) isExplained(a answer) {
	w.t.Helper()
	if a.status == 200 {
		return
	}
	if a.text("error_description") == "" || a.text("request_id") != "req-1" {
		w.t.Errorf("the error says %v", a.body)
	}
	if passing := a.status == 503 || a.text("error") == "bad_upstream_response"; passing != (a.header.Get("Retry-After") != "") {
		w.t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	w.noSecrets(fmt.Sprint(a.body))
}

// heals checks that everything is well again, that nothing improper was sent, and that no secret was written.
func (w *world) heals() {
	w.t.Helper()
	a := w.get()
	if a.status != 200 || !w.org.TokenActive(a.token()) {
		w.t.Errorf("afterwards: %s", a)
	}
	if improper := w.org.Violations(); len(improper) > 0 {
		w.t.Errorf("sent to Salesforce: %q", improper)
	}
	w.noSecrets(w.log.String())
}
