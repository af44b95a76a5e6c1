package sfoauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestLastLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		addr := "203.0.113.5"
		org, app, client := connect(t, sfoauthtest.Config{SourceIP: func(*http.Request) string { return addr }},
			sfoauthtest.AppOptions{Name: "CRM"})
		app.User.Change(func(o *sfoauthtest.UserOptions) {
			o.LoginIPRanges = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		})
		var want []sfoauth.Login
		logIn := func(from, status string) *sfoauth.Token {
			time.Sleep(time.Minute)
			addr = from
			token, err := client.Token(t.Context())
			if (err == nil) != (status == "Success") {
				t.Errorf("a login from %s: %v", from, err)
			}
			want = append(want, sfoauth.Login{Time: time.Now(), SourceIP: from, Status: status, Application: "CRM"})
			return token
		}
		logIn("203.0.113.5", "Success")
		logIn("198.51.100.7", "Failed: ip restricted or invalid login hours")
		token := logIn("2001:db8::1", "Success")
		slices.Reverse(want)

		for limit, n := range map[int]int{50: 3, 3: 3, 2: 2, 1: 1, 0: 1, -1: 1} {
			got, err := client.LastLogins(t.Context(), token, token.UserID, limit)
			equal := func(a, b sfoauth.Login) bool {
				return a.Time.Equal(b.Time) && a.SourceIP == b.SourceIP && a.Status == b.Status && a.Application == b.Application
			}
			if err != nil || !slices.EqualFunc(got, want[:n], equal) {
				t.Errorf("the last %d logins: %+v, %v; want %+v", limit, got, err, want[:n])
			}
		}
		if want[1].Succeeded() || !want[0].Succeeded() {
			t.Error("Succeeded")
		}
		if violations := org.Violations(); len(violations) > 0 {
			t.Errorf("violations %q", violations)
		}
	})
}

func TestLastLoginsAccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, app, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		token, err := client.Token(t.Context())
		must(t, err)
		_, err = client.Token(t.Context())
		must(t, err)
		admin := org.AddUser(sfoauthtest.UserOptions{ManageUsers: true})
		other := org.AddApp(sfoauthtest.AppOptions{RunAs: admin})
		asAdmin := *client
		key, secret := other.Credentials()
		asAdmin.ConsumerKey, asAdmin.ConsumerSecret = key, sfoauth.NewSecret(secret)
		adminToken, err := asAdmin.Token(t.Context())
		must(t, err)
		for _, c := range []struct {
			name  string
			token *sfoauth.Token
			user  string
			want  int
		}{
			{"its own", token, app.User.ID, 2},
			{"its own, by an id of 15 characters", token, app.User.ID[:15], 2},
			{"another user's", token, admin.ID, 0},
			{"its own, with Manage Users", adminToken, admin.ID, 1},
			{"another user's, with Manage Users", adminToken, app.User.ID, 2},
		} {
			logins, err := client.LastLogins(t.Context(), c.token, c.user, 10)
			n, err2 := client.CountLogins(t.Context(), c.token, c.user, time.Now().Add(-time.Hour))
			if len(logins) != c.want || n != c.want || err != nil || err2 != nil {
				t.Errorf("%s: %d logins, %v; counted %d, %v; want %d", c.name, len(logins), err, n, err2, c.want)
			}
		}
		app.User.Change(func(o *sfoauthtest.UserOptions) { o.NoLoginHistory = true })
		_, err = client.LastLogins(t.Context(), token, app.User.ID, 10)
		failed, ok := errors.AsType[*sfoauth.Error](err)
		if !ok || failed.Code != "INVALID_TYPE" || failed.Kind != sfoauth.Permanent ||
			!strings.Contains(failed.Hint(), "user may not read") {
			t.Errorf("without access: %#v", err)
		}
		for _, id := range []string{"", "005' OR UserId != '", "005xx0000000001 OR 1", "005xx000000000%27"} {
			before := org.Stats().Calls[sfoauthtest.REST]
			_, err := client.LastLogins(t.Context(), adminToken, id, 10)
			_, err2 := client.CountLogins(t.Context(), adminToken, id, time.Now())
			if err == nil || err2 == nil || org.Stats().Calls[sfoauthtest.REST] != before {
				t.Errorf("the id %q was sent: %v, %v", id, err, err2)
			}
		}
	})
}

// Texts of the login history reach a terminal. Salesforce does not make them, its users' programs do.
func TestLastLoginsResponses(t *testing.T) {
	t.Parallel()
	record := func(at, application string) string {
		text, _ := json.Marshal(map[string]string{ // strings always can be
			"LoginTime": at, "SourceIp": "203.0.113.5", "Status": "Success", "Application": application,
		})
		return string(text)
	}
	const at = "2026-11-26T10:00:00.000+0000"
	result := func(records ...string) string {
		return fmt.Sprintf(`{"totalSize":%d,"done":true,"records":[%s]}`, len(records), strings.Join(records, ","))
	}
	for _, c := range []struct {
		name, body, application, err string
	}{
		{"a record", result(record(at, "CRM")), "CRM", ""},
		{"a time with Z", result(record("2026-11-26T10:00:00Z", "CRM")), "CRM", ""},
		{"a time of a zone", result(record("2026-11-26T12:00:00.000+0200", "CRM")), "CRM", ""},
		{"null", strings.ReplaceAll(result(record(at, "CRM")), `"CRM"`, "null"), "", ""},
		{"a token as a name", result(record(at, "x 00Dxx-old-token")), "x [redacted]", ""},
		{"control characters", result(record(at, "a\x1b[2J\u202eb")), "a?[2J?b", ""},
		{"a long name", result(record(at, strings.Repeat("x", 300))), strings.Repeat("x", 100), ""},
		{"more than the limit", result(record(at, "CRM"), record(at, "CRM")), "", "more than 1 records"},
		{"no time", result(record("", "CRM")), "", "not a time"},
		{"a time in words", result(record("yesterday", "CRM")), "", "not a time"},
		{"no totalSize", `{"records":[]}`, "", "no totalSize"},
		{"a list", `[]`, "", "invalid JSON"},
		{"a huge response", result(record(at, strings.Repeat("x", 70_000))), "", "more than 65536 bytes"},
	} {
		client := respondingClient(http.StatusOK, "application/json", c.body)
		token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx-old-token")}
		logins, err := client.LastLogins(t.Context(), token, "005xx0000000001", 1)
		switch failed, ok := errors.AsType[*sfoauth.Error](err); {
		case c.err != "" && (!ok || failed.Kind != sfoauth.InvalidResponse || !strings.Contains(failed.Error(), c.err)):
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		case c.err == "" && (err != nil || len(logins) != 1 || logins[0].Application != c.application ||
			!logins[0].Time.Equal(time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC))):
			t.Errorf("%s: %+v, %v", c.name, logins, err)
		}
	}
	foreign := &sfoauth.Token{AccessToken: sfoauth.NewSecret("x"), InstanceURL: "https://salesforce.example"}
	client := respondingClient(http.StatusOK, "application/json", result())
	if _, err := client.LastLogins(t.Context(), foreign, "005xx0000000001", 1); err == nil {
		t.Error("the token was sent to a foreign host")
	}
}
