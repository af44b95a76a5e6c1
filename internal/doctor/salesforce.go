package doctor

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var salesforceChecks = []check{
	{"salesforce", "scope", nil, (*session).scope},
	{"salesforce", "introspection", []string{"login"}, (*session).introspect},
	{"salesforce", "rest-api", nil, (*session).restAPI},
	{"salesforce", "user", []string{"rest-api"}, (*session).user},
}

// hosts are those that the token may be sent to. A caller has no list of the hosts that the API's owner allows beside
// Salesforce's own, and the API has checked the instance against it.
func (v *session) hosts(token *sfoauth.Token) sfoauth.AllowedHosts {
	if v.vended == nil {
		return v.Hosts
	}
	_, host, _ := strings.Cut(token.InstanceURL, "://")
	return append(slices.Clone(v.Hosts), strings.ToLower(host))
}

// bearerClient is a client that needs no pair.
func (v *session) bearerClient() *sfoauth.Client {
	return &sfoauth.Client{BaseURL: v.token().InstanceURL, AllowedHosts: v.hosts(v.token()), HTTPClient: v.HTTPClient}
}

func (v *session) scope(context.Context) outcome {
	token := v.token()
	if token == nil {
		return v.needsToken()
	}
	scopes := strings.Fields(token.Scope)
	switch {
	case len(scopes) == 0:
		return skipped("the token does not say")
	case slices.Contains(scopes, "full"):
		return warning("the token opens everything: "+token.Scope, "give the app the scope api alone (setup step 1)")
	case !slices.Contains(scopes, "api"):
		return failed("the token's scopes are "+token.Scope+", without api", "give the app the api scope (setup step 1)")
	}
	return ok(token.Scope)
}

// introspect asks Salesforce about the token, which costs no login. The token function does the same to keep a token longer.
func (v *session) introspect(ctx context.Context) outcome {
	token := v.token()
	if token == nil {
		return v.needsToken()
	}
	active, err := v.active, error(nil)
	if active == nil {
		active, err = v.client.Introspect(ctx, token)
	}
	refused, _ := errors.AsType[*sfoauth.Error](err)
	switch {
	case err == nil && active.Active:
		v.active = active
		found := "the token is alive"
		if !active.Expiry.IsZero() {
			found += ", its session ends in " + span(time.Until(active.Expiry)) + " unless it is used"
		}
		return ok(found)
	case err == nil:
		v.active = active
		return failed("Salesforce says that the token is dead", v.replace())
	case refused.Kind == sfoauth.Permanent:
		return warning(salesforceError(refused), "tokens work, but cost a login every 15 minutes: allow the app to introspect its tokens (OAuth settings, setup step 1)")
	}
	return warning(salesforceError(refused), fixFor(refused))
}

// replace says how to get another token in place of one that has died.
func (v *session) replace() string {
	if v.vended == nil {
		return "somebody ends this user's sessions: see Session Management in Setup"
	}
	return "`sftoken get " + v.App + " --rejected " + v.vended.ID + " -o none` has the API replace it"
}

const unfreeze = "unfreeze the run-as user: its page in Setup has the button (setup step 2)"

// restAPI calls the REST API with the token. A token that is dead, one of a frozen user and one without the scope are refused
// with the same code.
func (v *session) restAPI(ctx context.Context) outcome {
	token := v.token()
	if token == nil {
		return v.needsToken()
	}
	err := v.bearerClient().Ping(ctx, token)
	if err == nil {
		return ok(token.InstanceURL + " takes the token")
	}
	refused, _ := errors.AsType[*sfoauth.Error](err)
	found := salesforceError(refused)
	switch {
	case refused.Code != "INVALID_SESSION_ID":
		if refused.Status == http.StatusNotFound {
			return warning(found, "the org has no API "+sfoauth.APIVersion+": tokens work with older versions, rotation does not")
		}
		return failed(found, fixFor(refused))
	case v.scopeless(token):
		return failed(found, "the token lacks the api scope: see scope")
	case refused.IsSessionBlocked():
		return failed(found, refused.Hint())
	case v.active != nil && v.active.Active:
		return failed(found, "the session is alive, so its user may not use it: "+unfreeze)
	case v.active != nil:
		return failed(found, "the token's session has ended: "+v.replace())
	case v.vended == nil || v.vended.Cache == "miss":
		return failed(found, "the token is new, so its user may not use it: "+unfreeze)
	}
	return v.recheck(ctx, found)
}

// scopeless reports whether the token says that it lacks the api scope.
func (v *session) scopeless(token *sfoauth.Token) bool {
	return token.Scope != "" && !slices.ContainsFunc(strings.Fields(token.Scope), func(s string) bool { return s == "api" || s == "full" })
}

// recheck lets the API find out whether the token is dead, for a caller who cannot.
func (v *session) recheck(ctx context.Context, found string) outcome {
	config := v.aws.Copy()
	config.Region = v.region
	next, err := sftoken.NewTokenSource(config, v.URL, v.App, sftoken.WithHTTPClient(v.apiClient())).Refresh(ctx, v.vended.ID)
	switch {
	case err != nil:
		return failed(found, v.replace())
	case next.ID == v.vended.ID:
		return failed(found, "the API says that the session is alive, so its user may not use it: "+unfreeze)
	}
	if next.Cache == "miss" {
		v.logins++
	}
	v.vended = next
	if err := v.bearerClient().Ping(ctx, v.token()); err != nil {
		return failed(found, "another token is refused too: "+unfreeze)
	}
	return warning(found+"; its session had ended, and the API has replaced it: "+next.ID+" works", "callers should do the same: see rejected in the API's documentation")
}

// user asks who the token acts as.
func (v *session) user(ctx context.Context) outcome {
	info, err := v.bearerClient().UserInfo(ctx, v.token())
	if err != nil {
		refused, _ := errors.AsType[*sfoauth.Error](err)
		return warning(salesforceError(refused), "the REST API takes the token, so this is for information only")
	}
	return ok(info.PreferredUsername + " (" + info.UserID + ") in org " + info.OrganizationID)
}
