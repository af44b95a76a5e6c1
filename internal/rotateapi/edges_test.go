package rotateapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestATestBeforeTheRotationIsSwitchedOn(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		_, err := w.secrets.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String(crm)})
		w.must(err)
		key, secret := w.app.Credentials()
		w.must(w.step("testSecret", w.store(key, secret, "AWSPENDING")))
	})
}

// A pair that somebody has left staged is adopted by the next rotation only where it is whole, and lives long enough.
func TestAStagedPairThatIsOfNoUse(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"it expires within a day": func(*world) { time.Sleep(29*24*time.Hour + 12*time.Hour) },
		"its secret is not shown": func(w *world) {
			staged := w.app.Staged()[0]
			w.org.InjectFault(sfoauthtest.ListStaged, sfoauthtest.Body(fmt.Sprintf(`{"stagedCredentials":[{"id":%q,"key":%q,"state":"Active"}]}`, staged.ID, staged.Key)), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				oldKey, _ := w.app.Credentials()
				w.stageByHand()
				staged := w.app.Staged()[0]
				spoil(w)
				w.must(w.rotate(""))
				if err := w.rotated(oldKey); err != nil {
					t.Error(err)
				}
				if key, _ := w.app.Credentials(); key == staged.Key || w.org.CanLogin(staged.Key, staged.Secret) {
					t.Error("it was adopted, or left")
				}
			})
		})
	}
}

func TestAPairThatIsLostBeforeTheLastStep(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		w.must(w.rotate(""))
		token := w.describe().VersionWithLabel("AWSPENDING")
		w.must(w.pairs().Delete(t.Context(), w.app.Staged()[0].ID))
		if err := w.step("finishSecret", token); err == nil || !strings.Contains(err.Error(), "is not at Salesforce any more") {
			t.Error(err)
		}
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil {
			t.Error(err)
		}
	})
}

func TestAPairThatWorksSomeTimeAfterItIsTheMainOne(t *testing.T) {
	inBubble(t, options{adminApp: true, propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.watchOrg = func(c sfoauthtest.Call) {
			if c.Endpoint == sfoauthtest.Promote && c.Phase == sfoauthtest.Done {
				w.org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_client_id", "client identifier invalid"), 10)
			}
		}
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil || strings.Contains(w.log.String(), "RotationFailures") {
			t.Errorf("%v\n%s", err, w.log.String())
		}
	})
}

// The leaked pair is AWSCURRENT still, and beside the main one at Salesforce: callers live on it.
func TestALeakedPairThatIsStillInUseIsNotDeleted(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Credentials()
		w.compromise()
		w.aws.InjectFault("UpdateSecretVersionStage", localaws.Fault{Code: "InternalServiceError", Status: 500}, 3)
		w.must(w.rotate("")) // at Salesforce, and not here
		w.aws.ClearFaults()
		w.deliver()
		if text(w.at("AWSCURRENT"), "consumerKey") != key || !w.logsIn("AWSCURRENT") {
			t.Errorf("labels %v\n%s", w.describe().Labels, w.log.String())
		}
		w.retry()
		if err := w.rotated(key); err != nil || w.org.CanLogin(key, secret) {
			t.Errorf("%v; the leaked pair logs in: %t", err, w.org.CanLogin(key, secret))
		}
	})
}

// The event that the last step raises would delete it too; where there is none, its retry does.
func TestALeakedPairThatCouldNotBeDeletedAtFirst(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Credentials()
		w.compromise()
		w.org.InjectFault(sfoauthtest.Delete, sfoauthtest.Unavailable(), 1)
		w.must(w.rotate(""))
		w.logged(t, `"step":"finishSecret"`, `"outcome":"failed"`, "deleting the leaked pair")
		w.must(w.step("finishSecret", w.describe().VersionWithLabel("AWSCURRENT")))
		if w.org.CanLogin(key, secret) || !w.logsIn("AWSCURRENT") {
			t.Errorf("the leaked pair logs in: %t", w.org.CanLogin(key, secret))
		}
	})
}

func TestARotationAfterALeakLeavesTheOldPairItsGrace(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		w.leak()
		w.rotateOnce()
		key, secret := w.app.Credentials()
		w.rotateOnce()
		if err := w.rotated(key); err != nil || !w.org.CanLogin(key, secret) {
			t.Errorf("%v; the pair before logs in: %t", err, w.org.CanLogin(key, secret))
		}
	})
}

func (w *world) putAdmin(value map[string]any, label string) {
	w.t.Helper()
	text, err := json.Marshal(value)
	w.must(err)
	_, err = w.secrets.PutSecretValue(w.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("sftoken/admin"), SecretString: aws.String(string(text)), VersionStages: []string{label}})
	w.must(err)
}

func TestTheAdminAppOfAnotherOrgIsNotUsed(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.putAdmin(map[string]any{"consumerKey": "3MVG9other", "consumerSecret": "other", "baseUri": "https://other.my.salesforce.com"}, "AWSCURRENT")
		w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil {
			t.Errorf("%v\n%s", err, w.log.String())
		}
	})
}

// Somebody has made the admin app's pair in Setup, which ends the one before, and staged it; its event is late.
func TestAnAdminAppWhosePairIsBeingChanged(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		admin := w.org.AddApp(sfoauthtest.AppOptions{Name: "Admin 2"})
		admin.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
		w.putAdmin(w.value(admin, nil), "CANDIDATE")
		w.putAdmin(map[string]any{"consumerKey": "3MVG9dead", "consumerSecret": "dead", "baseUri": "http://" + orgHost}, "AWSCURRENT")
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil {
			t.Errorf("%v\n%s", err, w.log.String())
		}
	})
}

func TestAVersionBeforeThatHasNoValueIsNoneToGoBackTo(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		version := w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		w.aws.InjectFault("GetSecretValue", localaws.Fault{}, 1) // AWSCURRENT is read
		w.aws.InjectFault("GetSecretValue", localaws.Fault{Code: "ResourceNotFoundException"}, 1)
		w.deliver()
		w.logged(t, `"outcome":"stuck"`, version)
		if dead := w.bus.DeadLetters(); len(dead) > 0 {
			t.Errorf("%d dead letters: there is nothing to try again", len(dead))
		}
	})
}

func TestACandidateThatSomebodyHasMadeCurrent(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		key, secret := w.app.Credentials()
		version := w.store(key, secret, "CANDIDATE")
		w.must(w.describe().MoveLabel(t.Context(), "AWSCURRENT", version))
		w.deliver()
		w.logged(t, "the candidate is AWSCURRENT already")
		w.atRest(version)
	})
}
