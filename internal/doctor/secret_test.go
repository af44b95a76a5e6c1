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

// unreadable makes GetSecretValue fail for every caller but the functions.
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

// stored replaces fields of the value.
func stored(fields map[string]any) func(w *harness) { return func(w *harness) { w.change(fields) } }

// with changes the text of the value.
func with(change func(w *harness, value string) string) func(w *harness) {
	return func(w *harness) { w.put(change(w, encode(w.value()))) }
}

var secretSetups = []setup{
	{name: "a secret scheduled for deletion", change: func(w *harness) {
		_, err := w.secrets.DeleteSecret(w.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "secret", found: "scheduled for deletion", fix: "restore-secret", also: []string{"token"}},
	{name: "a secret without a value", change: func(w *harness) {
		w.config.App = "new"
		_, err := w.secrets.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("sftoken/new")})
		w.must(err)
		w.config.URL = ""
	}, cause: "value", found: "no value yet", fix: "sftoken secret put new", also: []string{"address", "schedule"}},
	{name: "the placeholder of the deployment", change: with(func(*harness, string) string {
		return `{"consumerKey":"replace-me","consumerSecret":"replace-me","baseUri":"https://replace-me.my.salesforce.com"}`
	}), cause: "value", found: "placeholder", fix: "sftoken secret put crm", also: []string{"token"}},
	{name: "a value that is not JSON", change: with(func(_ *harness, value string) string { return value[1:] }),
		cause: "value", found: "not a JSON object", fix: "--replace", also: []string{"token"}},
	{name: "a missing field", change: stored(map[string]any{"consumerSecret": nil}),
		cause: "value", found: "consumerSecret is missing", fix: "sftoken secret put", also: []string{"token"}},
	{name: "an invalid list of principals", change: stored(map[string]any{"allowedPrincipals": []string{"everybody"}}),
		cause: "principals", found: "allowedPrincipals: entry 1", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a binary value", change: func(w *harness) {
		_, err := w.secrets.PutSecretValue(w.Context(),
			&secretsmanager.PutSecretValueInput{SecretId: aws.String("sftoken/crm"), SecretBinary: []byte(encode(w.value()))})
		w.must(err)
	}, cause: "value", found: "binary", fix: "sftoken secret put", also: []string{"token"}},
	{name: "a value that the owner may not read", change: unreadable(&localaws.AuthError{Type: "AccessDenied",
		Message: "not authorized"}), cause: "value", status: doctor.Skipped, found: "may not read it"},
	{name: "a key that the owner may not use", change: unreadable(&localaws.AuthError{Type: "AccessDenied",
		Message: "Access to KMS is not allowed"}), cause: "value", status: doctor.Skipped, found: "may not use the key"},
	{name: "white space around values", change: with(func(w *harness, value string) string {
		return strings.Replace(value, `"consumerSecret":"`, `"consumerSecret":" \n`, 1)
	}), cause: "characters", status: doctor.Warning, found: "white space around consumerSecret", fix: "store it again"},
	{name: "a byte order mark", change: with(func(_ *harness, value string) string { return "\ufeff" + value }),
		cause: "characters", status: doctor.Warning, found: "byte order mark", fix: "store it again"},
	{name: "a misspelt field", change: stored(map[string]any{"AppID": "0xI", "appId": nil}),
		cause: "value", found: "did you mean appId?", fix: "--replace", also: []string{"token"}},
	{name: "a synonym of a field", change: stored(map[string]any{"principals": []string{"222222222222"}}),
		cause: "characters", status: doctor.Warning, found: "did you mean allowedPrincipals", fix: "store it again"},
	{name: "an invisible character", change: with(func(_ *harness, value string) string {
		return strings.Replace(value, `"consumerSecret":"`, `"consumerSecret":"\u200b`, 1)
	}), cause: "characters", found: "invisible characters", fix: "from Setup again", also: []string{"login", "issued-by",
		"primary"}, logins: 2},
	{name: "quotation marks inside a value", change: with(func(_ *harness, value string) string {
		return strings.Replace(value, `"consumerKey":"`, `"consumerKey":"\"`, 1)
	}), cause: "characters", found: "quotation marks", fix: "from Setup again", also: []string{"login", "issued-by",
		"primary"}, logins: 2},
	{name: "swapped key and secret", change: func(w *harness) {
		key, secret := w.app.Credentials()
		w.change(map[string]any{"consumerKey": secret, "consumerSecret": key})
	}, cause: "characters", found: "look swapped", fix: "from Setup again", also: []string{"login", "issued-by",
		"primary"}, logins: 2},
	{name: "login.salesforce.com", change: stored(map[string]any{"baseUri": "https://login.salesforce.com"}),
		cause: "my-domain", found: "login.salesforce.com", fix: "serves all orgs", also: []string{"token"}},
	{name: "test.salesforce.com", change: stored(map[string]any{"baseUri": "https://test.salesforce.com/"}),
		cause: "my-domain", found: "test.salesforce.com", fix: "setup step 3", also: []string{"token"}},
	{name: "a Lightning address",
		change: stored(map[string]any{"baseUri": "https://acme--dev.sandbox.lightning.force.com"}), cause: "my-domain",
		found: "lightning", fix: "https://acme--dev.sandbox.my.salesforce.com:", also: []string{"token"}},
	{name: "a Setup address", change: stored(map[string]any{"baseUri": "https://acme.my.salesforce-setup.com"}),
		cause: "my-domain", found: "salesforce-setup", fix: "https://acme.my.salesforce.com:", also: []string{"token"}},
	{name: "an address with a path",
		change: stored(map[string]any{"baseUri": "https://acme.my.salesforce.com/services/oauth2/token"}),
		cause:  "my-domain", found: "alone", fix: "set baseUri to https://acme.my.salesforce.com", also: []string{"token"}},
	{name: "an address with http", change: stored(map[string]any{"baseUri": "http://acme.my.salesforce.com"}),
		cause: "my-domain", found: "https", fix: "set baseUri to https://acme.my.salesforce.com", also: []string{"token"}},
	{name: "an address without a scheme", change: stored(map[string]any{"baseUri": "acme.my.salesforce.com"}),
		cause: "my-domain", found: "absolute", fix: "set baseUri to https://acme.my.salesforce.com", also: []string{"token"}},
	{name: "a host outside Salesforce", change: stored(map[string]any{"baseUri": "https://salesforce.acme.example"}),
		cause: "my-domain", found: "not a My Domain", fix: "SalesforceHosts", also: []string{"token"}},
	{name: "an invalid app ID", change: stored(map[string]any{"appId": "CRM"}),
		cause: "ids", found: "appId is not a record ID", fix: "apps/oauth/usage", also: []string{"permissions"}},
	{name: "the ID of another object", change: func(w *harness) { w.change(map[string]any{"orgId": w.app.User.ID}) },
		cause: "ids", status: doctor.Warning, found: "orgId does not begin with 00D", fix: "Company Information",
		also: []string{"token", "org-user"}},
	{name: "one of the two IDs that rotation needs", change: stored(map[string]any{"consumerId": nil}),
		cause: "ids", status: doctor.Warning, found: "only one of", fix: "apps/oauth/usage"},
}

// app changes the options of the app at Salesforce.
func app(change func(o *sfoauthtest.AppOptions)) func(w *harness) {
	return func(w *harness) { w.app.Change(change) }
}

// fail injects a fault at one of the org's endpoints.
func fail(at sfoauthtest.Endpoint, fault sfoauthtest.Fault) func(w *harness) {
	return func(w *harness) {
		w.config.Timeout = 2 * time.Second
		w.org.InjectFault(at, fault, 0)
	}
}

var loginSetups = []setup{
	{name: "credentials replaced in Setup", change: func(w *harness) { w.app.Regenerate() },
		cause: "login", found: "invalid_client_id", fix: "check consumerKey", also: []string{"token"}},
	{name: "another app's consumer secret", change: stored(map[string]any{"consumerSecret": strings.Repeat("A", 64)}),
		cause: "login", found: "invalid_client: ", fix: "check consumerSecret", also: []string{"issued-by",
			"primary"}, logins: 2},
	{name: "new credentials that do not work yet",
		change: func(w *harness) { w.behind.Store(int64(-time.Second)); w.app.Regenerate(); w.change(nil) },
		config: sfoauthtest.Config{PropagationDelay: time.Hour}, cause: "login", found: "invalid_client_id",
		fix: "may take 10 minutes", also: []string{"token"}},
	{name: "the flow is off", change: app(func(o *sfoauthtest.AppOptions) { o.FlowOff = true }),
		cause: "login", found: "unsupported_grant_type", fix: "switch on the client credentials flow",
		also: []string{"token"}},
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
	{name: "an address outside the IP ranges", change: app(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true }),
		cause: "login", found: "ip restricted", fix: "IP policy", also: []string{"token"}},
	{name: "this machine's address outside the IP ranges", change: func(w *harness) {
		w.vend()
		w.app.Change(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true })
	}, cause: "login", status: doctor.Warning, found: "ip restricted", fix: "this machine's address"},
	{name: "an inactive user",
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Inactive = true }) }, cause: "login",
		found: "inactive user", fix: "activate", also: []string{"token"}},
	{name: "a user who may not log in",
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.LoginDenied = true }) }, cause: "login",
		found: "authentication failure", fix: "check the run-as user", also: []string{"token"}},
	{name: "an org that is locked", change: func(w *harness) { w.org.SetLocked(true) },
		cause: "login", found: "inactive_org", fix: "ask Salesforce", also: []string{"token"}},
	{name: "no run-as user, as a caller sees it", as: caller,
		change: app(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true }), cause: "token",
		found: "no client credentials user", fix: "set the run-as user"},
	{name: "no logins left", change: func(*harness) {}, config: sfoauthtest.Config{LoginsPerHour: 1},
		cause: "login", found: "login rate", fix: "3,600 logins an hour", also: []string{"token"}},
	{name: "Salesforce is in maintenance", change: fail(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance()),
		cause: "login", found: "maintenance", fix: "status.salesforce.com", also: []string{"token"}},
	{name: "Salesforce limits", change: fail(sfoauthtest.Token, sfoauthtest.TooManyRequests(time.Minute, false)),
		cause: "login", found: "rate_limit_exceeded", fix: "who else logs in", also: []string{"token"}},
	{name: "Salesforce hangs up", change: fail(sfoauthtest.Token, sfoauthtest.Reset()),
		cause: "login", found: "reset", fix: "let this machine reach", also: []string{"token"}},
	{name: "a response with a wrong signature", change: fail(sfoauthtest.Token, sfoauthtest.WrongSignature()),
		cause: "login", found: "wrong signature", fix: "proxy", also: []string{"token"}},
	{name: "a My Domain that was renamed", change: func(w *harness) { w.org.Rename("https://new.my.salesforce.com") },
		cause: "login", found: "redirects to https://new.my.salesforce.com", fix: "https://new.my.salesforce.com",
		also: []string{"token"}},
	{name: "a wrong consumer key with the previous consumer secret", change: func(w *harness) {
		w.vend()
		w.change(map[string]any{"consumerKey": "3MVG9wrong"})
	}, cause: "issued-by", status: doctor.Warning, found: "labelled AWSPREVIOUS", fix: "see login",
		also: []string{"login", "primary"}},
	{name: "credentials of another org", change: stored(map[string]any{"orgId": "00D000000000001AAA"}),
		cause: "org-user", found: "orgId is 00D000000000001AAA", fix: "the right org", also: []string{"token"}},
	{name: "credentials of another user", change: stored(map[string]any{"userId": "005000000000001AAA"}),
		cause: "org-user", found: "userId is 005000000000001AAA", fix: "orgId and userId", also: []string{"token"}},
	{name: "callers get tokens with the previous credentials",
		change: stored(map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong"}), cause: "issued-by",
		status: doctor.Warning, found: "labelled AWSPREVIOUS", fix: "see login", also: []string{"login", "primary"},
		logins: 2},
	{name: "the API uses another secret", change: func(w *harness) {
		w.config.Prefix = "other/"
		key, secret := w.org.AddApp(sfoauthtest.AppOptions{IntrospectsAll: true}).Credentials()
		_, err := w.secrets.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String(
				"other/crm",
			), SecretString: aws.String(encode(map[string]any{"consumerKey": key, "consumerSecret": secret,
				"baseUri": w.orgURL})),
		})
		w.must(err)
	}, cause: "issued-by", status: doctor.Warning, found: "not in this secret", fix: "--prefix",
		also: []string{"schedule"}, logins: 2},
}
