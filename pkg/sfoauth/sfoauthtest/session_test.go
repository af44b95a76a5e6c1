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

func (h *harness) introspect(token string) reply {
	h.Helper()
	form := h.grant("token", token, "token_type_hint", "access_token")
	form.Del("grant_type")
	return h.form(introspectPath, form)
}

func (h *harness) mustBeActive(token string, want bool) {
	h.Helper()
	if got := h.org.TokenActive(token); got != want {
		h.Errorf("at %s the token is live: %t, want %t", h.now.Format(time.TimeOnly), got, want)
	}
}

func TestSessionTimeout(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{SessionTimeout: 30 * time.Minute}, sfoauthtest.AppOptions{})
	token := h.token()
	h.now = h.now.Add(30*time.Minute - time.Second)
	h.mustBeActive(token, true)
	h.now = h.now.Add(time.Second)
	h.mustBeActive(token, false)
	if r := h.get(limits, token); !r.is(http.StatusUnauthorized, "INVALID_SESSION_ID") {
		t.Errorf("REST with an inactive token: %d %s", r.status, r.body)
	}
	if !h.org.TokenExpiry(token).IsZero() {
		t.Error("an ended session has an expiry")
	}
}

// The example in Salesforce Help, "Modify Session Security Settings": with a timeout of 30 minutes, use after 10
// minutes does not count, and use after 20 minutes does.
func TestSessionExtension(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		use  func(*harness, string)
		at   int // of the use, in minutes
		end  int // in minutes
	}{
		{"REST in the first half", func(h *harness, token string) { h.get(limits, token) }, 10, 30},
		{"REST in the second half", func(h *harness, token string) { h.get(limits, token) }, 20, 50},
		{"userinfo", func(h *harness, token string) { h.get(userInfoPath, token) }, 20, 50},
		{"introspection", func(h *harness, token string) { h.introspect(token) }, 20, 30},
		{"another login", func(h *harness, token string) { h.token() }, 20, 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, sfoauthtest.Config{SessionTimeout: 30 * time.Minute}, sfoauthtest.AppOptions{})
			start, token := h.now, h.token()
			h.now = start.Add(time.Duration(test.at) * time.Minute)
			test.use(h, token)
			if got := h.org.TokenExpiry(token).Sub(start); got != time.Duration(test.end)*time.Minute {
				t.Errorf("ends after %v, want %d minutes", got, test.end)
			}
		})
	}
}

func TestSharedSessions(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{SharedSessions: true}, sfoauthtest.AppOptions{})
	first := h.token()
	if h.token() != first {
		t.Error("the second login made a new session")
	}
	h.org.KillSession(first)
	if h.token() == first {
		t.Error("a login returned an ended session")
	}
	if h.org.Stats().Logins.Succeeded != 3 {
		t.Error("logins that share a session are not counted")
	}
}

func TestJWT(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{JWT: true, JWTLifetime: 20 * time.Minute})
	r := h.login()
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
	if want := h.now.Add(20 * time.Minute).Unix(); claims.Exp != want || claims.Sub != "uid:"+h.app.User.ID {
		t.Errorf("exp %d, want %d; sub %s", claims.Exp, want, claims.Sub)
	}
	h.now = h.now.Add(19 * time.Minute)
	if r := h.get(limits, token); r.status != http.StatusOK {
		t.Errorf("REST: %d %s", r.status, r.body)
	}
	h.now = h.now.Add(time.Minute)
	h.mustBeActive(token, false)
}

func TestEndSessions(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	a, b, c := h.token(), h.token(), h.token()
	if !h.org.KillSession(a) || h.org.KillSession(a) || h.org.KillSession("unknown") {
		t.Error("KillSession says something else than it did")
	}
	h.mustBeActive(a, false)
	h.mustBeActive(b, true)
	if r := h.form("/services/oauth2/revoke", url.Values{"token": {b}}); r.status != http.StatusOK || r.body != "" {
		t.Errorf("revoke: %d %q", r.status, r.body)
	}
	h.mustBeActive(b, false)
	if n := h.org.RevokeAll(); n != 1 {
		t.Errorf("RevokeAll ended %d sessions, want 1", n)
	}
	h.mustBeActive(c, false)

	d := h.token()
	h.org.SetLocked(true)
	h.mustBeActive(d, false)
	h.org.SetLocked(false)
	h.mustBeActive(d, true)
	h.app.User.Change(func(o *sfoauthtest.UserOptions) { o.Inactive = true })
	h.mustBeActive(d, false)
}

func TestRevokeErrors(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := h.token()
	h.org.KillSession(token)
	for name, form := range map[string]url.Values{
		"invalid_token: invalid token":                             {"token": {token}},
		"unsupported_token_type: this token type is not supported": {},
	} {
		if r := h.form("/services/oauth2/revoke", form); r.status != http.StatusBadRequest || r.errorCode() != name {
			t.Errorf("%d %s, want %s", r.status, r.body, name)
		}
	}
	r := h.do("POST", "/services/oauth2/revoke", "token=x", map[string]string{"Content-Type": formType})
	if want := "error=invalid_token&error_description=invalid%20token"; r.body != want {
		t.Errorf("without Accept: %s, want %s", r.body, want)
	}
	r = h.do("GET", "/services/oauth2/revoke?token="+url.QueryEscape(h.token()), "", nil)
	if r.status != http.StatusBadRequest {
		t.Errorf("a token in the query string: %d", r.status)
	}
	if len(h.org.Violations()) != 1 {
		t.Errorf("violations: %v", h.org.Violations())
	}
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := h.token()
	r := h.introspect(token)
	key, _ := h.app.Credentials()
	for field, want := range map[string]any{
		"active": true, "client_id": key, "username": h.app.User.Username(), "token_type": "access_token",
	} {
		if r.fields[field] != want {
			t.Errorf("active token: another %s", field)
		}
	}
	if got, want := int64(r.fields["exp"].(float64)), h.now.Add(2*time.Hour).Unix(); got != want {
		t.Errorf("exp %d, want %d", got, want)
	}
	if h.org.Stats().Logins.Attempts != 1 {
		t.Error("introspection counted as a login")
	}

	owner := h.app
	h.app = h.org.AddApp(sfoauthtest.AppOptions{})
	if r := h.introspect(token); r.body != `{"active":false}` {
		t.Error("another app sees the token")
	}
	h.app.Change(func(o *sfoauthtest.AppOptions) { o.IntrospectsAll = true })
	if r := h.introspect(token); r.fields["active"] != true {
		t.Error("an app that may introspect all tokens does not see the token")
	}

	h.app = owner
	h.org.KillSession(token)
	if r := h.introspect(token); r.status != http.StatusOK || r.body != `{"active":false}` {
		t.Errorf("inactive token: %d %s", r.status, r.body)
	}
	for want, form := range map[string]url.Values{
		"invalid_client: invalid client credentials":               h.grant("token", token, "client_secret", "x"),
		"invalid_client_id: client identifier invalid":             h.grant("token", token, "client_id", "x"),
		"invalid_request: token is required":                       h.grant(),
		"unsupported_token_type: this token type is not supported": h.grant("token", token, "token_type_hint", "x"),
	} {
		if r := h.form(introspectPath, form); !r.is(http.StatusBadRequest, want) {
			t.Errorf("%d %s, want %s", r.status, r.body, want)
		}
	}
	h.app.Change(func(o *sfoauthtest.AppOptions) { o.NoIntrospection = true })
	if r := h.introspect(token); r.errorCode() != "invalid_grant: app is not allowed to introspect tokens" {
		t.Errorf("an app that may not introspect: %s", r.body)
	}
}

func TestUserInfo(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	r := h.get(userInfoPath, h.token())
	if r.status != http.StatusOK || r.text("user_id") != h.app.User.ID || r.text("organization_id") != h.org.ID() {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := h.get(userInfoPath, "dead"); r.status != http.StatusForbidden || r.body != "Bad_OAuth_Token" {
		t.Errorf("inactive token: %d %s", r.status, r.body)
	}
	if r := h.do("GET", userInfoPath, "", nil); r.status != http.StatusForbidden || r.body != "Missing_OAuth_Token" {
		t.Errorf("no token: %d %s", r.status, r.body)
	}
}

func TestREST(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{RequestsPerDay: 3}, sfoauthtest.AppOptions{})
	token := h.token()
	const v65 = `{"label":"Winter '26","url":"/services/data/v65.0","version":"65.0"}`
	if r := h.do("GET", "/services/data", "", nil); r.status != 200 || !strings.Contains(r.body, v65) {
		t.Errorf("versions: %d %s", r.status, r.body)
	}
	for _, test := range []struct {
		path   string
		status int
		want   string // the error code, or part of the response
	}{
		{limits, 200, `"DailyApiRequests":{"Max":3,"Remaining":2}`},
		{"/services/data/v65.0", 200, "limits"},
		{"/services/data/v65.0/nothing", 404, "NOT_FOUND"},
		{limits, 403, "REQUEST_LIMIT_EXCEEDED"},
		{"/services/data/v30.0/limits", 404, "NOT_FOUND"},
		{"/services/data/v68.0/limits", 404, "NOT_FOUND"},
		{"/services/data/v65/limits", 404, "NOT_FOUND"},
	} {
		if r := h.get(test.path, token); r.status != test.status || !strings.Contains(r.body, test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.path, r.status, r.body, test.status, test.want)
		}
	}
	h.now = h.now.Add(24 * time.Hour)
	token = h.token()
	header := map[string]string{"Authorization": "OAuth " + token}
	if r := h.do("POST", limits, "", header); r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d %s", r.status, r.body)
	}
	if r := h.do("GET", limits, "", header); r.header.Get("Sforce-Limit-Info") != "api-usage=2/3" {
		t.Errorf("limit info %q", r.header.Get("Sforce-Limit-Info"))
	}
	h.app.Change(func(o *sfoauthtest.AppOptions) { o.Scope = "id" })
	if r := h.get(limits, h.token()); !r.is(401, "INVALID_SESSION_ID") {
		t.Errorf("without the api scope: %d %s", r.status, r.body)
	}
	if h.org.Violations() != nil {
		t.Errorf("violations: %v", h.org.Violations())
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	last := "SELECT LoginTime, SourceIp, Status, Application FROM LoginHistory WHERE UserId = '" + h.app.User.ID + "' "
	count := "SELECT COUNT() FROM LoginHistory WHERE UserId = '" + h.app.User.ID + "' AND LoginTime > "
	h.token()
	h.now = h.now.Add(50 * time.Minute)
	token := h.token()
	for _, test := range []struct {
		query  string
		status int
		want   string
	}{
		{count + h.now.Add(-time.Hour).Format(time.RFC3339), 200, `"totalSize":2`},
		{count + h.now.Add(-time.Minute).Format(time.RFC3339), 200, `"totalSize":1`},
		{count + "yesterday", 400, "MALFORMED_QUERY"},
		{last + "ORDER BY LoginTime DESC LIMIT 5", 200, `"totalSize":2`},
		{last + "ORDER BY LoginTime DESC LIMIT 1", 200, `"totalSize":1`},
		{last + "ORDER BY LoginTime DESC LIMIT 99999999999999999999", 400, "MALFORMED_QUERY"},
		{last + "ORDER BY LoginTime DESC", 400, "MALFORMED_QUERY"},
		{last + "AND Status = 'Success' ORDER BY LoginTime DESC LIMIT 5", 400, "MALFORMED_QUERY"},
		{"SELECT Id FROM LoginHistory", 400, "MALFORMED_QUERY"},
		{"SELECT Id", 400, "MALFORMED_QUERY"},
		{"", 400, "MALFORMED_QUERY"},
		{"SELECT Id FROM Account", 400, "INVALID_TYPE"},
		{"SELECT Id, Name, OrganizationType, IsSandbox FROM Organization", 200, `"OrganizationType":"Developer Edition"`},
	} {
		r := h.get("/services/data/v65.0/query?q="+url.QueryEscape(test.query), token)
		if r.status != test.status || !strings.Contains(r.body, test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.query, r.status, r.body, test.status, test.want)
		}
	}
	h.app.User.Change(func(o *sfoauthtest.UserOptions) { o.NoLoginHistory = true })
	r := h.get("/services/data/v65.0/query?q="+url.QueryEscape(last+"ORDER BY LoginTime DESC LIMIT 5"), token)
	if !r.is(400, "INVALID_TYPE") {
		t.Errorf("a user without access: %d %s", r.status, r.body)
	}
}

// TestLoginHistoryLength logs in more often than the org remembers.
func TestLoginHistoryLength(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	h.app.Change(func(o *sfoauthtest.AppOptions) { o.Name = "Old" })
	h.token()
	h.app.Change(func(o *sfoauthtest.AppOptions) { o.Name = "New" })
	token := ""
	for range 200 {
		token = h.token()
	}
	r := h.get("/services/data/v65.0/query?q="+url.QueryEscape("SELECT LoginTime, SourceIp, Status, Application FROM "+
		"LoginHistory WHERE UserId = '"+h.app.User.ID+"' ORDER BY LoginTime DESC LIMIT 500"), token)
	if !strings.Contains(r.body, `"totalSize":200`) || strings.Contains(r.body, `"Old"`) ||
		strings.Count(r.body, `"SourceIp":"192.0.2.1"`) != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestIdentityURL(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := h.token()
	identity := h.get("/services/data/v65.0", token).text("identity")
	got := h.get(identity+"?format=json", token)
	for field, want := range map[string]string{
		"id": identity, "user_id": h.app.User.ID, "username": h.app.User.Username(), "organization_id": h.org.ID(),
	} {
		if got.text(field) != want {
			t.Errorf("%s is %q, want %q", field, got.text(field), want)
		}
	}
	other := h.get("/id/"+h.org.ID()+"/005000000000001AAA", token)
	if other.status != http.StatusForbidden || other.body != "Wrong_Org" {
		t.Errorf("another user's: %d %s", other.status, other.body)
	}
	h.org.RevokeAll()
	if got := h.get(identity, token); got.status != http.StatusForbidden || got.body != "Bad_OAuth_Token" {
		t.Errorf("with an ended session: %d %s", got.status, got.body)
	}
}

// A token belongs into the Authorization header.
func TestTokenInAnotherHeader(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	h.do("GET", "/services/data/v65.0", "", map[string]string{"X-SFDC-Session": h.token()})
	if got := h.org.Violations(); len(got) != 1 || !strings.Contains(got[0], "X-Sfdc-Session") {
		t.Errorf("violations %q", got)
	}
}

func TestBlockedSession(t *testing.T) {
	t.Parallel()
	for name, block := range map[string]func(*sfoauthtest.UserOptions){
		"frozen": func(u *sfoauthtest.UserOptions) { u.Frozen = true },
		"locked": func(u *sfoauthtest.UserOptions) { u.SessionsLocked = true },
	} {
		h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		h.app.User.Change(block)
		token := h.token()
		header := map[string]string{"Authorization": "Bearer " + token}
		got := h.do("GET", "/services/data/v65.0", "", header)
		if !got.is(401, "INVALID_SESSION_ID") || !strings.Contains(got.body, "This session is not valid for use with") {
			t.Errorf("%s: the REST API responds %d %s", name, got.status, got.body)
		}
		if got := h.introspect(token); got.fields["active"] != true {
			t.Errorf("%s: introspection responds %v", name, got.fields["active"])
		}
		h.org.KillSession(token)
		if got := h.do("GET", "/services/data/v65.0", "", header); !strings.Contains(got.body, "Session expired or invalid") {
			t.Errorf("%s: of an ended session the REST API says %s", name, got.body)
		}
	}
}

func TestEndSessionFault(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	h.org.InjectFault(sfoauthtest.Token, sfoauthtest.EndSession(), 1)
	if first, second := h.token(), h.token(); h.org.TokenActive(first) || !h.org.TokenActive(second) {
		t.Errorf("the first session lives: %t, the second: %t", h.org.TokenActive(first), h.org.TokenActive(second))
	}
}

func TestLoginDoesNotExtend(t *testing.T) {
	t.Parallel()
	for doesNotExtend, left := range map[bool]time.Duration{false: 15 * time.Minute, true: time.Minute} {
		config := sfoauthtest.Config{
			SharedSessions: true, SessionTimeout: 15 * time.Minute, LoginDoesNotExtend: doesNotExtend,
		}
		h := newHarness(t, config, sfoauthtest.AppOptions{})
		token := h.token()
		h.now = h.now.Add(14 * time.Minute)
		again, remaining := h.token(), h.org.TokenExpiry(token).Sub(h.now)
		if again != token || remaining != left {
			t.Errorf("LoginDoesNotExtend %t: the same token: %t, for %v", doesNotExtend, again == token, remaining)
		}
	}
}

func TestRenamedMyDomain(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	h.org.Rename("https://new.my.salesforce.com/")
	for _, path := range []string{tokenPath, introspectPath, "/services/data/v65.0"} {
		got := h.form(path, h.grant())
		if got.status != 301 || got.header.Get("Location") != "https://new.my.salesforce.com"+path {
			t.Errorf("%s: %d to %q", path, got.status, got.header.Get("Location"))
		}
	}
	if h.org.Stats().Logins.Attempts != 0 {
		t.Error("a login is tried at the old My Domain")
	}
	got := h.form("https://new.my.salesforce.com/services/oauth2/token", h.grant())
	if got.status != 200 {
		t.Errorf("at the new My Domain: %d %s", got.status, got.errorCode())
	}
}
