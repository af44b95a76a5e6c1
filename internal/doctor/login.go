package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

var loginChecks = []check{
	{"login", "login", []string{"value", "my-domain"}, (*session).logIn},
	{"login", "org-user", []string{"login"}, (*session).orgUser},
	{"login", "issued-by", []string{"token", "value"}, (*session).issuedBy},
}

// logIn logs in with the current credentials, unless the API has just done so: its token is new, and Salesforce,
// asked with these credentials, reports this consumer key as the token's client.
func (s *session) logIn(ctx context.Context) outcome {
	if s.vended != nil && s.vended.Cache == "miss" {
		token, err := s.client.ParseToken([]byte(s.vended.JSON.Reveal()))
		if err == nil {
			s.active, err = s.client.Introspect(ctx, token)
		}
		if err == nil && s.active.ClientID == s.version.ConsumerKey {
			s.ownToken, s.loginShown = token, true
			return ok("the API has just logged in with these credentials")
		}
	}
	s.logins++
	token, err := s.client.Token(ctx)
	if err == nil {
		s.ownToken, s.loginAt = token, issuedAt(token)
		return ok("the credentials log in at " + s.version.BaseURI)
	}
	refused := orgError(err)
	found, fix := salesforceError(refused), fixFor(refused)
	if age := time.Since(s.version.Created); refused.IsInvalidClient() && age < 10*time.Minute {
		fix, _, _ = strings.Cut(fix, ";")
		fix = "the credentials were stored " + span(age) + " ago, and new ones may take 10 minutes to work: wait, then " + fix
	}
	if s.vended != nil && strings.Contains(strings.ToLower(refused.Description), "ip restricted") {
		s.loginAt = time.Now()
		return warning(found, "the API gets tokens; the app's IP policy rejects only this machine's address")
	}
	return failed(found, fix)
}

// orgUser compares the org and user of the login with orgId and userId in the secret.
func (s *session) orgUser(context.Context) outcome {
	if s.ownToken == nil {
		return blockedBy("login")
	}
	if err := s.version.VerifyIdentity(s.ownToken); err != nil {
		return failed(err.Error(), "store the credentials of the right org, or correct orgId and userId")
	}
	found := "org " + s.ownToken.OrganizationID + ", user " + s.ownToken.UserID
	if s.version.OrgID == "" {
		return ok(found + ". The secret has no orgId to compare with")
	}
	return ok(found + ", as the secret requires")
}

// issuedBy finds out which credentials the API's token was issued to. Salesforce reports this to an app about its own
// tokens.
func (s *session) issuedBy(ctx context.Context) outcome {
	const current = "the API's token was issued to the current credentials"
	if s.loginShown {
		return ok(current)
	}
	var err error
	if s.active == nil {
		s.active, err = s.client.Introspect(ctx, s.token())
	}
	if err == nil && s.active.Active && s.active.ClientID == s.version.ConsumerKey {
		return ok(current)
	}
	tried := []string{s.version.ConsumerKey}
	for _, label := range appsecret.FallbackLabels {
		other := s.labelled(ctx, label)
		if other == nil || other.SameCredentials(s.version) {
			continue
		}
		tried = append(tried, other.ConsumerKey)
		introspected := s.active
		if err != nil || !introspected.Active { // Salesforce may report only on the app's own tokens
			introspected, _ = other.Client(s.Hosts, s.HTTPClient).Introspect(ctx, s.token())
		}
		if introspected != nil && introspected.Active && introspected.ClientID == other.ConsumerKey {
			return warning("the API's token was issued to the credentials labelled "+label,
				"after a change this ends within SECRET_TTL (5 minutes). If it persists, Salesforce rejects the current "+
					"credentials: see login")
		}
	}
	switch {
	case err != nil:
		return skipped("Salesforce does not report the API token's client to these credentials: " + shortError(err))
	case !s.active.Active || s.active.ClientID == "":
		return skipped("Salesforce does not report the API token's client: the token has expired, or is another app's")
	case slices.Contains(tried, s.active.ClientID):
		return skipped("several versions have the consumer key of the API's token")
	}
	return warning("the API's token was issued to credentials that are not in this secret",
		"check that the API uses this secret: its account, "+s.region+" and --prefix. After several changes the API "+
			"may hold an older token")
}
