package rotateapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const evil = "sftoken/evil"

// attack is a writer of the secret evil, who knows everything about crm that is no secret: its ids and consumer keys.
type attack struct {
	*world
	own    *sfoauthtest.App // evil's own app, whose credentials work
	before []string         // crm's credentials, when the attack begins
}

// begin begins the attack. Where crm's secret is kept elsewhere, no other secret here can be found to hold its credentials.
func (a *attack) begin(stored bool) {
	a.before = a.holdings()
	if stored {
		return
	}
	_, err := a.secrets.DeleteSecret(a.t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(crm), ForceDeleteWithoutRecovery: aws.Bool(true)})
	a.must(err)
}

// put stores a version of evil under the label and returns its id. Its ids are crm's.
func (a *attack) put(key, secret, label string) string {
	a.t.Helper()
	text, err := json.Marshal(map[string]any{
		"consumerKey": key, "consumerSecret": secret, "baseUri": "http://" + orgHost, "appId": a.app.ID, "consumerId": a.app.ConsumerID,
	})
	a.must(err)
	out, err := a.secrets.PutSecretValue(a.t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(evil), SecretString: aws.String(string(text)), VersionStages: []string{label},
	})
	a.must(err)
	return *out.VersionId
}

func (a *attack) rotateEvil() {
	_, _ = a.secrets.RotateSecret(a.t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(evil), RotationLambdaARN: aws.String(functionARN)})
	a.deliver()
}

// stepsOf calls the function for all steps of a version that the writer has labelled AWSPENDING.
func (a *attack) stepsOf(token string) {
	for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
		_, _ = a.invoke(a.t.Context(), fmt.Appendf(nil, `{"Step":%q,"SecretId":%q,"ClientRequestToken":%q}`, step, evil, token))
	}
	a.deliver()
}

// TestTheWriterOfASecretReachesNoOtherApp tries what the writer of one app's secret can store to get at another app in the same
// org. Afterwards evil holds no credentials of crm, and crm's are what they were.
func TestTheWriterOfASecretReachesNoOtherApp(t *testing.T) {
	for name, strike := range map[string]func(a *attack, begin func()){
		"credentials that do not work": func(a *attack, begin func()) {
			begin()
			a.put("3MVG9bogus", "bogus", "AWSCURRENT")
			a.rotateEvil()
		},
		"two versions that do not work": func(a *attack, begin func()) {
			begin()
			a.put("3MVG9bogus1", "bogus", "AWSCURRENT")
			a.put("3MVG9bogus2", "bogus", "AWSCURRENT")
			a.rotateEvil()
			a.rotateEvil()
		},
		"credentials of its own": func(a *attack, begin func()) {
			begin()
			key, secret := a.own.Credentials()
			a.put(key, secret, "AWSCURRENT")
			a.rotateEvil()
		},
		"crm's consumer key with another secret": func(a *attack, begin func()) {
			begin()
			key, _ := a.app.Credentials()
			a.put(key, "guessed", "AWSCURRENT")
			a.rotateEvil()
			a.put(key, "guessed", "CANDIDATE")
			a.rotateEvil()
		},
		"the consumer key that is staged": func(a *attack, begin func()) {
			a.stageByHand()
			begin()
			staged := a.app.Staged()[0]
			key, secret := a.own.Credentials()
			a.put(key, secret, "AWSCURRENT")
			a.stepsOf(a.put(staged.Key, "guessed", "AWSPENDING"))
			a.put(staged.Key, "guessed", "AWSCURRENT")
			a.rotateEvil()
		},
		"a pending version that holds crm's consumer key": func(a *attack, begin func()) {
			begin()
			key, _ := a.app.Credentials()
			a.stepsOf(a.put(key, "guessed", "AWSPENDING"))
		},
		"crm's old consumer key as COMPROMISED": func(a *attack, begin func()) {
			old, _ := a.app.Credentials()
			a.rotateOnce() // the old credentials are in their grace
			begin()
			key, secret := a.own.Credentials()
			for _, guess := range []string{"", " ", "guessed"} {
				a.put(key, secret, "AWSCURRENT")
				a.put(old, guess, "COMPROMISED")
				a.deliver()
				a.rotateEvil()
			}
		},
		"crm's old consumer key, current and COMPROMISED": func(a *attack, begin func()) {
			old, _ := a.app.Credentials()
			a.rotateOnce()
			begin()
			a.put(old, "guessed", "COMPROMISED")
			a.put(old, "guessed", "AWSCURRENT")
			a.rotateEvil()
		},
		"a version id of crm's": func(a *attack, begin func()) {
			id := a.describe().VersionWithLabel("AWSCURRENT")
			begin()
			key, _ := a.app.Credentials()
			text := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":"guessed","baseUri":"http://%s","appId":%q,"consumerId":%q}`, key, orgHost, a.app.ID, a.app.ConsumerID)
			_, err := a.secrets.PutSecretValue(a.t.Context(), &secretsmanager.PutSecretValueInput{
				SecretId: aws.String(evil), SecretString: &text, ClientRequestToken: &id, VersionStages: []string{"AWSPENDING"},
			})
			a.must(err)
			a.stepsOf(id)
		},
	} {
		for variant := range 4 {
			adminApp, stored := variant&1 > 0, variant&2 > 0
			t.Run(fmt.Sprintf("%s, admin app %t, the other app has a secret here %t", name, adminApp, stored), func(t *testing.T) {
				inBubble(t, options{adminApp: adminApp}, func(t *testing.T, w *world) {
					a := &attack{world: w, own: w.org.AddApp(sfoauthtest.AppOptions{Name: "Evil"})}
					a.own.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
					w.create(evil, w.value(a.own, nil))
					_, err := w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
						SecretId: aws.String(evil), RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false),
					})
					w.must(err)
					w.deliver()
					if strings.Contains(name, "staged") || strings.Contains(name, "old consumer key") {
						w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
					}
					strike(a, func() { a.begin(stored) })
					a.unharmed(t)
				})
			})
		}
	}
}

// holdings are all credentials that Salesforce has for crm.
func (w *world) holdings() []string {
	key, secret := w.app.Credentials()
	all := []string{secret, key}
	for _, p := range w.app.Staged() {
		all = append(all, p.Secret, p.Key, p.State)
	}
	return all
}

// unharmed checks that Salesforce has the same credentials for crm as before, and that evil holds none of them.
func (a *attack) unharmed(t *testing.T) {
	t.Helper()
	if !slices.Equal(a.holdings(), a.before) {
		t.Error("crm's credentials at Salesforce were changed")
	}
	secret, err := appsecret.Open(t.Context(), a.secrets, "sftoken/", evil)
	a.must(err)
	versions, err := secret.ReadAll(t.Context())
	a.must(err)
	for _, version := range versions {
		if slices.Contains(a.holdings(), version.ConsumerSecret.Reveal()) {
			t.Errorf("evil's version %v holds a consumer secret of crm", secret.Labels[version.ID])
		}
	}
	a.noSecrets()
}

// A secret with crm's credentials in full can log in as crm does. It still must not get those that replace them.
func TestTwoSecretsOfOneSalesforceAppAreRefused(t *testing.T) {
	for name, key := range map[string]func(w *world) (string, string){
		"the primary credentials": func(w *world) (string, string) { return w.app.Credentials() },
		"those before, in their grace": func(w *world) (string, string) {
			key, secret := w.app.Credentials()
			w.rotateOnce()
			return key, secret
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
				a := &attack{world: w, own: w.app}
				w.create(evil, map[string]any{"consumerKey": "replace-me", "consumerSecret": "replace-me", "baseUri": "http://" + orgHost})
				consumerKey, consumerSecret := key(w)
				a.put(consumerKey, consumerSecret, "AWSCURRENT")
				w.deliver()
				before := w.org.Stats().Calls
				a.rotateEvil()
				w.must(w.rotate(""))
				w.deliver()
				after := w.org.Stats().Calls
				for _, change := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Delete} {
					if after[change] != before[change] {
						t.Errorf("%s was called", change)
					}
				}
				w.logged(t, `"app":"evil"`, `"step":"createSecret"`, `"outcome":"failed"`, "secrets sftoken/evil and sftoken/crm hold credentials of the same Salesforce app")
				w.logged(t, `"app":"crm"`, `"step":"createSecret"`, `"outcome":"failed"`, "secrets sftoken/crm and sftoken/evil")
				if !w.logsIn("AWSCURRENT") {
					t.Error("crm does not log in")
				}
				w.noSecrets()
			})
		})
	}
}

// What a person makes in Setup is stored by that person. It is never fetched from Salesforce.
func TestCredentialsMadeInSetupAreNotAdopted(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Regenerate()
		w.must(w.rotate(""))
		w.logged(t, `"step":"createSecret"`, `"outcome":"failed"`, "sftoken secret stage crm")
		if w.at("AWSPENDING") != nil {
			t.Error("they were adopted")
		}
		w.giveUpToken()
		w.enable()
		w.store(key, secret, "CANDIDATE")
		w.deliver()
		w.must(w.rotate(""))
		if err := w.rotated(key); err != nil {
			t.Errorf("%v\n%s", err, w.log.String())
		}
	})
}

// New credentials that act as another user are refused, unless the secret pins that user.
func TestNewCredentialsActAsTheSameUser(t *testing.T) {
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		for _, pinned := range []bool{false, true} {
			for _, oldWorks := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, pinned %t, the old ones work %t", label, pinned, oldWorks), func(t *testing.T) {
					inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
						before := w.describe().VersionWithLabel("AWSCURRENT")
						if !oldWorks { // as whom they logged in is not known to a new process
							w.process.Load().kill()
							w.app.Regenerate()
						}
						other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
						if pinned {
							w.fields["orgId"], w.fields["userId"] = w.org.ID(), other.User.ID
						}
						key, secret := other.Credentials()
						version := w.store(key, secret, label)
						w.deliver()
						s := w.describe()
						want := version
						if !pinned && oldWorks {
							want = before
							w.logged(t, w.org.ID(), other.User.ID, w.app.User.ID, "pin the new ones with orgId and userId")
							if strings.Contains(w.log.String(), "made the candidate AWSCURRENT") {
								t.Error("the candidate was current for a while")
							}
						}
						if !s.HasLabel(want, "AWSCURRENT") || s.HasLabel(version, "REJECTED") == (want == version) {
							t.Errorf("labels %v\n%s", s.Labels, w.log.String())
						}
						time.Sleep(time.Hour)
						w.deliver() // it has come to rest
						if w.bus.Waiting() != 0 || !w.describe().HasLabel(want, "AWSCURRENT") || strings.Contains(w.log.String(), "RotationFailures") {
							t.Errorf("labels %v\n%s", w.describe().Labels, w.log.String())
						}
					})
				})
			}
		}
	}
}

// The same in the steps of a rotation that takes a candidate.
func TestARotationToAnotherUserFails(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		before := w.describe().VersionWithLabel("AWSCURRENT")
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
		key, secret := other.Credentials()
		w.store(key, secret, "CANDIDATE") // its event is late
		w.must(w.rotate(""))
		w.logged(t, `"step":"testSecret"`, `"outcome":"failed"`, other.User.ID, w.app.User.ID)
		w.deliver()
		if s := w.describe(); !s.HasLabel(before, "AWSCURRENT") || s.VersionWithLabel("CANDIDATE") != "" {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

// The writer of a secret chooses its version ids, and so can repeat those of another one.
func TestAVersionIDOfAnotherSecretSaysNothing(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		id := w.describe().VersionWithLabel("AWSCURRENT")
		own := w.org.AddApp(sfoauthtest.AppOptions{Name: "Evil"})
		value, err := json.Marshal(w.value(own, nil))
		w.must(err)
		_, err = w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(evil), ClientRequestToken: &id, SecretString: aws.String(string(value))})
		w.must(err)
		w.deliver()
		key, secret := w.app.Regenerate()
		version := w.store(key, secret, "CANDIDATE")
		w.deliver()
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") {
			t.Errorf("labels %v\n%s", s.Labels, w.log.String())
		}
	})
}
