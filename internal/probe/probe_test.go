package probe_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/probe"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestMain(m *testing.M) {
	stack.RunFunction("test")
	os.Exit(m.Run())
}

func config(url string, by localaws.Principal) probe.Config {
	return probe.Config{
		AWS: aws.Config{Region: stack.Region, Credentials: by.Credentials()}, URL: url, App: "crm", DeniedApp: "probe-denied",
		Transport: &http.Transport{DisableKeepAlives: true}, UserAgent: "sftoken-probe/test", Timeout: 10 * time.Second,
	}
}

// check compares the outcomes of a probe, in the order of its calls, and searches its report for secrets.
func check(t *testing.T, c probe.Config, want string, secrets ...string) probe.Report {
	t.Helper()
	report := probe.Run(t.Context(), c)
	var outcomes []string
	for _, result := range report.Checks {
		outcomes = append(outcomes, string(result.Outcome))
		if took := time.Duration(result.DurationMS) * time.Millisecond; took > c.Timeout+5*time.Second {
			t.Errorf("%s took %s", result.Check, took)
		}
	}
	if got := string(report.Outcome) + ": " + strings.Join(outcomes, ","); got != want {
		t.Errorf("got %s, want %s\n%+v", got, want, report.Checks)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(string(text), secret) {
			t.Errorf("the report has a secret: %s", text)
		}
	}
	return report
}

// TestRun probes the real token function behind API Gateway.
func TestRun(t *testing.T) {
	t.Parallel()
	s, err := stack.Start(t.Context(), stack.Config{Timeout: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c := config(s.URL, s.Keys.Probe)

	report := check(t, c, "ok: ok,ok,ok", s.Org.Secrets()...)
	if r := report.Checks[0]; len(r.TokenID) != 16 || r.Cache != "miss" || r.Status != 200 || r.Err != nil {
		t.Errorf("allowed: %+v", r)
	}
	for i, want := range []string{"HTTP 403: API Gateway refuses it", "HTTP 403: IAM refuses it"} {
		if r := report.Checks[i+1]; r.Observed != want || r.Check != []probe.Check{probe.Unsigned, probe.Denied}[i] {
			t.Errorf("%s: %s", r.Check, r.Observed)
		}
	}

	// IAM lets the caller through to an app that does not exist.
	wide := config(s.URL, s.Keys.Billing)
	r := check(t, wide, "not_refused: ok,ok,not_refused").Checks[2]
	if r.Code != "unknown_app" || r.Status != 404 || r.RequestID == "" {
		t.Errorf("denied: %+v", r)
	}
	// IAM lets the caller through to an app that exists.
	other := config(s.URL, s.Keys.Billing)
	other.App, other.DeniedApp = "nosuch", "crm"
	check(t, other, "not_refused: failed,ok,not_refused", s.Org.Secrets()...)
	// IAM lets the caller through, and the app's own list does not.
	listed := config(s.URL, s.Keys.Stranger)
	listed.DeniedApp = "crm"
	r = check(t, listed, "failed: failed,ok,ok").Checks[2]
	if !strings.HasSuffix(r.Observed, "allowedPrincipals refuses it") {
		t.Errorf("denied: %s", r.Observed)
	}
	// Without an app that must be denied there are two calls.
	alone := config(s.URL, s.Keys.Probe)
	alone.DeniedApp = ""
	check(t, alone, "ok: ok,ok")

	// Keys that AWS does not know show nothing about the denied app.
	unknown := s.Keys.Probe
	unknown.AccessKeyID = "ASIAUNKNOWN"
	check(t, config(s.URL, unknown), "failed: failed,ok,unchecked")
	// Credentials that cannot be had.
	none := config(s.URL, localaws.Principal{})
	for _, r := range check(t, none, "failed: failed,unchecked,unchecked").Checks {
		if r.Observed != "AWS credentials: static credentials are empty" {
			t.Errorf("%s: %s", r.Check, r.Observed)
		}
	}

	// Salesforce is down. IAM's decisions do not depend on it.
	s.Org.RevokeAll()
	s.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Unavailable(), 0)
	s.App.Regenerate()
	down := config(s.URL, s.Keys.Probe)
	down.App, down.DeniedApp, down.Timeout = "crm", "nosuch", 3*time.Second
	if got := probe.Run(t.Context(), down); got.Checks[1].Outcome != probe.OK || got.Checks[2].Outcome != probe.OK {
		t.Errorf("%+v", got.Checks)
	}
}

const secret = "00D000000000001!AQcAQH0dMHZfz972Szmpkb58urFRkgeBGsxL"

// TestResponses probes APIs that respond in other ways than API Gateway before the token function.
func TestResponses(t *testing.T) {
	t.Parallel()
	respond := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	// gateway is a response of API Gateway, function one of the token function behind it.
	gateway := func(status int, message string) http.HandlerFunc {
		return respond(status, `{"message":"`+message+`"}`, "X-Amzn-Requestid", "0b5ccf60")
	}
	function := func(status int, code string) http.HandlerFunc {
		body := `{"error":"` + code + `","error_description":"` + secret + `","request_id":"` + secret + `"}`
		return respond(status, body, "X-Amzn-Requestid", "0b5ccf60")
	}
	token := `{"access_token":"` + secret + `","token_id":"` + secret + `","instance_url":"https://x","expires_in":60}`
	proxy := `{"error":"blocked","error_description":"not authorized to perform"}`
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	const lost, admitted = "failed: failed,unchecked,unchecked", "not_refused: failed,not_refused,not_refused"
	for name, c := range map[string]struct {
		api  http.HandlerFunc
		want string
	}{
		"no authorization":     {respond(200, token, "X-Token-Cache", secret), "not_refused: ok,not_refused,not_refused"},
		"another 200":          {respond(200, "<html>"+secret), admitted},
		"204":                  {respond(204, ""), admitted},
		"a 200 cut short":      {respond(200, token, "Content-Length", "5000"), admitted},
		"no identity":          {function(403, "access_denied"), "not_refused: failed,not_refused,ok"},
		"app misconfigured":    {function(502, "app_misconfigured"), admitted},
		"invalid request":      {function(400, "invalid_request"), admitted},
		"code that is a token": {function(404, secret), admitted},

		"explicit deny":           {gateway(403, "User: a is not authorized to perform: b"), "failed: failed,ok,ok"},
		"Forbidden":               {gateway(403, "Forbidden"), "failed: failed,ok,unchecked"},
		"message that is a token": {gateway(403, secret), "failed: failed,ok,unchecked"},

		"proxy's 403":               {respond(403, secret), lost},
		"proxy's 403 in JSON":       {respond(403, proxy), lost},
		"401 of the agent":          {function(401, "invalid_client"), lost},
		"404 of another server":     {respond(404, secret), lost},
		"429":                       {gateway(429, "Too Many Requests"), lost},
		"500 of API Gateway":        {gateway(500, "Internal server error"), lost},
		"redirect":                  {respond(302, secret, "Location", "/"+secret), lost},
		"no HTTP":                   {hijack(secret + "\r\n\r\n"), lost},
		"malformed status":          {hijack("HTTP/1.1 " + secret + "\r\n\r\n"), lost},
		"no response":               {hijack(""), lost},
		"nothing until the timeout": {hang, lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewServer(c.api)
			t.Cleanup(func() { api.CloseClientConnections(); api.Close() })
			config := config(api.URL+"/v1", stack.SimulatedKeys().Probe)
			config.Timeout = 500 * time.Millisecond
			check(t, config, c.want, secret)
		})
	}
}

// TestAdmittedOnce probes an API that admits each request once: its response is incomplete, and the next attempt fails.
func TestAdmittedOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]bool{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		kind := fmt.Sprint(r.URL.Path, r.Header.Get("Authorization") == "")
		if !seen[kind] {
			w.Header().Set("Content-Length", "5000")
			w.WriteHeader(http.StatusOK)
		} else {
			w.WriteHeader(http.StatusInternalServerError)
		}
		seen[kind] = true
	}))
	t.Cleanup(api.Close)
	c := config(api.URL+"/v1", stack.SimulatedKeys().Probe)
	c.Timeout = 2 * time.Second
	check(t, c, "not_refused: failed,not_refused,not_refused")
}

// hijack responds with these bytes.
func hijack(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.Close()
	}
}

// TestRequests checks what the API gets: the same request thrice, once without anything of the signature.
func TestRequests(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 3)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(api.Close)
	probe.Run(t.Context(), config(api.URL+"/v1", stack.SimulatedKeys().Probe))
	close(requests)
	seen := map[string]bool{}
	for r := range requests {
		signed := r.Header.Get("Authorization") != ""
		for _, name := range []string{"X-Amz-Date", "X-Amz-Security-Token"} {
			if (r.Header.Get(name) != "") != signed {
				t.Errorf("%s of a request that is signed: %t: %q", name, signed, r.Header.Get(name))
			}
		}
		if r.Method != http.MethodGet || r.UserAgent() != "sftoken-probe/test" {
			t.Errorf("%s by %s", r.Method, r.UserAgent())
		}
		seen[fmt.Sprint(strings.TrimPrefix(r.URL.Path, "/v1/tokens/"), " ", signed)] = true
	}
	want := map[string]bool{"crm true": true, "crm false": true, "probe-denied true": true}
	if !maps.Equal(seen, want) {
		t.Errorf("the requests were %v", seen)
	}
}

// TestPlainText checks that no call leaves this machine unencrypted, since two of them carry a session token.
func TestPlainText(t *testing.T) {
	t.Parallel()
	c := config("http://sftoken.example.com/v1", stack.SimulatedKeys().Probe)
	c.Transport = refuse{t}
	check(t, c, "failed: failed,unchecked,unchecked")
}

type refuse struct{ t *testing.T }

func (f refuse) RoundTrip(r *http.Request) (*http.Response, error) {
	f.t.Errorf("a request to %s", r.URL.Host)
	return nil, http.ErrAbortHandler
}
