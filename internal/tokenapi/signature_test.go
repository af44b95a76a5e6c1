package tokenapi

import (
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// admin returns a client for changing the app's credentials at Salesforce.
func (w *world) admin() *sfoauth.StagedCredentialsClient {
	w.t.Helper()
	developer := w.org.AddUser(sfoauthtest.UserOptions{ExternalClientAppDeveloper: true, ViewClientSecret: true})
	app := w.org.AddApp(sfoauthtest.AppOptions{RunAs: developer})
	client := w.client(app.Credentials())
	token, err := client.Token(w.t.Context())
	w.must(err)
	w.org.ResetStats()
	return client.StagedCredentials(token, w.app.ID, w.app.ConsumerID)
}

func (w *world) client(key, secret string) *sfoauth.Client {
	return &sfoauth.Client{
		BaseURL: "http://" + orgHost, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret), AllowedHosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: w.handler.vendor.HTTPClient,
	}
}

// stage stages credentials at Salesforce, and stores them under the labels.
func (w *world) stage(admin *sfoauth.StagedCredentialsClient, labels ...string) sfoauth.StagedCredentials {
	w.t.Helper()
	staged, err := admin.Stage(w.t.Context())
	w.must(err)
	w.store(w.pair(staged.ConsumerKey, staged.ConsumerSecret.Reveal()), labels...)
	return staged
}

// Salesforce does not document which secret it signs with where the login was with other than the primary credentials.
// If it is always the primary one's, every version serves all the same, at every point of a change.
func TestASignatureOfThePrimarySecretIsTakenWhileCredentialsChange(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"AWSCURRENT is not primary any more, and AWSPENDING is": func(w *world) {
			admin := w.admin()
			staged := w.stage(admin, appsecret.Pending)
			w.must(admin.Promote(w.t.Context(), staged.ID))
		},
		"AWSCURRENT has gone back to the credentials before": func(w *world) {
			old := w.pair(w.app.Credentials())
			admin := w.admin()
			staged := w.stage(admin)
			w.must(admin.Promote(w.t.Context(), staged.ID))
			w.store(old)
		},
		"AWSCURRENT is refused, and staged credentials stand in": func(w *world) {
			w.stage(w.admin(), appsecret.Candidate)
			w.app.Regenerate()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{org: sfoauthtest.Config{SignWithPrimary: true}}, func(t *testing.T, w *world) {
				prepare(w)
				w.want(w.get(), 200, "miss")
				if warning, _ := w.lines()[0]["warning"].(string); !strings.Contains(warning, "signature") {
					t.Errorf("the log says %q", warning)
				}
				w.want(w.get(), 200, "hit")
				w.noSecrets(w.log.String())
			})
		})
	}
}

func TestAWrongSignatureIsNotTakenOfThePrimaryCredentials(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"no other version": func(*world) {},
		"AWSPREVIOUS has other credentials, and has not signed":    func(w *world) { w.store(w.pair("3MVG9old", "old")); w.store(w.pair(w.app.Credentials())) },
		"AWSPENDING has the same credentials, as after a rotation": func(w *world) { w.store(w.pair(w.app.Credentials()), appsecret.Pending, appsecret.Current) },
		"CANDIDATE is for another org": func(w *world) {
			w.store(map[string]any{"consumerKey": "k", "consumerSecret": "s", "baseUri": "https://other.my.salesforce.com"}, appsecret.Candidate)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				prepare(w)
				w.org.InjectFault(sfoauthtest.Token, sfoauthtest.WrongSignature(), 1)
				w.want(w.get(), 502, "bad_upstream_response")
				if w.logins() != 1 {
					t.Errorf("%d logins", w.logins())
				}
			})
		})
	}
}

func TestAWrongSignatureOfAVersionThatHasBeenReplacedIsNoMatter(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.store(w.pair(w.org.AddApp(sfoauthtest.AppOptions{}).Credentials()))
		time.Sleep(vending.DefaultSecretTTL - time.Second) // the new version has not been seen
		w.org.KillSession(first.token())
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.WrongSignature(), 1)
		a := w.reject(first.id())
		w.want(a, 200, "miss")
		if line := w.lines()[1]; line["secret_version"] != w.current() || w.logins() != 3 {
			t.Errorf("version %v, %d logins", line["secret_version"], w.logins())
		}
	})
}

func TestTheSignatureIsNotPassedOn(t *testing.T) {
	bubble(t, options{app: sfoauthtest.AppOptions{ExtraFields: true}}, func(t *testing.T, w *world) {
		a := w.get()
		if a.body["signature"] != nil {
			t.Error("callers get the signature, with which they can try out consumer secrets")
		}
		if a.text("api_instance_url") != "https://api.salesforce.com" {
			t.Errorf("api_instance_url is %q", a.text("api_instance_url"))
		}
	})
}
