package doctor_test

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

var salesforceSetUps = []setup{
	{name: "a frozen user", change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) },
		cause: "rest-api", found: "INVALID_SESSION_ID", fix: "unfreeze", also: []string{"permissions"}},
	{name: "a frozen user, as a caller sees it", as: caller, change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) },
		cause: "rest-api", found: "INVALID_SESSION_ID", fix: "unfreeze"},
	{name: "a user frozen since, as a caller sees it", as: caller, change: func(w *harness) {
		w.vend()
		w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true })
	}, cause: "rest-api", found: "INVALID_SESSION_ID", fix: "Lock sessions to the IP address"},
	{name: "no api scope", change: app(func(o *sfoauthtest.AppOptions) { o.Scope = "id" }),
		cause: "scope", found: "without api", fix: "api scope", also: []string{"rest-api", "permissions"}},
	{name: "too much scope", change: app(func(o *sfoauthtest.AppOptions) { o.Scope = "full" }),
		cause: "scope", status: doctor.Warning, found: "everything", fix: "api alone"},
	{name: "a user without API Enabled", as: caller, change: fail(sfoauthtest.REST, sfoauthtest.ErrorResponse(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization.")),
		cause: "rest-api", found: "API_DISABLED_FOR_ORG", fix: "API Enabled"},
	{name: "requests spent", as: caller, change: fail(sfoauthtest.REST, sfoauthtest.ErrorResponse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
		cause: "rest-api", found: "REQUEST_LIMIT_EXCEEDED", fix: "Company Information"},
	{name: "Salesforce cannot be reached from here", as: caller, change: func(w *harness) {
		w.vend()
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Reset(), 0)
	}, cause: "rest-api", found: "reset", fix: "let this machine reach"},
	{name: "an org of an older release", config: sfoauthtest.Config{APIVersion: 60}, change: func(*harness) {},
		cause: "rest-api", status: doctor.Warning, found: "NOT_FOUND", fix: "rotation does not", also: []string{"permissions"}},
	{name: "a session that was ended", change: func(w *harness) { w.vend(); w.org.RevokeAll() },
		cause: "introspection", found: "dead", fix: "--rejected", also: []string{"rest-api"}},
	{name: "a session that was ended, as a caller sees it", as: caller, change: func(w *harness) { w.vend(); w.org.RevokeAll() },
		cause: "rest-api", status: doctor.Warning, found: "the API has replaced it", fix: "callers should do the same"},
	{name: "an app that may not introspect", change: app(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = true }),
		cause: "introspection", status: doctor.Warning, found: "not allowed to introspect", fix: "every 15 minutes", logins: 2},
	{name: "userinfo is down", as: caller, change: fail(sfoauthtest.UserInfo, sfoauthtest.Unavailable()),
		cause: "user", status: doctor.Warning, found: "503", fix: "for information"},
}

// long ago: what is stored from here on is so old.
func (w *harness) ago(d time.Duration, store func()) {
	w.behind.Store(int64(d))
	store()
	w.behind.Store(0)
}

var rotationSetUps = []setup{
	{name: "rotation is off", change: func(w *harness) {
		_, err := w.secrets.CancelRotateSecret(w.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "RotationSchedule"},
	{name: "an app that rotates others, whose tokens nobody is to have", change: func(w *harness) {
		key, secret := w.app.Credentials()
		w.create("rotation", map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL, "allowedPrincipals": []string{}})
		w.config.App = "rotation"
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "RotationSchedule"},
	{name: "a rotation that is overdue", change: func(w *harness) { w.ago(40*24*time.Hour, func() { w.put(w.value()) }) },
		cause: "dates", found: "overdue", fix: "sftoken rotate crm --wait"},
	{name: "a rotation that may be under way", as: oncall, change: func(w *harness) { w.halfDone("createSecret") },
		cause: "unfinished", status: doctor.Warning, found: "AWSPENDING", fix: "look again"},
	{name: "a rotation that is stuck", as: oncall, change: func(w *harness) { w.ago(3*time.Hour, func() { w.put(w.value()); w.halfDone("createSecret") }) },
		cause: "unfinished", found: "unchanged for 3 hours", fix: "goes on with it"},
	{name: "a candidate that waits", as: oncall, change: func(w *harness) { w.put(w.value(), "CANDIDATE") },
		cause: "labels", status: doctor.Warning, found: "CANDIDATE", fix: "within minutes"},
	{name: "a candidate that nobody has tried", as: oncall, change: func(w *harness) { w.ago(5*time.Hour, func() { w.put(w.value(), "CANDIDATE") }) },
		cause: "labels", found: "for 5 hours", fix: "dead letters"},
	{name: "a pair that was refused", as: oncall, change: func(w *harness) { w.put(w.value(), "REJECTED") },
		cause: "labels", status: doctor.Warning, found: "REJECTED", fix: "sftoken secret stage crm"},
	{name: "a leaked pair that is current", as: oncall, change: func(w *harness) { w.label("COMPROMISED", w.current()) },
		cause: "labels", found: "still in use", fix: "sftoken rotate crm --compromised"},
}

// halfDone has a rotation begin, and end at the call of Secrets Manager that the step makes.
func (w *harness) halfDone(step string) {
	at := map[string]string{"createSecret": "PutSecretValue", "finishSecret": "UpdateSecretVersionStage"}[step]
	w.aws.InjectFault(at, localaws.Fault{Code: "AccessDeniedException"}, 0)
	w.rotateNow()
	w.aws.ClearFaults()
}

var pairSetUps = []setup{
	{name: "an app whose pair a person changes", change: stored(map[string]any{"appId": nil, "consumerId": nil}),
		cause: "automatic", status: doctor.Skipped, found: "a person makes each new pair"},
	{name: "a user without External Client App Developer", change: func(w *harness) {
		w.userChange(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper = false })
	},
		cause: "permissions", found: "INSUFFICIENT_ACCESS", fix: "External Client App Developer"},
	{name: "a user without View Client Secret", change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.ViewClientSecret = false }) },
		cause: "permissions", found: "INSUFFICIENT_ACCESS", fix: "View Client Secret"},
	{name: "an org that gives no secrets over REST", config: sfoauthtest.Config{RESTSecretsDisabled: true}, change: func(*harness) {},
		cause: "permissions", found: "NOT_FOUND", fix: "Allow access to External Client App consumer secrets"},
	{name: "another app's id", change: stored(map[string]any{"appId": "0xI000000000001AAA"}),
		cause: "permissions", found: "NOT_FOUND", fix: "appId 0xI000000000001AAA is not among"},
	{name: "another consumer's id", change: stored(map[string]any{"consumerId": "888000000000001AAA"}),
		cause: "permissions", found: "NOT_FOUND", fix: "consumerId 888000000000001AAA is not the app's"},
	{name: "an admin app that nobody has stored", change: func(w *harness) { w.config.AdminApp = "admin" },
		cause: "admin", found: "the secret of admin", fix: "sftoken secret put admin"},
	{name: "an admin app that is the app itself under another name", change: func(w *harness) {
		w.create("admin", w.value())
		w.config.AdminApp = "admin"
	}, cause: "admin", found: "hold the same Salesforce app", fix: "an app of its own"},
	{name: "an admin app that is refused", change: func(w *harness) {
		w.create("admin", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": w.orgURL})
		w.config.AdminApp = "admin"
	}, cause: "admin", found: "invalid_client_id", fix: "sftoken doctor admin", logins: 2},
	{name: "a pair replaced in Setup, while the API has a token", change: func(w *harness) { w.vend(); w.app.Regenerate() },
		cause: "main-pair", found: "another than the current one", fix: "sftoken secret stage crm --wait", also: []string{"login"}},
	{name: "a rotation that Salesforce has done and the secret has not", change: func(w *harness) {
		w.halfDone("finishSecret")
		w.token.Kill()
	}, cause: "main-pair", found: "the current pair is the old one, which works until", fix: "`sftoken rotate crm --wait` takes over", also: []string{"unfinished"}},
	{name: "a pair staged by an interrupted rotation", change: func(w *harness) { w.stage() },
		cause: "pairs", status: doctor.Warning, found: "in no version of the secret", fix: "the next one takes it"},
	{name: "a leaked pair that still works", change: func(w *harness) {
		leaked := w.current()
		w.rotateNow()
		w.label("COMPROMISED", leaked)
	}, cause: "pairs", found: "the leaked pair still works", fix: "--compromised", also: []string{"labels"}},
}

// stage stages a pair at Salesforce and stores it nowhere.
func (w *harness) stage() {
	key, secret := w.app.Credentials()
	client := &sfoauth.Client{BaseURL: w.orgURL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret), AllowedHosts: w.config.Hosts}
	token, err := client.Token(w.Context())
	w.must(err)
	_, err = client.StagedCredentialsClient(token, w.app.ID, w.app.ConsumerID).Stage(w.Context())
	w.must(err)
}
