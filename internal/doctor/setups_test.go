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
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// alone takes everything from the environment that AWS credentials could come from.
func (w *world) alone() {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
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

var callerSetUps = []setUp{
	{name: "no AWS credentials on this machine", change: (*world).alone, cause: "credentials", found: "there are none", fix: "aws sso login"},
	{name: "an AWS profile that there is not", change: func(w *world) {
		w.alone()
		w.Setenv("AWS_PROFILE", "nosuch")
	}, cause: "credentials", found: "nosuch", fix: "AWS_PROFILE"},
	{name: "an access key that AWS does not know", change: func(w *world) { w.as.AccessKeyID = "AKIADELETED" },
		cause: "identity", found: "does not know the access key", fix: "deleted or switched off", also: []string{"allowed"}},
	{name: "a session without its token", as: oncall, change: func(w *world) { w.as.SessionToken = "" },
		cause: "identity", found: "does not know the access key", fix: "AWS_SESSION_TOKEN", also: []string{"allowed"}},
	{name: "a session that has expired", as: caller, change: func(w *world) {
		expired := caller
		expired.Expires = time.Now().Add(-time.Minute)
		w.keys.Add(expired)
	}, cause: "identity", found: "expired", fix: "log in to AWS", also: []string{"allowed"}},
	{name: "the secret access key of another key", as: caller, change: func(w *world) { w.as.SecretAccessKey = "another" },
		cause: "identity", found: "does not belong", fix: "log in to AWS", also: []string{"allowed"}},
	{name: "a clock that is slow", change: func(w *world) { w.awsAhead.Store(int64(10 * time.Minute)) },
		cause: "identity", found: "10 minutes slow", fix: "NTP", also: []string{"allowed"}},
	{name: "a clock that is fast", as: caller, change: func(w *world) { w.awsAhead.Store(int64(-10 * time.Minute)) },
		cause: "identity", found: "minutes fast", fix: "NTP", also: []string{"allowed"}},
	{name: "another region than the API's", change: func(w *world) { w.elsewhere("eu-west-1") },
		cause: "identity", found: "eu-west-1", fix: "AWS_REGION", also: []string{"allowed"}},
}

func (w *world) elsewhere(region string) {
	load := w.config.Load
	w.config.Load = func(ctx context.Context) (aws.Config, error) {
		config, err := load(ctx)
		config.Region = region
		return config, err
	}
}

// url changes the API's address.
func url(change func(string) string) func(w *world) {
	return func(w *world) { w.config.URL = change(w.config.URL) }
}

// instead serves something else in place of the API.
func instead(h http.HandlerFunc) func(w *world) {
	return func(w *world) { w.config.URL = w.serve(h) + "/v1" }
}

// tls serves the API with a certificate for example.com.
func (w *world) tls() *httptest.Server {
	server := httptest.NewUnstartedServer(w.gateway())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	server.StartTLS()
	w.Cleanup(server.Close)
	return server
}

// overTLS makes doctor find the API at AWS's own address, as DNS would, and takes its certificate for the name's.
func (w *world) overTLS(name string) {
	server := w.tls()
	transport := server.Client().Transport.(*http.Transport)
	if strings.HasSuffix(strings.TrimSuffix(name, "/v1"), "amazonaws.com") {
		transport.TLSClientConfig.ServerName = "example.com"
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ".amazonaws.com:443") {
			address = server.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	w.config.HTTPClient = &http.Client{Transport: transport}
}

// gateway serves an API Gateway that answers so to every signed request.
func gateway(status int, body string) func(w *world) {
	return instead(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprint(rw, `{"message":"Missing Authentication Token"}`)
			return
		}
		rw.WriteHeader(status)
		fmt.Fprint(rw, body)
	})
}

// unauthorized is what API Gateway says of a caller whom IAM does not let in, up to the reason.
const unauthorized = `{"Message":"User: arn:aws:sts::222222222222:assumed-role/billing/bob is not authorized to perform: ` +
	`execute-api:Invoke on resource: arn:aws:execute-api:us-east-1:********1111:a1b2c3/v1/GET/tokens/crm`

var apiSetUps = []setUp{
	{name: "no address, and no sight of the secret", as: caller, change: url(func(string) string { return "" }),
		cause: "secret", found: "may not see", fix: "--url"},
	{name: "an address that is no URL", as: caller, change: url(func(string) string { return "api.example" }),
		cause: "address", found: "not a URL", fix: "ApiUrl"},
	{name: "http to another machine", as: caller, change: url(func(string) string { return "http://api.example/v1" }),
		cause: "address", found: "http", fix: "https://api.example/v1"},
	{name: "an address with the path", as: caller, change: url(func(u string) string { return u + "/tokens/crm" }),
		cause: "address", found: "path", fix: "/v1"},
	{name: "API Gateway's address without a stage", as: caller, change: url(func(string) string { return "https://abcdef1234.execute-api.us-east-1.amazonaws.com/" }),
		cause: "address", found: "no stage", fix: "amazonaws.com/v1"},
	{name: "a stage that there is not", as: caller, change: url(func(u string) string { return u + "2" }),
		cause: "reachable", found: "Forbidden", fix: "ApiUrl"},
	{name: "a path that there is not", as: caller, change: url(func(u string) string { return u + "/api" }),
		cause: "allowed", found: "Missing Authentication Token", fix: "ApiUrl"},
	{name: "AWS_REGION is another than the API's", change: func(w *world) {
		w.elsewhere("eu-west-1")
		w.config.URL = "https://a1b2c3.execute-api.us-east-1.amazonaws.com/v1"
		w.overTLS(w.config.URL)
	}, cause: "address", status: doctor.Warning, found: "us-east-1 and AWS_REGION says eu-west-1", fix: "AWS_REGION=us-east-1"},
	{name: "a certificate that nobody here trusts", as: caller, change: func(w *world) { w.config.URL = w.tls().URL + "/v1" },
		cause: "reachable", found: "certificate", fix: "trust its authority"},
	{name: "a certificate in another name", as: caller, change: func(w *world) {
		w.config.URL = "https://a1b2c3.execute-api.us-east-1.amazonaws.com/v1"
		w.overTLS("https://example.com")
	}, cause: "reachable", found: "certificate", fix: "somebody else answers in the name of a1b2c3.execute-api"},
	{name: "an API whose name is not known here", as: caller, change: func(w *world) {
		w.config.URL = "https://a1b2c4.execute-api.us-east-1.amazonaws.com/v1"
		w.config.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "a1b2c4.execute-api.us-east-1.amazonaws.com", IsNotFound: true}}
		}}}
	}, cause: "reachable", found: "no such host", fix: "there is no host a1b2c4.execute-api"},
	{name: "nothing listens", as: caller, change: url(func(string) string { return "http://127.0.0.1:1/v1" }),
		cause: "reachable", found: "refused", fix: "firewall"},
	{name: "a page in place of the API", as: caller, change: instead(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 404) }),
		cause: "reachable", found: "HTTP 404", fix: "ApiUrl"},
	{name: "a proxy that wants a log-in", as: caller, change: instead(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://sso.example/", http.StatusFound)
	}),
		cause: "reachable", found: "redirects", fix: "between here and AWS"},
	{name: "an API that anybody may call", as: caller, change: instead(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token":"x"}`) }),
		cause: "reachable", found: "nobody has signed", fix: "AWS_IAM"},
	{name: "a proxy that changes requests", as: caller, change: func(w *world) {
		api := w.config.URL
		instead(func(rw http.ResponseWriter, r *http.Request) {
			on, _ := http.NewRequestWithContext(r.Context(), r.Method, strings.TrimSuffix(api, "/v1")+r.URL.Path+"?via=proxy", nil)
			on.Header = r.Header.Clone()
			resp, err := http.DefaultClient.Do(on)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			rw.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(rw, resp.Body)
		})(w)
	}, cause: "allowed", found: "signature is wrong, though AWS accepts", fix: "proxy"},
	{name: "a Deny in some policy", as: caller, change: gateway(403, unauthorized+` with an explicit deny in a service control policy"}`),
		cause: "allowed", found: "denies it explicitly", fix: "service control policies"},
	{name: "a refusal that gives no reason", as: caller, change: gateway(403, unauthorized+`"}`),
		cause: "allowed", found: "role/billing may not", fix: "both are needed in another account"},
	{name: "a firewall in front of the API", as: caller, change: gateway(403, `{"message":"Forbidden"}`),
		cause: "allowed", found: "Forbidden", fix: "ApiUrl"},
	{name: "an answer of API Gateway that is new", as: caller, change: gateway(403, `{"message":"Not on a Sunday"}`),
		cause: "allowed", found: "Not on a Sunday", fix: "access log"},
	{name: "too many requests", as: caller, change: gateway(429, `{"message":"Too Many Requests"}`),
		cause: "token", found: "throttles", fix: "reuse a token"},
	{name: "a function that takes too long", as: caller, change: gateway(504, `{"message":"Endpoint request timed out"}`),
		cause: "token", found: "in time", fix: "salesforce_ms"},
	{name: "an answer that is no token", as: caller, change: gateway(200, `{}`), cause: "allowed", found: "not a token", fix: "ApiUrl"},
	{name: "a defect of the function", as: caller, change: gateway(500, `{"error":"server_error","error_description":"x","request_id":"r1"}`),
		cause: "token", found: "[request r1]", fix: "report it"},
	{name: "the owner's account without an identity policy", change: func(w *world) {
		p := owner
		p.Invoke = []string{"GET/tokens/erp"}
		w.keys.Add(p)
	}, cause: "allowed", found: "no policy of yours", fix: "arn:aws:execute-api:us-east-1:111111111111:a1b2c3/v1/GET/tokens/crm"},
	{name: "another account without an identity policy", as: caller, change: func(w *world) {
		p := caller
		p.Invoke = nil
		w.keys.Add(p)
	}, cause: "allowed", found: "role/billing may not", fix: "arn:aws:execute-api:us-east-1:*:a1b2c3/v1/GET/tokens/crm"},
	{name: "an account that the API does not admit", as: caller, change: func(w *world) {
		w.as.AccessKeyID, w.as.Account, w.as.ARN = "ASIATESTFOREIGN", "333333333333", "arn:aws:sts::333333333333:assumed-role/reports/eve"
		w.keys.Add(w.as)
	}, cause: "allowed", found: "does not admit your account", fix: "account 333333333333 among AllowedAccounts"},
	{name: "a role that the secret does not list", as: caller, change: func(w *world) {
		w.change(map[string]any{"allowedPrincipals": []string{"arn:aws:iam::222222222222:role/other"}})
	},
		cause: "token", found: "access_denied", fix: "adds arn:aws:iam::222222222222:role/billing to allowedPrincipals"},
	{name: "the owner, whom the secret does not list", change: func(w *world) { w.change(map[string]any{"allowedPrincipals": []string{"222222222222"}}) },
		cause: "token", found: "access_denied", fix: "user/owner to allowedPrincipals", also: []string{"principals"}},
	{name: "an app that there is not, for a caller", as: caller, change: func(w *world) { w.config.App = "erp" },
		cause: "token", found: "unknown_app", fix: "check the app's name", also: []string{"secret"}},
	{name: "an app that nobody has stored", change: func(w *world) { w.config.App = "erp" },
		cause: "secret", found: "has no secret sftoken/erp", fix: "sftoken secret put erp", also: []string{"token"}},
	{name: "a secret that the function may not read", change: func(w *world) {
		w.refuse = func(p localaws.Principal, _ string) error {
			if p.AccessKeyID != functions.AccessKeyID {
				return nil
			}
			return &localaws.AuthError{Type: "AccessDenied", Message: "no"}
		}
	}, cause: "token", found: "unknown_app", fix: "the function may not read it"},
	{name: "a function with a setting that does not parse", as: caller, settings: map[string]string{"MIN_TTL": "never"}, change: func(*world) {},
		cause: "token", found: "HTTP 502", fix: "a setting that does not parse"},
	{name: "Secrets Manager is down for the function", as: caller, change: func(w *world) {
		w.config.Timeout = 2 * time.Second
		w.aws.Fail("GetSecretValue", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
	}, cause: "token", found: "temporarily_unavailable", fix: "try again"},
}

// unreadable makes Secrets Manager answer so to GetSecretValue, but to the function.
func unreadable(failure *localaws.AuthError) func(w *world) {
	return func(w *world) {
		w.refuse = func(p localaws.Principal, operation string) error {
			if p.AccessKeyID == functions.AccessKeyID || operation != "GetSecretValue" {
				return nil
			}
			return failure
		}
	}
}

// stored stores fields in place of the good ones.
func stored(fields map[string]any) func(w *world) { return func(w *world) { w.change(fields) } }

// with stores the value as text, changed.
func with(change func(w *world, value string) string) func(w *world) {
	return func(w *world) { w.put(change(w, encode(w.value()))) }
}

var secretSetUps = []setUp{
	{name: "a secret that is going to be deleted", change: func(w *world) {
		_, err := w.secrets.DeleteSecret(w.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "secret", found: "going to be deleted", fix: "restore-secret", also: []string{"token"}},
	{name: "a secret without a value", change: func(w *world) {
		w.config.App = "new"
		_, err := w.secrets.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("sftoken/new")})
		w.must(err)
		w.config.URL = ""
	}, cause: "value", found: "no value yet", fix: "sftoken secret put new", also: []string{"schedule"}},
	{name: "the placeholder of the deployment", change: with(func(*world, string) string {
		return `{"consumerKey":"replace-me","consumerSecret":"replace-me","baseUri":"https://replace-me.my.salesforce.com"}`
	}), cause: "value", found: "placeholder", fix: "sftoken secret put crm", also: []string{"token"}},
	{name: "text that is no JSON", change: with(func(_ *world, value string) string { return value[1:] }),
		cause: "value", found: "not a JSON object", fix: "sftoken secret put crm", also: []string{"token"}},
	{name: "a field that is missing", change: stored(map[string]any{"consumerSecret": nil}),
		cause: "value", found: "consumerSecret is missing", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a list of principals that means nothing", change: stored(map[string]any{"allowedPrincipals": []string{"everybody"}}),
		cause: "value", found: "allowedPrincipals", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a binary value", change: func(w *world) {
		_, err := w.secrets.PutSecretValue(w.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("sftoken/crm"), SecretBinary: []byte(encode(w.value()))})
		w.must(err)
	}, cause: "value", found: "binary", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a value that the owner may not read", change: unreadable(&localaws.AuthError{Type: "AccessDenied", Message: "not authorized"}),
		cause: "value", status: doctor.Skipped, found: "may not read it"},
	{name: "a key that the owner may not use", change: unreadable(&localaws.AuthError{Type: "AccessDenied", Message: "Access to KMS is not allowed"}),
		cause: "value", status: doctor.Skipped, found: "may not use the key"},
	{name: "white space around values", change: with(func(w *world, value string) string {
		return strings.Replace(value, `"consumerSecret":"`, `"consumerSecret":" \n`, 1)
	}), cause: "characters", status: doctor.Warning, found: "white space around consumerSecret", fix: "store it again"},
	{name: "a byte order mark", change: with(func(_ *world, value string) string { return "\ufeff" + value }),
		cause: "characters", status: doctor.Warning, found: "byte order mark", fix: "store it again"},
	{name: "a field whose name is not quite right", change: stored(map[string]any{"AppID": "0xI", "appId": nil}),
		cause: "characters", status: doctor.Warning, found: "do you mean appId", fix: "store it again", also: []string{"ids"}},
	{name: "a character that does not show", change: with(func(_ *world, value string) string {
		return strings.Replace(value, `"consumerSecret":"`, `"consumerSecret":"\u200b`, 1)
	}), cause: "characters", found: "characters that do not show", fix: "from Setup once more", also: []string{"login", "in-use", "main-pair"}, logins: 2},
	{name: "quotation marks inside a value", change: with(func(_ *world, value string) string {
		return strings.Replace(value, `"consumerKey":"`, `"consumerKey":"\"`, 1)
	}), cause: "characters", found: "quotation marks", fix: "from Setup once more", also: []string{"login", "in-use", "main-pair"}, logins: 2},
	{name: "key and secret in each other's place", change: func(w *world) {
		key, secret := w.app.Pair()
		w.change(map[string]any{"consumerKey": secret, "consumerSecret": key})
	}, cause: "characters", found: "look swapped", fix: "from Setup once more", also: []string{"login", "in-use", "main-pair"}, logins: 2},
	{name: "login.salesforce.com", change: stored(map[string]any{"baseUri": "https://login.salesforce.com"}),
		cause: "my-domain", found: "login.salesforce.com", fix: "serves all orgs", also: []string{"token"}},
	{name: "test.salesforce.com", change: stored(map[string]any{"baseUri": "https://test.salesforce.com/"}),
		cause: "my-domain", found: "test.salesforce.com", fix: "setup step 3", also: []string{"token"}},
	{name: "a Lightning address", change: stored(map[string]any{"baseUri": "https://acme--dev.sandbox.lightning.force.com"}),
		cause: "my-domain", found: "lightning", fix: "https://acme--dev.sandbox.my.salesforce.com:", also: []string{"token"}},
	{name: "a Setup address", change: stored(map[string]any{"baseUri": "https://acme.my.salesforce-setup.com"}),
		cause: "my-domain", found: "salesforce-setup", fix: "https://acme.my.salesforce.com:", also: []string{"token"}},
	{name: "an address with a path", change: stored(map[string]any{"baseUri": "https://acme.my.salesforce.com/services/oauth2/token"}),
		cause: "my-domain", found: "alone", fix: "set baseUri to https://acme.my.salesforce.com", also: []string{"token"}},
	{name: "an address with http", change: stored(map[string]any{"baseUri": "http://acme.my.salesforce.com"}),
		cause: "my-domain", found: "https", fix: "set baseUri to https://acme.my.salesforce.com", also: []string{"token"}},
	{name: "an address without a scheme", change: stored(map[string]any{"baseUri": "acme.my.salesforce.com"}),
		cause: "my-domain", found: "absolute", fix: "set baseUri to https://acme.my.salesforce.com", also: []string{"token"}},
	{name: "a host that is nobody's", change: stored(map[string]any{"baseUri": "https://salesforce.acme.example"}),
		cause: "my-domain", found: "not a My Domain", fix: "SALESFORCE_HOSTS", also: []string{"token"}},
	{name: "an app id that is none", change: stored(map[string]any{"appId": "CRM"}),
		cause: "ids", found: "appId is not a record id", fix: "apps/oauth/usage", also: []string{"permissions"}},
	{name: "the id of something else", change: func(w *world) { w.change(map[string]any{"orgId": w.app.User.ID}) },
		cause: "ids", status: doctor.Warning, found: "orgId does not begin with 00D", fix: "Company Information", also: []string{"token", "pins"}},
	{name: "half of what rotation needs", change: stored(map[string]any{"consumerId": nil}),
		cause: "ids", status: doctor.Warning, found: "only one of", fix: "apps/oauth/usage"},
}

// app changes how the app is set up at Salesforce.
func app(change func(o *sfoauthtest.AppOptions)) func(w *world) {
	return func(w *world) { w.app.Change(change) }
}

// fail makes an endpoint of the org fail.
func fail(at sfoauthtest.Endpoint, fault sfoauthtest.Fault) func(w *world) {
	return func(w *world) {
		w.config.Timeout = 2 * time.Second
		w.org.Fail(at, fault, 0)
	}
}

var loginSetUps = []setUp{
	{name: "a pair that was replaced in Setup", change: func(w *world) { w.app.Regenerate() },
		cause: "login", found: "invalid_client_id", fix: "check consumerKey", also: []string{"token"}},
	{name: "a consumer secret that is another's", change: stored(map[string]any{"consumerSecret": strings.Repeat("A", 64)}),
		cause: "login", found: "invalid_client: ", fix: "check consumerSecret", also: []string{"in-use", "main-pair"}, logins: 2},
	{name: "a pair that is too new", change: func(w *world) { w.behind.Store(int64(-time.Second)); w.app.Regenerate(); w.change(nil) }, config: sfoauthtest.Config{PropagationDelay: time.Hour},
		cause: "login", found: "invalid_client_id", fix: "may take 10 minutes", also: []string{"token"}},
	{name: "the flow is off", change: app(func(o *sfoauthtest.AppOptions) { o.FlowOff = true }),
		cause: "login", found: "unsupported_grant_type", fix: "switch on the client credentials flow", also: []string{"token"}},
	{name: "no run-as user", change: app(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true }),
		cause: "login", found: "no client credentials user", fix: "set the run-as user", also: []string{"token"}},
	{name: "no scopes", change: app(func(o *sfoauthtest.AppOptions) { o.NoScopes = true }),
		cause: "login", found: "no valid scopes", fix: "api scope", also: []string{"token"}},
	{name: "an app that is not installed", change: app(func(o *sfoauthtest.AppOptions) { o.NotInstalled = true }),
		cause: "login", found: "app_not_found", fix: "install the app", also: []string{"token"}},
	{name: "an app that is blocked", change: app(func(o *sfoauthtest.AppOptions) { o.Blocked = true }),
		cause: "login", found: "OAUTH_APP_BLOCKED", fix: "unblock", also: []string{"token"}},
	{name: "a user who has not approved the app", change: app(func(o *sfoauthtest.AppOptions) { o.NotApproved = true }),
		cause: "login", found: "hasn't approved", fix: "pre-authorize", also: []string{"token"}},
	{name: "a user who is not pre-authorized", change: app(func(o *sfoauthtest.AppOptions) { o.NotAdminApproved = true }),
		cause: "login", found: "invalid_app_access", fix: "pre-authorize", also: []string{"token"}},
	{name: "an address outside the ranges", change: app(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true }),
		cause: "login", found: "ip restricted", fix: "IP policy", also: []string{"token"}},
	{name: "this machine's address outside the ranges", change: func(w *world) {
		w.vend()
		w.app.Change(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true })
	}, cause: "login", status: doctor.Warning, found: "ip restricted", fix: "this machine's address"},
	{name: "an inactive user", change: func(w *world) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Inactive = true }) },
		cause: "login", found: "inactive user", fix: "activate", also: []string{"token"}},
	{name: "a user who may not log in", change: func(w *world) { w.userChange(func(u *sfoauthtest.UserOptions) { u.LoginDenied = true }) },
		cause: "login", found: "authentication failure", fix: "check the run-as user", also: []string{"token"}},
	{name: "an org that is locked", change: func(w *world) { w.org.SetLocked(true) },
		cause: "login", found: "inactive_org", fix: "ask Salesforce", also: []string{"token"}},
	{name: "the same, as a caller sees it", as: caller, change: app(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true }),
		cause: "token", found: "no client credentials user", fix: "set the run-as user"},
	{name: "logins spent", change: func(*world) {}, config: sfoauthtest.Config{LoginsPerHour: 1},
		cause: "login", found: "login rate", fix: "3,600 logins an hour", also: []string{"token"}},
	{name: "Salesforce is in maintenance", change: fail(sfoauthtest.Everything, sfoauthtest.Maintenance()),
		cause: "login", found: "maintenance", fix: "status.salesforce.com", also: []string{"token"}},
	{name: "Salesforce limits", change: fail(sfoauthtest.Token, sfoauthtest.TooManyRequests(time.Minute, false)),
		cause: "login", found: "rate_limit_exceeded", fix: "who else logs in", also: []string{"token"}},
	{name: "Salesforce hangs up", change: fail(sfoauthtest.Token, sfoauthtest.Reset()),
		cause: "login", found: "reset", fix: "let this machine reach", also: []string{"token"}},
	{name: "an answer that is not Salesforce's", change: fail(sfoauthtest.Token, sfoauthtest.WrongSignature()),
		cause: "login", found: "signature is wrong", fix: "proxy", also: []string{"token"}},
	{name: "a pair of another org", change: stored(map[string]any{"orgId": "00D000000000001AAA"}),
		cause: "pins", found: "orgId is 00D000000000001AAA", fix: "the right org", also: []string{"token"}},
	{name: "a pair of another user", change: stored(map[string]any{"userId": "005000000000001AAA"}),
		cause: "pins", found: "userId is 005000000000001AAA", fix: "orgId and userId", also: []string{"token"}},
	{name: "callers live on the pair before", change: stored(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong"}),
		cause: "in-use", status: doctor.Warning, found: "labelled AWSPREVIOUS", fix: "see login", also: []string{"login", "main-pair"}, logins: 2},
	{name: "the API uses another secret", change: func(w *world) {
		w.config.Prefix = "other/"
		key, secret := w.org.AddApp(sfoauthtest.AppOptions{IntrospectsAll: true}).Pair()
		_, err := w.secrets.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String("other/crm"), SecretString: aws.String(encode(map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL})),
		})
		w.must(err)
	}, cause: "in-use", status: doctor.Warning, found: "not in this secret", fix: "--prefix", also: []string{"schedule"}, logins: 2},
}

var salesforceSetUps = []setUp{
	{name: "a frozen user", change: func(w *world) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) },
		cause: "rest-api", found: "INVALID_SESSION_ID", fix: "unfreeze", also: []string{"permissions"}},
	{name: "a frozen user, as a caller sees it", as: caller, change: func(w *world) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) },
		cause: "rest-api", found: "INVALID_SESSION_ID", fix: "unfreeze"},
	{name: "a user frozen since, as a caller sees it", as: caller, change: func(w *world) {
		w.vend()
		w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true })
	}, cause: "rest-api", found: "INVALID_SESSION_ID", fix: "the API says that the session is alive, so its user may not use it: unfreeze"},
	{name: "no api scope", change: app(func(o *sfoauthtest.AppOptions) { o.Scope = "id" }),
		cause: "scope", found: "without api", fix: "api scope", also: []string{"rest-api", "permissions"}},
	{name: "too much scope", change: app(func(o *sfoauthtest.AppOptions) { o.Scope = "full" }),
		cause: "scope", status: doctor.Warning, found: "everything", fix: "api alone"},
	{name: "a user without API Enabled", as: caller, change: fail(sfoauthtest.REST, sfoauthtest.Refusal(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization.")),
		cause: "rest-api", found: "API_DISABLED_FOR_ORG", fix: "API Enabled"},
	{name: "requests spent", as: caller, change: fail(sfoauthtest.REST, sfoauthtest.Refusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
		cause: "rest-api", found: "REQUEST_LIMIT_EXCEEDED", fix: "Company Information"},
	{name: "Salesforce cannot be reached from here", as: caller, change: func(w *world) {
		w.vend()
		w.org.Fail(sfoauthtest.Everything, sfoauthtest.Reset(), 0)
	}, cause: "rest-api", found: "reset", fix: "let this machine reach"},
	{name: "an org of an older release", config: sfoauthtest.Config{APIVersion: 60}, change: func(*world) {},
		cause: "rest-api", status: doctor.Warning, found: "NOT_FOUND", fix: "rotation does not", also: []string{"permissions"}},
	{name: "a session that was ended", change: func(w *world) { w.vend(); w.org.RevokeAll() },
		cause: "introspection", found: "dead", fix: "--rejected", also: []string{"rest-api"}},
	{name: "a session that was ended, as a caller sees it", as: caller, change: func(w *world) { w.vend(); w.org.RevokeAll() },
		cause: "rest-api", status: doctor.Warning, found: "the API has replaced it", fix: "callers should do the same"},
	{name: "an app that may not introspect", change: app(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = true }),
		cause: "introspection", status: doctor.Warning, found: "not allowed to introspect", fix: "every 15 minutes", logins: 2},
	{name: "userinfo is down", as: caller, change: fail(sfoauthtest.UserInfo, sfoauthtest.Unavailable()),
		cause: "user", status: doctor.Warning, found: "503", fix: "for information"},
}

// long ago: what is stored from here on is so old.
func (w *world) ago(d time.Duration, store func()) {
	w.behind.Store(int64(d))
	store()
	w.behind.Store(0)
}

var rotationSetUps = []setUp{
	{name: "rotation is off", change: func(w *world) {
		_, err := w.secrets.CancelRotateSecret(w.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "RotationSchedule"},
	{name: "an app that rotates others, whose tokens nobody is to have", change: func(w *world) {
		key, secret := w.app.Pair()
		w.create("rotation", map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL, "allowedPrincipals": []string{}})
		w.config.App = "rotation"
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "RotationSchedule"},
	{name: "a rotation that is overdue", change: func(w *world) { w.ago(40*24*time.Hour, func() { w.put(w.value()) }) },
		cause: "dates", found: "overdue", fix: "sftoken rotate crm --wait"},
	{name: "a rotation that may be under way", as: oncall, change: func(w *world) { w.halfDone("createSecret") },
		cause: "unfinished", status: doctor.Warning, found: "AWSPENDING", fix: "look again"},
	{name: "a rotation that is stuck", as: oncall, change: func(w *world) { w.ago(3*time.Hour, func() { w.put(w.value()); w.halfDone("createSecret") }) },
		cause: "unfinished", found: "unchanged for 3 hours", fix: "goes on with it"},
	{name: "a candidate that waits", as: oncall, change: func(w *world) { w.put(w.value(), "CANDIDATE") },
		cause: "labels", status: doctor.Warning, found: "CANDIDATE", fix: "within minutes"},
	{name: "a candidate that nobody has tried", as: oncall, change: func(w *world) { w.ago(5*time.Hour, func() { w.put(w.value(), "CANDIDATE") }) },
		cause: "labels", found: "for 5 hours", fix: "dead letters"},
	{name: "a pair that was refused", as: oncall, change: func(w *world) { w.put(w.value(), "REJECTED") },
		cause: "labels", status: doctor.Warning, found: "REJECTED", fix: "sftoken secret stage crm"},
	{name: "a leaked pair that is current", as: oncall, change: func(w *world) { w.label("COMPROMISED", w.current()) },
		cause: "labels", found: "still in use", fix: "sftoken rotate crm --compromised"},
}

// halfDone has a rotation begin, and end at the call of Secrets Manager that the step makes.
func (w *world) halfDone(step string) {
	at := map[string]string{"createSecret": "PutSecretValue", "finishSecret": "UpdateSecretVersionStage"}[step]
	w.aws.Fail(at, localaws.Fault{Code: "AccessDeniedException"}, 0)
	w.rotateNow()
	w.aws.Heal()
}

var pairSetUps = []setUp{
	{name: "an app whose pair a person changes", change: stored(map[string]any{"appId": nil, "consumerId": nil}),
		cause: "automatic", status: doctor.Skipped, found: "a person makes each new pair"},
	{name: "a user without External Client App Developer", change: func(w *world) {
		w.userChange(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper = false })
	},
		cause: "permissions", found: "INSUFFICIENT_ACCESS", fix: "External Client App Developer"},
	{name: "a user without View Client Secret", change: func(w *world) { w.userChange(func(u *sfoauthtest.UserOptions) { u.ViewClientSecret = false }) },
		cause: "permissions", found: "INSUFFICIENT_ACCESS", fix: "View Client Secret"},
	{name: "an org that gives no secrets over REST", config: sfoauthtest.Config{NoSecretsOverREST: true}, change: func(*world) {},
		cause: "permissions", found: "NOT_FOUND", fix: "Allow access to External Client App consumer secrets"},
	{name: "another app's id", change: stored(map[string]any{"appId": "0xI000000000001AAA"}),
		cause: "permissions", found: "NOT_FOUND", fix: "appId 0xI000000000001AAA is not among"},
	{name: "another consumer's id", change: stored(map[string]any{"consumerId": "888000000000001AAA"}),
		cause: "permissions", found: "NOT_FOUND", fix: "consumerId 888000000000001AAA is not the app's"},
	{name: "an admin app that nobody has stored", change: func(w *world) { w.config.AdminApp = "admin" },
		cause: "admin", found: "the secret of admin", fix: "sftoken secret put admin"},
	{name: "an admin app that is refused", change: func(w *world) {
		w.create("admin", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": w.orgURL})
		w.config.AdminApp = "admin"
	}, cause: "admin", found: "invalid_client_id", fix: "sftoken doctor admin", logins: 2},
	{name: "a pair replaced in Setup, while the API has a token", change: func(w *world) { w.vend(); w.app.Regenerate() },
		cause: "main-pair", found: "another than the current one", fix: "adopts the main pair", also: []string{"login"}},
	{name: "a rotation that Salesforce has done and the secret has not", change: func(w *world) {
		w.halfDone("finishSecret")
		w.token.Kill()
	}, cause: "main-pair", found: "the current pair is the old one, which works until", fix: "adopts the main pair", also: []string{"unfinished"}},
	{name: "a pair staged by an interrupted rotation", change: func(w *world) { w.stage() },
		cause: "pairs", status: doctor.Warning, found: "in no version of the secret", fix: "the next one takes it"},
	{name: "a leaked pair that still works", change: func(w *world) {
		leaked := w.current()
		w.rotateNow()
		w.label("COMPROMISED", leaked)
	}, cause: "pairs", found: "the leaked pair still works", fix: "--compromised", also: []string{"labels"}},
}

// stage stages a pair at Salesforce and stores it nowhere.
func (w *world) stage() {
	key, secret := w.app.Pair()
	client := &sfoauth.Client{BaseURL: w.orgURL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret), Hosts: w.config.Hosts}
	token, err := client.Token(w.Context())
	w.must(err)
	_, err = client.Credentials(token, w.app.ID, w.app.ConsumerID).Stage(w.Context())
	w.must(err)
}
