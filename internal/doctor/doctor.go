// Package doctor diagnoses why a caller gets no token for an app, or soon will not. It checks the caller's identity,
// the API, the secret, the login, the token, the rotation and the sharing of tokens, in this order. Each check reports
// what it found and how to fix it.
//
// A run changes nothing and skips what the caller may not read. It costs one login at Salesforce, by the API or by
// itself; two if the API's token does not show that the current credentials work; one more if Config.AdminApp names
// an app. How results are shown is left to the caller.
package doctor

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// Status is the outcome of a check.
type Status string

// The outcomes, as they appear in JSON.
const (
	OK      Status = "ok"
	Warning Status = "warning" // tokens are available, but something needs attention
	Failed  Status = "failed"
	Skipped Status = "skipped" // not checked; Result.Found has the reason
)

// Result is what one check found. It holds no secret and no token.
type Result struct {
	Group  string `json:"group"` // caller, api, secret, login, salesforce, rotation or sharing
	Check  string `json:"check"` // the check's name, unique in all groups
	Status Status `json:"status"`
	Found  string `json:"found"`         // what was found, or why the check was skipped
	Fix    string `json:"fix,omitempty"` // what to do; empty if there is nothing to do

	// Needs names the check that did not succeed and without which this one cannot run: the first of a chain of such
	// checks. It is empty if this check ran, or was skipped for another reason.
	Needs string `json:"needs,omitempty"`
}

// Config holds the parameters of Run, which does not change it.
type Config struct {
	// Load finds the AWS configuration, as config.LoadDefaultConfig does.
	Load func(context.Context) (aws.Config, error)
	// URL is the API's address; if empty, the check of the address fails. It may be several, as for
	// sftoken.NewTokenSource: the first one is that of which the checks are, and the others must give tokens.
	URL        string
	App        string               // the app's name
	Prefix     string               // precedes an app's name in the name of its secret
	AdminApp   string               // the app whose login rotates the credentials; empty means the app itself
	Hosts      sfoauth.AllowedHosts // allowed in addition to Salesforce's own
	TokenTable string               // the DynamoDB table of shared tokens; if empty, it is not checked
	// EgressAddresses are the addresses from which the stack's functions reach Salesforce. If empty, the address of the
	// last login is reported and compared with nothing. See ParseEgressAddresses.
	EgressAddresses []netip.Prefix
	// HTTPClient talks to Salesforce, and to the API if APIClient is nil. Nil means http.DefaultClient.
	HTTPClient *http.Client
	// APIClient returns the client for the API, which can trust what the AWS configuration says. Nil means HTTPClient.
	APIClient func(aws.Config) *http.Client
	// Timeout bounds each check. Zero means 30 seconds.
	Timeout time.Duration
	// Begin, if not nil, is called with the name of each check that is about to run.
	Begin func(check string)
	// Done, if not nil, is called with each result, those of skipped checks included.
	Done func(Result)
}

// Report is the result of a run.
type Report struct {
	Version string   `json:"version"` // of this program
	App     string   `json:"app"`
	URL     string   `json:"url,omitempty"`
	Caller  string   `json:"caller,omitempty"` // ARN
	Outcome Status   `json:"outcome"`          // the worst of the checks: ok, warning or failed
	Logins  int      `json:"logins"`           // at Salesforce, caused by this run
	Checks  []Result `json:"checks"`
}

// Count returns the number of checks with the status.
func (r *Report) Count(status Status) int {
	n := 0
	for _, result := range r.Checks {
		if result.Status == status {
			n++
		}
	}
	return n
}

// check is one entry of the sequence of checks.
type check struct {
	group, name string
	needs       []string // the earlier checks that must have succeeded
	run         func(*session, context.Context) outcome
}

// outcome is what a check returns.
type outcome struct {
	status     Status
	found, fix string
	needs      string
}

// result returns the result of the check. Its texts are printable.
func (c check) result(o outcome) Result {
	return Result{
		Group: c.group, Check: c.name, Status: o.status,
		Found: printable.Safe(o.found), Fix: printable.Safe(o.fix), Needs: o.needs,
	}
}

func ok(found string) outcome           { return outcome{status: OK, found: found} }
func skipped(reason string) outcome     { return outcome{status: Skipped, found: reason} }
func warning(found, fix string) outcome { return outcome{status: Warning, found: found, fix: fix} }
func failed(found, fix string) outcome  { return outcome{status: Failed, found: found, fix: fix} }

// blockedBy is the outcome of a check that needs another one, which has not succeeded.
func blockedBy(check string) outcome {
	return outcome{status: Skipped, found: "needs " + check, needs: check}
}

// checks returns all checks in the order in which they run. A check uses what earlier ones have left in the session.
func (s *session) checks() []check {
	var failover []check
	if len(s.addresses) > 1 {
		failover = failoverChecks
	}
	return slices.Concat(
		callerChecks, apiChecks, failover, secretChecks, loginChecks, salesforceChecks, rotationChecks, credentialChecks,
		sharingChecks)
}

// Run runs all checks. If ctx ends, the check that is running fails and the rest are skipped.
func Run(ctx context.Context, config Config) *Report {
	if config.Timeout <= 0 {
		config.Timeout = 30 * time.Second
	}
	s := &session{Config: config, addresses: sftoken.Addresses(config.URL)}
	s.URL, _ = s.firstAddress()
	report := &Report{Version: buildinfo.Version(), App: config.App, URL: config.URL, Outcome: OK}
	unmet := map[string]string{} // by check that has not succeeded: the first one in its chain
	for _, c := range s.checks() {
		o := s.runCheck(ctx, c, unmet)
		result := c.result(o)
		if o.status == Failed || o.status == Skipped {
			unmet[c.name] = cmp.Or(o.needs, c.name)
		}
		if o.status == Failed || o.status == Warning && report.Outcome == OK {
			report.Outcome = o.status
		}
		report.Checks = append(report.Checks, result)
		if s.Done != nil {
			s.Done(result)
		}
	}
	report.Caller, report.Logins = s.callerARN, s.logins
	return report
}

func (s *session) runCheck(ctx context.Context, c check, unmet map[string]string) outcome {
	for _, need := range c.needs {
		if first := unmet[need]; first != "" {
			return blockedBy(first)
		}
	}
	if ctx.Err() != nil {
		return skipped("interrupted")
	}
	if s.Begin != nil {
		s.Begin(c.name)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return c.run(s, ctx)
}
