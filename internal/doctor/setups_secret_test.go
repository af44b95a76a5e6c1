package doctor_test

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// unreadable makes Secrets Manager answer so to GetSecretValue, but to the function.
func unreadable(failure *localaws.AuthError) func(w *harness) {
	return func(w *harness) {
		w.refuse = func(p localaws.Principal, operation string) error {
			if p.AccessKeyID == functions.AccessKeyID || operation != "GetSecretValue" {
				return nil
			}
			return failure
		}
	}
}

// stored stores fields in place of the good ones.
func stored(fields map[string]any) func(w *harness) { return func(w *harness) { w.change(fields) } }

// with stores the value as text, changed.
func with(change func(w *harness, value string) string) func(w *harness) {
	return func(w *harness) { w.put(change(w, encode(w.value()))) }
}

var secretSetUps = []setup{
	{name: "a secret that is going to be deleted", change: func(w *harness) {
		_, err := w.secrets.DeleteSecret(w.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "secret", found: "going to be deleted", fix: "restore-secret", also: []string{"token"}},
	{name: "a secret without a value", change: func(w *harness) {
		w.config.App = "new"
		_, err := w.secrets.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("sftoken/new")})
		w.must(err)
		w.config.URL = ""
	}, cause: "value", found: "no value yet", fix: "sftoken secret put new", also: []string{"address", "schedule"}},
	{name: "the placeholder of the deployment", change: with(func(*harness, string) string {
		return `{"consumerKey":"replace-me","consumerSecret":"replace-me","baseUri":"https://replace-me.my.salesforce.com"}`
	}), cause: "value", found: "placeholder", fix: "sftoken secret put crm", also: []string{"token"}},
	{name: "text that is no JSON", change: with(func(_ *harness, value string) string { return value[1:] }),
		cause: "value", found: "not a JSON object", fix: "--replace", also: []string{"token"}},
	{name: "a field that is missing", change: stored(map[string]any{"consumerSecret": nil}),
		cause: "value", found: "consumerSecret is missing", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a list of principals that means nothing", change: stored(map[string]any{"allowedPrincipals": []string{"everybody"}}),
		cause: "principals", found: "allowedPrincipals: entry 1", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a binary value", change: func(w *harness) {
		_, err := w.secrets.PutSecretValue(w.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("sftoken/crm"), SecretBinary: []byte(encode(w.value()))})
		w.must(err)
	}, cause: "value", found: "binary", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a value that the owner may not read", change: unreadable(&localaws.AuthError{Type: "AccessDenied", Message: "not authorized"}),
		cause: "value", status: doctor.Skipped, found: "may not read it"},
	{name: "a key that the owner may not use", change: unreadable(&localaws.AuthError{Type: "AccessDenied", Message: "Access to KMS is not allowed"}),
		cause: "value", status: doctor.Skipped, found: "may not use the key"},
	{name: "white space around values", change: with(func(w *harness, value string) string {
		return strings.Replace(value, `"consumerSecret":"`, `"consumerSecret":" \n`, 1)
	}), cause: "characters", status: doctor.Warning, found: "white space around consumerSecret", fix: "store it again"},
	{name: "a byte order mark", change: with(func(_ *harness, value string) string { return "\ufeff" + value }),
		cause: "characters", status: doctor.Warning, found: "byte order mark", fix: "store it again"},
	{name: "a field whose name is not quite right", change: stored(map[string]any{"AppID": "0xI", "appId": nil}),
		cause: "value", found: "is appId meant", fix: "--replace", also: []string{"token"}},
	{name: "a field that others call so", change: stored(map[string]any{"principals": []string{"222222222222"}}),
		cause: "characters", status: doctor.Warning, found: "do you mean allowedPrincipals", fix: "store it again"},
	{name: "a character that does not show", change: with(func(_ *harness, value string) string {
		return strings.Replace(value, `"consumerSecret":"`, `"consumerSecret":"\u200b`, 1)
	}), cause: "characters", found: "characters that do not show", fix: "from Setup once more", also: []string{"login", "in-use", "main-pair"}, logins: 2},
	{name: "quotation marks inside a value", change: with(func(_ *harness, value string) string {
		return strings.Replace(value, `"consumerKey":"`, `"consumerKey":"\"`, 1)
	}), cause: "characters", found: "quotation marks", fix: "from Setup once more", also: []string{"login", "in-use", "main-pair"}, logins: 2},
	{name: "key and secret in each other's place", change: func(w *harness) {
		key, secret := w.app.Credentials()
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
	{name: "the id of something else", change: func(w *harness) { w.change(map[string]any{"orgId": w.app.User.ID}) },
		cause: "ids", status: doctor.Warning, found: "orgId does not begin with 00D", fix: "Company Information", also: []string{"token", "pins"}},
	{name: "half of what rotation needs", change: stored(map[string]any{"consumerId": nil}),
		cause: "ids", status: doctor.Warning, found: "only one of", fix: "apps/oauth/usage"},
}

// app changes how the app is set up at Salesforce.
func app(change func(o *sfoauthtest.AppOptions)) func(w *harness) {
	return func(w *harness) { w.app.Change(change) }
}

// fail makes an endpoint of the org fail.
func fail(at sfoauthtest.Endpoint, fault sfoauthtest.Fault) func(w *harness) {
	return func(w *harness) {
		w.config.Timeout = 2 * time.Second
		w.org.InjectFault(at, fault, 0)
	}
}

var loginSetUps = []setup{
	{name: "a pair that was replaced in Setup", change: func(w *harness) { w.app.Regenerate() },
		cause: "login", found: "invalid_client_id", fix: "check consumerKey", also: []string{"token"}},
	{name: "a consumer secret that is another's", change: stored(map[string]any{"consumerSecret": strings.Repeat("A", 64)}),
		cause: "login", found: "invalid_client: ", fix: "check consumerSecret", also: []string{"in-use", "main-pair"}, logins: 2},
	{name: "a pair that is too new", change: func(w *harness) { w.behind.Store(int64(-time.Second)); w.app.Regenerate(); w.change(nil) }, config: sfoauthtest.Config{PropagationDelay: time.Hour},
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
	{name: "this machine's address outside the ranges", change: func(w *harness) {
		w.vend()
		w.app.Change(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true })
	}, cause: "login", status: doctor.Warning, found: "ip restricted", fix: "this machine's address"},
	{name: "an inactive user", change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Inactive = true }) },
		cause: "login", found: "inactive user", fix: "activate", also: []string{"token"}},
	{name: "a user who may not log in", change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.LoginDenied = true }) },
		cause: "login", found: "authentication failure", fix: "check the run-as user", also: []string{"token"}},
	{name: "an org that is locked", change: func(w *harness) { w.org.SetLocked(true) },
		cause: "login", found: "inactive_org", fix: "ask Salesforce", also: []string{"token"}},
	{name: "the same, as a caller sees it", as: caller, change: app(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true }),
		cause: "token", found: "no client credentials user", fix: "set the run-as user"},
	{name: "logins spent", change: func(*harness) {}, config: sfoauthtest.Config{LoginsPerHour: 1},
		cause: "login", found: "login rate", fix: "3,600 logins an hour", also: []string{"token"}},
	{name: "Salesforce is in maintenance", change: fail(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance()),
		cause: "login", found: "maintenance", fix: "status.salesforce.com", also: []string{"token"}},
	{name: "Salesforce limits", change: fail(sfoauthtest.Token, sfoauthtest.TooManyRequests(time.Minute, false)),
		cause: "login", found: "rate_limit_exceeded", fix: "who else logs in", also: []string{"token"}},
	{name: "Salesforce hangs up", change: fail(sfoauthtest.Token, sfoauthtest.Reset()),
		cause: "login", found: "reset", fix: "let this machine reach", also: []string{"token"}},
	{name: "an answer that is not Salesforce's", change: fail(sfoauthtest.Token, sfoauthtest.WrongSignature()),
		cause: "login", found: "signature is wrong", fix: "proxy", also: []string{"token"}},
	{name: "a My Domain that was renamed", change: func(w *harness) { w.org.Rename("https://new.my.salesforce.com") },
		cause: "login", found: "redirects to https://new.my.salesforce.com", fix: "https://new.my.salesforce.com", also: []string{"token"}},
	{name: "a pair that never worked, with the secret of the one before", change: func(w *harness) {
		w.vend()
		w.change(map[string]any{"consumerKey": "3MVG9wrong"})
	}, cause: "in-use", status: doctor.Warning, found: "labelled AWSPREVIOUS", fix: "see login", also: []string{"login", "main-pair"}},
	{name: "a pair of another org", change: stored(map[string]any{"orgId": "00D000000000001AAA"}),
		cause: "pins", found: "orgId is 00D000000000001AAA", fix: "the right org", also: []string{"token"}},
	{name: "a pair of another user", change: stored(map[string]any{"userId": "005000000000001AAA"}),
		cause: "pins", found: "userId is 005000000000001AAA", fix: "orgId and userId", also: []string{"token"}},
	{name: "callers live on the pair before", change: stored(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong"}),
		cause: "in-use", status: doctor.Warning, found: "labelled AWSPREVIOUS", fix: "see login", also: []string{"login", "main-pair"}, logins: 2},
	{name: "the API uses another secret", change: func(w *harness) {
		w.config.Prefix = "other/"
		key, secret := w.org.AddApp(sfoauthtest.AppOptions{IntrospectsAll: true}).Credentials()
		_, err := w.secrets.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String("other/crm"), SecretString: aws.String(encode(map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL})),
		})
		w.must(err)
	}, cause: "in-use", status: doctor.Warning, found: "not in this secret", fix: "--prefix", also: []string{"schedule"}, logins: 2},
}
