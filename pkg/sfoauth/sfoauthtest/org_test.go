package sfoauthtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	base           = "https://acme.my.salesforce.com"
	tokenPath      = "/services/oauth2/token"
	introspectPath = "/services/oauth2/introspect"
	userInfoPath   = "/services/oauth2/userinfo"
)

// harness is an org with one app and a clock that only the test moves.
type harness struct {
	*testing.T
	org *sfoauthtest.Org
	app *sfoauthtest.App
	now time.Time
}

func newHarness(t *testing.T, config sfoauthtest.Config, options sfoauthtest.AppOptions) *harness {
	h := &harness{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	config.BaseURL = base
	config.Now = func() time.Time { return h.now }
	h.org = sfoauthtest.New(config)
	h.app = h.org.AddApp(options)
	return h
}

// reply is a response, with a JSON object decoded.
type reply struct {
	status int
	body   string
	fields map[string]any
	header http.Header
}

// errorCode returns OAuth's or the REST API's error code and text.
func (r reply) errorCode() string {
	if code, ok := r.fields["error"].(string); ok {
		return code + ": " + r.fields["error_description"].(string)
	}
	var list []struct{ ErrorCode, Message string }
	if json.Unmarshal([]byte(r.body), &list) == nil && len(list) == 1 {
		return list[0].ErrorCode
	}
	return ""
}

// is reports whether the reply has this status and error code.
func (r reply) is(status int, code string) bool { return r.status == status && r.errorCode() == code }

func (r reply) text(field string) string {
	s, _ := r.fields[field].(string)
	return s
}

// do sends a request; a field of header replaces the default.
func (h *harness) do(method, path, body string, header map[string]string) reply {
	h.Helper()
	target := path
	if !strings.Contains(path, "://") {
		target = base + path
	}
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for name, value := range header {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	h.org.ServeHTTP(rec, req)
	r := reply{status: rec.Code, body: rec.Body.String(), header: rec.Header()}
	_ = json.Unmarshal(rec.Body.Bytes(), &r.fields)
	return r
}

const formType = "application/x-www-form-urlencoded"

func (h *harness) form(path string, form url.Values) reply {
	h.Helper()
	return h.do("POST", path, form.Encode(), map[string]string{"Content-Type": formType, "Accept": "application/json"})
}

// grant is the form of a token request with the app's primary credentials, and what is to be different in it.
func (h *harness) grant(with ...string) url.Values {
	key, secret := h.app.Credentials()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {key}, "client_secret": {secret}}
	for i := 0; i < len(with); i += 2 {
		form.Set(with[i], with[i+1])
	}
	return form
}

func (h *harness) login() reply {
	h.Helper()
	return h.form(tokenPath, h.grant())
}

// token logs in and returns the token.
func (h *harness) token() string {
	h.Helper()
	r := h.login()
	if r.status != http.StatusOK {
		h.Fatalf("login: %d %s", r.status, r.body)
	}
	return r.text("access_token")
}

func (h *harness) get(path, token string) reply {
	h.Helper()
	return h.do("GET", path, "", map[string]string{"Authorization": "Bearer " + token, "Accept": "application/json"})
}

func signature(secret, id, issuedAt string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + issuedAt))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestTokenResponse(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	r := h.login()
	want := []string{"access_token", "id", "instance_url", "issued_at", "scope", "signature", "token_type"}
	if got := slices.Sorted(maps.Keys(r.fields)); !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v: no expires_in", got, want)
	}
	_, secret := h.app.Credentials()
	for field, want := range map[string]string{
		"instance_url": base, "token_type": "Bearer", "scope": "id api", "issued_at": "1767323045000",
		"id":        base + "/id/" + h.org.ID() + "/" + h.app.User.ID,
		"signature": signature(secret, r.text("id"), r.text("issued_at")),
	} {
		if r.text(field) != want {
			t.Errorf("%s is %q, want %q", field, r.text(field), want)
		}
	}
	if !strings.HasPrefix(r.text("access_token"), h.org.ID()[:15]+"!") || !h.org.TokenActive(r.text("access_token")) {
		t.Error("the token has another form, or is not live")
	}
	for _, id := range []string{h.org.ID(), h.app.User.ID, h.app.ID, h.app.ConsumerID} {
		if len(id) != 18 || len(secret) != 64 {
			t.Error("ids have 18 characters and secrets 64")
		}
	}

	h.app.Change(func(o *sfoauthtest.AppOptions) { o.ExtraFields = true })
	r = h.login()
	if r.text("token_format") != "opaque" || r.text("api_instance_url") == "" || r.text("sfdc_community_id") == "" {
		t.Errorf("ExtraFields: only %v", slices.Sorted(maps.Keys(r.fields)))
	}
}

func TestTokenRequest(t *testing.T) {
	t.Parallel()
	const (
		unsupportedGrant = "unsupported_grant_type: grant type not supported"
		mustPost         = "invalid_request: must use HTTP POST"
		wrongSecret      = "invalid_client: invalid client credentials"
		wrongDomain      = "invalid_grant: request not supported on this domain"
	)
	with := func(field, value string) func(*harness) reply {
		return func(h *harness) reply { return h.form(tokenPath, h.grant(field, value)) }
	}
	at := func(host string) func(*harness) reply {
		return func(h *harness) reply { return h.form(host+tokenPath, h.grant()) }
	}
	send := func(method, body string, header map[string]string) func(*harness) reply {
		return func(h *harness) reply { return h.do(method, tokenPath, body, header) }
	}
	for _, test := range []struct {
		name       string
		ask        func(*harness) reply
		want       string // empty: a token
		violations string // part of it; empty: nothing is
	}{
		{"form", (*harness).login, "", ""},
		{"basic", func(h *harness) reply { return h.basic("grant_type=client_credentials") }, "", ""},
		{"basic and form", func(h *harness) reply { return h.basic(h.grant().Encode()) },
			"invalid_request: more than one way of client authentication", "in a Basic header and in the form"},
		{"GET", send("GET", "", nil), mustPost, ""},
		{"DELETE", send("DELETE", "", nil), mustPost, ""},
		{"query", func(h *harness) reply { return h.form(tokenPath+"?"+h.grant().Encode(), h.grant()) },
			"invalid_request: parameters not supported in the query string", "in the query string"},
		{"JSON", send("POST", `{"grant_type":"client_credentials"}`, map[string]string{"Content-Type": "application/json"}),
			unsupportedGrant, ""},
		{"no grant type", func(h *harness) reply { return h.form(tokenPath, url.Values{}) }, unsupportedGrant, ""},
		{"password grant", with("grant_type", "password"), unsupportedGrant, ""},
		{"scope", with("scope", "api"), "invalid_request: scope parameter not supported", "a scope"},
		{"unknown key", with("client_id", "3MVG9x"), unknownKey, ""},
		{"no key", with("client_id", ""), unknownKey, ""},
		{"wrong secret", with("client_secret", "x"), wrongSecret, ""},
		{"no secret", with("client_secret", ""), wrongSecret, ""},
		{"login host", at("https://login.salesforce.com"), wrongDomain, ""},
		{"test host", at("https://test.salesforce.com"), wrongDomain, ""},
		{"Accept", send("POST", "grant_type=x", map[string]string{"Content-Type": formType, "Accept": "text/plain"}),
			unsupportedGrant, "Accept"},
		{"bearer", send("POST", "grant_type=x", map[string]string{"Content-Type": formType, "Authorization": "Bearer x"}),
			unsupportedGrant, "Authorization"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
			r := test.ask(h)
			if status := map[bool]int{true: 200, false: 400}[test.want == ""]; r.status != status || r.errorCode() != test.want {
				t.Errorf("%d %q, want %d %q", r.status, r.errorCode(), status, test.want)
			}
			violations := strings.Join(h.org.Violations(), "\n")
			if (violations == "") != (test.violations == "") || !strings.Contains(violations, test.violations) {
				t.Errorf("violations: %q, want %q", violations, test.violations)
			}
		})
	}
}

func (h *harness) basic(body string) reply {
	key, secret := h.app.Credentials()
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(key), url.QueryEscape(secret))
	header := map[string]string{"Content-Type": formType, "Authorization": req.Header.Get("Authorization")}
	return h.do("POST", tokenPath, body, header)
}

func TestSetupErrors(t *testing.T) {
	t.Parallel()
	type appOptions = sfoauthtest.AppOptions
	type userOptions = sfoauthtest.UserOptions
	app := func(change func(*appOptions)) func(*harness) { return func(h *harness) { h.app.Change(change) } }
	user := func(change func(*userOptions)) func(*harness) { return func(h *harness) { h.app.User.Change(change) } }
	lock := func(h *harness) { h.org.SetLocked(true) }
	for _, test := range []struct {
		name  string
		setup func(*harness)
		want  string
	}{
		{"flow off", app(func(o *appOptions) { o.FlowOff = true }), "unsupported_grant_type: grant type not supported"},
		{"no run-as user", app(func(o *appOptions) { o.NoRunAsUser = true }),
			"invalid_grant: no client credentials user enabled"},
		{"no scopes", app(func(o *appOptions) { o.NoScopes = true }), "invalid_grant: no valid scopes defined"},
		{"not installed", app(func(o *appOptions) { o.NotInstalled = true }),
			"app_not_found: External client app is not installed in this org"},
		{"blocked", app(func(o *appOptions) { o.Blocked = true }), "OAUTH_APP_BLOCKED: this app is blocked by admin"},
		{"not approved", app(func(o *appOptions) { o.NotApproved = true }),
			"invalid_grant: user hasn't approved this consumer"},
		{"not admin approved", app(func(o *appOptions) { o.NotAdminApproved = true }),
			"invalid_app_access: user is not admin approved to access this app"},
		{"IP", app(func(o *appOptions) { o.IPRestricted = true }), "invalid_grant: ip restricted"},
		{"inactive user", user(func(o *userOptions) { o.Inactive = true }), "invalid_grant: inactive user"},
		{"login denied", user(func(o *userOptions) { o.LoginDenied = true }), "invalid_grant: authentication failure"},
		{"locked org", lock, "inactive_org: organization is locked, closed, or suspended"},
		{"frozen user", user(func(o *userOptions) { o.Frozen = true }), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
			key, secret := h.app.Credentials()
			test.setup(h)
			r := h.login()
			if r.errorCode() != test.want || h.org.CanLogin(key, secret) != (test.want == "") {
				t.Errorf("%q, want %q; CanLogin %t", r.errorCode(), test.want, h.org.CanLogin(key, secret))
			}
			if test.name == "frozen user" {
				token := r.text("access_token")
				if got := h.get(limits, token); got.status != http.StatusUnauthorized || h.org.TokenActive(token) {
					t.Errorf("the token of a frozen user works: %d", got.status)
				}
			}
		})
	}
}

func TestLoginLimit(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{LoginsPerHour: 3}, sfoauthtest.AppOptions{})
	same := h.org.AddApp(sfoauthtest.AppOptions{RunAs: h.app.User})
	for range 2 {
		h.token()
	}
	first := h.app
	h.app = same
	h.token()
	h.app = first
	if r := h.login(); r.errorCode() != "invalid_grant: login rate exceeded" {
		t.Errorf("the fourth login of the user within the hour: %s", r.body)
	}
	h.now = h.now.Add(time.Hour)
	h.token()
	h.form(tokenPath, h.grant("client_secret", "wrong"))

	seen := h.org.Stats()
	if want := (sfoauthtest.Logins{Attempts: 6, Succeeded: 4}); seen.Logins != want {
		t.Errorf("logins %+v, want %+v", seen.Logins, want)
	}
	if got, want := first.Logins(), (sfoauthtest.Logins{Attempts: 5, Succeeded: 3}); got != want {
		t.Errorf("logins of the first app %+v, want %+v", got, want)
	}
	if seen.Calls[sfoauthtest.Token] != 6 || seen.Form != 6 || seen.Basic != 0 {
		t.Errorf("seen %+v", seen)
	}
	h.org.ResetStats()
	if seen := h.org.Stats(); seen.Logins.Attempts != 0 || len(seen.Calls) != 0 {
		t.Errorf("stats after ResetStats %+v", seen)
	}
}

func TestRegenerate(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{PropagationDelay: 5 * time.Minute}, sfoauthtest.AppOptions{})
	old, live := h.grant(), h.token()
	h.app.Regenerate()
	for name, form := range map[string]url.Values{"old": old, "new": h.grant()} {
		if r := h.form(tokenPath, form); r.errorCode() != "invalid_client_id: client identifier invalid" {
			t.Errorf("the %s credentials at once: %s", name, r.errorCode())
		}
	}
	h.now = h.now.Add(5 * time.Minute)
	h.token()
	if !h.org.TokenActive(live) {
		t.Error("the session ended with the credentials")
	}
}

func TestResponseFormats(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	for accept, want := range map[string]string{
		"":                                       "application/json;charset=UTF-8",
		"*/*":                                    "application/json;charset=UTF-8",
		"application/json":                       "application/json;charset=UTF-8",
		formType:                                 formType + ";charset=UTF-8",
		"application/xml":                        "application/xml;charset=UTF-8",
		"application/xml, " + "application/json": "application/json;charset=UTF-8",
	} {
		header := map[string]string{"Content-Type": formType, "Accept": accept}
		r := h.do("POST", tokenPath, h.grant().Encode(), header)
		if r.status != 200 || r.header.Get("Content-Type") != want || !strings.Contains(r.body, "access_token") {
			t.Errorf("Accept %q: %d %s", accept, r.status, r.header.Get("Content-Type"))
		}
	}
}

func TestOtherHostsAndPaths(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	for _, host := range []string{"acme.lightning.force.com", "acme.my.salesforce-setup.com"} {
		r := h.form("https://"+host+tokenPath, h.grant())
		if r.status != http.StatusFound || r.header.Get("Location") != base+tokenPath {
			t.Errorf("%s: %d to %s", host, r.status, r.header.Get("Location"))
		}
	}
	if r := h.do("GET", "/nothing", "", nil); r.status != http.StatusNotFound {
		t.Errorf("an unknown path: %d", r.status)
	}
	if r := h.do("POST", tokenPath, strings.Repeat("x", 2<<20), nil); r.status != http.StatusBadRequest {
		t.Errorf("a request of 2 MiB: %d", r.status)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	_, old := h.app.Credentials()
	r := h.login()
	_, secret := h.app.Regenerate()
	h.org.InjectFault(sfoauthtest.Token, sfoauthtest.Field("access_token", "not a token"), 1)
	h.login()
	for _, want := range []string{old, secret, r.text("access_token"), r.text("signature"), "not a token"} {
		if !slices.Contains(h.org.Secrets(), want) {
			t.Errorf("a secret is not listed")
		}
	}
}

func TestViolations(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := h.token()
	_, secret := h.app.Credentials()
	h.do("GET", "/services/data/v65.0/limits?q="+url.QueryEscape(token), "", nil)
	h.do("GET", "/services/data/"+url.PathEscape(token), "", nil)
	h.do("GET", "/nothing", "", map[string]string{"Authorization": "Bearer " + token})
	h.do("GET", "/services/data", "", map[string]string{"Cookie": "sid=" + token})
	h.do("POST", "/services/data", "x="+secret, nil)
	h.do("GET", "/services/data", "", map[string]string{"X-Debug": "sent " + token})
	h.get("/services/data", secret)
	got := h.org.Violations()
	want := []string{
		"GET rest: credentials or a token in the query string",
		"GET rest: credentials or a token in the path",
		"GET other: an Authorization header at an unknown path",
		"GET rest: credentials or a token in the header Cookie",
		"POST rest: credentials or a token where they are not wanted",
		"GET rest: credentials or a token in the header X-Debug",
		"GET rest: a secret that is no token in the Authorization header",
	}
	if !slices.Equal(got, want) {
		t.Errorf("violations:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSessionTimeoutBounds(t *testing.T) {
	t.Parallel()
	for timeout, panics := range map[time.Duration]bool{
		0: false, 15 * time.Minute: false, 24 * time.Hour: false, time.Minute: true, 25 * time.Hour: true,
	} {
		func() {
			defer func() {
				if (recover() != nil) != panics {
					t.Errorf("%v: panics %t, want %t", timeout, !panics, panics)
				}
			}()
			sfoauthtest.New(sfoauthtest.Config{SessionTimeout: timeout})
		}()
	}
}

func TestOnCall(t *testing.T) {
	t.Parallel()
	var calls []sfoauthtest.Call
	record := func(c sfoauthtest.Call) { calls = append(calls, c) }
	h := newHarness(t, sfoauthtest.Config{OnCall: record}, sfoauthtest.AppOptions{})
	h.token()
	want := []sfoauthtest.Call{
		{Endpoint: sfoauthtest.Token, Phase: sfoauthtest.Arrived},
		{Endpoint: sfoauthtest.Token, Phase: sfoauthtest.Done, Status: 200},
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
}

// must fails the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
