package doctor

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var loginChecks = []check{
	{"login", "login", []string{"value", "my-domain"}, (*session).logIn},
	{"login", "pins", []string{"login"}, (*session).orgUser},
	{"login", "in-use", []string{"token", "value"}, (*session).issuedBy},
}

// logIn logs in with the current pair, unless the API has just done so: its token is new, and Salesforce tells this
// pair that the token was made for this consumer key.
func (v *session) logIn(ctx context.Context) outcome {
	if v.vended != nil && v.vended.Cache == "miss" {
		made, err := v.client.ParseToken([]byte(v.vended.JSON.Reveal()))
		if err == nil {
			v.active, err = v.client.Introspect(ctx, made)
		}
		if err == nil && v.active.ClientID == v.version.ConsumerKey {
			v.own, v.loginShown = made, true
			return ok("the API has just logged in with this pair")
		}
	}
	v.logins++
	token, err := v.client.Token(ctx)
	if err == nil {
		v.own = token
		return ok("the pair logs in at " + v.version.BaseURI)
	}
	refused, _ := errors.AsType[*sfoauth.Error](err)
	found, fix := salesforceError(refused), fixFor(refused)
	if age := time.Since(v.version.Created); refused.IsInvalidClient() && age < 10*time.Minute {
		fix, _, _ = strings.Cut(fix, ";")
		fix = "it was stored " + span(age) + " ago, and a new pair may take 10 minutes to work: wait; then " + fix
	}
	if v.vended != nil && strings.Contains(strings.ToLower(refused.Description), "ip restricted") {
		return warning(found, "the API gets tokens: it is this machine's address that the app's IP policy refuses")
	}
	return failed(found, fix)
}

// fixFor says what to do about what Salesforce, or the way there, has answered.
func fixFor(e *sfoauth.Error) string {
	if e.Code != "" && e.Hint() != "" {
		return e.Hint()
	}
	switch {
	case e.Kind == sfoauth.Temporary && e.Status == 0:
		host, _, err := net.SplitHostPort(e.Host)
		if err != nil {
			host = e.Host
		}
		return unreachable(e.Err, host)
	case e.Kind == sfoauth.Temporary:
		return "Salesforce is down or busy: try again; status.salesforce.com says whether others see it too"
	case e.Kind == sfoauth.RateLimited:
		return "too many requests: wait a minute; find who else logs in with this app"
	case e.Kind == sfoauth.InvalidResponse:
		return "the answer is not Salesforce's: check baseUri, and any proxy between here and Salesforce"
	case e.Hint() != "":
		return e.Hint()
	}
	return "try again"
}

// orgUser compares who the pair logs in as with what the secret says.
func (v *session) orgUser(context.Context) outcome {
	if v.own == nil {
		return blockedBy("login")
	}
	if err := v.version.VerifyIdentity(v.own); err != nil {
		return failed(err.Error(), "store the pair of the right org, or correct orgId and userId")
	}
	found := "org " + v.own.OrganizationID + ", user " + v.own.UserID
	if v.version.OrgID == "" {
		return ok(found + "; orgId is not pinned")
	}
	return ok(found + ", as pinned")
}

// issuedBy finds out which pair the token of the API was made with: Salesforce tells an app that knows its own
// credentials.
func (v *session) issuedBy(ctx context.Context) outcome {
	if v.loginShown {
		return ok("the API's token was made with this pair")
	}
	var err error
	if v.active == nil {
		v.active, err = v.client.Introspect(ctx, v.token())
	}
	if err == nil && v.active.Active && v.active.ClientID == v.version.ConsumerKey {
		return ok("the API's token was made with this pair")
	}
	tried := []string{v.version.ConsumerKey}
	for _, label := range appsecret.FallbackLabels {
		other := v.labelled(ctx, label)
		if other == nil || other.SameCredentials(v.version) {
			continue
		}
		tried = append(tried, other.ConsumerKey)
		told := v.active
		if err != nil || !told.Active { // an app is told of its own tokens alone
			if told, _ = other.Client(v.Hosts, v.HTTPClient).Introspect(ctx, v.token()); told == nil {
				continue
			}
		}
		if told.Active && told.ClientID == other.ConsumerKey {
			return warning("the API's token was made with the pair labelled "+label,
				"after a change this ends within SECRET_TTL (5 minutes); if it stays so, Salesforce refuses the current pair: see login")
		}
	}
	switch {
	case err != nil:
		return skipped("Salesforce does not tell this pair what the API's token was made with: " + shortError(err))
	case !v.active.Active || v.active.ClientID == "":
		return skipped("Salesforce does not tell what the API's token was made with: it is dead, or another app's")
	case slices.Contains(tried, v.active.ClientID):
		return skipped("several versions have the consumer key that the API's token was made with")
	}
	return warning("the API's token was made with a pair that is not in this secret",
		"is this the secret that the API uses? check its account, "+v.region+" and --prefix; after several changes the API may hold an older token")
}
