// Package probe checks a deployed API from outside: with a call that must get a token, and with calls that must be
// refused. It reports what it observed, without tokens. Exit codes, logs and alarms are left to its callers.
package probe

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// Check is one of the calls.
type Check string

// The calls of a probe.
const (
	Allowed  Check = "allowed"  // signed: must get a token
	Unsigned Check = "unsigned" // the same request without its signature: API Gateway must refuse it
	Denied   Check = "denied"   // signed, for an app that the caller may not use: must be refused
)

// Outcome is what a call showed. The outcome of a probe is the worst of its calls.
type Outcome string

// The outcomes, from the best to the worst.
const (
	OK         Outcome = "ok"
	Unchecked  Outcome = "unchecked"   // a call that must be refused got no response that shows whether it is
	Failed     Outcome = "failed"      // the call that must get a token got none
	NotRefused Outcome = "not_refused" // a call that must be refused succeeded, or was passed to the token function
)

// Config configures a probe. URL and App are required.
type Config struct {
	AWS       aws.Config        // signs the calls
	URL       string            // of the API
	App       string            // that the caller may use
	DeniedApp string            // that the caller may not use, and that need not exist; empty: not checked
	Transport http.RoundTripper // nil: http.DefaultTransport
	UserAgent string
	Timeout   time.Duration // of each call, with its retries
}

// Result is what one call showed. Its texts are free of tokens.
type Result struct {
	Check      Check   `json:"check"`
	Outcome    Outcome `json:"outcome"`
	Observed   string  `json:"observed"`             // for a person
	Status     int     `json:"status,omitempty"`     // HTTP status; zero: no response
	Code       string  `json:"error,omitempty"`      // the API's error code
	RequestID  string  `json:"request_id,omitempty"` // of the response, as in the function's log
	TokenID    string  `json:"token_id,omitempty"`   // of the call that got a token
	Cache      string  `json:"cache,omitempty"`      // as in the response's X-Token-Cache
	DurationMS float64 `json:"duration_ms"`
	Err        error   `json:"-"` // why the call that must get a token got none; may quote the API's response
}

// Report is the result of a probe.
type Report struct {
	URL       string   `json:"url"`
	App       string   `json:"app"`
	DeniedApp string   `json:"denied_app,omitempty"`
	Outcome   Outcome  `json:"outcome"`
	Checks    []Result `json:"checks"` // in the order of the constants
}

// Run makes the calls at the same time.
func Run(ctx context.Context, c Config) Report {
	report := Report{URL: c.URL, App: c.App, DeniedApp: c.DeniedApp, Outcome: OK}
	report.Checks = []Result{{Check: Allowed}, {Check: Unsigned}}
	if c.DeniedApp != "" {
		report.Checks = append(report.Checks, Result{Check: Denied})
	}
	var calls sync.WaitGroup
	for i := range report.Checks {
		calls.Go(func() { report.Checks[i] = c.call(ctx, report.Checks[i].Check) })
	}
	calls.Wait()
	for _, outcome := range []Outcome{Unchecked, Failed, NotRefused} {
		if report.Has(outcome) {
			report.Outcome = outcome
		}
	}
	return report
}

// Has reports whether a call had the outcome.
func (r Report) Has(outcome Outcome) bool {
	for _, result := range r.Checks {
		if result.Outcome == outcome {
			return true
		}
	}
	return false
}

// call makes one call. Each has a TokenSource of its own, since a cached token would show nothing.
func (c Config) call(ctx context.Context, check Check) Result {
	app := c.App
	if check == Denied {
		app = c.DeniedApp
	}
	observer := &observer{base: cmp.Or(c.Transport, http.DefaultTransport), unsigned: check == Unsigned}
	source := sftoken.NewTokenSource(c.AWS, c.URL, app, sftoken.WithHTTPClient(&http.Client{Transport: observer}),
		sftoken.WithUserAgent(c.UserAgent))
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	begun := time.Now()
	token, err := source.Fetch(ctx)
	result := judge(check, int(observer.succeeded.Load()), token, err)
	result.DurationMS = float64(time.Since(begun).Microseconds()) / 1000
	return result
}
