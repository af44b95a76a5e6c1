package sftoken_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

const (
	orgHost = simtest.OrgHost
	apiHost = "127.0.0.1:8080"
)

// billing is a session of a role in another account than the API's.
var billing = localaws.Principal{
	AccessKeyID: "ASIATESTBILLING", SecretAccessKey: "secret-of-billing", SessionToken: "session-of-billing",
	Account: "222222222222", ARN: "arn:aws:sts::222222222222:assumed-role/billing/anna", UserID: "AROATEST:anna",
	Invoke: []string{"GET/tokens/*", "DELETE/tokens/crm"},
}

// harness is the API in front of a simulated org, on an in-memory network. Signatures, IAM and vending are real; time
// is the synctest bubble's.
type harness struct {
	*simtest.Harness
	gateway *localaws.Gateway
	client  *http.Client // over the network
	vendor  *vending.Vendor

	mu      sync.Mutex
	queries []string                    // the rejected ids, or raw queries, of the requests so far
	queued  []func(http.ResponseWriter) // responses to the next requests in place of API Gateway's
	delay   time.Duration               // of each request to the API
}

// run runs a test in parallel with others, as runSynctest does. A test calls it once.
func run(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	runSynctest(t, test)
}

// runSynctest runs a test with a harness in a synctest bubble.
func runSynctest(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newHarness(t)) })
}

func newHarness(t *testing.T) *harness {
	h := &harness{Harness: simtest.New(t, simtest.Options{})}
	h.client = h.HTTPClient()
	h.vendor = vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: h.Secrets, Prefix: simtest.Prefix},
		Hosts:   sfoauth.AllowedHosts{orgHost}, HTTPClient: h.client,
	})
	h.gateway = &localaws.Gateway{
		Account: simtest.Account, Region: simtest.Region, Stage: "v1", Keys: localaws.NewKeys(billing),
		AllowedAccounts: []string{billing.Account}, Function: h.function,
	}
	h.Serve(apiHost, h)
	return h
}

// source returns a source of the app's tokens, with billing's credentials.
func (h *harness) source(app string) *sftoken.TokenSource {
	return h.sourceAt("http://"+apiHost+"/v1/", app) // a trailing slash is ignored
}

func (h *harness) sourceAt(url, app string) *sftoken.TokenSource {
	config := aws.Config{Region: "us-east-1", Credentials: billing.Credentials()}
	return sftoken.NewTokenSource(config, url, app, sftoken.WithHTTPClient(h.client))
}

// salesforce returns a client of Salesforce with a Transport.
func (h *harness) salesforce() *http.Client {
	return &http.Client{Transport: &sftoken.Transport{Source: h.source("crm"), Base: roundTripFunc(h.salesforceAPI)}}
}

// ServeHTTP is API Gateway, or one of the responses in its place.
func (h *harness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	slowness := h.delay
	var instead func(http.ResponseWriter)
	if len(h.queued) > 0 {
		instead, h.queued = h.queued[0], h.queued[1:]
		h.queries = append(h.queries, r.URL.RawQuery)
	}
	h.mu.Unlock()
	time.Sleep(slowness)
	if instead != nil {
		instead(rw)
		return
	}
	h.gateway.ServeHTTP(rw, r)
}

// function handles an event as functions/token does.
func (h *harness) function(ctx context.Context, payload []byte) ([]byte, error) {
	var event struct {
		HTTPMethod            string
		QueryStringParameters map[string]string
		RequestContext        struct{ Identity struct{ UserArn string } }
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, err
	}
	rejected := event.QueryStringParameters["rejected"]
	h.mu.Lock()
	h.queries = append(h.queries, rejected)
	h.mu.Unlock()
	req := vending.Request{App: appOf(payload), Principal: event.RequestContext.Identity.UserArn, Rejected: rejected}
	if event.HTTPMethod == http.MethodDelete {
		if _, err := h.vendor.Revoke(ctx, req, &vending.CallStats{}); err != nil {
			return nil, err
		}
		return []byte(`{"statusCode":204}`), nil
	}
	grant, err := h.vendor.Vend(ctx, req, &vending.CallStats{})
	if failed, ok := errors.AsType[*vending.Error](err); ok {
		return lambdaResponse(404, nil, map[string]any{
			"error": failed.Code, "error_description": failed.Description, "request_id": "req-1",
		}), nil
	}
	return lambdaResponse(200, map[string]string{"X-Token-Cache": string(grant.CacheStatus)}, map[string]any{
		"access_token": grant.Token.AccessToken.Reveal(), "token_type": "Bearer", "token_id": grant.TokenID,
		"expires_in": int64(grant.ExpiresIn.Seconds()), "instance_url": grant.Token.InstanceURL,
		"id": grant.Token.ID, "scope": grant.Token.Scope,
	}), err
}

// salesforceAPI is the simulated org, with two more resources: creating an account, and a job of Bulk API 1.0.
func (h *harness) salesforceAPI(r *http.Request) (*http.Response, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	status, body := 201, `{"success":true}`
	switch r.URL.Path {
	case "/services/data/v65.0/sobjects/Account":
		sent, _ := io.ReadAll(r.Body)
		if !h.Org.TokenActive(token) {
			status, body = 401, `[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]`
		} else if string(sent) != newAccount {
			h.T.Errorf("the body is %q", sent)
		}
	case "/services/async/65.0/job":
		if session := r.Header.Get("X-SFDC-Session"); session != token || !h.Org.TokenActive(session) {
			status, body = 400, `{"exceptionCode":"InvalidSessionId","exceptionMessage":"Invalid session id"}`
			if !strings.Contains(r.Header.Get("Content-Type"), "json") {
				body = `<error xmlns="http://www.force.com/2009/06/asyncapi/dataload">` +
					`<exceptionCode>InvalidSessionId</exceptionCode></error>`
			}
		}
	default:
		return h.client.Transport.RoundTrip(r)
	}
	resp := httptest.NewRecorder()
	if r.Header.Get("Accept-Encoding") == "gzip" {
		resp.Header().Set("Content-Encoding", "gzip")
		body = gzipped(body)
	}
	resp.WriteHeader(status)
	_, _ = io.WriteString(resp, body)
	return resp.Result(), nil
}

const newAccount = `{"Name":"Umbrella"}`

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

// appOf returns the app of an event.
func appOf(payload []byte) string {
	var event struct{ PathParameters map[string]string }
	_ = json.Unmarshal(payload, &event) // the gateway's own JSON
	return event.PathParameters["app"]
}

func lambdaResponse(status int, header map[string]string, body any) []byte {
	text, _ := json.Marshal(body)
	raw, _ := json.Marshal(map[string]any{"statusCode": status, "headers": header, "body": string(text)})
	return raw
}

// respondWith replaces the next responses of API Gateway by these, and drops earlier ones that are left.
func (h *harness) respondWith(responses ...func(http.ResponseWriter)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queued = responses
}

// setDelay delays each request to the API by d.
func (h *harness) setDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

// requests returns the rejected id of each request to the API since the last call of requests.
func (h *harness) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.queries
	h.queries = nil
	return asked
}

// mustNotCall serves hosts that must receive no request, and so no token and no signature.
func (h *harness) mustNotCall(hosts ...string) {
	h.T.Helper()
	for _, host := range hosts {
		h.Serve(host, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h.T.Errorf("%s was called", r.Host) }))
	}
}

// get calls Salesforce and returns the status.
func (h *harness) get(client *http.Client, url string) int {
	h.T.Helper()
	resp, err := client.Get(url)
	if err != nil {
		h.T.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// errorOf returns the *sftoken.Error in err, or a zero Error if there is none.
func errorOf(err error) sftoken.Error {
	if e, ok := errors.AsType[*sftoken.Error](err); ok {
		return *e
	}
	return sftoken.Error{}
}

// tokenJSON is the body of a token response, with more fields if they are given.
func tokenJSON(token, instance string, expiresIn int, more ...string) string {
	const format = `{"access_token":"%s","token_id":"0123456789abcdef","instance_url":"%s","expires_in":%d%s}`
	return fmt.Sprintf(format, token, instance, expiresIn, strings.Join(more, ""))
}

// respond responds with a status, a body and header lines.
func respond(status int, body string, header ...string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			rw.Header().Set(name, value)
		}
		rw.WriteHeader(status)
		fmt.Fprint(rw, body)
	}
}

// bodyOnly sends a secret that is not an HTTP response.
func bodyOnly(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = connection.Write([]byte(billing.SessionToken + "\r\n\r\n"))
	_ = connection.Close()
}

// closeConn closes the connection without a response.
func closeConn(http.ResponseWriter) { panic(http.ErrAbortHandler) }
