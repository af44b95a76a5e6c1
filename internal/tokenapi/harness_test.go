package tokenapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const billing = "arn:aws:sts::222222222222:assumed-role/billing/anna"

// harness is the token function between a simulated org and a simulated Secrets Manager.
type harness struct {
	*simtest.Harness
	handler *handler
	log     *localaws.SyncBuffer
	read    int // bytes of log that lines has returned
}

type options struct {
	org    sfoauthtest.Config
	app    sfoauthtest.AppOptions
	config vending.Config
	secret map[string]any // fields in addition to the credentials
	table  bool           // there is a token table
}

func newHarness(t testing.TB, o options) *harness {
	t.Helper()
	h := &harness{
		Harness: simtest.New(t, simtest.Options{Org: o.org, App: o.app, Secret: o.secret, TokenTable: o.table}),
		log:     &localaws.SyncBuffer{},
	}
	h.handler = h.newHandler(o)
	return h
}

// newHandler returns the handler of one more process.
func (h *harness) newHandler(o options) *handler {
	h.T.Helper()
	o.config.Secrets = appsecret.Reader{Client: h.Secrets, Prefix: simtest.Prefix}
	o.config.Hosts = sfoauth.AllowedHosts{simtest.OrgHost}
	o.config.HTTPClient = h.SalesforceClient()
	o.config.Jitter = func() float64 { return 0 }
	if o.table {
		o.config.Table = tokenstore.NewBypass(h.TokenStore())
	}
	return &handler{vendor: vending.New(o.config), log: telemetry.New(h.log, 0, "sftoken", "test")}
}

// run runs a test in a synctest bubble, in parallel with others.
func run(t *testing.T, o options, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, newHarness(t, o)) })
}

func subtest(t *testing.T, name string, o options, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { run(t, o, test) })
}

// result is the HTTP response to one request.
type result struct {
	status int
	header http.Header
	body   map[string]any
}

func (r result) text(field string) string { s, _ := r.body[field].(string); return s }
func (r result) token() string            { return r.text("access_token") }
func (r result) id() string               { return r.text("token_id") }
func (r result) cache() string            { return r.header.Get("X-Token-Cache") }

func (r result) String() string { // without the token
	return fmt.Sprintf("%d %s %s %s", r.status, r.text("error"), r.text("error_description"), r.cache())
}

// call sends an event. change, if it is not nil, changes the event before.
func (h *harness) call(change func(e map[string]any)) result {
	h.T.Helper()
	return h.callIn(h.T.Context(), change)
}

func (h *harness) callIn(ctx context.Context, change func(e map[string]any)) result {
	h.T.Helper()
	event := map[string]any{
		"httpMethod": "GET", "path": "/tokens/crm", "pathParameters": map[string]any{"app": "crm"}, "body": nil,
		"requestContext": map[string]any{"requestId": "req-1", "identity": map[string]any{
			"userArn": billing, "accountId": "222222222222", "sourceIp": "192.0.2.1", "userAgent": "sftoken-go",
		}},
	}
	if change != nil {
		change(event)
	}
	payload, err := json.Marshal(event)
	h.Must(err)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	raw, err := h.handler.Invoke(ctx, payload)
	h.Must(err)
	var r struct {
		StatusCode int
		Headers    map[string]string
		Body       string
	}
	h.Must(json.Unmarshal(raw, &r))
	got := result{status: r.StatusCode, header: http.Header{}}
	for name, value := range r.Headers {
		got.header.Set(name, value)
	}
	if r.Body != "" {
		h.Must(json.Unmarshal([]byte(r.Body), &got.body))
	}
	return got
}

func (h *harness) get() result { h.T.Helper(); return h.call(nil) }

func (h *harness) reject(id string) result {
	h.T.Helper()
	return h.call(func(e map[string]any) {
		e["queryStringParameters"] = map[string]any{"rejected": id}
		e["multiValueQueryStringParameters"] = map[string]any{"rejected": []string{id}}
	})
}

func (h *harness) revoke() result { h.T.Helper(); return h.call(method(http.MethodDelete)) }

func method(name string) func(map[string]any) {
	return func(e map[string]any) { e["httpMethod"] = name }
}

func as(arn string) func(map[string]any) {
	return func(e map[string]any) {
		e["requestContext"].(map[string]any)["identity"].(map[string]any)["userArn"] = arn
	}
}

// want checks a response's status, and the cache header of a token or the code of an error.
func (h *harness) want(r result, status int, what string) {
	h.T.Helper()
	if r.status != status || r.cache() != what && r.text("error") != what {
		h.T.Fatalf("got %s; want %d %s", r, status, what)
	}
	if r.token() != "" && !h.Org.TokenActive(r.token()) {
		h.T.Fatalf("the token is dead: %s", r)
	}
}

// lines returns the log lines since it was last called.
func (h *harness) lines() []map[string]any {
	h.T.Helper()
	text := h.log.String()[h.read:]
	h.read += len(text)
	var lines []map[string]any
	for line := range strings.Lines(text) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			h.T.Fatalf("a log line is not JSON: %s", line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// must fails the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
