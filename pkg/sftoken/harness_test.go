package sftoken_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sftoken/sftoken/internal/sim/apitest"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

const (
	orgHost = simtest.OrgHost
	apiHost = apitest.Host
)

var billing = apitest.Billing

// harness is the API and the clients under test, on an in-memory network. Time is the synctest bubble's.
type harness struct{ *apitest.Harness }

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

func newHarness(t *testing.T) *harness { return &harness{apitest.New(t, simtest.Options{})} }

// source returns a source of the app's tokens, with billing's credentials.
func (h *harness) source(app string) *sftoken.TokenSource {
	return h.sourceAt("http://"+apiHost+"/v1/", app) // a trailing slash is ignored
}

func (h *harness) sourceAt(url, app string) *sftoken.TokenSource {
	return sftoken.NewTokenSource(h.Config(), url, app, sftoken.WithHTTPClient(h.Client))
}

// salesforce returns a client of Salesforce with a Transport.
func (h *harness) salesforce() *http.Client {
	return &http.Client{Transport: &sftoken.Transport{Source: h.source("crm"), Base: roundTripFunc(h.salesforceAPI)}}
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
		return h.Client.Transport.RoundTrip(r)
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
