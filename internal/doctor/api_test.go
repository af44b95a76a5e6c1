package doctor_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// unsetCredentials removes every source of AWS credentials from the environment.
func (w *harness) unsetCredentials() {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		w.Setenv(name, "")
	}
	w.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	w.Setenv("AWS_CONFIG_FILE", "/dev/null")
	w.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	w.config.Load = func(ctx context.Context) (aws.Config, error) {
		return config.LoadDefaultConfig(ctx, config.WithRegion(region))
	}
}

var callerSetups = []setup{
	{name: "no AWS credentials on this machine", change: (*harness).unsetCredentials, setsEnv: true, cause: "credentials",
		found: "no AWS credentials", fix: "aws sso login"},
	{name: "an unknown AWS profile", change: func(w *harness) {
		w.unsetCredentials()
		w.Setenv("AWS_PROFILE", "nosuch")
	}, setsEnv: true, cause: "credentials", found: "nosuch", fix: "AWS_PROFILE"},
	{name: "an unknown access key", change: func(w *harness) { w.as.AccessKeyID = "AKIADELETED" },
		cause: "identity", found: "does not recognize the access key", fix: "deleted or deactivated",
		also: []string{"allowed"}},
	{name: "a session without its session token", as: oncall, change: func(w *harness) { w.as.SessionToken = "" },
		cause: "identity", found: "does not recognize the access key", fix: "AWS_SESSION_TOKEN", also: []string{"allowed"}},
	{name: "a session token that is not valid in this region", as: oncall,
		change: func(w *harness) { w.as.SessionToken = "of-the-global-endpoint" }, cause: "identity",
		found: "does not recognize the access key", fix: "opt-in region", also: []string{"allowed"}},
	{name: "an expired session", as: caller, change: func(w *harness) {
		expired := caller
		expired.Expires = time.Now().Add(-time.Minute)
		w.keys.Add(expired)
	}, cause: "identity", found: "expired", fix: "log in to AWS", also: []string{"allowed"}},
	{name: "a secret access key that does not match", as: caller,
		change: func(w *harness) { w.as.SecretAccessKey = "another" }, cause: "identity", found: "does not belong",
		fix: "log in to AWS", also: []string{"allowed"}},
	{name: "a slow clock", change: func(w *harness) { w.awsAhead.Store(int64(10 * time.Minute)) },
		cause: "identity", found: "10 minutes slow", fix: "NTP", also: []string{"allowed"}},
	{name: "a fast clock", as: caller, change: func(w *harness) { w.awsAhead.Store(int64(-10 * time.Minute)) },
		cause: "identity", found: "minutes fast", fix: "NTP", also: []string{"allowed"}},
	{name: "AWS_REGION differs from the API's region", change: func(w *harness) { w.setRegion("eu-west-1") },
		cause: "identity", found: "eu-west-1", fix: "AWS_REGION", also: []string{"allowed"}},
}

// setRegion sets the region of the AWS configuration.
func (w *harness) setRegion(region string) {
	load := w.config.Load
	w.config.Load = func(ctx context.Context) (aws.Config, error) {
		config, err := load(ctx)
		config.Region = region
		return config, err
	}
}

// url changes the API's address.
func url(change func(string) string) func(w *harness) {
	return func(w *harness) { w.config.URL = change(w.config.URL) }
}

// replaceAPI serves h in place of the API.
func replaceAPI(h http.HandlerFunc) func(w *harness) {
	return func(w *harness) { w.config.URL = w.serve(h) + "/v1" }
}

// tls serves the API with a certificate for example.com.
func (w *harness) tls() *httptest.Server {
	server := httptest.NewUnstartedServer(w.gateway())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	server.StartTLS()
	w.Cleanup(server.Close)
	return server
}

// overTLS routes requests for AWS's own addresses to the API, whose certificate is for example.com. The client expects
// a certificate for serverName; if that is empty, for the host of the request.
func (w *harness) overTLS(serverName string) {
	server := w.tls()
	transport := server.Client().Transport.(*http.Transport)
	transport.TLSClientConfig.ServerName = serverName
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ".amazonaws.com:443") {
			address = server.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	w.config.HTTPClient = &http.Client{Transport: transport}
}

// gateway serves an API Gateway that gives this response to every signed request.
func gateway(status int, body string) func(w *harness) {
	return replaceAPI(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprint(rw, `{"message":"Missing Authentication Token"}`)
			return
		}
		rw.WriteHeader(status)
		fmt.Fprint(rw, body)
	})
}

// unauthorized is API Gateway's response to a caller without permission, up to the reason.
const unauthorized = `{"Message":"User: arn:aws:sts::222222222222:assumed-role/billing/bob is not authorized ` +
	`to perform: execute-api:Invoke on resource: arn:aws:execute-api:us-east-1:********1111:a1b2c3/v1/GET/tokens/crm`

var apiSetups = []setup{
	{name: "no address, as a caller", as: caller, change: url(func(string) string { return "" }),
		cause: "address", found: "is not set", fix: "set SFTOKEN_URL"},
	{name: "no address, as the owner", change: url(func(string) string { return "" }),
		cause: "address", found: "is not set", fix: "--url"},
	{name: "an address that is not a URL", as: caller, change: url(func(string) string { return "api.example" }),
		cause: "address", found: "not a URL", fix: "ApiUrl"},
	{name: "http to another machine", as: caller, change: url(func(string) string { return "http://api.example/v1" }),
		cause: "address", found: "http", fix: "https://api.example/v1"},
	{name: "an address with the path", as: caller, change: url(func(u string) string { return u + "/tokens/crm" }),
		cause: "address", found: "path", fix: "/v1"},
	{name: "API Gateway's address without a stage", as: caller,
		change: url(func(string) string { return "https://abcdef1234.execute-api.us-east-1.amazonaws.com/" }),
		cause:  "address", found: "no stage", fix: "amazonaws.com/v1"},
	{name: "an unknown stage", as: caller, change: url(func(u string) string { return u + "2" }),
		cause: "reachable", found: "Forbidden", fix: "ApiUrl"},
	{name: "an unknown path", as: caller, change: url(func(u string) string { return u + "/api" }),
		cause: "allowed", found: "Missing Authentication Token", fix: "ApiUrl"},
	{name: "AWS_REGION differs from the region in the address", change: func(w *harness) {
		w.setRegion("eu-west-1")
		w.config.URL = "https://a1b2c3.execute-api.us-east-1.amazonaws.com/v1"
		w.overTLS("example.com")
	}, cause: "address", status: doctor.Warning, found: "is in us-east-1, but AWS_REGION is eu-west-1",
		fix: "AWS_REGION=us-east-1"},
	{name: "an untrusted certificate", as: caller, change: func(w *harness) { w.config.URL = w.tls().URL + "/v1" },
		cause: "reachable", found: "certificate", fix: "trust its certificate authority"},
	{name: "a certificate for another host", as: caller, change: func(w *harness) {
		w.config.URL = "https://a1b2c3.execute-api.us-east-1.amazonaws.com/v1"
		w.overTLS("")
	}, cause: "reachable", found: "certificate", fix: "another server answers in place of a1b2c3.execute-api"},
	{name: "a host name that does not resolve", as: caller, change: func(w *harness) {
		w.config.URL = "https://a1b2c4.execute-api.us-east-1.amazonaws.com/v1"
		w.config.HTTPClient = &http.Client{
			Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{
					Op:  "dial",
					Err: &net.DNSError{Err: "no such host", Name: "a1b2c4.execute-api.us-east-1.amazonaws.com", IsNotFound: true},
				}
			}},
		}
	}, cause: "reachable", found: "no such host",
		fix: "the name a1b2c4.execute-api.us-east-1.amazonaws.com does not resolve"},
	{name: "nothing listens", as: caller, change: url(func(string) string { return "http://127.0.0.1:1/v1" }),
		cause: "reachable", found: "refused", fix: "firewall"},
	{name: "a web page in place of the API", as: caller, change: replaceAPI(func(w http.ResponseWriter,
		_ *http.Request) {
		http.Error(w, "<html>", 404)
	}), cause: "reachable", found: "HTTP 404", fix: "ApiUrl"},
	{name: "a proxy that requires a login", as: caller, change: replaceAPI(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://sso.example/", http.StatusFound)
	}),
		cause: "reachable", found: "redirects", fix: "between here and AWS"},
	{name: "an API without authorization", as: caller,
		change: replaceAPI(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token":"x"}`) }),
		cause:  "reachable", found: "accepts unsigned requests", fix: "AWS_IAM"},
	{name: "a proxy that changes requests", as: caller, change: func(w *harness) {
		api := w.config.URL
		replaceAPI(func(rw http.ResponseWriter, r *http.Request) {
			on, _ := http.NewRequestWithContext(r.Context(), r.Method, strings.TrimSuffix(api, "/v1")+r.URL.Path+"?via=proxy",
				nil)
			on.Header = r.Header.Clone()
			resp, err := http.DefaultClient.Do(on)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			rw.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(rw, resp.Body)
		})(w)
	}, cause: "allowed", found: "signature is wrong, though STS accepts", fix: "proxy"},
	{name: "an explicit deny", as: caller,
		change: gateway(403, unauthorized+` with an explicit deny in a service control policy"}`), cause: "allowed",
		found: "denies it explicitly", fix: "service control policies"},
	{name: "a denial without a reason", as: caller, change: gateway(403, unauthorized+`"}`),
		cause: "allowed", found: "role/billing may not", fix: "both are needed in another account"},
	{name: "a firewall in front of the API", as: caller, change: gateway(403, `{"message":"Forbidden"}`),
		cause: "allowed", found: "Forbidden", fix: "ApiUrl"},
	{name: "an unknown message from API Gateway", as: caller, change: gateway(403, `{"message":"Not on a Sunday"}`),
		cause: "allowed", found: "Not on a Sunday", fix: "access log"},
	{name: "too many requests", as: caller, change: gateway(429, `{"message":"Too Many Requests"}`),
		cause: "token", found: "throttles", fix: "reuse a token"},
	{name: "a function that times out", as: caller, change: gateway(504, `{"message":"Endpoint request timed out"}`),
		cause: "token", found: "timed out", fix: "salesforce_ms"},
	{name: "a response that is not a token", as: caller, change: gateway(200, `{}`), cause: "allowed",
		found: "no token in response", fix: "ApiUrl"},
	{name: "a defect of the function", as: caller,
		change: gateway(500, `{"error":"server_error","error_description":"x","request_id":"r1"}`), cause: "token",
		found: "[request r1]", fix: "report it"},
	{name: "the owner's account without an identity policy", change: func(w *harness) {
		p := owner
		p.Invoke = []string{"GET/tokens/erp"}
		w.keys.Add(p)
	}, cause: "allowed", found: "none of your policies allows it",
		fix: "arn:aws:execute-api:us-east-1:111111111111:a1b2c3/v1/GET/tokens/crm"},
	{name: "another account without an identity policy", as: caller, change: func(w *harness) {
		p := caller
		p.Invoke = nil
		w.keys.Add(p)
	}, cause: "allowed", found: "role/billing may not", fix: "arn:aws:execute-api:us-east-1:*:a1b2c3/v1/GET/tokens/crm"},
	{name: "an account that the API does not admit", as: caller, change: func(w *harness) {
		w.as.AccessKeyID, w.as.Account = "ASIATESTFOREIGN", "333333333333"
		w.as.ARN = "arn:aws:sts::333333333333:assumed-role/reports/eve"
		w.keys.Add(w.as)
	}, cause: "allowed", found: "does not admit your account", fix: "account 333333333333 in AllowedAccounts"},
	{name: "a role that the secret does not list", as: caller, change: func(w *harness) {
		w.change(map[string]any{"allowedPrincipals": []string{"arn:aws:iam::222222222222:role/other"}})
	},
		cause: "token", found: "access_denied", fix: "must add arn:aws:iam::222222222222:role/billing to allowedPrincipals"},
	{name: "an owner that the secret does not list",
		change: func(w *harness) { w.change(map[string]any{"allowedPrincipals": []string{"222222222222"}}) }, cause: "token",
		found: "access_denied", fix: "user/owner to allowedPrincipals", also: []string{"principals"}},
	{name: "an unknown app, as a caller", as: caller, change: func(w *harness) { w.config.App = "erp" },
		cause: "token", found: "unknown_app", fix: "check the app's name", also: []string{"secret"}},
	{name: "an app without a secret", change: func(w *harness) { w.config.App = "erp" },
		cause: "secret", found: "has no secret sftoken/erp", fix: "sftoken secret put erp", also: []string{"token"}},
	{name: "a secret that the function may not read", change: func(w *harness) {
		w.refuse = func(p localaws.Principal, _ string) error {
			if p.AccessKeyID != functions.AccessKeyID {
				return nil
			}
			return &localaws.AuthError{Type: "AccessDenied", Message: "no"}
		}
	}, cause: "token", found: "unknown_app", fix: "the function may not read it"},
	{name: "a function with an invalid setting", as: caller, settings: map[string]string{"MIN_TTL": "never"},
		change: func(*harness) {}, cause: "token", found: "HTTP 502", fix: "an invalid setting"},
	{name: "Secrets Manager is down for the function", as: caller, change: func(w *harness) {
		w.config.Timeout = 2 * time.Second
		w.aws.InjectFault("GetSecretValue", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
	}, cause: "token", found: "temporarily_unavailable", fix: "try again"},
}
