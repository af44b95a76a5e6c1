package sfoauthtest

import (
	"maps"
	"net/http"
)

// introspect serves POST /services/oauth2/introspect, which costs no login and does not extend the session. Tokens of
// other apps are reported as not active.
//
// Sources: Salesforce Help, "OpenID Connect Token Introspection"; RFC 7662. The error for an app that may not
// introspect is a choice.
func (o *Org) introspect(r *request) *response {
	form, ok := r.form()
	switch {
	case r.Method != http.MethodPost:
		return oauthError("invalid_request", "must use HTTP POST")
	case hasSensitiveParams(r.URL.Query()):
		return oauthError("invalid_request", "parameters not supported in the query string")
	case !ok || form.Get("token") == "":
		return oauthError("invalid_request", "token is required")
	}
	switch hint := form.Get("token_type_hint"); hint {
	case "", "access_token", "refresh_token":
	default:
		return oauthError("unsupported_token_type", "this token type is not supported")
	}
	app, _, failed := o.authenticate(r, form)
	switch {
	case failed != nil:
		return failed
	case app.options.NoIntrospection:
		return oauthError("invalid_grant", "app is not allowed to introspect tokens")
	}
	s := o.sessions[form.Get("token")]
	if !o.active(s) || s.app != app && !app.options.IntrospectsAll {
		return ok200(map[string]any{"active": false})
	}
	return ok200(map[string]any{
		"active":     true,
		"scope":      s.app.options.Scope,
		"client_id":  s.key,
		"username":   s.user.options.Username,
		"sub":        s.identity,
		"token_type": "access_token",
		"iat":        s.issued.Unix(),
		"nbf":        s.issued.Unix(),
		"exp":        o.expiryOf(s).Unix(),
	})
}

// revoke serves POST /services/oauth2/revoke, which needs no client authentication. Unlike the other endpoints it sends
// errors as a form, unless the client accepts JSON.
//
// Sources: Salesforce Help, "Revoke OAuth Tokens Programmatically"; Mobile SDK Development Guide, "Revoking OAuth
// Tokens".
func (o *Org) revoke(r *request) *response {
	form, ok := r.form()
	token := form.Get("token")
	var failed *response
	switch s := o.sessions[token]; {
	case r.Method != http.MethodPost:
		failed = oauthError("invalid_request", "must use HTTP POST")
	case hasSensitiveParams(r.URL.Query()):
		failed = oauthError("invalid_request", "parameters not supported in the query string")
	case !ok || token == "":
		failed = oauthError("unsupported_token_type", "this token type is not supported")
	case !o.active(s):
		failed = oauthError("invalid_token", "invalid token")
	default:
		s.ended = true
		return &response{status: http.StatusOK, kind: "text/plain"}
	}
	if !accepts(r.Request, "application/json") {
		failed.encodeForm()
	}
	return failed
}

// userInfo serves /services/oauth2/userinfo and the user's identity URL. Both extend the session.
//
// Sources: Salesforce Help, "Identity URLs", "UserInfo Endpoint". The response to another user's identity URL is a
// choice.
func (o *Org) userInfo(r *request) *response {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return &response{status: http.StatusMethodNotAllowed, kind: html}
	}
	if bearer(r.Request) == "" {
		return htmlPage(http.StatusForbidden, "Missing_OAuth_Token")
	}
	s := o.useSession(r)
	switch {
	case s == nil:
		return htmlPage(http.StatusForbidden, "Bad_OAuth_Token")
	case r.ids["user"] == "":
		return ok200(o.claims(r, s))
	case r.ids["org"] != o.id || !equalIDs(s.user.ID, r.ids["user"]):
		return htmlPage(http.StatusForbidden, "Wrong_Org")
	}
	name := s.user.options.Username
	fields := o.claims(r, s)
	for _, claim := range []string{"sub", "preferred_username", "nickname", "name"} {
		delete(fields, claim)
	}
	maps.Copy(fields, map[string]any{
		"id": s.identity, "username": name, "nick_name": name, "display_name": "Integration User", "asserted_user": true,
	})
	return ok200(fields)
}

func (o *Org) claims(r *request, s *session) map[string]any {
	return map[string]any{
		"sub":                s.identity,
		"user_id":            s.user.ID,
		"organization_id":    o.id,
		"preferred_username": s.user.options.Username,
		"nickname":           s.user.options.Username,
		"name":               "Integration User",
		"email":              s.user.options.Username,
		"email_verified":     true,
		"active":             true,
		"user_type":          "STANDARD",
		"language":           "en_US",
		"locale":             "en_US",
		"urls":               map[string]string{"rest": r.base + "/services/data/v{version}/"},
	}
}
