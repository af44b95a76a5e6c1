package sfoauthtest

import "net/http"

// introspect answers POST /services/oauth2/introspect, which costs no login and is no use of the session.
//
// Source: Salesforce Help, "OpenID Connect Token Introspection"; RFC 7662. An app sees its own tokens; of others it
// learns only that they are not active. What an app hears that may not introspect at all is a choice.
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
	app, _, refused := o.authenticate(r, form)
	switch {
	case refused != nil:
		return refused
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

// revoke answers POST /services/oauth2/revoke. Knowing the token is enough. Unlike the other endpoints this one answers
// its errors as a form, unless the client accepts JSON.
//
// Source: Salesforce Help, "Revoke OAuth Tokens Programmatically"; Mobile SDK Development Guide, "Revoking OAuth Tokens".
func (o *Org) revoke(r *request) *response {
	form, ok := r.form()
	token := form.Get("token")
	var refused *response
	switch s := o.sessions[token]; {
	case r.Method != http.MethodPost:
		refused = oauthError("invalid_request", "must use HTTP POST")
	case hasSensitiveParams(r.URL.Query()):
		refused = oauthError("invalid_request", "parameters not supported in the query string")
	case !ok || token == "":
		refused = oauthError("unsupported_token_type", "this token type is not supported")
	case !o.active(s):
		refused = oauthError("invalid_token", "invalid token")
	default:
		s.ended = true
		return &response{status: http.StatusOK, kind: "text/plain"}
	}
	if !accepts(r.Request, "application/json") {
		refused.encodeForm()
	}
	return refused
}

// userInfo answers /services/oauth2/userinfo and the user's identity URL, which is a use of the session.
//
// Sources: Salesforce Help, "Identity URLs", "UserInfo Endpoint". That another user's identity URL reads as one of another org
// is a choice.
func (o *Org) userInfo(r *request) *response {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return &response{status: http.StatusMethodNotAllowed, kind: html}
	}
	if bearer(r.Request) == "" {
		return &response{status: http.StatusForbidden, kind: html, body: []byte("Missing_OAuth_Token")}
	}
	s := o.useSession(r)
	switch {
	case s == nil:
		return &response{status: http.StatusForbidden, kind: html, body: []byte("Bad_OAuth_Token")}
	case r.ids == nil:
		return ok200(o.claims(r, s))
	case r.ids["org"] != o.id || !equalIDs(s.user.ID, r.ids["user"]):
		return &response{status: http.StatusForbidden, kind: html, body: []byte("Wrong_Org")}
	}
	name := s.user.options.Username
	fields := o.claims(r, s)
	for _, claim := range []string{"sub", "preferred_username", "nickname", "name"} {
		delete(fields, claim)
	}
	fields["id"], fields["username"], fields["nick_name"], fields["display_name"], fields["asserted_user"] = s.identity, name, name, "Integration User", true
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
