package tokenapi

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	post := func(body any) func(map[string]any) {
		return func(e map[string]any) { e["httpMethod"], e["body"] = "POST", body }
	}
	path := func(app, path string) func(map[string]any) {
		return func(e map[string]any) { e["pathParameters"], e["path"] = map[string]any{"app": app}, path }
	}
	query := func(single string, all ...string) func(map[string]any) {
		return func(e map[string]any) {
			e["queryStringParameters"] = map[string]any{"rejected": single}
			e["multiValueQueryStringParameters"] = map[string]any{"rejected": all}
		}
	}
	const id = "0123456789abcdef"
	long := strings.Repeat("y", 9000)
	for name, c := range map[string]struct {
		change func(map[string]any)
		status int
		err    string
	}{
		"GET":                     {nil, 200, ""},
		"POST without a body":     {post(nil), 200, ""},
		"POST with an empty body": {post(""), 200, ""},
		"POST with a grant":       {post("grant_type=client_credentials"), 200, ""},
		"POST with other parameters": {
			post("scope=api&grant_type=client_credentials&client_id=x&client_secret=y\n"), 200, "",
		},
		"POST in base64": {func(e map[string]any) {
			post(base64.StdEncoding.EncodeToString([]byte("grant_type=client_credentials")))(e)
			e["isBase64Encoded"] = true
		}, 200, ""},
		"POST with broken base64": {func(e map[string]any) {
			post("%%%")(e)
			e["isBase64Encoded"] = true
		}, 400, "invalid_request"},
		"POST with another grant":     {post("grant_type=password&username=x"), 400, "unsupported_grant_type"},
		"POST with two grants":        {post("grant_type=client_credentials&grant_type=password"), 400, "invalid_request"},
		"POST without a grant":        {post("client_id=x"), 400, "invalid_request"},
		"POST with JSON":              {post(`{"grant_type":"client_credentials"}`), 400, "invalid_request"},
		"POST with a broken form":     {post("grant_type=%zz"), 400, "invalid_request"},
		"POST with a huge form":       {post("grant_type=client_credentials&x=" + long), 400, "invalid_request"},
		"rejected":                    {query(id, id), 200, ""},
		"rejected twice":              {query(id, id, id), 400, "invalid_request"},
		"rejected in capitals":        {query("0123456789ABCDEF", "0123456789ABCDEF"), 400, "invalid_request"},
		"rejected and empty":          {query("", ""), 400, "invalid_request"},
		"rejected with a token in it": {query("00Dxx!token", "00Dxx!token"), 400, "invalid_request"},
		"rejected as a single value": {func(e map[string]any) {
			e["queryStringParameters"] = map[string]any{"rejected": "nonsense"}
		}, 400, "invalid_request"},
		"Rejected in another case": {func(e map[string]any) {
			e["queryStringParameters"] = map[string]any{"Rejected": "nonsense"}
		}, 200, ""},
		"other parameters": {func(e map[string]any) {
			e["queryStringParameters"] = map[string]any{"x": "y"}
		}, 200, ""},
		"null parameters": {func(e map[string]any) {
			e["queryStringParameters"], e["multiValueQueryStringParameters"] = nil, nil
		}, 200, ""},
		"capital app":              {path("CRM", "/tokens/CRM"), 400, "invalid_request"},
		"empty app":                {path("", "/tokens/"), 400, "invalid_request"},
		"app with dots":            {path("../other", "/tokens/../other"), 400, "invalid_request"},
		"long app":                 {path(long[:64], "/tokens/"+long[:64]), 400, "invalid_request"},
		"app with an escape":       {path("crm", "/tokens/%63rm"), 400, "invalid_request"},
		"app under another path":   {path("crm", "/tokens/erp"), 400, "invalid_request"},
		"app under a like path":    {path("crm", "/xtokens/crm"), 400, "invalid_request"},
		"app behind a base path":   {path("crm", "/sf/tokens/crm"), 200, ""},
		"unknown app":              {path("erp", "/tokens/erp"), 404, "unknown_app"},
		"no path parameters":       {func(e map[string]any) { e["pathParameters"] = nil }, 400, "invalid_request"},
		"PUT":                      {method("PUT"), 405, "method_not_allowed"},
		"HEAD":                     {method("HEAD"), 405, "method_not_allowed"},
		"DELETE":                   {method("DELETE"), 204, ""},
		"no identity":              {as(""), 403, "access_denied"},
		"an event of another kind": {func(e map[string]any) { clear(e); e["Records"] = []any{} }, 400, "invalid_request"},
		"payload version 2.0": {func(e map[string]any) {
			clear(e)
			e["version"], e["rawPath"] = "2.0", "/tokens/crm"
		}, 400, "invalid_request"},
		"fields of another type": {func(e map[string]any) { e["httpMethod"] = 7 }, 400, "invalid_request"},
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			a := h.call(c.change)
			if a.status != c.status || a.text("error") != c.err {
				t.Fatalf("got %s", a)
			}
			if a.header.Get("Cache-Control") != "no-store" ||
				a.status != 204 && a.header.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", a.header)
			}
			if a.status == 405 && a.header.Get("Allow") != "GET, POST, DELETE" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
			if lines := h.lines(); len(lines) != 1 {
				t.Errorf("%d log lines", len(lines))
			}
			if a.status >= 400 && h.Requests() > 0 {
				t.Error("Salesforce was called")
			}
		})
	}
}

func TestEventThatIsNotJSON(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		for _, payload := range []string{"", "null", "{", "[]", `"x"`, strings.Repeat("[", 6<<20)} {
			raw, err := h.handler.Invoke(t.Context(), []byte(payload))
			if err != nil || !strings.Contains(string(raw), `"statusCode":400`) {
				t.Errorf("%.10q: %s, %v", payload, raw, err)
			}
		}
	})
}

// The body is the caller's, so nothing in it may make the event unreadable: the log line would lack the caller.
func TestBodyWithManyBrackets(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"GET": 200, "POST": 400, "DELETE": 204} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			a := h.call(func(e map[string]any) {
				e["httpMethod"], e["body"] = name, strings.Repeat("[{", maxBrackets)
			})
			if a.status != status {
				t.Errorf("got %s", a)
			}
			if caller := h.lines()[0]["caller"].(map[string]any); caller["arn"] != billing {
				t.Errorf("the log has the caller %v", caller)
			}
		})
	}
}

func TestRequestIDFromLambda(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "lambda-1"})
		a := h.callIn(ctx, func(e map[string]any) {
			delete(e["requestContext"].(map[string]any), "requestId")
			e["httpMethod"] = "PUT"
		})
		if a.text("request_id") != "lambda-1" || h.lines()[0]["request_id"] != "lambda-1" {
			t.Errorf("request_id is %q", a.text("request_id"))
		}
	})
}

func TestSAMCLI(t *testing.T) {
	t.Parallel()
	const stream, cloud = "AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/24/[$LATEST]0123456789abcdef"
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"SAM":                            {map[string]string{"AWS_SAM_LOCAL": "true", stream: "$LATEST"}, true},
		"the cloud's name of a version":  {map[string]string{stream: "$LATEST"}, false},
		"the cloud":                      {map[string]string{stream: cloud}, false},
		"the cloud, with a SAM variable": {map[string]string{"AWS_SAM_LOCAL": "true", stream: cloud}, false},
	} {
		if got := samLocal(func(n string) string { return c.env[n] }); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	subtest(t, "allowed", options{}, func(t *testing.T, h *harness) {
		h.handler.allowUnauthenticated = true
		h.want(h.call(as("")), 200, "miss")
	})
	o := options{secret: map[string]any{"allowedPrincipals": []string{"222222222222"}}}
	subtest(t, "denied", o, func(t *testing.T, h *harness) {
		h.handler.allowUnauthenticated = true
		h.want(h.call(as("")), 403, "access_denied")
	})
}

func TestPanic(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		token := h.get()
		jitter := h.handler.vendor.Jitter
		h.handler.vendor.Jitter = func() float64 { panic("the secret is " + token.token()) }
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Unavailable(), 0)
		time.Sleep(11 * time.Minute)
		h.want(h.get(), 500, "server_error") // in the call
		h.handler.vendor.Jitter = jitter
		vendor := h.handler.vendor
		h.handler.vendor = nil
		h.want(h.get(), 500, "server_error") // in the handler
		h.handler.vendor = vendor
		h.Org.ClearFaults()
		h.want(h.get(), 200, "confirmed")
		if !strings.Contains(h.log.String(), "panic of type string") || !strings.Contains(h.log.String(), "backoff.go") {
			t.Error("the log does not say where it panicked")
		}
		h.NoSecrets(h.log.String())
	})
}

func TestPrefetch(t *testing.T) {
	run(t, options{secret: map[string]any{"allowedPrincipals": []string{"222222222222"}}}, func(t *testing.T, h *harness) {
		h.handler.prefetch(t.Context(), []string{"crm", "nosuch"})
		h.want(h.get(), 200, "hit")
		if text := h.log.String(); !strings.Contains(text, `"unknown_app"`) || !strings.Contains(text, `"msg":"prefetch"`) {
			t.Errorf("a failed prefetch is not logged: %s", text)
		}
	})
}

func TestPrefetchTimeout(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Hang(), 1)
		h.AWS.InjectFault("", localaws.Fault{Delay: 3 * time.Second}, 0)
		begun := time.Now()
		h.handler.prefetch(t.Context(), []string{"crm"})
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("it took %s of the 10 seconds that Lambda allows", took)
		}
		h.AWS.ClearFaults()
		time.Sleep(time.Second)
		h.handler.prefetch(t.Context(), []string{"crm"})
		if m := metricNames(h.lines()[1]); m != "LoginLatency[app] Logins[app]" {
			t.Errorf("metrics %s", m)
		}
	})
}

func TestPrefetchOfPlaceholder(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Store(h.Value(appsecret.Placeholder, appsecret.Placeholder))
		h.handler.prefetch(t.Context(), []string{"crm"})
		h.want(h.get(), 502, "app_misconfigured") // a caller is refused
		h.Store(h.Value("3MVG9wrong", "wrong"))
		time.Sleep(time.Minute)
		h.handler.prefetch(t.Context(), []string{"crm"}) // Salesforce refuses credentials that were stored
		for i, line := range h.lines() {
			if counted := strings.Contains(metricNames(line), "Refusals"); counted != (i > 0) ||
				line["outcome"] != "app_misconfigured" {
				t.Errorf("%s: %v, metrics %s", line["msg"], line["outcome"], metricNames(line))
			}
		}
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	runtime := map[string]string{"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "AWS_REGION": "us-east-1"}
	for setting, ok := range map[string]bool{
		"": true, "MIN_TTL=14m": true, "MIN_TTL=15m": false, "MIN_TTL=0": false, "CONFIRM_EVERY=5m": false,
		"CONFIRM_EVERY=1h": true, "SECRET_TTL=0s": false, "SECRET_TTL=never": false,
		"SALESFORCE_HOSTS=http://x": false, "PREFETCH=crm,ERP": false, "LOG_LEVEL=loud": false, "LOGIN_BURST=5": true,
		"LOGIN_BURST=0": false, "LOGIN_BURST=many": false, "LOGINS_PER_HOUR=3600": true,
		"LOGINS_PER_HOUR=3601": false, "METRICS_NAMESPACE=a b": false, "SECRET_PREFIX=a b": false,
		"STANDBY=true": true, "STANDBY=false": true, "STANDBY=yes": false,
		"AWS_LAMBDA_RUNTIME_API=": false,
	} {
		env := maps.Clone(runtime)
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
		_, _, err := newHandler(t.Context(), func(n string) string { return env[n] }, "test")
		if (err == nil) != ok || err != nil && name != "AWS_LAMBDA_RUNTIME_API" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

func FuzzEvent(f *testing.F) {
	whole, err := os.ReadFile("../../events/get.json")
	if err == nil {
		f.Add(whole)
	}
	const path = `"path":"/tokens/crm","pathParameters":{"app":"crm"}`
	f.Add([]byte(`{"httpMethod":"GET",` + path + `,"requestContext":{"identity":{"userArn":"arn"}}}`))
	f.Add([]byte(`{"httpMethod":"POST",` + path + `,"body":"Z3I=","isBase64Encoded":true}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, bad := parseEvent(payload)
		var whole struct {
			HTTPMethod     string `json:"httpMethod"`
			Path           string `json:"path"`
			PathParameters struct {
				App string `json:"app"`
			} `json:"pathParameters"`
			RequestContext struct {
				Identity struct {
					UserARN string `json:"userArn"`
				} `json:"identity"`
			} `json:"requestContext"`
		}
		// The event is read as encoding/json reads it, which also accepts names in another case.
		err := json.Unmarshal(payload, &whole)
		if err == nil && bad == nil && !strings.Contains(strings.ToLower(string(payload)), "\\u") && exactNames(payload) &&
			(whole.HTTPMethod != e.method || whole.Path != e.path || whole.PathParameters.App != e.app ||
				whole.RequestContext.Identity.UserARN != e.caller.arn) {
			t.Errorf("read %+v, want %+v", e, whole)
		}
		if bad != nil {
			return
		}
		req, bad := e.request()
		if bad == nil &&
			(req.App == "" || !strings.HasSuffix(e.path, "/tokens/"+req.App) ||
				len(req.Rejected) != 0 && len(req.Rejected) != 16) {
			t.Errorf("accepted %+v", req)
		}
	})
}

// exactNames reports whether the names that are read occur once each, and in no other case.
func exactNames(payload []byte) bool {
	lower := strings.ToLower(string(payload))
	for _, name := range []string{"httpMethod", "path", "pathParameters", "app", "requestContext", "identity", "userArn"} {
		if strings.Count(lower, strings.ToLower(`"`+name+`"`)) > 1 ||
			strings.Count(lower, strings.ToLower(`"`+name+`"`)) != strings.Count(string(payload), `"`+name+`"`) {
			return false
		}
	}
	return true
}

func TestConsoleTestInvocation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			a := h.call(func(e map[string]any) {
				e["httpMethod"] = method
				e["requestContext"].(map[string]any)["stage"] = "test-invoke-stage"
			})
			h.want(a, 403, "access_denied")
		}
		if h.Requests() != 0 || len(h.AWS.Calls()) > 1 {
			t.Errorf("Salesforce was called %d times, Secrets Manager %v", h.Requests(), h.AWS.Calls())
		}
		h.want(h.call(func(e map[string]any) { e["requestContext"].(map[string]any)["stage"] = "v1" }), 200, "miss")
	})
}
