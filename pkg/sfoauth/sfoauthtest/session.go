package sfoauthtest

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// session is the session of a token.
type session struct {
	token     string
	identity  string // the user's identity URL
	app       *App
	key       string // the consumer key of the login
	user      *User
	issued    time.Time
	lastUsed  time.Time
	jwtExpiry time.Time // zero: an opaque token
	ended     bool
}

// NewToken returns a token of the app without a request, a check or a count. Without Config.BaseURL the user's identity
// URL has no host.
func (a *App) NewToken() string {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	return a.org.newSession(a.org.config.BaseURL, a, a.primary).token
}

// newSession logs in the app's run-as user. base is the org's base URL as the client sees it.
func (o *Org) newSession(base string, app *App, used *credentials) *session {
	now, user := o.config.Now(), app.options.RunAs
	if o.config.SharedSessions && !app.options.JWT {
		for _, s := range o.sessions {
			if s.app == app && s.user == user && o.active(s) {
				if !o.config.LoginDoesNotExtend {
					o.touch(s)
				}
				return s
			}
		}
	}
	identity := base + "/id/" + o.id + "/" + user.ID
	s := &session{identity: identity, app: app, key: used.key, user: user, issued: now, lastUsed: now}
	if app.options.JWT {
		s.jwtExpiry = now.Add(app.options.JWTLifetime)
		s.token = jwt(base, s)
	} else {
		s.token = o.id[:15] + "!AQ" + randomText(58) + "." + randomText(35)
	}
	o.sessions[o.trackSecret(s.token)] = s
	return s
}

// jwt returns a JWT with a random signature, which has the form of RS256 and verifies with no key. Source of the
// claims: Salesforce Help, "JWT-Based Access Tokens".
func jwt(base string, s *session) string {
	signature := make([]byte, 256)
	_, _ = rand.Read(signature) // never fails
	header := map[string]any{
		"alg": "RS256", "typ": "JWT", "kid": "218", "tnk": "core/prod/" + s.app.org.id, "ver": "1.0",
	}
	claims := map[string]any{
		"scp": s.app.options.Scope, "aud": []string{base, "https://api.salesforce.com"}, "sub": "uid:" + s.user.ID,
		"iss": base, "client_id": s.key, "mty": "oauth", "sfi": randomText(32), "hsc": false, "roles": []string{},
		"nbf": s.issued.Unix(), "iat": s.issued.Unix(), "exp": s.jwtExpiry.Unix(),
	}
	return encodeClaims(header) + "." + encodeClaims(claims) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encodeClaims(claims map[string]any) string {
	return base64.RawURLEncoding.EncodeToString(encodeJSON(claims))
}

// active reports whether the session exists. A frozen user's session is active, but not usable.
func (o *Org) active(s *session) bool {
	return s != nil && !s.ended && !o.locked && !s.user.options.Inactive && o.config.Now().Before(o.expiryOf(s))
}

// usable reports whether the REST API accepts the session's token.
func (o *Org) usable(s *session) bool { return o.active(s) && !s.blocked() }

// blocked reports whether the REST API rejects the session even if it is active.
func (s *session) blocked() bool { return s.user.options.Frozen || s.user.options.SessionsLocked }

func (o *Org) expiryOf(s *session) time.Time {
	if !s.jwtExpiry.IsZero() {
		return s.jwtExpiry
	}
	return s.lastUsed.Add(o.config.SessionTimeout)
}

// touch extends the session after a use. Use in the first half of the timeout does not extend it. Source: Salesforce
// Help, "Modify Session Security Settings".
func (o *Org) touch(s *session) {
	if now := o.config.Now(); now.Sub(s.lastUsed) >= o.config.SessionTimeout/2 {
		s.lastUsed = now
	}
}

// useSession extends and returns the usable session of the request's bearer token, or returns nil.
func (o *Org) useSession(r *request) *session {
	s := o.sessions[bearer(r.Request)]
	if !o.usable(s) {
		return nil
	}
	o.touch(s)
	return s
}

// TokenActive reports whether the REST API accepts the token now. It does not extend the session.
func (o *Org) TokenActive(token string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.usable(o.sessions[token])
}

// TokenExpiry returns when the token's session ends without further use. It returns zero if it has ended.
func (o *Org) TokenExpiry(token string) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.sessions[token]; o.active(s) {
		return o.expiryOf(s)
	}
	return time.Time{}
}

// KillSession ends the token's session, as an administrator can, and reports whether it was active.
func (o *Org) KillSession(token string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sessions[token]
	if !o.active(s) {
		return false
	}
	s.ended = true
	return true
}

// RevokeAll ends all sessions and returns how many were active.
func (o *Org) RevokeAll() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, s := range o.sessions {
		if o.active(s) {
			s.ended = true
			n++
		}
	}
	return n
}

// bearer returns the token in the Authorization header. Salesforce also accepts the scheme OAuth.
func bearer(r *http.Request) string {
	for _, scheme := range []string{"Bearer ", "OAuth "} {
		if h := r.Header.Get("Authorization"); len(h) > len(scheme) && strings.EqualFold(h[:len(scheme)], scheme) {
			return h[len(scheme):]
		}
	}
	return ""
}
