package localaws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var (
	billing = Principal{
		AccessKeyID: "AKIATESTBILLING", SecretAccessKey: "billing-secret-for-tests", Account: "222222222222",
		ARN: "arn:aws:sts::222222222222:assumed-role/billing/anna", UserID: "AROATEST:anna",
		Invoke: []string{"GET/tokens/crm", "GET/tokens/a%2Fb"},
	}
	session = Principal{
		AccessKeyID: "ASIATESTSESSION", SecretAccessKey: "session-secret-for-tests", SessionToken: "session-token-for-tests",
		Account: "111111111111",
		ARN:     "arn:aws:sts::111111111111:assumed-role/ops/bob", UserID: "AROATEST:bob", Invoke: []string{"*"},
	}
	foreign = Principal{
		AccessKeyID: "AKIATESTFOREIGN", SecretAccessKey: "foreign-secret-for-tests", Account: "999999999999",
		ARN: "arn:aws:iam::999999999999:user/eve", UserID: "AIDATEST", Invoke: []string{"*"},
	}
)

// newGateway returns the URL of an API whose function returns its event.
func newGateway(t *testing.T) string {
	t.Helper()
	g := &Gateway{
		Account: "111111111111", Region: "us-east-1", APIID: "a1b2c3", Stage: "v1", Keys: NewKeys(billing, session, foreign),
		AllowedAccounts: []string{"222222222222"},
		Function: func(_ context.Context, event []byte) ([]byte, error) {
			body, err := json.Marshal(string(event))
			return []byte(`{"statusCode":200,"headers":{"Content-Type":"application/json"},"body":` + string(body) + `}`), err
		},
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return server.URL
}

func sign(t *testing.T, r *http.Request, p Principal, body string, at time.Time) {
	t.Helper()
	hash := sha256.Sum256([]byte(body))
	credentials := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey,
		SessionToken: p.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hex.EncodeToString(hash[:]), "execute-api",
		"us-east-1", at); err != nil {
		t.Fatal(err)
	}
}

func TestGatewayAuthorization(t *testing.T) {
	t.Parallel()
	url := newGateway(t)
	none := func(*http.Request) {}
	for name, c := range map[string]struct {
		method, path, body string
		as                 Principal
		change             func(*http.Request) // after signing
		at                 time.Duration
		status             int
		says               string
	}{
		"a good request": {"GET", "/v1/tokens/crm", "", billing, none, 0, 200, ""},
		"with a query":   {"GET", "/v1/tokens/crm?b=2&a=1&a=0&e=%20x", "", billing, none, 0, 200, ""},
		"with a body": {"POST", "/v1/tokens/crm", "grant_type=client_credentials", session, none, 0, 200,
			""},
		"a session":             {"GET", "/v1/tokens/crm", "", session, none, 0, 200, ""},
		"an escape in the path": {"GET", "/v1/tokens/a%2Fb", "", billing, none, 0, 200, ""},
		"unsigned": {"GET", "/v1/tokens/crm", "", billing,
			func(r *http.Request) { r.Header.Del("Authorization") }, 0, 403, "Missing Authentication Token"},
		"another path":           {"GET", "/v1/other", "", billing, none, 0, 403, "Missing Authentication Token"},
		"another method":         {"PUT", "/v1/tokens/crm", "", foreign, none, 0, 403, "Missing Authentication Token"},
		"another stage":          {"GET", "/v2/tokens/crm", "", billing, none, 0, 403, "Forbidden"},
		"a stage of a like name": {"GET", "/v12/tokens/crm", "", billing, none, 0, 403, "Forbidden"},
		"the wrong secret": {"GET", "/v1/tokens/crm", "",
			Principal{AccessKeyID: billing.AccessKeyID, SecretAccessKey: "x"}, none, 0, 403, "does not match"},
		"an unknown key": {"GET", "/v1/tokens/crm", "",
			Principal{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: "x"}, none, 0, 403, "security token"},
		"without the session's token": {"GET", "/v1/tokens/crm", "", session,
			func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }, 0, 403, "security token"},
		"with another session's token": {"GET", "/v1/tokens/crm", "", session,
			func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, 0, 403, "security token"},
		"another path than signed": {"GET", "/v1/tokens/erp", "", billing,
			func(r *http.Request) { r.URL.Path = "/v1/tokens/crm" }, 0, 403, "does not match"},
		"another query than signed": {"GET", "/v1/tokens/crm?rejected=1", "", billing,
			func(r *http.Request) { r.URL.RawQuery = "rejected=2" }, 0, 403, "does not match"},
		"another body than signed": {"POST", "/v1/tokens/crm", "x", session,
			func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("y")) }, 0, 403, "does not match"},
		"another date than signed": {"GET", "/v1/tokens/crm", "", billing, func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().Add(time.Minute).UTC().Format(amzDate))
		}, 0, 403, "does not match"},
		"no date": {"GET", "/v1/tokens/crm", "", billing,
			func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 0, 403, "requires"},
		"garbage": {"GET", "/v1/tokens/crm", "", billing,
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 0, 403, "requires"},
		"old": {"GET", "/v1/tokens/crm", "", billing, none, -6 * time.Minute, 403, "expired"},
		"from the future": {"GET", "/v1/tokens/crm", "", billing, none, 6 * time.Minute, 403,
			"not yet current"},
		"a little old": {"GET", "/v1/tokens/crm", "", billing, none, -4 * time.Minute, 200, ""},
		"not allowed to": {"DELETE", "/v1/tokens/crm", "", billing, none, 0, 403,
			"not authorized to perform: execute-api:Invoke"},
		"not allowed this app":            {"GET", "/v1/tokens/erp", "", billing, none, 0, 403, "not authorized"},
		"an account that is not admitted": {"GET", "/v1/tokens/crm", "", foreign, none, 0, 403, "not authorized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, strings.NewReader(c.body))
			must(t, err)
			if c.body == "" {
				r.Body = http.NoBody
			}
			sign(t, r, c.as, c.body, time.Now().Add(c.at))
			c.change(r)
			resp, err := http.DefaultClient.Do(r)
			must(t, err)
			defer resp.Body.Close()
			response, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(response), c.says) ||
				resp.Header.Get("X-Amzn-Requestid") == "" {
				t.Errorf("HTTP %d: %s", resp.StatusCode, response)
			}
			if c.status == 403 && resp.Header.Get("X-Amzn-Errortype") == "" {
				t.Error("no x-amzn-ErrorType")
			}
		})
	}
}

func TestGatewayEvent(t *testing.T) {
	t.Parallel()
	url := newGateway(t)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/tokens/crm?rejected=one&rejected=two",
		bytes.NewReader([]byte{0xff, 0x00}))
	sign(t, r, session, "\xff\x00", time.Now())
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	var e struct {
		Resource, Path, HTTPMethod, Body string
		IsBase64Encoded                  bool
		Headers, PathParameters          map[string]string
		QueryStringParameters            map[string]string
		MultiValueQueryStringParameters  map[string][]string
		StageVariables                   *struct{}
		RequestContext                   struct {
			AccountID, Stage, APIID, Path, RequestID string
			Identity                                 map[string]*string
		}
	}
	must(t, json.NewDecoder(resp.Body).Decode(&e))
	identity := e.RequestContext.Identity
	if e.Resource != "/tokens/{app}" || e.Path != "/tokens/crm" || e.HTTPMethod != "POST" || e.Body != "/wA=" ||
		!e.IsBase64Encoded || e.PathParameters["app"] != "crm" ||
		e.QueryStringParameters["rejected"] != "two" || len(e.MultiValueQueryStringParameters["rejected"]) != 2 ||
		e.StageVariables != nil ||
		e.RequestContext.AccountID != "111111111111" || e.RequestContext.Path != "/v1/tokens/crm" ||
		*identity["userArn"] != session.ARN ||
		*identity["accountId"] != session.Account || *identity["sourceIp"] != "127.0.0.1" ||
		identity["cognitoIdentityId"] != nil || e.RequestContext.RequestID == "" {
		t.Errorf("the event: %+v", e)
	}
	if e.Headers["Authorization"] != "" || e.Headers["X-Amz-Security-Token"] != session.SessionToken ||
		e.Headers["X-Amz-Date"] == "" || e.Headers["X-Amzn-Trace-Id"] == "" {
		t.Error("the headers are not those that API Gateway passes on under AWS_IAM")
	}
}

func TestGatewayWithCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("skipped: no curl on the PATH")
	}
	url := newGateway(t)
	for _, args := range [][]string{
		{url + "/v1/tokens/crm"}, {url + "/v1/tokens/crm?rejected=0123456789abcdef"},
	} {
		args = append([]string{"-sS", "-o", "/dev/null", "-w", "%{http_code}", "--aws-sigv4",
			"aws:amz:us-east-1:execute-api", "--user", billing.AccessKeyID + ":" + billing.SecretAccessKey}, args...)
		out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
		if strings.Contains(string(out), "unknown option") || strings.Contains(string(out), "option --aws-sigv4") {
			t.Skip("skipped: this curl is older than 7.75 and does not sign")
		}
		if err != nil || string(out) != "200" {
			t.Errorf("curl: %s, %v", out, err)
		}
	}
}

func TestGatewayFunctionErrors(t *testing.T) {
	t.Parallel()
	for response, want := range map[string]int{`{"statusCode":204}`: 204, `{"statusCode":"200"}`: 502, `{}`: 502, `x`: 502,
		`{"statusCode":200,"isBase64Encoded":true,"body":"%"}`: 502} {
		g := &Gateway{Account: "111111111111", Region: "us-east-1", Stage: "v1", Keys: NewKeys(session),
			Function: func(context.Context, []byte) ([]byte, error) { return []byte(response), nil }}
		if got := through(t, g); got != want {
			t.Errorf("%s: HTTP %d, want %d", response, got, want)
		}
	}
	for err, want := range map[error]int{errors.New("x"): 502, &FunctionError{timedOut, ""}: 504,
		&FunctionError{exitError, ""}: 502} {
		g := &Gateway{Account: "111111111111", Region: "us-east-1", Stage: "v1", Keys: NewKeys(session),
			Function: func(context.Context, []byte) ([]byte, error) { return nil, err }}
		if got := through(t, g); got != want {
			t.Errorf("%v: HTTP %d, want %d", err, got, want)
		}
	}
}

func through(t *testing.T, g *Gateway) int {
	t.Helper()
	r := httptest.NewRequest("GET", "http://api.example/v1/tokens/crm", nil)
	sign(t, r, session, "", time.Now())
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Code
}
