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

const base = "https://acme.my.salesforce.com"

// world is an org with one app and a clock that only the test moves.
type world struct {
	*testing.T
	org *sfoauthtest.Org
	app *sfoauthtest.App
	now time.Time
}

func newWorld(t *testing.T, config sfoauthtest.Config, options sfoauthtest.AppOptions) *world {
	w := &world{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	config.BaseURL = base
	config.Now = func() time.Time { return w.now }
	w.org = sfoauthtest.New(config)
	w.app = w.org.AddApp(options)
	return w
}

// reply is an answer, with a JSON object decoded.
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

func (r reply) text(field string) string {
	s, _ := r.fields[field].(string)
	return s
}

// do sends a request; a field of header replaces the default.
func (w *world) do(method, path, body string, header map[string]string) reply {
	w.Helper()
	target := path
	if !strings.Contains(path, "://") {
		target = base + path
	}
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for name, value := range header {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	w.org.ServeHTTP(rec, req)
	r := reply{status: rec.Code, body: rec.Body.String(), header: rec.Header()}
	_ = json.Unmarshal(rec.Body.Bytes(), &r.fields)
	return r
}

const formType = "application/x-www-form-urlencoded"

func (w *world) form(path string, form url.Values) reply {
	w.Helper()
	return w.do("POST", path, form.Encode(), map[string]string{"Content-Type": formType, "Accept": "application/json"})
}

// grant is the form of a token request with the app's main pair, and what is to be different in it.
func (w *world) grant(with ...string) url.Values {
	key, secret := w.app.Credentials()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {key}, "client_secret": {secret}}
	for i := 0; i < len(with); i += 2 {
		form.Set(with[i], with[i+1])
	}
	return form
}

func (w *world) login() reply {
	w.Helper()
	return w.form("/services/oauth2/token", w.grant())
}

// token logs in and returns the token.
func (w *world) token() string {
	w.Helper()
	r := w.login()
	if r.status != http.StatusOK {
		w.Fatalf("login: %d %s", r.status, r.body)
	}
	return r.text("access_token")
}

func (w *world) get(path, token string) reply {
	w.Helper()
	return w.do("GET", path, "", map[string]string{"Authorization": "Bearer " + token, "Accept": "application/json"})
}

func signature(secret, id, issuedAt string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + issuedAt))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestTokenAnswerIsSalesforces(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	r := w.login()
	want := []string{"access_token", "id", "instance_url", "issued_at", "scope", "signature", "token_type"}
	if got := slices.Sorted(maps.Keys(r.fields)); !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v: no expires_in", got, want)
	}
	_, secret := w.app.Credentials()
	for field, want := range map[string]string{
		"instance_url": base, "token_type": "Bearer", "scope": "id api", "issued_at": "1767323045000",
		"id":        base + "/id/" + w.org.ID() + "/" + w.app.User.ID,
		"signature": signature(secret, r.text("id"), r.text("issued_at")),
	} {
		if r.text(field) != want {
			t.Errorf("%s is %q, want %q", field, r.text(field), want)
		}
	}
	if !strings.HasPrefix(r.text("access_token"), w.org.ID()[:15]+"!") || !w.org.TokenActive(r.text("access_token")) {
		t.Error("the token has another form, or is not live")
	}
	if len(w.org.ID()) != 18 || len(w.app.User.ID) != 18 || len(w.app.ID) != 18 || len(w.app.ConsumerID) != 18 || len(secret) != 64 {
		t.Error("ids have 18 characters and secrets 64")
	}

	w.app.Change(func(o *sfoauthtest.AppOptions) { o.ExtraFields = true })
	if r := w.login(); r.text("token_format") != "opaque" || r.text("api_instance_url") == "" || r.text("sfdc_community_id") == "" {
		t.Errorf("MoreFields: only %v", slices.Sorted(maps.Keys(r.fields)))
	}
}

func TestTokenRequestIsChecked(t *testing.T) {
	for _, test := range []struct {
		name     string
		ask      func(*world) reply
		want     string // empty: a token
		improper string // part of it; empty: nothing is
	}{
		{"form", (*world).login, "", ""},
		{"basic", func(w *world) reply { return w.basic("grant_type=client_credentials") }, "", ""},
		{"basic and form", func(w *world) reply { return w.basic(w.grant().Encode()) }, "invalid_request: more than one way of client authentication", "in a Basic header and in the form"},
		{"GET", func(w *world) reply { return w.do("GET", "/services/oauth2/token", "", nil) }, "invalid_request: must use HTTP POST", ""},
		{"DELETE", func(w *world) reply { return w.do("DELETE", "/services/oauth2/token", "", nil) }, "invalid_request: must use HTTP POST", ""},
		{"query", func(w *world) reply { return w.form("/services/oauth2/token?"+w.grant().Encode(), w.grant()) }, "invalid_request: parameters not supported in the query string", "in the query string"},
		{"JSON", func(w *world) reply {
			return w.do("POST", "/services/oauth2/token", `{"grant_type":"client_credentials"}`, map[string]string{"Content-Type": "application/json"})
		}, "unsupported_grant_type: grant type not supported", ""},
		{"no grant type", func(w *world) reply { return w.form("/services/oauth2/token", url.Values{}) }, "unsupported_grant_type: grant type not supported", ""},
		{"password grant", func(w *world) reply { return w.form("/services/oauth2/token", w.grant("grant_type", "password")) }, "unsupported_grant_type: grant type not supported", ""},
		{"scope", func(w *world) reply { return w.form("/services/oauth2/token", w.grant("scope", "api")) }, "invalid_request: scope parameter not supported", "a scope"},
		{"unknown key", func(w *world) reply { return w.form("/services/oauth2/token", w.grant("client_id", "3MVG9x")) }, "invalid_client_id: client identifier invalid", ""},
		{"no key", func(w *world) reply { return w.form("/services/oauth2/token", w.grant("client_id", "")) }, "invalid_client_id: client identifier invalid", ""},
		{"wrong secret", func(w *world) reply { return w.form("/services/oauth2/token", w.grant("client_secret", "x")) }, "invalid_client: invalid client credentials", ""},
		{"no secret", func(w *world) reply { return w.form("/services/oauth2/token", w.grant("client_secret", "")) }, "invalid_client: invalid client credentials", ""},
		{"login host", func(w *world) reply { return w.form("https://login.salesforce.com/services/oauth2/token", w.grant()) }, "invalid_grant: request not supported on this domain", ""},
		{"test host", func(w *world) reply { return w.form("https://test.salesforce.com/services/oauth2/token", w.grant()) }, "invalid_grant: request not supported on this domain", ""},
		{"Accept", func(w *world) reply {
			return w.do("POST", "/services/oauth2/token", "grant_type=x", map[string]string{"Content-Type": formType, "Accept": "text/plain"})
		}, "unsupported_grant_type: grant type not supported", "Accept"},
		{"bearer", func(w *world) reply {
			return w.do("POST", "/services/oauth2/token", "grant_type=x", map[string]string{"Content-Type": formType, "Authorization": "Bearer x"})
		}, "unsupported_grant_type: grant type not supported", "Authorization"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
			r := test.ask(w)
			if status := map[bool]int{true: 200, false: 400}[test.want == ""]; r.status != status || r.errorCode() != test.want {
				t.Errorf("%d %q, want %d %q", r.status, r.errorCode(), status, test.want)
			}
			improper := strings.Join(w.org.Violations(), "\n")
			if (improper == "") != (test.improper == "") || !strings.Contains(improper, test.improper) {
				t.Errorf("improper: %q, want %q", improper, test.improper)
			}
		})
	}
}

func (w *world) basic(body string) reply {
	key, secret := w.app.Credentials()
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(key), url.QueryEscape(secret))
	return w.do("POST", "/services/oauth2/token", body, map[string]string{"Content-Type": formType, "Authorization": req.Header.Get("Authorization")})
}

func TestSetupRefusesLogins(t *testing.T) {
	app := func(change func(*sfoauthtest.AppOptions)) func(*world) {
		return func(w *world) { w.app.Change(change) }
	}
	user := func(change func(*sfoauthtest.UserOptions)) func(*world) {
		return func(w *world) { w.app.User.Change(change) }
	}
	for _, test := range []struct {
		name  string
		setup func(*world)
		want  string
	}{
		{"flow off", app(func(o *sfoauthtest.AppOptions) { o.FlowOff = true }), "unsupported_grant_type: grant type not supported"},
		{"no run-as user", app(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true }), "invalid_grant: no client credentials user enabled"},
		{"no scopes", app(func(o *sfoauthtest.AppOptions) { o.NoScopes = true }), "invalid_grant: no valid scopes defined"},
		{"not installed", app(func(o *sfoauthtest.AppOptions) { o.NotInstalled = true }), "app_not_found: External client app is not installed in this org"},
		{"blocked", app(func(o *sfoauthtest.AppOptions) { o.Blocked = true }), "OAUTH_APP_BLOCKED: this app is blocked by admin"},
		{"not approved", app(func(o *sfoauthtest.AppOptions) { o.NotApproved = true }), "invalid_grant: user hasn't approved this consumer"},
		{"not admin approved", app(func(o *sfoauthtest.AppOptions) { o.NotAdminApproved = true }), "invalid_app_access: user is not admin approved to access this app"},
		{"IP", app(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true }), "invalid_grant: ip restricted"},
		{"inactive user", user(func(o *sfoauthtest.UserOptions) { o.Inactive = true }), "invalid_grant: inactive user"},
		{"login denied", user(func(o *sfoauthtest.UserOptions) { o.LoginDenied = true }), "invalid_grant: authentication failure"},
		{"locked org", func(w *world) { w.org.SetLocked(true) }, "inactive_org: organization is locked, closed, or suspended"},
		{"frozen user", user(func(o *sfoauthtest.UserOptions) { o.Frozen = true }), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
			key, secret := w.app.Credentials()
			test.setup(w)
			r := w.login()
			if r.errorCode() != test.want || w.org.CanLogin(key, secret) != (test.want == "") {
				t.Errorf("%q, want %q; LogsIn %t", r.errorCode(), test.want, w.org.CanLogin(key, secret))
			}
			if test.name == "frozen user" {
				if got := w.get("/services/data/v65.0/limits", r.text("access_token")); got.status != http.StatusUnauthorized || w.org.TokenActive(r.text("access_token")) {
					t.Errorf("the token of a frozen user works: %d", got.status)
				}
			}
		})
	}
}

func TestLoginsAreCountedAndLimited(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{LoginsPerHour: 3}, sfoauthtest.AppOptions{})
	same := w.org.AddApp(sfoauthtest.AppOptions{RunAs: w.app.User})
	for range 2 {
		w.token()
	}
	first := w.app
	w.app = same
	w.token()
	w.app = first
	if r := w.login(); r.errorCode() != "invalid_grant: login rate exceeded" {
		t.Errorf("the fourth login of the user within the hour: %s", r.body)
	}
	w.now = w.now.Add(time.Hour)
	w.token()
	w.form("/services/oauth2/token", w.grant("client_secret", "wrong"))

	seen := w.org.Stats()
	if want := (sfoauthtest.Logins{Attempts: 6, Succeeded: 4}); seen.Logins != want {
		t.Errorf("logins %+v, want %+v", seen.Logins, want)
	}
	if got, want := first.Logins(), (sfoauthtest.Logins{Attempts: 5, Succeeded: 3}); got != want {
		t.Errorf("logins of the first app %+v, want %+v", got, want)
	}
	if seen.Calls[sfoauthtest.Token] != 6 || seen.Form != 6 || seen.Basic != 0 {
		t.Errorf("seen %+v", seen)
	}
	w.org.ResetStats()
	if seen := w.org.Stats(); seen.Logins.Attempts != 0 || len(seen.Calls) != 0 {
		t.Errorf("seen after Forget %+v", seen)
	}
}

func TestRegeneratedPairPropagates(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{PropagationDelay: 5 * time.Minute}, sfoauthtest.AppOptions{})
	old, live := w.grant(), w.token()
	w.app.Regenerate()
	for name, form := range map[string]url.Values{"old": old, "new": w.grant()} {
		if r := w.form("/services/oauth2/token", form); r.errorCode() != "invalid_client_id: client identifier invalid" {
			t.Errorf("the %s pair at once: %s", name, r.errorCode())
		}
	}
	w.now = w.now.Add(5 * time.Minute)
	w.token()
	if !w.org.TokenActive(live) {
		t.Error("the session died with the pair")
	}
}

func TestFormats(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	for accept, want := range map[string]string{
		"":                                       "application/json;charset=UTF-8",
		"*/*":                                    "application/json;charset=UTF-8",
		"application/json":                       "application/json;charset=UTF-8",
		formType:                                 formType + ";charset=UTF-8",
		"application/xml":                        "application/xml;charset=UTF-8",
		"application/xml, " + "application/json": "application/json;charset=UTF-8",
	} {
		r := w.do("POST", "/services/oauth2/token", w.grant().Encode(), map[string]string{"Content-Type": formType, "Accept": accept})
		if r.status != 200 || r.header.Get("Content-Type") != want || !strings.Contains(r.body, "access_token") {
			t.Errorf("Accept %q: %d %s", accept, r.status, r.header.Get("Content-Type"))
		}
	}
}

func TestOtherHostsAndPaths(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	for _, host := range []string{"acme.lightning.force.com", "acme.my.salesforce-setup.com"} {
		r := w.form("https://"+host+"/services/oauth2/token", w.grant())
		if r.status != http.StatusFound || r.header.Get("Location") != base+"/services/oauth2/token" {
			t.Errorf("%s: %d to %s", host, r.status, r.header.Get("Location"))
		}
	}
	if r := w.do("GET", "/nothing", "", nil); r.status != http.StatusNotFound {
		t.Errorf("an unknown path: %d", r.status)
	}
	if r := w.do("POST", "/services/oauth2/token", strings.Repeat("x", 2<<20), nil); r.status != http.StatusBadRequest {
		t.Errorf("a request of 2 MiB: %d", r.status)
	}
}

func TestSecretsListsAll(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	_, old := w.app.Credentials()
	r := w.login()
	_, secret := w.app.Regenerate()
	w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Field("access_token", "not a token"), 1)
	w.login()
	for _, want := range []string{old, secret, r.text("access_token"), r.text("signature"), "not a token"} {
		if !slices.Contains(w.org.Secrets(), want) {
			t.Errorf("a secret is not listed")
		}
	}
}

func TestImproperNeverHoldsValues(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := w.token()
	_, secret := w.app.Credentials()
	w.do("GET", "/services/data/v65.0/query?q="+url.QueryEscape(token), "", nil)
	w.do("GET", "/services/data/"+url.PathEscape(token), "", nil)
	w.do("GET", "/nothing", "", map[string]string{"Authorization": "Bearer " + token})
	w.do("GET", "/services/data", "", map[string]string{"Cookie": "sid=" + token})
	w.do("POST", "/services/data", "x="+secret, nil)
	w.do("GET", "/services/data", "", map[string]string{"X-Debug": "sent " + token})
	w.get("/services/data", secret)
	got := w.org.Violations()
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
		t.Errorf("improper:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSessionTimeoutBounds(t *testing.T) {
	for timeout, panics := range map[time.Duration]bool{0: false, 15 * time.Minute: false, 24 * time.Hour: false, time.Minute: true, 25 * time.Hour: true} {
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

func TestWatchSeesArrivedAndDone(t *testing.T) {
	var calls []sfoauthtest.Call
	w := newWorld(t, sfoauthtest.Config{OnCall: func(c sfoauthtest.Call) { calls = append(calls, c) }}, sfoauthtest.AppOptions{})
	w.token()
	want := []sfoauthtest.Call{
		{Endpoint: sfoauthtest.Token, Phase: sfoauthtest.Arrived},
		{Endpoint: sfoauthtest.Token, Phase: sfoauthtest.Done, Status: 200},
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
}
