package sfoauth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestAppsAndConsumers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, app, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{Name: "CRM"})
		app.User.Change(func(o *sfoauthtest.UserOptions) { o.ExternalClientAppDeveloper, o.ViewClientSecret = true, true })
		token, err := client.Token(t.Context())
		must(t, err)
		apps, err := client.StagedCredentials(token, "", "").Apps(t.Context())
		if err != nil || len(apps) != 1 || apps[0] != (sfoauth.ExternalClientApp{ID: app.ID, Name: "CRM"}) {
			t.Errorf("apps %+v, %v", apps, err)
		}
		consumers, err := client.StagedCredentials(token, app.ID[:15], "").Consumers(t.Context())
		if err != nil || len(consumers) != 1 ||
			consumers[0] != (sfoauth.Consumer{ID: app.ConsumerID, ConsumerKey: client.ConsumerKey, Name: "CRM"}) {
			t.Errorf("consumers %+v, %v", consumers, err)
		}
		short := client.StagedCredentials(token, app.ID[:15], app.ConsumerID[:15])
		if primary, err := short.Primary(t.Context()); err != nil || primary.ConsumerKey != client.ConsumerKey {
			t.Errorf("with ids of 15 characters: %v", err)
		}
		if violations := org.Violations(); len(violations) > 0 {
			t.Errorf("violations %q", violations)
		}
	})
}

// The ids come from a stored secret and go into a path, so nothing but ids is accepted.
func TestPathsHaveOnlyIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, app, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		token := &sfoauth.Token{AccessToken: sfoauth.NewSecret(app.NewToken())}
		for _, ids := range [][2]string{
			{"", app.ConsumerID}, {app.ID, ""}, {"../../sobjects/x", app.ConsumerID}, {app.ID, "888?part=keyand"},
			{app.ID + "0", app.ConsumerID}, {app.ID, "888000000000é0"},
		} {
			c := client.StagedCredentials(token, ids[0], ids[1])
			_, err := c.Primary(t.Context())
			_, err2 := c.ListStaged(t.Context())
			_, err3 := c.Stage(t.Context())
			for _, err := range []error{err, err2, err3, c.Promote(t.Context(), "1"), c.Delete(t.Context(), "1")} {
				if failed, ok := errors.AsType[*sfoauth.Error](err); !ok || failed.Kind != sfoauth.Permanent || failed.Status != 0 {
					t.Errorf("ids %q: %v", ids, err)
				}
			}
		}
		if _, err := client.StagedCredentials(token, "../usage", "").Consumers(t.Context()); err == nil {
			t.Error("consumers of an app that is no id")
		}
		c := client.StagedCredentials(token, app.ID, app.ConsumerID)
		for _, id := range []string{"", "../x", "a/b", "a?b", "a b", strings.Repeat("a", 65)} {
			if c.Promote(t.Context(), id) == nil || c.Delete(t.Context(), id) == nil {
				t.Errorf("staged credentials %q", id)
			}
		}
		if calls := org.Stats().Calls; len(calls) > 0 {
			t.Errorf("Salesforce was asked: %v", calls)
		}
	})
}

func TestMissingPermissions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, app, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		token, err := client.Token(t.Context())
		must(t, err)
		_, err = client.StagedCredentials(token, app.ID, app.ConsumerID).Primary(t.Context())
		if failed, ok := errors.AsType[*sfoauth.Error](err); !ok || failed.Kind != sfoauth.Permanent ||
			failed.Status != http.StatusForbidden ||
			failed.Code != "INSUFFICIENT_ACCESS" ||
			failed.Hint() == "" {
			t.Errorf("without permissions: %v", err)
		}
	})
}

func TestEqualIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"00Dxx0000000001", "00Dxx0000000001", true}, {"00Dxx0000000001", "00Dxx0000000001AAA", true},
		{"00Dxx0000000001EAC", "00Dxx0000000001", true}, {"00Dxx0000000001", "00Dxx0000000002", false},
		{"00Dxx0000000001", "00DXX0000000001", false}, {"00Dxx", "00Dxx", false}, {"", "", false},
	} {
		if got := sfoauth.EqualIDs(c.a, c.b); got != c.same {
			t.Errorf("%q and %q: %t", c.a, c.b, got)
		}
	}
}

// Without "Allow access to External Client App consumer secrets via REST API", or without part=keyandsecret, the
// response may hold a key and no secret.
func TestIncompletePrimaryCredentials(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!abc")}
	for body, complete := range map[string]bool{
		`{"id":"888xx0000000001","key":"k","secret":"s"}`:  true,
		`{"id":"888xx0000000001","key":"k"}`:               false,
		`{"id":"888xx0000000001","key":"k","secret":""}`:   false,
		`{"id":"888xx0000000001","key":"k","secret":null}`: false,
		`{"id":"888xx0000000001","secret":"s"}`:            false,
		`{"id":"888xx0000000001","key":"","secret":"s"}`:   false,
		`{}`: false,
		`{"stagedCredentials":[{"id":"0xJ","key":"k","secret":"s","state":"Active"}]}`: false,
	} {
		client := respondingClient(200, "application/json", body)
		credentials := client.StagedCredentials(token, "0xIxx0000000001", "888xx0000000001")
		primary, err := credentials.Primary(t.Context())
		refused, _ := errors.AsType[*sfoauth.Error](err)
		if (err == nil) != complete || err != nil && (refused == nil || refused.Kind != sfoauth.InvalidResponse) ||
			err == nil && (primary.ConsumerKey != "k" || primary.ConsumerSecret.Reveal() != "s") {
			t.Errorf("%s: %v, want accepted: %t", body, err, complete)
		}
		if err != nil && (primary.ConsumerKey != "" || !primary.ConsumerSecret.IsZero()) {
			t.Errorf("%s: half of the credentials is returned with the error", body)
		}
	}
}

// Stage must return the new credentials, and must not guess which ones of several they are.
func TestAmbiguousStageResponse(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!abc")}
	const one, two = `{"id":"0xJ1","key":"k1","secret":"s1"}`, `{"id":"0xJ2","key":"k2","secret":"s2"}`
	for body, accepted := range map[string]bool{
		one: true, `{"stagedCredentials":[` + one + `]}`: true, `{"stagedCredentials":[` + one + `,` + two + `]}`: false,
		`{"stagedCredentials":[]}`: false, `{"id":"0xJ1","key":"k1"}`: false, `{"key":"k1","secret":"s1"}`: false,
	} {
		client := respondingClient(201, "application/json", body)
		staged, err := client.StagedCredentials(token, "0xIxx0000000001", "888xx0000000001").Stage(t.Context())
		failed, _ := errors.AsType[*sfoauth.Error](err)
		if (err == nil) != accepted || err == nil && staged.ID != "0xJ1" ||
			err != nil && (failed == nil || failed.Kind != sfoauth.InvalidResponse || staged.ID != "") {
			t.Errorf("%s: %v, want accepted: %t", body, err, accepted)
		}
	}
}
