package sfoauthtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// login serves POST /services/oauth2/token. It checks the request, then the app, then the user. That order is a choice.
//
// Source: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration" and "OAuth 2.0
// Authorization Errors".
func (o *Org) login(r *request) *response {
	o.stats.Logins.Attempts++
	form, ok := r.form()
	switch {
	case r.Method != http.MethodPost:
		return oauthError("invalid_request", "must use HTTP POST")
	case hasSensitiveParams(r.URL.Query()):
		return oauthError("invalid_request", "parameters not supported in the query string")
	case !ok:
		// The grant_type of a JSON body is not read.
		return oauthError("unsupported_grant_type", "grant type not supported")
	case form.Get("grant_type") != "client_credentials":
		return oauthError("unsupported_grant_type", "grant type not supported")
	case form.Has("scope"):
		return oauthError("invalid_request", "scope parameter not supported")
	case r.isLoginHost():
		return oauthError("invalid_grant", "request not supported on this domain")
	}
	app, used, failed := o.authenticate(r, form)
	if used != nil {
		o.stats.count(used.key, Logins{Attempts: 1})
	}
	if failed != nil {
		return failed
	}
	user := app.options.RunAs
	failed = o.loginError(app, user)
	if failed == nil && !user.admits(o.sourceIP(r.Request)) {
		failed = oauthError("invalid_grant", "ip restricted or invalid login hours")
	}
	if failed != nil {
		description, _ := failed.fields["error_description"].(string)
		user.record(r, app, "Failed: "+description)
		return failed
	}
	user.record(r, app, succeeded)
	user.logins = append(user.logins, o.config.Now())
	o.stats.Logins.Succeeded++
	o.stats.count(used.key, Logins{Succeeded: 1})
	return r.negotiate(o.tokenResponse(r, o.newSession(r.base, app, used), used))
}

// authenticate returns the app with the key and secret in the Basic header or the form. It returns the key's
// credentials even if the secret is wrong.
func (o *Org) authenticate(r *request, form url.Values) (*App, *credentials, *response) {
	key, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		if form.Has("client_secret") {
			return nil, nil, oauthError("invalid_request", "more than one way of client authentication") // RFC 6749 section 2.3
		}
		key, _ = url.QueryUnescape(user) // RFC 6749 section 2.3.1 has both form-encoded
		secret, _ = url.QueryUnescape(password)
	}
	app, found := o.findCredentials(key)
	switch {
	case found == nil:
		return nil, nil, oauthError("invalid_client_id", "client identifier invalid")
	case app.options.NotInstalled:
		return nil, found, oauthError("app_not_found", "External client app is not installed in this org")
	case subtle.ConstantTimeCompare([]byte(found.secret), []byte(secret)) == 0:
		return nil, found, oauthError("invalid_client", "invalid client credentials")
	}
	return app, found, nil
}

// loginError returns the error of a login with this setup of app and user, from an address that may log in, or nil.
func (o *Org) loginError(app *App, user *User) *response {
	now := o.config.Now()
	for len(user.logins) > 0 && now.Sub(user.logins[0]) >= time.Hour {
		user.logins = user.logins[1:]
	}
	switch {
	case o.locked:
		return oauthError("inactive_org", "organization is locked, closed, or suspended")
	case app.options.Blocked:
		return oauthError("OAUTH_APP_BLOCKED", "this app is blocked by admin")
	case app.options.FlowOff:
		return oauthError("unsupported_grant_type", "grant type not supported")
	case app.options.NoRunAsUser:
		return oauthError("invalid_grant", "no client credentials user enabled")
	case app.options.NoScopes:
		return oauthError("invalid_grant", "no valid scopes defined")
	case user.options.Inactive:
		return oauthError("invalid_grant", "inactive user")
	case user.options.LoginDenied:
		return oauthError("invalid_grant", "authentication failure")
	case app.options.IPRestricted:
		return oauthError("invalid_grant", "ip restricted")
	case app.options.NotAdminApproved:
		return oauthError("invalid_app_access", "user is not admin approved to access this app")
	case app.options.NotApproved:
		return oauthError("invalid_grant", "user hasn't approved this consumer")
	case len(user.logins) >= o.config.LoginsPerHour:
		return oauthError("invalid_grant", "login rate exceeded")
	}
	return nil
}

// tokenResponse returns the token response. It has no expires_in.
func (o *Org) tokenResponse(r *request, s *session, used *credentials) *response {
	signs := used.secret
	if o.config.SignWithPrimary {
		signs = s.app.primary.secret
	}
	a := &response{status: http.StatusOK, secret: signs, fields: map[string]any{
		"access_token": s.token,
		"instance_url": r.base,
		"id":           s.identity,
		"token_type":   "Bearer",
		"scope":        s.app.options.Scope,
		"issued_at":    strconv.FormatInt(o.config.Now().UnixMilli(), 10),
	}}
	if s.app.options.ExtraFields || s.app.options.JWT {
		a.fields["token_format"] = "opaque"
		a.fields["api_instance_url"] = "https://api.salesforce.com"
	}
	if s.app.options.JWT {
		a.fields["token_format"] = "jwt"
	}
	if s.app.options.ExtraFields {
		a.fields["sfdc_community_url"] = r.base + "/partners"
		a.fields["sfdc_community_id"] = newID("0DB")
	}
	o.sign(a)
	return a
}

// negotiate encodes a token response as a form or XML for a client that does not accept JSON. Faults do not change such
// a response.
func (r *request) negotiate(a *response) *response {
	switch {
	case accepts(r.Request, "application/json"):
	case accepts(r.Request, "application/x-www-form-urlencoded"):
		a.encodeForm()
	case accepts(r.Request, "application/xml"):
		a.encodeXML()
	}
	return a
}

// sign sets the signature of id and issued_at.
func (o *Org) sign(a *response) {
	id, _ := a.fields["id"].(string)
	issued, _ := a.fields["issued_at"].(string)
	mac := hmac.New(sha256.New, []byte(a.secret))
	mac.Write([]byte(id + issued))
	a.fields["signature"] = o.trackSecret(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
