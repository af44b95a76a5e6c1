package rotateapi

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestEventsThatOverlap delivers each event twice at the same time, as "at least once" allows: nobody is woken by that.
func TestEventsThatOverlap(t *testing.T) {
	for name, scenario := range map[string]func(w *world) (current string){
		"a candidate that works": func(w *world) string {
			key, secret := w.app.Regenerate()
			return w.store(key, secret, "CANDIDATE")
		},
		"a candidate that is refused": func(w *world) string {
			w.store("3MVG9wrong", "wrong", "CANDIDATE")
			return w.describe().VersionWithLabel("AWSCURRENT")
		},
		"a current pair that is refused": func(w *world) string {
			before := w.describe().VersionWithLabel("AWSCURRENT")
			w.store("3MVG9wrong", "wrong", "AWSCURRENT")
			return before
		},
		"a leaked pair that a person replaces": func(w *world) string {
			w.leak()
			pairs := w.pairs()
			staged, err := pairs.Stage(w.t.Context())
			w.must(err)
			w.must(pairs.Promote(w.t.Context(), staged.ID))
			return w.store(staged.ConsumerKey, staged.ConsumerSecret.Reveal(), "AWSCURRENT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				key, secret := w.app.Credentials()
				w.bus.Copies = 2
				for _, slow := range []sfoauthtest.Endpoint{sfoauthtest.Token, sfoauthtest.Delete} {
					w.org.InjectFault(slow, sfoauthtest.Latency(time.Second), 0)
				}
				current := scenario(w)
				var both sync.WaitGroup
				for range 2 {
					both.Go(w.deliver)
				}
				both.Wait()
				if strings.Contains(name, "leaked") && w.org.CanLogin(key, secret) {
					t.Error("the leaked pair logs in")
				}
				w.atRest(current)
			})
		})
	}
}

// atRest checks that the version is current and works, and that nobody was woken.
func (w *world) atRest(current string) {
	w.t.Helper()
	if s := w.describe(); !s.HasLabel(current, "AWSCURRENT") || s.VersionWithLabel("CANDIDATE") != "" || !w.logsIn("AWSCURRENT") {
		w.t.Errorf("labels %v", s.Labels)
	}
	if log := w.log.String(); strings.Contains(log, "RotationFailures") {
		w.t.Errorf("an alarm rings:\n%s", log)
	}
}

// TestAPersonWhoCorrectsAMistakeRingsNoAlarm stores a wrong pair, and a right one while the wrong one is tried, which takes as long
// as a new pair may take to work.
func TestAPersonWhoCorrectsAMistakeRingsNoAlarm(t *testing.T) {
	for name, c := range map[string]struct {
		label  string // of both
		delay  time.Duration
		change func(w *world) (key, secret string) // to the right pair
	}{
		"over a pair that works":          {"AWSCURRENT", 10 * time.Minute, func(w *world) (string, string) { return w.app.Credentials() }},
		"over a pair that Setup killed":   {"AWSCURRENT", 10 * time.Minute, func(w *world) (string, string) { return w.app.Regenerate() }},
		"as a candidate":                  {"CANDIDATE", 10 * time.Minute, func(w *world) (string, string) { return w.app.Regenerate() }},
		"as a candidate, and wrong again": {"CANDIDATE", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{propagation: c.delay}, func(t *testing.T, w *world) {
				current := w.describe().VersionWithLabel("AWSCURRENT")
				w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 0)
				key, secret := "3MVG9wrong2", "wrong"
				if c.change != nil {
					key, secret = c.change(w)
				}
				var both sync.WaitGroup
				w.store("3MVG9wrong", "wrong", c.label)
				both.Go(w.deliver)
				time.Sleep(time.Second + c.delay/3)
				version := w.store(key, secret, c.label)
				both.Go(w.deliver)
				both.Wait()
				if c.change != nil {
					current = version
				}
				w.atRest(current)
			})
		})
	}
}

// behind is a Secrets Manager whose DescribeSecret shows what was before, so many times.
type behind struct {
	appsecret.Client
	before *secretsmanager.DescribeSecretOutput
	left   int
}

func (b *behind) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput, o ...func(*secretsmanager.Options)) (*secretsmanager.DescribeSecretOutput, error) {
	if b.left--; b.left >= 0 {
		return b.before, nil
	}
	return b.Client.DescribeSecret(ctx, in, o...)
}

func TestAnEventThatIsAheadOfWhatReadsShow(t *testing.T) {
	for label, want := range map[string]string{"CANDIDATE": "made the candidate AWSCURRENT", "AWSCURRENT": "logged in with the current pair"} {
		inBubble(t, options{}, func(t *testing.T, w *world) {
			before, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(crm)})
			w.must(err)
			key, secret := w.app.Regenerate()
			version := w.store(key, secret, label)
			r := &rotation.Rotator{Secrets: &behind{w.secrets, before, 4}, Prefix: "sftoken/", Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: w.network.Client(), Logins: loginbudget.New(0, 0)}
			t.Cleanup(r.HTTPClient.CloseIdleConnections)
			out, err := r.LabelMoved(t.Context(), rotation.LabelMoved{SecretID: crm, Label: label, VersionID: version})
			if err != nil || out.Action != want || !w.describe().HasLabel(version, "AWSCURRENT") {
				t.Errorf("%s: %q, %v; labels %v", label, out.Action, err, w.describe().Labels)
			}
		})
	}
}

func TestAnEventOfASecretThatIsGoingToBeDeleted(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		key, secret := w.app.Credentials()
		w.store(key, secret, "CANDIDATE")
		w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		_, err := w.secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(crm)})
		w.must(err)
		w.deliver()
		w.logged(t, `"label":"CANDIDATE"`, `"outcome":"ok"`, "going to be deleted")
		if log := w.log.String(); strings.Contains(log, "RotationFailures") || len(w.bus.DeadLetters()) > 0 {
			t.Errorf("an alarm rings:\n%s", log)
		}
	})
}

// A staged pair may have been tried when it was new; made the main one, it is new once more for some servers.
func TestAMainPairThatOneServerDoesNotKnowYetIsNotRolledBack(t *testing.T) {
	o := options{org: sfoauthtest.Config{StagedCannotLogIn: true}, propagation: 2 * time.Minute}
	inBubble(t, o, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.must(w.rotate(""))
		w.org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_client_id", "client identifier invalid"), 4)
		w.deliver()
		if err := w.rotated(oldKey); err != nil || w.describe().VersionWithLabel("REJECTED") != "" {
			t.Errorf("%v; labels %v", err, w.describe().Labels)
		}
	})
}

func TestALeakedPairInANewVersion(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Credentials()
		w.stageByHand()
		staged := w.app.Staged()[0]
		w.leak()
		w.fields["allowedPrincipals"] = []string{"222222222222"}
		w.store(key, secret, "AWSCURRENT")
		w.deliver()
		w.must(w.rotate(""))
		w.deliver()
		if err := w.rotated(key); err != nil || w.org.CanLogin(key, secret) || w.org.CanLogin(staged.Key, staged.Secret) {
			t.Errorf("%v; the leaked pair logs in: %t; the one staged beside it: %t", err, w.org.CanLogin(key, secret), w.org.CanLogin(staged.Key, staged.Secret))
		}
	})
}

// AWSCURRENT moves in the moment in which finishSecret moves it.
func TestALastStepThatIsOvertaken(t *testing.T) {
	for name, c := range map[string]struct {
		moves  func(w *world, candidate string)
		person bool // whose version counts, and the rotation has failed
	}{
		"by the event of the candidate that it took": {func(w *world, candidate string) {
			w.must(w.describe().MoveLabel(w.t.Context(), "AWSCURRENT", candidate))
		}, false},
		"by a person": {func(w *world, _ string) {
			key, secret := w.org.AddApp(sfoauthtest.AppOptions{}).Credentials()
			w.store(key, secret, "AWSCURRENT")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
				key, secret := w.app.Regenerate()
				candidate := w.store(key, secret, "CANDIDATE")
				var once sync.Once
				w.watchAWS = func(call localaws.Call) {
					if call.Operation == "UpdateSecretVersionStage" && call.Phase == localaws.Arrived {
						once.Do(func() {
							w.quiet.Store(true)
							c.moves(w, candidate)
							w.quiet.Store(false)
						})
					}
				}
				w.must(w.rotate(""))
				if rings := strings.Contains(w.log.String(), "RotationFailures"); rings != c.person {
					t.Errorf("an alarm rings: %t\n%s", rings, w.log.String())
				}
				if ours := text(w.at("AWSCURRENT"), "consumerKey") == key; ours == c.person || !w.logsIn("AWSCURRENT") {
					t.Errorf("the candidate's pair is current: %t; labels %v", ours, w.describe().Labels)
				}
			})
		})
	}
}
