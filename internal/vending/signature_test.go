package vending

import (
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// admin returns a client that changes the app's credentials at Salesforce.
func (h *harness) admin() *sfoauth.StagedCredentialsClient {
	h.T.Helper()
	developer := h.Org.AddUser(sfoauthtest.UserOptions{ExternalClientAppDeveloper: true, ViewClientSecret: true})
	app := h.Org.AddApp(sfoauthtest.AppOptions{RunAs: developer})
	client := h.OAuth(app.Credentials())
	token, err := client.Token(h.T.Context())
	h.Must(err)
	h.Org.ResetStats()
	return client.StagedCredentials(token, h.App.ID, h.App.ConsumerID)
}

// stage stages credentials at Salesforce, and stores them under the labels.
func (h *harness) stage(admin *sfoauth.StagedCredentialsClient, labels ...string) sfoauth.StagedCredentials {
	h.T.Helper()
	staged, err := admin.Stage(h.T.Context())
	h.Must(err)
	h.Store(h.Value(staged.ConsumerKey, staged.ConsumerSecret.Reveal()), labels...)
	return staged
}

// Salesforce does not document which secret signs for a login with other than the primary credentials. If it is always
// that of the primary ones, every version can still be used at every point of a rotation.
func TestSignatureDuringRotation(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(h *harness){
		"AWSCURRENT is not primary any more, and AWSPENDING is": func(h *harness) {
			admin := h.admin()
			staged := h.stage(admin, appsecret.Pending)
			h.Must(admin.Promote(h.T.Context(), staged.ID))
		},
		"AWSCURRENT has gone back to the credentials before": func(h *harness) {
			old := h.Value(h.App.Credentials())
			admin := h.admin()
			staged := h.stage(admin)
			h.Must(admin.Promote(h.T.Context(), staged.ID))
			h.Store(old)
		},
		"the primary credentials are not stored, while AWSPENDING is on its way": func(h *harness) {
			admin := h.admin()
			staged, err := admin.Stage(h.T.Context())
			h.Must(err)
			h.Must(admin.Promote(h.T.Context(), staged.ID))
			h.Store(h.Value("3MVG9next", "next"), appsecret.Pending)
		},
		"AWSCURRENT is refused, and staged credentials are used instead": func(h *harness) {
			h.stage(h.admin(), appsecret.Candidate)
			h.App.Regenerate()
		},
	} {
		subtest(t, name, options{org: sfoauthtest.Config{SignWithPrimary: true}}, func(t *testing.T, h *harness) {
			prepare(h)
			a := h.vend()
			h.want(a, "miss")
			if notes := strings.Join(a.stats.Notes, " "); !strings.Contains(notes, "signature") {
				t.Errorf("the notes are %q", notes)
			}
			h.want(h.vend(), "hit")
		})
	}
}

func TestWrongSignature(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(h *harness){
		"no other version": func(*harness) {},
		"AWSPREVIOUS has other credentials, and has not signed": func(h *harness) {
			h.Store(h.Value("3MVG9old", "old"))
			h.Store(h.Value(h.App.Credentials()))
		},
		"AWSPENDING has the same credentials, as after a rotation": func(h *harness) {
			h.Store(h.Value(h.App.Credentials()), appsecret.Pending, appsecret.Current)
		},
		"CANDIDATE is for another org": func(h *harness) {
			value := h.Value("k", "s")
			value["baseUri"] = "https://other.my.salesforce.com"
			h.Store(value, appsecret.Candidate)
		},
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			prepare(h)
			h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.WrongSignature(), 1)
			h.want(h.vend(), "bad_upstream_response")
			h.wantLogins(1)
		})
	}
}

func TestWrongSignatureOfReplacedVersion(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Store(h.Value(h.Org.AddApp(sfoauthtest.AppOptions{}).Credentials()))
		time.Sleep(DefaultSecretTTL - time.Second) // the new version has not been read yet
		h.Org.KillSession(first.token())
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.WrongSignature(), 1)
		a := h.reject(first.id())
		h.want(a, "miss")
		if a.grant.VersionID != h.Current() || h.Logins() != 3 {
			t.Errorf("version %s, %d logins", a.grant.VersionID, h.Logins())
		}
	})
}
