package tokenapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestTheTokenOfALeakedPairIsRevokedOnceThereIsAnother(t *testing.T) {
	for name, shared := range map[string]bool{"new session": false, "shared session": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{org: sfoauthtest.Config{SharedSessions: shared}}, func(t *testing.T, w *world) {
				first := w.get()
				w.label("COMPROMISED")
				key, secret := w.app.Regenerate()
				w.store(w.pair(key, secret))
				time.Sleep(vending.DefaultSecretTTL)
				second := w.get()
				w.want(second, 200, "miss")
				if w.org.TokenActive(first.token()) || second.id() == first.id() {
					t.Error("the token of the leaked pair lives on")
				}
			})
		})
	}
}

func TestTheTokenOfALeakedPairIsRevokedAsSoonAsItCanBe(t *testing.T) {
	for name, break_ := range map[string]func(w *world){
		"Salesforce does not revoke": func(w *world) { w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0) },
		"Secrets Manager is down": func(w *world) {
			w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 1)
			time.AfterFunc(time.Second, func() { w.aws.InjectFault("", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0) })
		},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shared session: %t", name, shared), func(t *testing.T) {
				o := options{org: sfoauthtest.Config{SharedSessions: shared}, config: vending.Config{SecretTTL: time.Minute}}
				bubble(t, o, func(t *testing.T, w *world) {
					first := w.get()
					w.label("COMPROMISED")
					key, secret := w.app.Regenerate()
					w.store(w.pair(key, secret))
					time.Sleep(time.Minute)
					break_(w)
					w.lines()
					w.want(w.get(), 200, "miss")
					if line := w.lines()[0]; line["upstream_error"] == nil || !w.org.TokenActive(first.token()) {
						t.Fatal("the revocation has not failed, or nobody is told of it")
					}
					time.Sleep(time.Minute)
					w.want(w.get(), 200, "hit") // still down
					w.org.ClearFaults()
					w.aws.ClearFaults()
					time.Sleep(time.Minute)
					w.want(w.get(), 200, map[bool]string{false: "hit", true: "miss"}[shared])
					if w.org.TokenActive(first.token()) {
						t.Error("the token of the leaked pair lives on")
					}
					asked := w.org.Stats().Calls[sfoauthtest.Revoke]
					time.Sleep(time.Minute)
					if w.get(); w.org.Stats().Calls[sfoauthtest.Revoke] != asked {
						t.Error("it is revoked again and again")
					}
				})
			})
		}
	}
}

func TestTheTokenOfALeakedPairIsRevokedWhicheverVersionItWasIn(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		value := w.pair(w.app.Credentials())
		value["allowedPrincipals"] = []string{"222222222222"}
		w.store(value) // the same pair in another version, which this instance does not see
		w.label("COMPROMISED")
		w.store(w.pair(w.app.Regenerate()))
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 200, "miss")
		if w.org.TokenActive(first.token()) {
			t.Error("the token of the leaked pair lives on")
		}
	})
}

func TestTheTokenOfLeakedCredentialsIsRevokedWhereTheSecretCouldNotBeReadMeanwhile(t *testing.T) {
	for _, code := range []string{"AccessDeniedException", "DecryptionFailure", "ResourceNotFoundException"} {
		t.Run(code, func(t *testing.T) {
			bubble(t, options{config: vending.Config{SecretTTL: time.Minute}}, func(t *testing.T, w *world) {
				first := w.get()
				w.label("COMPROMISED")
				w.store(w.pair(w.app.Regenerate()))
				w.aws.InjectFault("", localaws.Fault{Code: code, Status: 400}, 1)
				time.Sleep(time.Minute)
				if a := w.get(); a.status == 200 {
					t.Errorf("served without the secret: %s", a)
				}
				w.aws.ClearFaults()
				time.Sleep(time.Minute)
				w.want(w.get(), 200, "miss")
				if w.org.TokenActive(first.token()) {
					t.Error("the token of the leaked credentials lives on")
				}
			})
		})
	}
}

func TestTheTokenOfLeakedCredentialsIsRevokedThoughTheirLabelWasRefusedAtFirst(t *testing.T) {
	bubble(t, options{config: vending.Config{SecretTTL: time.Minute}}, func(t *testing.T, w *world) {
		first := w.get()
		w.label("COMPROMISED")
		w.store(w.pair(w.app.Regenerate()))
		time.Sleep(time.Minute)
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 1)
		time.AfterFunc(time.Second, func() { w.aws.InjectFault("", localaws.Fault{Code: "AccessDeniedException", Status: 400}, 0) })
		w.want(w.get(), 200, "miss")
		w.aws.ClearFaults()
		time.Sleep(time.Minute)
		w.get()
		if w.org.TokenActive(first.token()) {
			t.Error("the token of the leaked credentials lives on")
		}
	})
}

func TestTheTokenOfLeakedCredentialsIsRevokedHoweverTheirAddressIsWritten(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		value := w.pair(w.app.Credentials())
		value["baseUri"] = "HTTP://" + orgHost
		w.store(value)
		w.label("COMPROMISED")
		w.store(w.pair(w.app.Regenerate()))
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 200, "miss")
		if w.org.TokenActive(first.token()) {
			t.Error("the token of the leaked credentials lives on")
		}
	})
}

func TestNoTokenIsRevokedForAnotherOfTheSamePair(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		value := w.pair(w.app.Credentials())
		value["allowedPrincipals"] = []string{"222222222222"}
		w.store(value)
		w.label("COMPROMISED") // and there is no other pair yet
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 200, "miss")
		if !w.org.TokenActive(first.token()) {
			t.Error("its holders have lost it for nothing")
		}
	})
}

func TestATokenThatWasRevokedWithItsPairIsNotHandedOutForLackOfAnother(t *testing.T) {
	bubble(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, w *world) {
		w.get()
		w.label("COMPROMISED")
		key, secret := w.app.Regenerate()
		w.store(w.pair(key, secret))
		time.Sleep(vending.DefaultSecretTTL)
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.NoFault(), 1) // answers with the old token, which is then revoked
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		w.want(w.get(), 503, "temporarily_unavailable")
		w.org.ClearFaults()
		time.Sleep(time.Second)
		w.want(w.get(), 200, "miss")
	})
}

// label puts a label on AWSCURRENT.
func (w *world) label(label string) {
	w.t.Helper()
	input := &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: aws.String(secretName), VersionStage: aws.String(label), MoveToVersionId: aws.String(w.current()),
	}
	had, err := w.secrets.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(secretName), VersionStage: aws.String(label)})
	if err == nil {
		input.RemoveFromVersionId = had.VersionId
	}
	_, err = w.secrets.UpdateSecretVersionStage(w.t.Context(), input)
	w.must(err)
}
