package sfoauthtest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const limits = "/services/data/v65.0/limits"

func (w *world) introspect(token string) reply {
	w.Helper()
	form := w.grant("token", token, "token_type_hint", "access_token")
	form.Del("grant_type")
	return w.form("/services/oauth2/introspect", form)
}

func (w *world) mustLive(token string, want bool) {
	w.Helper()
	if got := w.org.TokenActive(token); got != want {
		w.Errorf("at %s the token is live: %t, want %t", w.now.Format(time.TimeOnly), got, want)
	}
}

func TestSessionEndsAfterInactivity(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{SessionTimeout: 30 * time.Minute}, sfoauthtest.AppOptions{})
	token := w.token()
	w.now = w.now.Add(30*time.Minute - time.Second)
	w.mustLive(token, true)
	w.now = w.now.Add(time.Second)
	w.mustLive(token, false)
	if r := w.get(limits, token); r.status != http.StatusUnauthorized || r.errorCode() != "INVALID_SESSION_ID" {
		t.Errorf("REST with a dead token: %d %s", r.status, r.body)
	}
	if !w.org.TokenExpiry(token).IsZero() {
		t.Error("a dead session has an end to come")
	}
}

// The example in Salesforce Help, "Modify Session Security Settings": with a timeout of 30 minutes, use after 10 minutes
// does not count, and use after 20 minutes does.
func TestUseInTheSecondHalfExtendsASession(t *testing.T) {
	for _, test := range []struct {
		name string
		use  func(*world, string)
		at   time.Duration // of the use
		end  time.Duration
	}{
		{"REST in the first half", func(w *world, token string) { w.get(limits, token) }, 10 * time.Minute, 30 * time.Minute},
		{"REST in the second half", func(w *world, token string) { w.get(limits, token) }, 20 * time.Minute, 50 * time.Minute},
		{"userinfo", func(w *world, token string) { w.get("/services/oauth2/userinfo", token) }, 20 * time.Minute, 50 * time.Minute},
		{"introspection", func(w *world, token string) { w.introspect(token) }, 20 * time.Minute, 30 * time.Minute},
		{"another login", func(w *world, token string) { w.token() }, 20 * time.Minute, 30 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, sfoauthtest.Config{SessionTimeout: 30 * time.Minute}, sfoauthtest.AppOptions{})
			start, token := w.now, w.token()
			w.now = start.Add(test.at)
			test.use(w, token)
			if got := w.org.TokenExpiry(token).Sub(start); got != test.end {
				t.Errorf("ends after %v, want %v", got, test.end)
			}
		})
	}
}

func TestSharedSessions(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{SharedSessions: true}, sfoauthtest.AppOptions{})
	first := w.token()
	if w.token() != first {
		t.Error("the second login made a new session")
	}
	w.org.KillSession(first)
	if w.token() == first {
		t.Error("a login returned a dead session")
	}
	if w.org.Stats().Logins.Succeeded != 3 {
		t.Error("logins that share a session are not counted")
	}
}

func TestJWT(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{JWT: true, JWTLifetime: 20 * time.Minute})
	r := w.login()
	token := r.text("access_token")
	parts := strings.Split(token, ".")
	if len(parts) != 3 || r.text("token_format") != "jwt" {
		t.Fatalf("%d parts, token_format %q", len(parts), r.text("token_format"))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64
		Sub string
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		t.Fatal("the claims cannot be read")
	}
	if want := w.now.Add(20 * time.Minute).Unix(); claims.Exp != want || claims.Sub != "uid:"+w.app.User.ID {
		t.Errorf("exp %d, want %d; sub %s", claims.Exp, want, claims.Sub)
	}
	w.now = w.now.Add(19 * time.Minute)
	if r := w.get(limits, token); r.status != http.StatusOK {
		t.Errorf("REST: %d %s", r.status, r.body)
	}
	w.now = w.now.Add(time.Minute)
	w.mustLive(token, false)
}

func TestSessionsCanBeEnded(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	a, b, c := w.token(), w.token(), w.token()
	if !w.org.KillSession(a) || w.org.KillSession(a) || w.org.KillSession("unknown") {
		t.Error("KillSession says something else than it did")
	}
	w.mustLive(a, false)
	w.mustLive(b, true)
	if r := w.form("/services/oauth2/revoke", url.Values{"token": {b}}); r.status != http.StatusOK || r.body != "" {
		t.Errorf("revoke: %d %q", r.status, r.body)
	}
	w.mustLive(b, false)
	if n := w.org.RevokeAll(); n != 1 {
		t.Errorf("RevokeAll ended %d sessions, want 1", n)
	}
	w.mustLive(c, false)

	d := w.token()
	w.org.SetLocked(true)
	w.mustLive(d, false)
	w.org.SetLocked(false)
	w.mustLive(d, true)
	w.app.User.Change(func(o *sfoauthtest.UserOptions) { o.Inactive = true })
	w.mustLive(d, false)
}

func TestRevokeRefuses(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := w.token()
	w.org.KillSession(token)
	for name, form := range map[string]url.Values{
		"invalid_token: invalid token":                             {"token": {token}},
		"unsupported_token_type: this token type is not supported": {},
	} {
		if r := w.form("/services/oauth2/revoke", form); r.status != http.StatusBadRequest || r.errorCode() != name {
			t.Errorf("%d %s, want %s", r.status, r.body, name)
		}
	}
	r := w.do("POST", "/services/oauth2/revoke", "token=x", map[string]string{"Content-Type": formType})
	if want := "error=invalid_token&error_description=invalid%20token"; r.body != want {
		t.Errorf("without Accept: %s, want %s", r.body, want)
	}
	if r := w.do("GET", "/services/oauth2/revoke?token="+url.QueryEscape(w.token()), "", nil); r.status != http.StatusBadRequest {
		t.Errorf("a token in the query string: %d", r.status)
	}
	if len(w.org.Violations()) != 1 {
		t.Errorf("improper: %v", w.org.Violations())
	}
}

func TestIntrospect(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := w.token()
	r := w.introspect(token)
	key, _ := w.app.Credentials()
	if r.fields["active"] != true || r.text("client_id") != key || r.text("username") != w.app.User.Username() || r.text("token_type") != "access_token" {
		t.Errorf("active token: active %v, token_type %q", r.fields["active"], r.text("token_type"))
	}
	if got, want := int64(r.fields["exp"].(float64)), w.now.Add(2*time.Hour).Unix(); got != want {
		t.Errorf("exp %d, want %d", got, want)
	}
	if w.org.Stats().Logins.Attempts != 1 {
		t.Error("introspection counted as a login")
	}

	owner := w.app
	w.app = w.org.AddApp(sfoauthtest.AppOptions{})
	if r := w.introspect(token); r.body != `{"active":false}` {
		t.Error("another app sees the token")
	}
	w.app.Change(func(o *sfoauthtest.AppOptions) { o.IntrospectsAll = true })
	if r := w.introspect(token); r.fields["active"] != true {
		t.Error("an app that may introspect all tokens does not see the token")
	}

	w.app = owner
	w.org.KillSession(token)
	if r := w.introspect(token); r.status != http.StatusOK || r.body != `{"active":false}` {
		t.Errorf("dead token: %d %s", r.status, r.body)
	}
	for want, form := range map[string]url.Values{
		"invalid_client: invalid client credentials":               w.grant("token", token, "client_secret", "x"),
		"invalid_client_id: client identifier invalid":             w.grant("token", token, "client_id", "x"),
		"invalid_request: token is required":                       w.grant(),
		"unsupported_token_type: this token type is not supported": w.grant("token", token, "token_type_hint", "x"),
	} {
		if r := w.form("/services/oauth2/introspect", form); r.status != http.StatusBadRequest || r.errorCode() != want {
			t.Errorf("%d %s, want %s", r.status, r.body, want)
		}
	}
	w.app.Change(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = true })
	if r := w.introspect(token); r.errorCode() != "invalid_grant: app is not allowed to introspect tokens" {
		t.Errorf("an app that may not introspect: %s", r.body)
	}
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	r := w.get("/services/oauth2/userinfo", w.token())
	if r.status != http.StatusOK || r.text("user_id") != w.app.User.ID || r.text("organization_id") != w.org.ID() {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := w.get("/services/oauth2/userinfo", "dead"); r.status != http.StatusForbidden || r.body != "Bad_OAuth_Token" {
		t.Errorf("dead token: %d %s", r.status, r.body)
	}
	if r := w.do("GET", "/services/oauth2/userinfo", "", nil); r.status != http.StatusForbidden || r.body != "Missing_OAuth_Token" {
		t.Errorf("no token: %d %s", r.status, r.body)
	}
}

func TestREST(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{RequestsPerDay: 9}, sfoauthtest.AppOptions{})
	token := w.token()
	if r := w.do("GET", "/services/data", "", nil); r.status != 200 || !strings.Contains(r.body, `{"label":"Winter '26","url":"/services/data/v65.0","version":"65.0"}`) {
		t.Errorf("versions: %d %s", r.status, r.body)
	}
	for _, test := range []struct {
		path   string
		status int
		want   string // the error code, or part of the answer
	}{
		{limits, 200, `"DailyApiRequests":{"Max":9,"Remaining":8}`},
		{"/services/data/v65.0", 200, "limits"},
		{query("SELECT Id, name FROM account LIMIT 1"), 200, `"Name":"Acme","attributes":{"type":"Account","url":"/services/data/v65.0/sobjects/Account/001000000000001AAA"}`},
		{query("select count() from Account"), 200, `"totalSize":3`},
		{query("SELECT Id FROM Organization"), 200, w.org.ID()},
		{query("DELETE Account"), 400, "MALFORMED_QUERY"},
		{query("SELECT Id FROM Nothing"), 400, "INVALID_TYPE"},
		{query("SELECT Nothing FROM User"), 400, "INVALID_FIELD"},
		{"/services/data/v65.0/nothing", 404, "NOT_FOUND"},
		{limits, 403, "REQUEST_LIMIT_EXCEEDED"},
		{"/services/data/v30.0/limits", 404, "NOT_FOUND"},
		{"/services/data/v68.0/limits", 404, "NOT_FOUND"},
		{"/services/data/v65/limits", 404, "NOT_FOUND"},
	} {
		if r := w.get(test.path, token); r.status != test.status || !strings.Contains(r.body, test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.path, r.status, r.body, test.status, test.want)
		}
	}
	w.now = w.now.Add(24 * time.Hour)
	token = w.token()
	if r := w.do("POST", limits, "", map[string]string{"Authorization": "OAuth " + token}); r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d %s", r.status, r.body)
	}
	if r := w.do("GET", limits, "", map[string]string{"Authorization": "OAuth " + token}); r.header.Get("Sforce-Limit-Info") != "api-usage=2/9" {
		t.Errorf("limit info %q", r.header.Get("Sforce-Limit-Info"))
	}
	w.app.Change(func(o *sfoauthtest.AppOptions) { o.Scope = "id" })
	if r := w.get(limits, w.token()); r.status != 401 || r.errorCode() != "INVALID_SESSION_ID" {
		t.Errorf("without the api scope: %d %s", r.status, r.body)
	}
	if w.org.Violations() != nil {
		t.Errorf("improper: %v", w.org.Violations())
	}
}

func query(soql string) string { return "/services/data/v65.0/query?q=" + url.QueryEscape(soql) }

func TestABlockedSession(t *testing.T) {
	for name, block := range map[string]func(*sfoauthtest.UserOptions){
		"frozen": func(u *sfoauthtest.UserOptions) { u.Frozen = true },
		"locked": func(u *sfoauthtest.UserOptions) { u.SessionsLocked = true },
	} {
		w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		w.app.User.Change(block)
		token := w.token()
		header := map[string]string{"Authorization": "Bearer " + token}
		got := w.do("GET", "/services/data/v65.0", "", header)
		if got.status != 401 || got.errorCode() != "INVALID_SESSION_ID" || !strings.Contains(got.body, "This session is not valid for use with the REST API") {
			t.Errorf("%s: the REST API answers %d %s", name, got.status, got.body)
		}
		if got := w.introspect(token); got.fields["active"] != true {
			t.Errorf("%s: introspection answers %v", name, got.fields["active"])
		}
		w.org.KillSession(token)
		if got := w.do("GET", "/services/data/v65.0", "", header); !strings.Contains(got.body, "Session expired or invalid") {
			t.Errorf("%s: of an ended session the REST API says %s", name, got.body)
		}
	}
}

func TestASessionThatEndsAtOnce(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	w.org.InjectFault(sfoauthtest.Token, sfoauthtest.EndSession(), 1)
	if first, second := w.token(), w.token(); w.org.TokenActive(first) || !w.org.TokenActive(second) {
		t.Errorf("the first session lives: %t, the second: %t", w.org.TokenActive(first), w.org.TokenActive(second))
	}
}

func TestALoginThatIsNoUse(t *testing.T) {
	for isNoUse, left := range map[bool]time.Duration{false: 15 * time.Minute, true: time.Minute} {
		w := newWorld(t, sfoauthtest.Config{SharedSessions: true, SessionTimeout: 15 * time.Minute, LoginDoesNotExtend: isNoUse}, sfoauthtest.AppOptions{})
		token := w.token()
		w.now = w.now.Add(14 * time.Minute)
		if again := w.token(); again != token || w.org.TokenExpiry(token).Sub(w.now) != left {
			t.Errorf("LoginIsNoUse %t: the same token: %t, for %v", isNoUse, again == token, w.org.TokenExpiry(token).Sub(w.now))
		}
	}
}

func TestARenamedMyDomain(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	w.org.Rename("https://new.my.salesforce.com/")
	for _, path := range []string{"/services/oauth2/token", "/services/oauth2/introspect", "/services/data/v65.0"} {
		if got := w.form(path, w.grant()); got.status != 301 || got.header.Get("Location") != "https://new.my.salesforce.com"+path {
			t.Errorf("%s: %d to %q", path, got.status, got.header.Get("Location"))
		}
	}
	if w.org.Stats().Logins.Attempts != 0 {
		t.Error("a login is tried at the old My Domain")
	}
	got := w.do("POST", "https://new.my.salesforce.com/services/oauth2/token", w.grant().Encode(), map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	if got.status != 200 {
		t.Errorf("at the new My Domain: %d %s", got.status, got.errorCode())
	}
}
