package tokenapi

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// outages are the ways in which Secrets Manager is down, slow or limiting.
var outages = map[string]localaws.Fault{
	"hang": {Hang: true}, "slow": {Delay: time.Minute}, "reset": {Reset: true}, "answer lost": {ResetAfterCommit: true}, "not HTTP": {BodyOnly: true},
	"500": {Code: "InternalServiceError", Status: 500}, "throttling": {Code: "ThrottlingException"}, "expired credentials": {Code: "ExpiredTokenException"},
}

func TestWhatIsKnownKeepsWorkingWhileSecretsManagerIsDown(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				first := w.get()
				w.lines()
				w.aws.InjectFault("", outage, 0)
				time.Sleep(vending.DefaultSecretTTL)
				a := w.get()
				w.want(a, 200, "confirmed") // Salesforce is up
				if a.took > 5*time.Second {
					t.Errorf("who could have had the token at once waited %s for Secrets Manager", a.took)
				}
				if line := w.lines()[0]; a.id() != first.id() || line["upstream_error"] == nil {
					t.Errorf("token %s; the log says %v", a.id(), line["upstream_error"])
				}
				asked := w.aws.Calls()["GetSecretValue"]
				w.want(w.get(), 200, "hit")
				if n := w.aws.Calls()["GetSecretValue"] - asked; n != 0 {
					t.Errorf("Secrets Manager was asked %d times while its failure is remembered", n)
				}
				time.Sleep(11 * time.Minute) // the horizon passes; the pair is still known
				w.want(w.get(), 200, "confirmed")
				w.org.KillSession(first.token())
				time.Sleep(11 * time.Minute)
				w.want(w.get(), 200, "miss")

				key, secret := w.app.Regenerate()
				w.aws.ClearFaults()
				w.store(w.pair(key, secret))
				time.Sleep(31 * time.Second) // the longest memory
				w.want(w.get(), 200, "miss") // the new version is seen
				w.noSecrets(w.log.String())
			})
		})
	}
}

func TestAColdStartWhileSecretsManagerIsDown(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				w.aws.InjectFault("", outage, 0)
				a := w.get()
				w.want(a, 503, "temporarily_unavailable")
				w.inTime(a)
				w.isExplained(a)
				if w.asked() != 0 {
					t.Error("Salesforce was asked")
				}
				w.aws.ClearFaults()
				time.Sleep(time.Second)
				w.want(w.get(), 200, "miss")
				w.noSecrets(w.log.String())
			})
		})
	}
}

func TestASecretThatMayNotBeReadIsUnknownAndTheLogSaysWhy(t *testing.T) {
	for _, c := range []struct {
		code, says string
	}{
		{"AccessDeniedException", "AccessDeniedException"}, {"DecryptionFailure", "DecryptionFailure"}, {"ResourceNotFoundException", "ResourceNotFoundException"},
	} {
		t.Run(c.code, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				first := w.get()
				w.want(first, 200, "miss")
				w.lines()
				w.aws.InjectFault("GetSecretValue", localaws.Fault{Code: c.code}, 0)
				time.Sleep(vending.DefaultSecretTTL)
				a := w.get() // access is taken away: the token is too
				w.want(a, 404, "unknown_app")
				if cause, _ := w.lines()[0]["cause"].(string); !strings.Contains(cause, c.says) || strings.Contains(a.text("error_description"), c.says) {
					t.Errorf("the log says %q, the caller is told %q", cause, a.text("error_description"))
				}
				w.aws.ClearFaults()
				time.Sleep(5 * time.Second)
				w.want(w.get(), 200, "confirmed")
				w.want(w.revoke(), 204, "")
				if w.org.TokenActive(first.token()) {
					t.Error("DELETE does not reach the token from before")
				}
			})
		})
	}
}

func TestADeletedSecretsTokenIsNotHandedOut(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.want(w.get(), 200, "miss")
		_, err := w.secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(secretName)})
		w.must(err)
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 404, "unknown_app")
	})
}

// A flight ends before its caller has to answer, who then hears what went wrong and not only that time is up.
func TestWhoAsksHearsWhatTookSoLong(t *testing.T) {
	for _, timeout := range []time.Duration{3 * time.Second, 6 * time.Second} {
		for range 10 { // two timers at the same moment fire in any order
			bubble(t, options{}, func(t *testing.T, w *world) {
				w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Hang(), 0)
				a := w.callIn(t.Context(), timeout, nil)
				w.want(a, 503, "temporarily_unavailable")
				if text := a.text("error_description"); !strings.Contains(text, "Salesforce cannot be asked") {
					t.Fatalf("with %s for the answer, the caller is told %q", timeout, text)
				}
			})
		}
	}
}

func TestEveryAnswerComesBeforeTheLambdaEnds(t *testing.T) {
	for _, timeout := range []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second, 15 * time.Second, 29 * time.Second} {
		for name, break_ := range map[string]func(w *world){
			"Secrets Manager hangs": func(w *world) { w.aws.InjectFault("", localaws.Fault{Hang: true}, 0) },
			"Secrets Manager is slow, and then Salesforce hangs": func(w *world) {
				w.aws.InjectFault("", localaws.Fault{Delay: 3 * time.Second}, 0)
				w.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Hang(), 0)
			},
			"the login hangs":   func(w *world) { w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Hang(), 0) },
			"the body trickles": func(w *world) { w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Trickle(time.Second), 0) },
			"each login of the ladder is slow": func(w *world) {
				w.app.Regenerate()
				for _, label := range []string{"CANDIDATE", "AWSPENDING"} { // a version written by hand takes AWSPENDING off
					w.store(w.pair("3MVG9"+label, label), label)
				}
				w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(5*time.Second), 0)
			},
		} {
			t.Run(timeout.String()+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, options{})
					break_(w)
					a := w.callIn(t.Context(), timeout, nil)
					w.want(a, 503, "temporarily_unavailable")
					if spare := timeout - a.took; spare < min(500*time.Millisecond, timeout/4) {
						t.Errorf("the answer came %s before the end", spare)
					}
				})
			})
		}
	}
}
