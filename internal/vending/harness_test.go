package vending

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const billing = "arn:aws:sts::222222222222:assumed-role/billing/anna"

// harness is a Vendor between a simulated org and a simulated Secrets Manager.
type harness struct {
	*simtest.Harness
	vendor *Vendor
}

type options struct {
	org    sfoauthtest.Config
	app    sfoauthtest.AppOptions
	config Config
	secret map[string]any // fields in addition to the credentials
	table  bool           // there is a token table
	burst  int            // of the login budget; zero: the default
	hourly int            // likewise
}

func newHarness(t testing.TB, o options) *harness {
	t.Helper()
	h := &harness{
		Harness: simtest.New(t, simtest.Options{Org: o.org, App: o.app, Secret: o.secret, TokenTable: o.table}),
	}
	h.vendor = h.newVendor(o)
	return h
}

// newVendor returns the Vendor of one more process.
func (h *harness) newVendor(o options) *Vendor {
	h.T.Helper()
	o.config.Secrets = appsecret.Reader{Client: h.Secrets, Prefix: simtest.Prefix}
	o.config.Hosts = sfoauth.AllowedHosts{simtest.OrgHost}
	o.config.HTTPClient = h.SalesforceClient()
	o.config.Jitter = func() float64 { return 0 }
	o.config.Logins = loginbudget.New(o.burst, o.hourly)
	if o.table {
		o.config.Table = tokenstore.NewBypass(h.TokenStore())
	}
	return New(o.config)
}

// run runs a test without and with a token table, each in a synctest bubble and in parallel with others.
func run(t *testing.T, o options, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	inBothModes(t, o, func(t *testing.T, o options) { test(t, newHarness(t, o)) })
}

func inBothModes(t *testing.T, o options, test func(t *testing.T, o options)) {
	t.Helper()
	for _, mode := range []string{"memory", "table"} {
		o := o
		o.table = mode == "table"
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, o) })
		})
	}
}

func subtest(t *testing.T, name string, o options, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { run(t, o, test) })
}

// result is the result of one request.
type result struct {
	grant     Grant
	revoked   bool // the request was a revocation, and succeeded
	revokedID string
	err       *Error
	stats     CallStats
	took      time.Duration
}

// String returns the cache status, the error code, or "revoked".
func (r result) String() string {
	switch {
	case r.err != nil:
		return string(r.err.Code)
	case r.revoked:
		return "revoked"
	}
	return string(r.grant.CacheStatus)
}

func (r result) id() string               { return r.grant.TokenID }
func (r result) expiresIn() time.Duration { return r.grant.ExpiresIn.Truncate(time.Second) } // as callers see it

func (r result) token() string {
	if r.grant.Token == nil {
		return ""
	}
	return r.grant.Token.AccessToken.Reveal()
}

func (r result) description() string {
	if r.err == nil {
		return ""
	}
	return r.err.Description
}

func (r result) retryAfter() time.Duration {
	if r.err == nil {
		return 0
	}
	return r.err.RetryAfter
}

// budgetExhausted reports whether the login budget affected the request.
func (r result) budgetExhausted() bool {
	return loginbudget.IsExhausted(r.stats.Err) || loginbudget.IsExhausted(r.grant.RefreshErr) ||
		r.err != nil && loginbudget.IsExhausted(r.err)
}

func (h *harness) do(ctx context.Context, timeout time.Duration, req Request) result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if req.App == "" {
		req.App = simtest.AppName
	}
	var r result
	var err error
	begun := time.Now()
	if req.revoke {
		r.revokedID, err = h.vendor.Revoke(ctx, req, &r.stats)
		r.revoked = err == nil
	} else {
		r.grant, err = h.vendor.Vend(ctx, req, &r.stats)
	}
	r.took = time.Since(begun)
	r.err, _ = errors.AsType[*Error](err)
	return r
}

// request makes a request that has 15 seconds.
func (h *harness) request(req Request) result {
	h.T.Helper()
	r := h.do(h.T.Context(), 15*time.Second, req)
	text := fmt.Sprint(r.stats, r.grant.RefreshErr, r.err)
	if r.err != nil {
		text += fmt.Sprintf("%+v", *r.err)
	}
	h.NoSecrets(text)
	return r
}

func (h *harness) vend() result             { h.T.Helper(); return h.vendAs(billing) }
func (h *harness) vendAs(arn string) result { h.T.Helper(); return h.request(Request{Principal: arn}) }
func (h *harness) revoke() result           { h.T.Helper(); return h.revokeAs(billing) }
func (h *harness) revokeAs(arn string) result {
	h.T.Helper()
	return h.request(Request{Principal: arn, revoke: true})
}

func (h *harness) reject(id string) result {
	h.T.Helper()
	return h.request(Request{Principal: billing, Rejected: id})
}

// want checks a result's cache status, error code, or "revoked". A token must be active.
func (h *harness) want(r result, what string) {
	h.T.Helper()
	if r.String() != what {
		h.T.Fatalf("got %s (%s); want %s", r, r.description(), what)
	}
	h.wantSound(r)
}

// wantSound checks that a token is active, and that an error is explained.
func (h *harness) wantSound(r result) {
	h.T.Helper()
	if r.token() != "" && !h.Org.TokenActive(r.token()) {
		h.T.Fatalf("%s: the token is dead", r)
	}
	if r.err == nil {
		return
	}
	if r.err.Description == "" || r.err.isTemporary() != (r.err.RetryAfter > 0) {
		h.T.Errorf("%s: description %q, Retry-After %s", r, r.err.Description, r.err.RetryAfter)
	}
}

// wantOnTime checks that the response came before Lambda would have killed the function.
func (h *harness) wantOnTime(r result) {
	h.T.Helper()
	if r.took > 14500*time.Millisecond {
		h.T.Errorf("the response took %s", r.took)
	}
}

// wantTrueExpiry checks that a token is not promised to live for longer than it does.
func (h *harness) wantTrueExpiry(r result) {
	h.T.Helper()
	if left := time.Until(h.Org.TokenExpiry(r.token())); r.expiresIn() > left {
		h.T.Errorf("%s: expires_in is %s, and the session ends in %s", r, r.expiresIn(), left)
	}
}

// wantLogins checks how many token requests the org has received.
func (h *harness) wantLogins(want int) {
	h.T.Helper()
	if n := h.Logins(); n != want {
		h.T.Errorf("%d logins, want %d", n, want)
	}
}

// wantDead checks that the token is not active any more.
func (h *harness) wantDead(r result) {
	h.T.Helper()
	if h.Org.TokenActive(r.token()) {
		h.T.Error("the token is active")
	}
}
