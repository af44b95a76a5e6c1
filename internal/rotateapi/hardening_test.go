package rotateapi

import (
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// The writer of evil moves COMPROMISED between two versions; each move costs a login of the admin app.
func TestTheWriterOfOneSecretCannotSpendTheAdminsLogins(t *testing.T) {
	for _, warm := range []bool{true, false} {
		t.Run(fmt.Sprintf("one process %t", warm), func(t *testing.T) {
			inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
				a := &attack{world: w, own: w.org.AddApp(sfoauthtest.AppOptions{Name: "Evil"})}
				w.create(evil, w.value(a.own, nil))
				w.deliver()
				a.put("3MVG9bogus", "bogus", "AWSCURRENT")
				versions := []string{a.put("3MVG9bogus1", "bogus", "COMPROMISED"), a.put("3MVG9bogus2", "bogus", "KEPT")}
				time.Sleep(time.Hour)
				adminKey := text(w.atName("sftoken/admin"), "consumerKey")
				w.org.ResetStats()
				var wg sync.WaitGroup
				for n := range 300 {
					secret, err := appsecret.Open(t.Context(), w.secrets, "sftoken/", evil)
					w.must(err)
					id := versions[n%2]
					w.must(secret.MoveLabel(t.Context(), "COMPROMISED", id))
					payload := w.eventOf(evil, "COMPROMISED", id)
					wg.Go(func() {
						if warm {
							_, _ = w.invoke(t.Context(), payload)
							return
						}
						p := w.newProcess()
						_, _ = p.invoke(t.Context(), payload)
						p.kill()
					})
					time.Sleep(100 * time.Millisecond)
				}
				if !warm {
					wg.Wait()
				}
				tried := w.org.Stats().ByKey[adminKey]
				t.Logf("admin logins in 30 s: %+v", tried)
				if tried.Succeeded > 20 {
					t.Errorf("%d logins of the admin app", tried.Succeeded)
				}
				if warm {
					_ = w.rotate("")
					key, _ := w.app.Credentials()
					if text(w.at("AWSCURRENT"), "consumerKey") != key || !strings.Contains(w.log.String(), "made the pending version AWSCURRENT") {
						t.Errorf("crm's rotation did not happen")
						for line := range strings.Lines(w.log.String()) {
							if strings.Contains(line, `"app":"crm"`) && strings.Contains(line, "step") {
								t.Log(line)
							}
						}
					}
				}
				wg.Wait()
			})
		})
	}
}

func (w *world) atName(name string) map[string]any {
	out, err := w.secrets.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	w.must(err)
	var fields map[string]any
	w.must(json.Unmarshal([]byte(*out.SecretString), &fields))
	return fields
}

// The app's run-as user was changed in Salesforce. Old and new credentials both act as the new user.
func TestAChangedRunAsUserDoesNotStopRotations(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		other := w.org.AddUser(sfoauthtest.UserOptions{})
		w.app.Change(func(o *sfoauthtest.AppOptions) { o.RunAs = other })
		_ = w.rotate("")
		w.deliver()
		if err := w.rotated(oldKey); err != nil {
			t.Errorf("%v\n%s", err, w.log.String())
		}
	})
}

// The same; the steps run in a new process, and the event in one that is warm.
func TestAChangedRunAsUserDoesNotRollBack(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		warm := w.process.Load()
		other := w.org.AddUser(sfoauthtest.UserOptions{})
		w.app.Change(func(o *sfoauthtest.AppOptions) { o.RunAs = other })
		w.start()
		w.must(w.rotate(""))
		w.must(w.rotated(oldKey))
		w.process.Store(warm)
		w.deliver()
		if err := w.rotated(oldKey); err != nil {
			t.Errorf("%v, labels %v\n%s", err, w.describe().Labels, w.log.String())
		}
	})
}

// B, which acts as another user, was rolled back to A. A refused candidate takes the label REJECTED away from B before the
// event of the roll-back is handled. A must stay.
func TestARollBackIsNotUndone(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		good := w.describe().VersionWithLabel("AWSCURRENT")
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
		key, secret := other.Credentials()
		bad := w.store(key, secret, "AWSCURRENT")
		_, err := w.invoke(t.Context(), w.eventOf(crm, "AWSCURRENT", bad))
		w.must(err)
		if s := w.describe(); !s.HasLabel(good, "AWSCURRENT") || !s.HasLabel(bad, "REJECTED") {
			t.Fatalf("labels %v", s.Labels)
		}
		candidate := w.store("3MVG9wrong", "wrong", "CANDIDATE")
		_, err = w.invoke(t.Context(), w.eventOf(crm, "CANDIDATE", candidate))
		w.must(err)
		_, err = w.invoke(t.Context(), w.eventOf(crm, "AWSCURRENT", good)) // that of the roll-back
		w.must(err)
		if s := w.describe(); !s.HasLabel(good, "AWSCURRENT") {
			t.Errorf("labels %v\n%s", s.Labels, w.log.String())
		}
	})
}

// A version that was refused, is tried again and works, is not REJECTED any more.
func TestAVersionThatWorksIsNotRejected(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Regenerate()
		w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.LoginDenied = true })
		version := w.store(key, secret, "CANDIDATE")
		w.deliver()
		if !w.describe().HasLabel(version, "REJECTED") {
			t.Fatal("not refused")
		}
		w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.LoginDenied = false })
		w.must(w.describe().MoveLabel(t.Context(), "CANDIDATE", version))
		w.deliver()
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || s.HasLabel(version, "REJECTED") {
			t.Errorf("labels %v", s.Labels)
		}
		w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		w.deliver()
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") {
			t.Errorf("it was not rolled back to: labels %v\n%s", s.Labels, w.log.String())
		}
	})
}

func TestABinaryRestrictionIsNotRolledBack(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		value, _ := json.Marshal(w.value(w.app, map[string]any{"allowedPrincipals": []string{"222222222222"}}))
		out, err := w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(crm), SecretBinary: value})
		w.must(err)
		w.deliver()
		if s := w.describe(); !s.HasLabel(*out.VersionId, "AWSCURRENT") {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

func TestAMisspeltRestrictionInInvalidJSONIsNotRolledBack(t *testing.T) {
	for _, field := range []string{`"allowedPrinciples"`} {
		inBubble(t, options{}, func(t *testing.T, w *world) {
			value, _ := json.Marshal(w.value(w.app, nil))
			id := w.storeText(strings.TrimSuffix(string(value), "}")+","+field+`:["222222222222"],}`, "AWSCURRENT")
			w.deliver()
			if s := w.describe(); !s.HasLabel(id, "AWSCURRENT") {
				t.Errorf("%s: labels %v", field, s.Labels)
			}
		})
	}
}

func TestCompromisedCredentialsDoNotComeBackUnderAnotherSpelling(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		w.compromise()
		w.deliver()
		leakedKey, leakedSecret := w.app.Credentials()
		v := w.storeValue("CANDIDATE", map[string]any{"consumerKey": leakedKey, "consumerSecret": leakedSecret, "baseUri": "HTTP://" + orgHost})
		w.deliver()
		if s := w.describe(); s.HasLabel(v, "AWSCURRENT") {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

// late answers the nth DescribeSecret with what the first one of all answered.
type late struct {
	appsecret.Client
	n     int
	calls int
	first *secretsmanager.DescribeSecretOutput
}

func (l *late) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput, o ...func(*secretsmanager.Options)) (*secretsmanager.DescribeSecretOutput, error) {
	l.calls++
	if l.calls == l.n {
		return l.first, nil
	}
	return l.Client.DescribeSecret(ctx, in, o...)
}

func lateRead(t *testing.T, n int) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		before, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(crm)})
		w.must(err)
		key, secret := w.app.Regenerate()
		version := w.store(key, secret, "CANDIDATE")
		r := &rotation.Rotator{
			Secrets: &late{Client: w.secrets, n: n, first: before}, Lister: w.secrets, Prefix: "sftoken/", Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: w.network.Client(), Logins: loginbudget.New(0, 0),
		}
		t.Cleanup(r.HTTPClient.CloseIdleConnections)
		out, err := r.LabelMoved(t.Context(), rotation.LabelMoved{SecretID: crm, Label: "CANDIDATE", VersionID: version, Time: time.Now()})
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") {
			t.Errorf("late read %d: %v %v labels %v", n, out.Action, err, s.Labels)
		}
	})
}

func (w *world) handlerLog() *telemetry.Log { return telemetry.New(w.log, 0, "sftoken", "test") }

// A person moves AWSCURRENT, while a rotation is under way, to a version whose restriction is misspelt.
func TestAMisspeltRestrictionDuringARotation(t *testing.T) {
	for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote} {
		t.Run(string(at), func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				id := w.storeValue("KEPT", map[string]any{"AllowedPrincipals": []string{"222222222222"}})
				done := false
				w.watchOrg = func(c sfoauthtest.Call) {
					if c.Endpoint == at && c.Phase == sfoauthtest.Done && !done {
						done = true
						w.must(w.describe().MoveLabel(context.Background(), "AWSCURRENT", id))
					}
				}
				_ = w.rotate("")
				w.watchOrg = nil
				w.deliver()
				if s := w.describe(); !s.HasLabel(id, "AWSCURRENT") {
					t.Errorf("restricted %s; labels %v", id, s.Labels)
				}
			})
		})
	}
}

// Whatever takes the label REJECTED away meanwhile, AWSCURRENT does not go to and fro between two users' credentials.
func TestARollBackComesToRest(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
		key, secret := other.Credentials()
		w.store(key, secret, "AWSCURRENT")
		n := 0
		w.watchAWS = func(c localaws.Call) {
			if c.Operation == "UpdateSecretVersionStage" && c.Phase == localaws.Done {
				s := w.describe()
				if s.VersionWithLabel("REJECTED") == s.VersionWithLabel("AWSPREVIOUS") && n < 20 {
					n++
					w.quiet.Store(true)
					w.store(fmt.Sprintf("3MVG9wrong%d", n), "wrong", "REJECTED") // stands for a candidate that is refused
					w.quiet.Store(false)
				}
			}
		}
		w.deliver()
		if n == 0 || n > 2 {
			t.Errorf("AWSCURRENT went to and fro %d times", n)
		}
	})
}

// A candidate that works is not REJECTED any more, so that the next one is compared with it.
func TestANewCandidateIsComparedWithOneThatWasRejectedBefore(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Regenerate()
		w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.LoginDenied = true })
		version := w.store(key, secret, "CANDIDATE")
		w.deliver()
		w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.LoginDenied = false })
		w.must(w.describe().MoveLabel(t.Context(), "CANDIDATE", version))
		w.deliver()
		w.process.Load().kill()
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
		k, s := other.Credentials()
		v := w.store(k, s, "CANDIDATE")
		w.deliver()
		if d := w.describe(); d.HasLabel(v, "AWSCURRENT") {
			t.Errorf("credentials of another user became current: %v", d.Labels)
		}
	})
}

// Credentials that are current and in their grace are not deleted as compromised ones whose baseUri is spelt in another way.
func TestCurrentCredentialsAreNotDeletedUnderAnotherSpelling(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		old := w.at("AWSCURRENT")
		w.rotateOnce()
		// a person goes back to the credentials before, which are in their grace
		back := w.storeValue("AWSCURRENT", map[string]any{"consumerKey": old["consumerKey"], "consumerSecret": old["consumerSecret"]})
		w.deliver()
		w.storeValue("COMPROMISED", map[string]any{"consumerKey": old["consumerKey"], "consumerSecret": old["consumerSecret"], "baseUri": "HTTP://" + orgHost})
		w.deliver()
		if !w.describe().HasLabel(back, "AWSCURRENT") || !w.logsIn("AWSCURRENT") {
			t.Errorf("AWSCURRENT does not log in: %v", w.describe().Labels)
		}
	})
}

// A malformed CANDIDATE whose event is late must not fail a rotation that has succeeded.
func TestAMalformedCandidateDoesNotFailARotation(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.storeText(`{"consumerKey":"only"}`, "CANDIDATE")
		_ = w.rotate("")
		if err := w.rotated(oldKey); err != nil || strings.Contains(w.log.String(), "RotationFailures") {
			t.Errorf("%v", err)
			for line := range strings.Lines(w.log.String()) {
				if strings.Contains(line, "RotationFailures") {
					t.Log(line)
				}
			}
		}
	})
}

// The smallest budgets that the settings allow let a rotation end within a day.
func TestTheSmallestBudgetsLetARotationEnd(t *testing.T) {
	for _, b := range [][2]int{{1, 10}, {5, 10}, {10, 10}, {1, 60}} {
		t.Run(fmt.Sprint(b), func(t *testing.T) {
			inBubble(t, options{propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
				oldKey, _ := w.app.Credentials()
				h := &Handler{Log: w.handlerLog(), Rotator: &rotation.Rotator{
					Secrets: w.secrets, Lister: w.secrets, Prefix: "sftoken/", Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: w.network.Client(),
					Propagation: 10 * time.Minute, Logins: loginbudget.New(b[0], b[1]),
				}}
				t.Cleanup(h.Rotator.HTTPClient.CloseIdleConnections)
				w.process.Load().invoke = h.Invoke
				_ = w.rotate("")
				for range 24 {
					if w.rotated(oldKey) == nil {
						return
					}
					time.Sleep(time.Hour)
					w.retry()
				}
				lines := w.log.Lines()
				t.Errorf("not rotated after a day: %.400s", lines[len(lines)-1])
			})
		})
	}
}

// The current credentials log in, as another user; what is said of them must be true.
func TestWhatIsSaidOfAnotherUser(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		w.app.Regenerate()
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
		k, s := other.Credentials()
		w.store(k, s, "AWSCURRENT")
		w.deliver()
		if strings.Contains(w.log.String(), "left the current pair, which does not log in") {
			t.Errorf("%s", w.log.String())
		}
	})
}

func TestLateReads(t *testing.T) {
	for n := 1; n < 9; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { lateRead(t, n) })
	}
}

// A field is changed, by a label that moves, after Salesforce has made the new credentials primary. AWSCURRENT's are in their grace.
func TestCredentialsInGraceAfterARotationWasOvertaken(t *testing.T) {
	inBubble(t, options{org: sfoauthtest.Config{SignWithPrimary: true}}, func(t *testing.T, w *world) {
		id := w.storeValue("KEPT", map[string]any{"allowedPrincipals": []string{"222222222222"}})
		done := false
		w.watchOrg = func(c sfoauthtest.Call) {
			if c.Endpoint == sfoauthtest.Promote && c.Phase == sfoauthtest.Done && !done {
				done = true
				w.must(w.describe().MoveLabel(context.Background(), "AWSCURRENT", id))
			}
		}
		_ = w.rotate("")
		w.watchOrg = nil
		if s := w.describe(); !s.HasLabel(id, "AWSCURRENT") || s.VersionWithLabel("AWSPENDING") != "" {
			t.Fatalf("labels %v", s.Labels)
		}
		before := len(w.log.Lines())
		w.deliver()
		time.Sleep(time.Hour)
		_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
		w.must(err)
		for _, line := range w.log.Lines()[before:] {
			if strings.Contains(line, "RotationFailures") || strings.Contains(line, `"LoginFailed":1`) {
				t.Errorf("%.500s", line)
			}
		}
	})
}

// The events come in their natural order.
func TestARefusedCandidateDoesNotUndoARollBack(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		good := w.describe().VersionWithLabel("AWSCURRENT")
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "Other"})
		key, secret := other.Credentials()
		bad := w.store(key, secret, "AWSCURRENT")
		w.store("3MVG9wrong", "wrong", "CANDIDATE")
		w.deliver()
		if s := w.describe(); !s.HasLabel(good, "AWSCURRENT") {
			t.Errorf("labels %v, good %s, bad %s", s.Labels, good, bad)
		}
	})
}
