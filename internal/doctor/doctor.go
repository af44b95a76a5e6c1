// Package doctor finds out why somebody gets no token of an app, or soon will not: from the caller's own identity through the
// API, the secret, the login and the token to the rotation, each as a check that says what it found and what mends it. It changes
// nothing, says what it may not look at, and needs one login: the API's where that has no token, or one of its own; both where the
// API's does not show that the current pair works; and one of the admin app. How its findings are shown is left to the caller.
package doctor

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Status is how a check came out.
type Status string

const (
	OK      Status = "ok"
	Warning Status = "warning" // tokens are to be had, and something wants looking at
	Failed  Status = "failed"
	Skipped Status = "skipped" // not checked: Result.Found says why
)

// Result is what came of one check. It holds no secret and no token.
type Result struct {
	Group  string `json:"group"` // caller, api, secret, login, salesforce, rotation
	Check  string `json:"check"` // the check's name, unique in all groups
	Status Status `json:"status"`
	Found  string `json:"found"`         // what was found, or why nothing was looked for
	Fix    string `json:"fix,omitempty"` // what to do; empty where there is nothing to do

	// Needs is the check without whose success this one was skipped, at the root of others that were. Empty: it was not skipped,
	// or for another reason.
	Needs string `json:"needs,omitempty"`
}

// Config is what a visit needs. Nothing of it is changed.
type Config struct {
	// Load finds the AWS configuration, as config.LoadDefaultConfig does.
	Load     func(context.Context) (aws.Config, error)
	URL      string               // of the API; that it is empty is a failure
	App      string               // the app's name
	Prefix   string               // in front of an app's name in its secret's name
	AdminApp string               // the app whose login changes the pairs; empty: the app itself
	Hosts    sfoauth.AllowedHosts // beside Salesforce's own
	// HTTPClient talks to the API and to Salesforce. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// APIClient returns what talks to the API in place of http.DefaultClient, where HTTPClient is nil: one that trusts what the AWS
	// configuration says. Nil: none.
	APIClient func(aws.Config) *http.Client
	// Timeout bounds each check. Zero: 30 seconds.
	Timeout time.Duration
	// Begin is told the name of each check that is about to be made, Done what came of it and of those that were skipped. Nil:
	// nobody is.
	Begin func(check string)
	Done  func(Result)
}

// Report is what all checks have found.
type Report struct {
	App     string   `json:"app"`
	URL     string   `json:"url,omitempty"`
	Caller  string   `json:"caller,omitempty"` // ARN
	Outcome Status   `json:"outcome"`          // ok, warning or failed: the worst of the checks
	Logins  int      `json:"logins"`           // at Salesforce that the visit has cost
	Checks  []Result `json:"checks"`
}

// Count returns how many checks came out so.
func (r *Report) Count(status Status) int {
	n := 0
	for _, result := range r.Checks {
		if result.Status == status {
			n++
		}
	}
	return n
}

// check is one thing to find out.
type check struct {
	group, name string
	needs       []string // names of earlier checks without whose success there is nothing to find out
	run         func(*session, context.Context) outcome
}

// outcome is what a check returns.
type outcome struct {
	status     Status
	found, fix string
	needs      string
}

func ok(found string) outcome           { return outcome{status: OK, found: found} }
func skipped(why string) outcome        { return outcome{status: Skipped, found: why} }
func warning(found, fix string) outcome { return outcome{status: Warning, found: found, fix: fix} }
func failed(found, fix string) outcome  { return outcome{status: Failed, found: found, fix: fix} }
func blockedBy(check string) outcome {
	return outcome{status: Skipped, found: "needs " + check, needs: check}
}

// checks in the order in which they are made. A check uses what those before it have left in the visit.
func checks() []check {
	return slices.Concat(callerChecks, apiChecks, secretChecks, loginChecks, salesforceChecks, rotationChecks, credentialChecks)
}

// Run makes all checks. When the context ends, the one under way fails and those that are left are skipped.
func Run(ctx context.Context, config Config) *Report {
	if config.Timeout <= 0 {
		config.Timeout = 30 * time.Second
	}
	v := &session{Config: config}
	report := &Report{App: config.App, URL: config.URL, Outcome: OK}
	unmet := map[string]string{} // by check that has not succeeded: the one at the root of it
	for _, c := range checks() {
		result := Result{Group: c.group, Check: c.name}
		root := ""
		for _, need := range c.needs {
			root = cmp.Or(root, unmet[need])
		}
		f := blockedBy(root)
		switch {
		case root != "":
		case ctx.Err() != nil:
			f = skipped("interrupted")
		default:
			f = v.make(ctx, c)
		}
		result.Status, result.Found, result.Fix, result.Needs = f.status, printable.Safe(f.found), printable.Safe(f.fix), f.needs
		if f.status == Failed || f.status == Skipped {
			unmet[c.name] = cmp.Or(result.Needs, c.name)
		}
		if f.status == Failed || f.status == Warning && report.Outcome == OK {
			report.Outcome = f.status
		}
		report.Checks = append(report.Checks, result)
		if v.Done != nil {
			v.Done(result)
		}
	}
	report.Caller, report.Logins = v.callerARN, v.logins
	return report
}

func (v *session) make(ctx context.Context, c check) outcome {
	if v.Begin != nil {
		v.Begin(c.name)
	}
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	return c.run(v, ctx)
}
