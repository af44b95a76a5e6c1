package doctor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// setup is a broken setup, and the result that doctor must report.
type setup struct {
	name     string
	as       localaws.Principal // the caller; zero means the owner
	config   sfoauthtest.Config // of the org
	settings map[string]string  // of the token function
	change   func(w *harness)   // breaks the setup
	setsEnv  bool               // change sets environment variables, so that the test cannot run in parallel
	cause    string             // the check that must find the problem
	status   doctor.Status      // of that check; zero means failed
	found    string             // part of Result.Found
	fix      string             // part of Result.Fix
	also     []string           // other checks that must be a warning or failed
	logins   int                // the most logins allowed; zero means 1
}

var allSetups = slices.Concat(callerSetups, apiSetups, failoverSetups, secretSetups, loginSetups, salesforceSetups,
	rotationSetups, credentialSetups, sharingSetups, loginAddressSetups, replicationSetups)

// TestEachCheckHasASetup checks that each check is seen to find a problem.
func TestEachCheckHasASetup(t *testing.T) {
	t.Parallel()
	report := doctor.Run(t.Context(), newHarness(t, sfoauthtest.Config{}, nil).config)
	for _, result := range report.Checks {
		if !slices.ContainsFunc(allSetups, func(s setup) bool { return s.cause == result.Check }) {
			t.Errorf("no broken setup has the check %s as its cause", result.Check)
		}
	}
}

func TestBrokenSetups(t *testing.T) {
	for i, c := range allSetups {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && i%3 != 0 {
				t.Skip("skipped: -short runs every third setup")
			}
			if !c.setsEnv {
				t.Parallel()
			}
			w := newHarness(t, c.config, c.settings)
			if c.as.AccessKeyID != "" {
				w.as = c.as
			}
			c.change(w)
			report := doctor.Run(t.Context(), w.config)
			w.check(c, report)
		})
	}
}

// check compares the whole report: the cause must be reported, and nothing that does not follow from it.
func (w *harness) check(c setup, report *doctor.Report) {
	w.Helper()
	want := doctor.Failed
	if c.status != "" {
		want = c.status
	}
	got := find(report, c.cause)
	if got.Status != want || !strings.Contains(got.Found, c.found) || !strings.Contains(got.Fix, c.fix) {
		w.Errorf("%s: %s: %s\n    fix: %s\nwant %s, %q, %q", c.cause, got.Status, got.Found, got.Fix, want, c.found, c.fix)
	}
	if got.Status != doctor.Skipped && got.Fix == "" {
		w.Error("no fix")
	}
	for _, r := range report.Checks {
		bad := r.Status == doctor.Warning || r.Status == doctor.Failed
		if bad != (r.Check == c.cause && want != doctor.Skipped || slices.Contains(c.also, r.Check)) {
			w.Errorf("%s: %s: %s\n    fix: %s", r.Check, r.Status, r.Found, r.Fix)
		}
		if r.Status == doctor.Skipped && r.Found == "" || bad && r.Fix == "" {
			w.Errorf("%s has no text: %+v", r.Check, r)
		}
	}
	worst := doctor.OK
	for _, status := range []doctor.Status{doctor.Warning, doctor.Failed} {
		if report.Count(status) > 0 {
			worst = status
		}
	}
	if report.Outcome != worst {
		w.Errorf("the outcome is %s, want %s", report.Outcome, worst)
	}
	if report.Logins > max(c.logins, 1) {
		w.Errorf("%d logins", report.Logins)
	}
	w.checkNoSecrets(report)
}

// checkNoSecrets fails the test if the report contains a secret.
func (w *harness) checkNoSecrets(report *doctor.Report) {
	w.Helper()
	text, err := json.Marshal(report)
	w.must(err)
	secrets := w.org.Secrets()
	for _, p := range []localaws.Principal{owner, oncall, caller, functions} {
		secrets = append(secrets, p.SecretAccessKey, p.SessionToken)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(string(text), secret) {
			w.Errorf("a secret of %d characters is in the report", len(secret))
		}
	}
	if violations := w.org.Violations(); len(violations) > 0 {
		w.Errorf("invalid requests to Salesforce: %q", violations)
	}
}

func TestGoodSetups(t *testing.T) {
	t.Parallel()
	// What the on-call engineer and a caller cannot check.
	unread := []string{
		"characters",
		"my-domain",
		"ids",
		"principals",
		"login",
		"org-user",
		"issued-by",
		"introspection",
		"self-rotation",
		"admin",
		"permissions",
		"primary",
		"staged",
	}
	unseen := append([]string{"value", "replication", "schedule", "rotation-dates", "stuck-rotation", "labels"}, unread...)
	for _, c := range []struct {
		name    string
		as      localaws.Principal
		config  sfoauthtest.Config
		change  func(w *harness)
		skipped []string
		logins  int
	}{
		{"the owner", owner, sfoauthtest.Config{}, func(*harness) {}, nil, 1},
		{"the owner, the API having a token already", owner, sfoauthtest.Config{}, (*harness).vend, nil, 1},
		{"an on-call engineer, who may not read the secret", oncall, sfoauthtest.Config{}, func(*harness) {},
			append([]string{"value"}, unread...), 1},
		{"a caller in another account", caller, sfoauthtest.Config{}, func(*harness) {},
			append([]string{"secret"}, unseen...), 1},
		{"a caller in another account, the API having a token already", caller, sfoauthtest.Config{}, (*harness).vend,
			append([]string{"secret"}, unseen...), 0},
		{"a caller whose network has no STS", caller, sfoauthtest.Config{}, func(w *harness) { w.noSTS = true },
			append([]string{"secret", "identity"}, unseen...), 1},
		{"an app that an admin app rotates", owner, sfoauthtest.Config{}, func(w *harness) {
			w.userChange(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = false, false })
			w.admin()
		}, nil, 2},
		{"an admin app in another org", owner, sfoauthtest.Config{}, func(w *harness) {
			w.create("admin", map[string]any{
				"consumerKey": "k", "consumerSecret": "s", "baseUri": "https://other.my.salesforce.com",
			})
			w.config.AdminApp = "admin"
		}, nil, 1},
		{"the owner, with shared tokens", owner, sfoauthtest.Config{}, shareTokens, nil, 1},
		{"an on-call engineer, with shared tokens", oncall, sfoauthtest.Config{}, shareTokens,
			append([]string{"value", "token-table"}, unread...), 1},
		{"a caller in another account, with shared tokens", caller, sfoauthtest.Config{}, shareTokens,
			append([]string{"secret", "token-table"}, unseen...), 1},
		{"two regions", owner, sfoauthtest.Config{}, func(w *harness) { w.addRegion(w.gateway()) }, nil, 1},
		{"after a rotation", owner, sfoauthtest.Config{}, (*harness).rotateNow, nil, 1},
		{"with JWTs", owner, sfoauthtest.Config{},
			func(w *harness) { w.app.Change(func(o *sfoauthtest.AppOptions) { o.JWT = true }) }, nil, 1},
		{"with flat responses for staged credentials", owner, sfoauthtest.Config{FlatStaged: true}, (*harness).rotateNow,
			nil, 1},
		{"with sessions shared by logins", owner, sfoauthtest.Config{SharedSessions: true}, (*harness).vend, nil, 1},
		{"with the stack's addresses", owner, sfoauthtest.Config{}, func(w *harness) { w.vend(); w.egress(stackIP) }, nil, 1},
		{"with the stack's addresses, after a login on this machine", owner, sfoauthtest.Config{}, func(w *harness) {
			w.vend()
			w.logIn(machineIP)
			w.egress("2001:db8::/64, 203.0.113.0/24")
		}, nil, 1},
		{"with the stack's addresses, in the stack's network", owner, sfoauthtest.Config{}, func(w *harness) {
			w.vend()
			w.config.HTTPClient = from(stackIP)
			w.egress(stackIP)
		}, nil, 1},
		{"a standby region", owner, sfoauthtest.Config{}, (*harness).useStandby, nil, 1},
		{"without a list of principals", caller, sfoauthtest.Config{},
			func(w *harness) { w.change(map[string]any{"allowedPrincipals": nil}) },
			append([]string{"secret"}, unseen...), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newHarness(t, c.config, nil)
			c.change(w)
			w.as = c.as
			before := w.org.Stats().Logins.Attempts
			var done []doctor.Result
			w.config.Done = func(r doctor.Result) { done = append(done, r) }
			report := doctor.Run(t.Context(), w.config)
			var skipped []string
			for _, r := range report.Checks {
				if r.Status == doctor.Skipped {
					skipped = append(skipped, r.Check)
				}
				if r.Status == doctor.Warning || r.Status == doctor.Failed {
					t.Errorf("%s: %s: %s\n    fix: %s", r.Check, r.Status, r.Found, r.Fix)
				}
			}
			want := slices.Clone(c.skipped)
			if w.config.TokenTable == "" {
				want = append(want, "token-table")
			}
			slices.Sort(skipped)
			slices.Sort(want)
			if !slices.Equal(skipped, want) {
				t.Errorf("skipped %q, want %q", skipped, want)
			}
			if report.Outcome != doctor.OK || fmt.Sprint(done) != fmt.Sprint(report.Checks) {
				t.Errorf("outcome %s; Done was called with %d of %d results", report.Outcome, len(done), len(report.Checks))
			}
			if tried := w.org.Stats().Logins.Attempts - before; report.Logins != c.logins || tried != c.logins {
				t.Errorf("%d logins, reported %d; want %d", tried, report.Logins, c.logins)
			}
			w.checkNoSecrets(report)
		})
	}
}

func TestInterruption(t *testing.T) {
	t.Parallel()
	w := newHarness(t, sfoauthtest.Config{}, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	w.config.Done = func(r doctor.Result) {
		if r.Check == "reachable" {
			interrupt()
		}
	}
	report := doctor.Run(ctx, w.config)
	want := doctor.OK
	for _, r := range report.Checks {
		if r.Status != want {
			t.Errorf("%s is %s: %s", r.Check, r.Status, r.Found)
		}
		if r.Check == "reachable" {
			want = doctor.Skipped
		}
	}
	if w.org.Stats().Calls[sfoauthtest.UserInfo] != 0 {
		t.Error("Salesforce was called after the interruption")
	}
}

// The fix repeats the host of baseUri, which may change the direction of the text.
func TestExamineIsPrintable(t *testing.T) {
	t.Parallel()
	value := encode(map[string]any{
		"consumerKey": "key", "consumerSecret": "secret", "baseUri": "https://login.\u202eelpmaxe",
	})
	results := doctor.Examine(value, nil)
	i := slices.IndexFunc(results, func(r doctor.Result) bool { return r.Check == "my-domain" })
	if i < 0 || !strings.Contains(results[i].Fix, "serves all orgs") {
		t.Fatalf("%+v", results)
	}
	for _, r := range results {
		if printable.Safe(r.Found) != r.Found || printable.Safe(r.Fix) != r.Fix {
			t.Errorf("%s: %q: %q", r.Check, r.Found, r.Fix)
		}
	}
}

// admin adds an app whose user may rotate credentials, and stores it as the admin app.
func (w *harness) admin() {
	w.Helper()
	user := w.org.AddUser(sfoauthtest.UserOptions{ExternalClientAppDeveloper: true, ViewClientSecret: true})
	key, secret := w.org.AddApp(sfoauthtest.AppOptions{Name: "Admin", RunAs: user}).Credentials()
	w.create("admin", map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL})
	w.config.AdminApp = "admin"
}
