package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var credentialChecks = []check{
	{"rotation", "self-rotation", []string{"value"}, (*session).selfRotation},
	{"rotation", "admin", []string{"self-rotation", "my-domain"}, (*session).admin},
	{"rotation", "permissions", []string{"admin"}, (*session).permissions},
	{"rotation", "primary", []string{"permissions"}, (*session).primaryCredentials},
	{"rotation", "staged", []string{"permissions"}, (*session).stagedCheck},
}

// orgCredentials are the app's credentials as the org has them, and the login that may read them.
type orgCredentials struct {
	*sfoauth.StagedCredentialsClient
	loginName string // for messages
	primary   sfoauth.ConsumerCredentials
	staged    []sfoauth.StagedCredentials
}

func (s *session) selfRotation(context.Context) outcome {
	if s.version.CanSelfRotate() {
		return ok("the secret has appId and consumerId: Salesforce can make new credentials")
	}
	// Skipped, not a warning: the checks that follow cannot run.
	return outcome{
		status: Skipped, found: "the secret has no appId and consumerId: a person must make new credentials",
		fix: "for automatic rotation, add both. Otherwise make new credentials in Setup when they are due, then run " +
			s.command("secret stage "+s.App),
	}
}

// admin finds the login that rotates the app's credentials, and uses it.
func (s *session) admin(ctx context.Context) outcome {
	if s.AdminApp == "" || s.AdminApp == s.App {
		return s.useOwnLogin("the app rotates its own credentials; use --admin-app if another app does")
	}
	version, err := s.reader().Read(ctx, s.AdminApp, appsecret.Current)
	switch {
	case appsecret.IsKind(err, appsecret.Denied):
		return skipped("you may not read the secret of " + s.AdminApp)
	case err != nil:
		return failed("cannot read the secret of "+s.AdminApp+": "+shortError(err),
			"store it: `sftoken secret put "+s.AdminApp+"`, or correct --admin-app")
	case version.BaseURI != s.version.BaseURI:
		return s.useOwnLogin(s.AdminApp + " is in another org, so that the app rotates its own credentials")
	case version.ConsumerKey == s.version.ConsumerKey:
		return failed("the secrets of "+s.AdminApp+" and "+s.App+" hold the same Salesforce app: each rotation of one "+
			"would invalidate the other", "use a Salesforce app for each")
	}
	client := version.Client(s.Hosts, s.HTTPClient)
	s.logins++
	token, err := client.Token(ctx)
	if err != nil {
		refused := orgError(err)
		return failed(s.AdminApp+": "+salesforceError(refused),
			fixFor(refused)+"; for details, run `sftoken doctor "+s.AdminApp+"`")
	}
	s.useLogin(client, token, s.AdminApp)
	return ok(s.AdminApp + " logs in, as user " + token.UserID)
}

// useOwnLogin uses the app's own login for its credentials.
func (s *session) useOwnLogin(found string) outcome {
	token := s.ownToken
	if token == nil {
		token = s.token()
	}
	if token == nil {
		return blockedBy("login")
	}
	s.useLogin(s.client, token, "the app")
	return ok(found)
}

func (s *session) useLogin(client *sfoauth.Client, token *sfoauth.Token, name string) {
	s.inOrg = &orgCredentials{
		StagedCredentialsClient: client.StagedCredentials(token, s.version.AppID, s.version.ConsumerID), loginName: name,
	}
}

// What lets a login read and change credentials. Source: Salesforce Help, "Stage, Rotate, and Delete OAuth
// Credentials for an External Client App".
const (
	permECADeveloper  = "External Client App Developer"
	permViewSecret    = "View Client Secret"
	settingRESTAccess = "Allow access to External Client App consumer secrets via REST API"
)

// permissions makes the calls with which a rotation begins. Salesforce does not name the missing permission, but the
// call that fails does.
func (s *session) permissions(ctx context.Context) outcome {
	apps, err := s.inOrg.Apps(ctx)
	if err != nil {
		return s.forbidden(err, permECADeveloper)
	}
	if s.inOrg.primary, err = s.inOrg.Primary(ctx); err != nil {
		return s.diagnoseNotFound(ctx, apps, err)
	}
	if s.inOrg.staged, err = s.inOrg.ListStaged(ctx); err != nil {
		return s.forbidden(err, permViewSecret)
	}
	return ok("the login may read the app's credentials")
}

// forbidden names the permission that is probably missing.
func (s *session) forbidden(err error, permission string) outcome {
	refused := orgError(err)
	found := salesforceError(refused)
	switch {
	case refused.Status == http.StatusForbidden && refused.Kind != sfoauth.RateLimited:
		return failed(found, fmt.Sprintf("give the user of %s the permission %s; use --admin-app if another app rotates the "+
			"credentials", s.inOrg.loginName, permission))
	case refused.Status == http.StatusNotFound:
		return failed(found, fmt.Sprintf("the org has no API %s, or the user of %s lacks the permission %s",
			sfoauth.APIVersion, s.inOrg.loginName, permission))
	case refused.Code == "INVALID_SESSION_ID":
		return failed(found, "the REST API rejects the login of "+s.inOrg.loginName+": see rest-api")
	}
	return failed(found, fixFor(refused))
}

// diagnoseNotFound tells a wrong ID, a missing permission and the org's setting apart, as far as Salesforce's
// responses do.
func (s *session) diagnoseNotFound(ctx context.Context, apps []sfoauth.ExternalClientApp, err error) outcome {
	refused := orgError(err)
	found := salesforceError(refused)
	if refused.Status == http.StatusForbidden {
		return s.forbidden(err, permViewSecret)
	}
	if refused.Status != http.StatusNotFound {
		return failed(found, fixFor(refused))
	}
	isApp := func(a sfoauth.ExternalClientApp) bool { return sfoauth.EqualIDs(a.ID, s.version.AppID) }
	if !slices.ContainsFunc(apps, isApp) {
		return failed(found, "the org has no app with the appId "+s.version.AppID+": correct it in the secret")
	}
	consumers, err := s.inOrg.Consumers(ctx)
	isConsumer := func(c sfoauth.Consumer) bool { return sfoauth.EqualIDs(c.ID, s.version.ConsumerID) }
	if err == nil && !slices.ContainsFunc(consumers, isConsumer) {
		var ids []string
		for _, c := range consumers {
			ids = append(ids, c.ID)
		}
		return failed(found, fmt.Sprintf("the app has no consumer %s, but %s: correct consumerId in the secret",
			s.version.ConsumerID, strings.Join(ids, ", ")))
	}
	return failed(found, "switch on \""+settingRESTAccess+"\" (External Client App Settings in Setup)")
}

// primaryCredentials compares the current credentials with the primary ones at Salesforce. A rotation adopts the
// primary credentials only if a version of the secret holds them completely. Otherwise a person must store them.
func (s *session) primaryCredentials(ctx context.Context) outcome {
	current := s.version.Credentials()
	if s.inOrg.primary.Equal(current) {
		return ok("the current credentials are the primary ones at Salesforce")
	}
	for _, staged := range s.inOrg.staged {
		rotated := staged.State == sfoauth.Rotated && staged.ConsumerKey == current.ConsumerKey
		switch {
		case rotated && !staged.ConsumerCredentials.Equal(current):
			return failed("Salesforce has rotated, and the current consumer secret is not that of the rotated credentials",
				"store the credentials that Setup shows: "+s.stageCommand())
		case rotated:
			found := "Salesforce has rotated, and the current credentials are the old ones"
			if !staged.Expiration.IsZero() {
				found += ", which work until " + date(staged.Expiration)
			}
			return failed(found, s.rotateCommand()+" adopts the primary ones")
		case staged.State == sfoauth.Active && staged.ConsumerCredentials.Equal(current):
			return warning("the current credentials are only staged at Salesforce", s.rotateCommand()+" makes them primary")
		}
	}
	if s.inOrg.primary.ConsumerKey == current.ConsumerKey {
		return failed("Salesforce has another consumer secret than the current one",
			"a wrong one was stored, or a new one was made in Setup: store what Setup shows with "+s.stageCommand())
	}
	for _, label := range append([]string{appsecret.Rejected}, appsecret.FallbackLabels...) {
		if other := s.labelled(ctx, label); other != nil && other.Credentials().Equal(s.inOrg.primary) {
			return failed("the primary credentials at Salesforce are those labelled "+label, s.rotateCommand()+" adopts them")
		}
	}
	return failed("the primary credentials at Salesforce are not the current ones",
		"new ones were made in Setup, and no rotation adopts them: store them with "+s.stageCommand())
}

// stagedCheck looks at the credentials that Salesforce accepts in addition to the primary ones.
func (s *session) stagedCheck(ctx context.Context) outcome {
	var found []string
	for _, staged := range s.inOrg.staged {
		until := ""
		if !staged.Expiration.IsZero() {
			until = " until " + date(staged.Expiration)
		}
		compromised, pending := s.labelled(ctx, appsecret.Compromised), s.labelled(ctx, appsecret.Pending)
		switch {
		case compromised != nil && compromised.ConsumerKey == staged.ConsumerKey:
			return failed("the compromised credentials still work at Salesforce"+until,
				s.command("rotate "+s.App+" --compromised")+" deletes them")
		case staged.State == sfoauth.Rotated:
			found = append(found, "the previous credentials work"+until)
		case staged.State == sfoauth.Expired:
			found = append(found, "staged credentials have expired; the next rotation deletes them")
		case pending != nil && pending.ConsumerKey == staged.ConsumerKey:
			found = append(found, "the pending credentials are staged"+until)
		case staged.ConsumerKey == s.version.ConsumerKey:
			found = append(found, "the current credentials are staged"+until)
		default:
			return warning("credentials are staged"+until+" that no version of the secret has",
				"an interrupted rotation left them, and the next one uses them. If another system uses them, tell its owner")
		}
	}
	if len(found) == 0 {
		return ok("no staged credentials")
	}
	return ok(strings.Join(found, "; "))
}
