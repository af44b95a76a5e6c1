package sfoauthtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const day = 24 * time.Hour

// rotationHarness is a harness with an admin app, whose token rotates the app's credentials.
type rotationHarness struct {
	*harness
	admin *sfoauthtest.App
	path  string // of the consumer
}

func newRotationHarness(t *testing.T, config sfoauthtest.Config) *rotationHarness {
	h := newHarness(t, config, sfoauthtest.AppOptions{Name: "CRM"})
	user := h.org.AddUser(sfoauthtest.UserOptions{ExternalClientAppDeveloper: true, ViewClientSecret: true})
	admin := h.org.AddApp(sfoauthtest.AppOptions{Name: "Admin", RunAs: user})
	return &rotationHarness{h, admin, "/services/data/v65.0/apps/oauth/credentials/" + h.app.ID + "/" + h.app.ConsumerID}
}

// as sends a request with a new token of the app.
func (r *rotationHarness) as(app *sfoauthtest.App, method, path, body string) reply {
	r.Helper()
	header := map[string]string{"Authorization": "Bearer " + app.NewToken()}
	if body != "" {
		header["Content-Type"] = "application/json"
	}
	return r.do(method, path, body, header)
}

func (r *rotationHarness) stage() sfoauthtest.StagedCredentials {
	r.Helper()
	if got := r.as(r.admin, "POST", r.path+"/staged", "{}"); got.status != http.StatusCreated {
		r.Fatalf("stage: %d %s", got.status, got.errorCode())
	}
	staged := r.app.Staged()
	return staged[len(staged)-1]
}

func (r *rotationHarness) rotate(id string) reply {
	return r.as(r.admin, "PATCH", r.path+"/staged/"+id, `{"command":"rotate"}`)
}

func (r *rotationHarness) mustLogIn(name, key, secret string, want string) {
	r.Helper()
	got := r.form(tokenPath, r.grant("client_id", key, "client_secret", secret)).errorCode()
	if got != want || r.org.CanLogin(key, secret) != (want == "") {
		r.Errorf("login with the %s credentials: %q, want %q; CanLogin %t", name, got, want, r.org.CanLogin(key, secret))
	}
}

const unknownKey = "invalid_client_id: client identifier invalid"

func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{})
	oldKey, oldSecret := r.app.Credentials()

	staged := r.stage()
	if staged.State != "Active" || staged.Expires.Sub(r.now) != 30*day {
		t.Errorf("staged: %s until %v", staged.State, staged.Expires)
	}
	if staged.Key == oldKey || staged.Secret == oldSecret {
		t.Error("the staged key and secret are not new")
	}
	r.mustLogIn("main", oldKey, oldSecret, "")
	r.mustLogIn("staged", staged.Key, staged.Secret, "")

	if got := r.rotate(staged.ID); got.status != http.StatusOK {
		t.Fatalf("rotate: %d %s", got.status, got.errorCode())
	}
	if key, secret := r.app.Credentials(); key != staged.Key || secret != staged.Secret {
		t.Error("the staged credentials are not the primary ones")
	}
	rotated := r.app.Staged()
	if len(rotated) != 1 || rotated[0].Key != oldKey || rotated[0].State != "Rotated" || rotated[0].ID == staged.ID {
		t.Fatal("the old primary credentials are not listed as Rotated, with another id")
	}
	r.mustLogIn("rotated", oldKey, oldSecret, "")

	r.now = r.now.Add(30*day - time.Second)
	r.mustLogIn("rotated", oldKey, oldSecret, "")
	r.now = r.now.Add(time.Second)
	r.mustLogIn("rotated", oldKey, oldSecret, unknownKey)
	r.mustLogIn("main", staged.Key, staged.Secret, "")
	if len(r.app.Staged()) != 0 {
		t.Error("the rotated credentials exist after 30 days")
	}
	if violations := r.org.Violations(); violations != nil {
		t.Errorf("violations: %v", violations)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{})
	staged := r.stage()
	for range 2 {
		r.rotate(staged.ID)
		rotated := r.app.Staged()[0]
		path := r.path + "/staged/" + rotated.ID
		if got := r.as(r.admin, "DELETE", path, ""); got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("delete: %d %s", got.status, got.body)
		}
		r.mustLogIn("deleted", rotated.Key, rotated.Secret, unknownKey)
		if got := r.as(r.admin, "DELETE", path, ""); got.status != http.StatusNotFound {
			t.Errorf("second delete: %d", got.status)
		}
		staged = r.stage()
	}
}

func TestOneStaged(t *testing.T) {
	t.Parallel()
	refusesToStage := func(t *testing.T, r *rotationHarness) {
		t.Helper()
		if got := r.as(r.admin, "POST", r.path+"/staged", "{}"); !got.is(http.StatusBadRequest, "INVALID_INPUT") {
			t.Errorf("stage: %d %s", got.status, got.errorCode())
		}
	}
	r := newRotationHarness(t, sfoauthtest.Config{})
	staged := r.stage()
	refusesToStage(t, r)

	r.now = r.now.Add(30 * day)
	r.mustLogIn("expired", staged.Key, staged.Secret, unknownKey)
	if got := r.app.Staged(); len(got) != 1 || got[0].State != "Expired" {
		t.Error("the staged credentials are not Expired")
	}
	refusesToStage(t, r)
	if got := r.rotate(staged.ID); got.errorCode() != "INVALID_INPUT" {
		t.Errorf("expired credentials can be promoted: %d", got.status)
	}
	r.as(r.admin, "DELETE", r.path+"/staged/"+staged.ID, "")

	r.rotate(r.stage().ID)
	refusesToStage(t, r)
	if got := r.rotate(r.app.Staged()[0].ID); got.errorCode() != "INVALID_INPUT" {
		t.Errorf("rotated credentials can be promoted: %d", got.status)
	}
}

func TestStageAlongsideRotated(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{StageAlongsideRotated: true})
	first, _ := r.app.Credentials()
	r.rotate(r.stage().ID)
	staged := r.stage()
	if got := r.app.Staged(); len(got) != 2 || got[0].State != "Rotated" || got[1].State != "Active" {
		t.Fatalf("%d staged credentials, want a rotated and a staged one", len(got))
	}
	if got := r.as(r.admin, "POST", r.path+"/staged", "{}"); got.status != http.StatusBadRequest {
		t.Errorf("second staged credentials: %d", got.status)
	}
	r.rotate(staged.ID)
	if got := r.app.Staged(); len(got) != 1 || got[0].Key == first {
		t.Error("the last rotated credentials are not the only ones")
	}
}

func TestStagedResponses(t *testing.T) {
	t.Parallel()
	for _, flat := range []bool{false, true} {
		r := newRotationHarness(t, sfoauthtest.Config{FlatStaged: flat})
		empty := r.as(r.admin, "GET", r.path+"/staged", "")
		want := map[bool]string{true: "{}", false: `{"stagedCredentials":[],"url":"` + r.path + `/staged"}`}[flat]
		if empty.body != want {
			t.Errorf("flat %t, nothing staged: %s, want %s", flat, empty.body, want)
		}
		posted := r.as(r.admin, "POST", r.path+"/staged", "")
		listed := r.as(r.admin, "GET", r.path+"/staged", "")
		if posted.status != http.StatusCreated || listed.status != http.StatusOK || posted.body != listed.body {
			t.Errorf("flat %t: POST %d and GET %d differ", flat, posted.status, listed.status)
		}
		fields := posted.fields
		if !flat {
			fields = fields["stagedCredentials"].([]any)[0].(map[string]any)
		}
		staged := r.app.Staged()[0]
		for name, want := range map[string]string{
			"id": staged.ID, "key": staged.Key, "secret": staged.Secret, "state": "Active", "createdBy": r.admin.User.ID,
			"createdDate": "2026-01-02T03:04:05.000Z", "expirationDate": "2026-02-01T03:04:05.000Z",
			"url": r.path + "/staged/" + staged.ID,
		} {
			if fields[name] != want {
				t.Errorf("flat %t: %s is another", flat, name)
			}
		}
	}
}

func TestUsageConsumersPrimary(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{})
	key, secret := r.app.Credentials()
	usage := r.as(r.admin, "GET", "/services/data/v65.0/apps/oauth/usage", "")
	if !strings.Contains(usage.body, `"identifier":"`+r.app.ID+`","name":"CRM"`) {
		t.Errorf("usage: %d %s", usage.status, usage.body)
	}
	consumers := r.as(r.admin, "GET", strings.TrimSuffix(r.path, "/"+r.app.ConsumerID), "")
	list, _ := consumers.fields["consumers"].([]any)
	if len(list) != 1 {
		t.Fatalf("consumers: %d %s", consumers.status, consumers.errorCode())
	}
	consumer := list[0].(map[string]any)
	for field, want := range map[string]any{
		"id": r.app.ConsumerID, "key": key, "url": r.path, "stagedCredentialsUrl": r.path + "/staged", "secret": nil,
	} {
		if consumer[field] != want {
			t.Errorf("the consumer has another %s", field)
		}
	}
	got := r.as(r.admin, "GET", r.path+"?part=keyandsecret", "")
	if got.text("key") != key || got.text("secret") != secret {
		t.Errorf("primary credentials: %d %s", got.status, got.errorCode())
	}
	if got := r.as(r.admin, "GET", r.path, ""); got.text("key") != key || got.fields["secret"] != nil {
		t.Errorf("primary credentials without part: %d %s", got.status, got.errorCode())
	}
	if got := r.as(r.admin, "GET", r.path+"?part=everything", ""); got.status != http.StatusBadRequest {
		t.Errorf("primary credentials with an unknown part: %d", got.status)
	}
	short := strings.NewReplacer(r.app.ID, r.app.ID[:15], r.app.ConsumerID, r.app.ConsumerID[:15]).Replace(r.path)
	if got := r.as(r.admin, "GET", short+"/staged", ""); got.status != http.StatusOK {
		t.Errorf("ids of 15 characters: %d", got.status)
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{})
	staged := r.path + "/staged"
	id := r.stage().ID
	for _, test := range []struct {
		name               string
		app                *sfoauthtest.App
		method, path, body string
		want               string
	}{
		{"v64.0", r.admin, "GET", strings.Replace(staged, "v65", "v64", 1), "", "NOT_FOUND"},
		{"newer version", r.admin, "GET", strings.Replace(staged, "v65", "v67", 1), "", ""},
		{"unknown app", r.admin, "GET", strings.Replace(staged, r.app.ID, r.admin.ID, 1), "", "NOT_FOUND"},
		{"unknown consumer", r.admin, "GET",
			strings.Replace(staged, r.app.ConsumerID, r.admin.ConsumerID, 1), "", "NOT_FOUND"},
		{"unknown staged credentials", r.admin, "PATCH", staged + "/0xJ000000000001AAA", `{"command":"rotate"}`, "NOT_FOUND"},
		{"unknown command", r.admin, "PATCH", staged + "/" + id, `{"command":"undo"}`, "INVALID_INPUT"},
		{"broken body", r.admin, "PATCH", staged + "/" + id, `{"command"`, "JSON_PARSER_ERROR"},
		{"no body", r.admin, "PATCH", staged + "/" + id, "", "UNSUPPORTED_MEDIA_TYPE"},
		{"wrong method", r.admin, "PUT", staged, "{}", "METHOD_NOT_ALLOWED"},
		{"user without permissions", r.app, "GET", staged, "", "INSUFFICIENT_ACCESS"},
		{"usage without permissions", r.app, "GET", "/services/data/v65.0/apps/oauth/usage", "", "INSUFFICIENT_ACCESS"},
	} {
		got := r.as(test.app, test.method, test.path, test.body)
		if got.errorCode() != test.want || (got.status/100 == 2) != (test.want == "") {
			t.Errorf("%s: %d %s, want %s", test.name, got.status, got.errorCode(), test.want)
		}
	}
	r.admin.User.Change(func(o *sfoauthtest.UserOptions) { o.ViewClientSecret = false })
	if got := r.as(r.admin, "GET", staged, ""); !got.is(http.StatusForbidden, "INSUFFICIENT_ACCESS") {
		t.Errorf("without View Client Secret: %d %s", got.status, got.errorCode())
	}
	if got := r.as(r.admin, "GET", "/services/data/v65.0/apps/oauth/usage", ""); got.status != http.StatusOK {
		t.Errorf("usage without View Client Secret: %d %s", got.status, got.errorCode())
	}
	off := newRotationHarness(t, sfoauthtest.Config{RESTSecretsDisabled: true})
	if got := off.as(off.admin, "GET", off.path+"/staged", ""); got.status != http.StatusNotFound {
		t.Errorf("with the org's setting off: %d", got.status)
	}
	if got := off.do("GET", off.path+"/staged", "", nil); !got.is(http.StatusUnauthorized, "INVALID_SESSION_ID") {
		t.Errorf("without a token: %d %s", got.status, got.errorCode())
	}
}

func TestStagedLogin(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{PropagationDelay: 10 * time.Minute})
	staged := r.stage()
	r.mustLogIn("new staged", staged.Key, staged.Secret, unknownKey)
	r.now = r.now.Add(10 * time.Minute)
	r.mustLogIn("propagated staged", staged.Key, staged.Secret, "")

	r = newRotationHarness(t, sfoauthtest.Config{StagedCannotLogIn: true})
	staged = r.stage()
	r.mustLogIn("staged", staged.Key, staged.Secret, unknownKey)
	oldKey, oldSecret := r.app.Credentials()
	r.rotate(staged.ID)
	r.mustLogIn("new main", staged.Key, staged.Secret, "")
	r.mustLogIn("rotated", oldKey, oldSecret, "")
}

func TestRegenerateKeepsStaged(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{})
	staged := r.stage()
	oldKey, oldSecret := r.app.Credentials()
	key, secret := r.app.Regenerate()
	r.mustLogIn("old", oldKey, oldSecret, unknownKey)
	r.mustLogIn("regenerated", key, secret, "")
	r.mustLogIn("staged", staged.Key, staged.Secret, "")
	if got := r.rotate(staged.ID); got.status != http.StatusOK {
		t.Errorf("rotate: %d %s", got.status, got.errorCode())
	}
	r.mustLogIn("rotated", key, secret, "")
}

// A response of each step of a rotation is lost, before or after the change.
func TestLostResponses(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		fault := sfoauthtest.Reset()
		if after {
			fault = sfoauthtest.ResetAfterCommit()
		}
		r := newRotationHarness(t, sfoauthtest.Config{})
		lose := func(e sfoauthtest.Endpoint, send func() reply) {
			t.Helper()
			r.org.InjectFault(e, fault, 1)
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the response was not lost", e)
				}
			}()
			send()
		}
		state := func() string {
			if s := r.app.Staged(); len(s) > 0 {
				return s[0].State
			}
			return ""
		}
		mustBe := func(before, then string) {
			t.Helper()
			want := map[bool]string{false: before, true: then}[after]
			if got := state(); got != want {
				t.Errorf("lost after the change %t: state %q, want %q", after, got, want)
			}
		}
		lose(sfoauthtest.Stage, func() reply { return r.as(r.admin, "POST", r.path+"/staged", "{}") })
		mustBe("", "Active")
		if !after {
			r.stage()
		}
		lose(sfoauthtest.Promote, func() reply { return r.rotate(r.app.Staged()[0].ID) })
		mustBe("Active", "Rotated")
		lose(sfoauthtest.Delete, func() reply { return r.as(r.admin, "DELETE", r.path+"/staged/"+r.app.Staged()[0].ID, "") })
		mustBe("Active", "")
	}
}

func TestEmptyStagedNotFound(t *testing.T) {
	t.Parallel()
	r := newRotationHarness(t, sfoauthtest.Config{EmptyStagedNotFound: true})
	if got := r.as(r.admin, "GET", r.path+"/staged", ""); !got.is(http.StatusNotFound, "NOT_FOUND") {
		t.Errorf("empty: %d %s", got.status, got.errorCode())
	}
	r.stage()
	if got := r.as(r.admin, "GET", r.path+"/staged", ""); got.status != http.StatusOK {
		t.Errorf("with staged credentials: %d %s", got.status, got.errorCode())
	}
}

func TestSignWithPrimary(t *testing.T) {
	t.Parallel()
	for _, primary := range []bool{false, true} {
		r := newRotationHarness(t, sfoauthtest.Config{SignWithPrimary: primary})
		staged := r.stage()
		_, secret := r.app.Credentials()
		if !primary {
			secret = staged.Secret
		}
		got := r.form(tokenPath, r.grant("client_id", staged.Key, "client_secret", staged.Secret))
		if got.text("signature") != signature(secret, got.text("id"), got.text("issued_at")) {
			t.Errorf("SignWithPrimary %t: a login with staged credentials is signed with another secret", primary)
		}
	}
}
