package doctor

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var salesforceChecks = []check{
	{"salesforce", "scope", nil, (*session).scope},
	{"salesforce", "introspection", []string{"login"}, (*session).introspect},
	{"salesforce", "rest-api", nil, (*session).restAPI},
	{"salesforce", "user", []string{"rest-api"}, (*session).user},
	{"salesforce", "login-address", []string{"user"}, (*session).loginAddress},
}

// tokenHosts returns the hosts to which the token may be sent. A caller does not have the API owner's list of allowed
// hosts, but the API has checked the token's instance against it.
func (s *session) tokenHosts(token *sfoauth.Token) sfoauth.AllowedHosts {
	if s.vended == nil {
		return s.Hosts
	}
	_, host, _ := strings.Cut(token.InstanceURL, "://")
	return append(slices.Clone(s.Hosts), strings.ToLower(host))
}

// bearerClient returns a client that has a token and no credentials.
func (s *session) bearerClient() *sfoauth.Client {
	token := s.token()
	return &sfoauth.Client{BaseURL: token.InstanceURL, AllowedHosts: s.tokenHosts(token), HTTPClient: s.HTTPClient}
}

func (s *session) scope(context.Context) outcome {
	token := s.token()
	if token == nil {
		return s.needsToken()
	}
	scopes := strings.Fields(token.Scope)
	switch {
	case len(scopes) == 0:
		return skipped("the token response has no scope")
	case slices.Contains(scopes, "full"):
		return warning("the token grants full access: "+token.Scope, "give the app the scope api alone (setup step 1)")
	case !slices.Contains(scopes, "api"):
		return failed("the token's scopes are "+token.Scope+", without api", "give the app the api scope (setup step 1)")
	}
	return ok(token.Scope)
}

// introspect introspects the token, which costs no login. The token function does the same to cache a token for longer.
func (s *session) introspect(ctx context.Context) outcome {
	token := s.token()
	if token == nil {
		return s.needsToken()
	}
	if s.active == nil {
		active, err := s.client.Introspect(ctx, token)
		if refused := orgError(err); err != nil && refused.Kind == sfoauth.Permanent {
			return warning(salesforceError(refused), "tokens work, but cost a login every 15 minutes: allow the app to "+
				"introspect its tokens (OAuth settings, setup step 1)")
		} else if err != nil {
			return warning(salesforceError(refused), fixFor(refused))
		}
		s.active = active
	}
	if !s.active.Active {
		return failed("Salesforce reports the token as inactive", s.replaceToken())
	}
	found := "the token is active"
	if !s.active.Expiry.IsZero() {
		found += "; its session ends in " + span(time.Until(s.active.Expiry)) + " unless it is used"
	}
	return ok(found)
}

// replaceToken returns how to get another token in place of one that is inactive.
func (s *session) replaceToken() string {
	if s.vended == nil {
		return "find out what ends this user's sessions: see Session Management in Setup"
	}
	return "`sftoken get " + s.App + " --rejected " + s.vended.ID + " -o none` makes the API replace it"
}

const unfreeze = "unfreeze the run-as user on its page in Setup (setup step 2)"

// restAPI calls the REST API with the token. Salesforce returns the same code for an inactive token, a frozen user
// and a missing scope.
func (s *session) restAPI(ctx context.Context) outcome {
	token := s.token()
	if token == nil {
		return s.needsToken()
	}
	err := s.bearerClient().Ping(ctx, token)
	if err == nil {
		return ok(token.InstanceURL + " accepts the token")
	}
	refused := orgError(err)
	found := salesforceError(refused)
	switch {
	case refused.Code != "INVALID_SESSION_ID" && refused.Status == http.StatusNotFound:
		return warning(found, "the org has no API "+sfoauth.APIVersion+": tokens work with older versions, rotation does not")
	case refused.Code != "INVALID_SESSION_ID":
		return failed(found, fixFor(refused))
	case lacksAPIScope(token):
		return failed(found, "the token lacks the api scope: see scope")
	case refused.IsSessionBlocked():
		return failed(found, refused.Hint())
	case s.active != nil && s.active.Active:
		return failed(found, "the session is active, but its user may not use it: "+unfreeze)
	case s.active != nil:
		return failed(found, "the token's session has ended: "+s.replaceToken())
	case s.vended == nil || s.vended.Cache == "miss":
		return failed(found, "the token is new, but its user may not use it: "+unfreeze)
	}
	return s.recheck(ctx, found)
}

// lacksAPIScope reports whether the token's scopes are known and grant no access to the API.
func lacksAPIScope(token *sfoauth.Token) bool {
	scopes := strings.Fields(token.Scope)
	return len(scopes) > 0 && !slices.Contains(scopes, "api") && !slices.Contains(scopes, "full")
}

// recheck makes the API find out whether the token is inactive, for a caller who cannot introspect it.
func (s *session) recheck(ctx context.Context, found string) outcome {
	next, err := s.source(s.apiClient()).Refresh(ctx, s.vended.ID)
	switch {
	case err != nil:
		return failed(found, s.replaceToken())
	case next.ID == s.vended.ID:
		return failed(found, "the API reports the session as active, but its user may not use it: "+unfreeze)
	}
	if next.Cache == "miss" {
		s.logins++
	}
	s.vended = next
	if err := s.bearerClient().Ping(ctx, s.token()); err != nil {
		return failed(found, "Salesforce rejects another token too: "+unfreeze)
	}
	return warning(found+"; its session had ended. The API has replaced it, and "+next.ID+" works",
		"callers should do the same: see rejected in the API's documentation")
}

// user reports whom the token acts as.
func (s *session) user(ctx context.Context) outcome {
	info, err := s.bearerClient().UserInfo(ctx, s.token())
	if err != nil {
		return warning(salesforceError(orgError(err)), "nothing depends on this check: the REST API accepts the token")
	}
	s.userID = info.UserID
	return ok(info.PreferredUsername + " (" + info.UserID + ") in org " + info.OrganizationID)
}
