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

var salesforceSetups = []setup{
	{name: "a frozen user",
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) }, cause: "rest-api",
		found: "INVALID_SESSION_ID", fix: "unfreeze", also: []string{"permissions"}},
	{name: "a frozen user, as a caller sees it", as: caller,
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) }, cause: "rest-api",
		found: "INVALID_SESSION_ID", fix: "unfreeze"},
	{name: "a user frozen since, as a caller sees it", as: caller, change: func(w *harness) {
		w.vend()
		w.userChange(func(u *sfoauthtest.UserOptions) { u.Frozen = true })
	}, cause: "rest-api", found: "INVALID_SESSION_ID", fix: "Lock sessions to the IP address"},
	{name: "no api scope", change: app(func(o *sfoauthtest.AppOptions) { o.Scope = "id" }),
		cause: "scope", found: "without api", fix: "api scope", also: []string{"rest-api", "permissions"}},
	{name: "too broad a scope", change: app(func(o *sfoauthtest.AppOptions) { o.Scope = "full" }),
		cause: "scope", status: doctor.Warning, found: "full access", fix: "api alone"},
	{
		name: "a user without API Enabled",
		as:   caller,
		change: fail(sfoauthtest.REST,
			sfoauthtest.ErrorResponse(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization.")),
		cause: "rest-api",
		found: "API_DISABLED_FOR_ORG",
		fix:   "API Enabled",
	},
	{
		name: "no API requests left",
		as:   caller,
		change: fail(sfoauthtest.REST,
			sfoauthtest.ErrorResponse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
		cause: "rest-api",
		found: "REQUEST_LIMIT_EXCEEDED",
		fix:   "Company Information",
	},
	{name: "Salesforce cannot be reached from here", as: caller, change: func(w *harness) {
		w.vend()
		w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Reset(), 0)
	}, cause: "rest-api", found: "reset", fix: "let this machine reach"},
	{name: "an org of an older release", config: sfoauthtest.Config{APIVersion: 60}, change: func(*harness) {},
		cause: "rest-api", status: doctor.Warning, found: "NOT_FOUND", fix: "rotation does not",
		also: []string{"permissions"}},
	{name: "a session that was ended", change: func(w *harness) { w.vend(); w.org.RevokeAll() },
		cause: "introspection", found: "inactive", fix: "--rejected", also: []string{"rest-api"}},
	{name: "a session that was ended, as a caller sees it", as: caller,
		change: func(w *harness) { w.vend(); w.org.RevokeAll() }, cause: "rest-api", status: doctor.Warning,
		found: "The API has replaced it", fix: "callers should do the same"},
	{name: "an app that may not introspect", change: app(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = true }),
		cause: "introspection", status: doctor.Warning, found: "not allowed to introspect", fix: "every 15 minutes",
		logins: 2},
	{name: "userinfo is down", as: caller, change: fail(sfoauthtest.UserInfo, sfoauthtest.Unavailable()),
		cause: "user", status: doctor.Warning, found: "503", fix: "the REST API accepts the token"},
}

// ago runs store while Secrets Manager's clock is d behind.
func (w *harness) ago(d time.Duration, store func()) {
	w.behind.Store(int64(d))
	store()
	w.behind.Store(0)
}

var rotationSetups = []setup{
	{name: "rotation is off", change: func(w *harness) {
		_, err := w.secrets.CancelRotateSecret(w.Context(),
			&secretsmanager.CancelRotateSecretInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "RotationSchedule"},
	{name: "an admin app with an empty allowedPrincipals", change: func(w *harness) {
		key, secret := w.app.Credentials()
		w.create("rotation",
			map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL, "allowedPrincipals": []string{}})
		w.config.App = "rotation"
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "RotationSchedule"},
	{name: "an overdue rotation", change: func(w *harness) { w.ago(40*24*time.Hour, func() { w.put(w.value()) }) },
		cause: "rotation-dates", found: "overdue", fix: "sftoken rotate crm --wait"},
	{name: "a rotation that may be in progress", as: oncall, change: func(w *harness) { w.halfDone("createSecret") },
		cause: "stuck-rotation", status: doctor.Warning, found: "AWSPENDING", fix: "check again"},
	{name: "a stuck rotation", as: oncall,
		change: func(w *harness) { w.ago(3*time.Hour, func() { w.put(w.value()); w.halfDone("createSecret") }) },
		cause:  "stuck-rotation", found: "unchanged for 3 hours", fix: "continues it"},
	{name: "a new candidate", as: oncall, change: func(w *harness) { w.put(w.value(), "CANDIDATE") },
		cause: "labels", status: doctor.Warning, found: "CANDIDATE", fix: "within minutes"},
	{name: "an old candidate", as: oncall, change: func(w *harness) {
		w.ago(5*time.Hour,
			func() { w.put(w.value(), "CANDIDATE") })
	}, cause: "labels", found: "has waited for 5 hours", fix: "dead letters"},
	{name: "rejected credentials", as: oncall, change: func(w *harness) { w.put(w.value(), "REJECTED") },
		cause: "labels", status: doctor.Warning, found: "REJECTED", fix: "sftoken secret stage crm"},
	{name: "compromised credentials that are current", as: oncall, change: func(w *harness) {
		w.label("COMPROMISED",
			w.current())
	}, cause: "labels", found: "still in use", fix: "sftoken rotate crm --compromised"},
}

// halfDone begins a rotation that fails at the step's call to Secrets Manager.
func (w *harness) halfDone(step string) {
	at := map[string]string{"createSecret": "PutSecretValue", "finishSecret": "UpdateSecretVersionStage"}[step]
	w.aws.InjectFault(at, localaws.Fault{Code: "AccessDeniedException"}, 0)
	w.rotateNow()
	w.aws.ClearFaults()
}

var credentialSetups = []setup{
	{name: "an app that cannot rotate itself", change: stored(map[string]any{"appId": nil, "consumerId": nil}),
		cause: "self-rotation", status: doctor.Skipped, found: "a person must make new credentials"},
	{name: "a user without External Client App Developer", change: func(w *harness) {
		w.userChange(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper = false })
	},
		cause: "permissions", found: "INSUFFICIENT_ACCESS", fix: "External Client App Developer"},
	{name: "a user without View Client Secret",
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.ViewClientSecret = false }) },
		cause:  "permissions", found: "INSUFFICIENT_ACCESS", fix: "View Client Secret"},
	{name: "no API requests left for the rotation", change: fail(sfoauthtest.Usage,
		sfoauthtest.ErrorResponse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
		cause: "permissions", found: "REQUEST_LIMIT_EXCEEDED", fix: "Company Information"},
	{name: "an org without REST access to consumer secrets", config: sfoauthtest.Config{RESTSecretsDisabled: true},
		change: func(*harness) {}, cause: "permissions", found: "NOT_FOUND",
		fix: "Allow access to External Client App consumer secrets"},
	{name: "another app's ID", change: stored(map[string]any{"appId": "0xI000000000001AAA"}),
		cause: "permissions", found: "NOT_FOUND", fix: "no app with the appId 0xI000000000001AAA"},
	{name: "another consumer's ID", change: stored(map[string]any{"consumerId": "888000000000001AAA"}),
		cause: "permissions", found: "NOT_FOUND", fix: "the app has no consumer 888000000000001AAA"},
	{name: "an admin app without a secret", change: func(w *harness) { w.config.AdminApp = "admin" },
		cause: "admin", found: "the secret of admin", fix: "sftoken secret put admin"},
	{name: "an admin app with the same consumer key", change: func(w *harness) {
		w.create("admin", w.value())
		w.config.AdminApp = "admin"
	}, cause: "admin", found: "hold the same Salesforce app", fix: "a Salesforce app for each"},
	{name: "an admin app that cannot log in", change: func(w *harness) {
		w.create("admin", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": w.orgURL})
		w.config.AdminApp = "admin"
	}, cause: "admin", found: "invalid_client_id", fix: "sftoken doctor admin", logins: 2},
	{name: "credentials replaced in Setup while the API has a token",
		change: func(w *harness) { w.vend(); w.app.Regenerate() }, cause: "primary", found: "are not the current ones",
		fix: "sftoken secret stage crm --wait", also: []string{"login"}},
	{name: "a rotation done at Salesforce but not in the secret", change: func(w *harness) {
		w.halfDone("finishSecret")
		w.token.Kill()
	}, cause: "primary", found: "the current credentials are the old ones, which work until",
		fix: "`sftoken rotate crm --wait` adopts", also: []string{"stuck-rotation"}},
	{name: "credentials staged by an interrupted rotation", change: func(w *harness) { w.stage() },
		cause: "staged", status: doctor.Warning, found: "that no version of the secret has", fix: "the next one uses them"},
	{name: "compromised credentials that still work", change: func(w *harness) {
		leaked := w.current()
		w.rotateNow()
		w.label("COMPROMISED", leaked)
	}, cause: "staged", found: "the compromised credentials still work", fix: "--compromised", also: []string{"labels"}},
}

// stage stages credentials at Salesforce without storing them.
func (w *harness) stage() {
	key, secret := w.app.Credentials()
	client := &sfoauth.Client{
		BaseURL:        w.orgURL,
		ConsumerKey:    key,
		ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts:   w.config.Hosts,
	}
	token, err := client.Token(w.Context())
	w.must(err)
	_, err = client.StagedCredentials(token, w.app.ID, w.app.ConsumerID).Stage(w.Context())
	w.must(err)
}
