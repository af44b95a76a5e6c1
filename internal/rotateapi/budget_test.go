package rotateapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// A label that moves ten times a second starts an invocation, and a process, for each move. Those for versions that have lost it
// meanwhile must end, and not try for ten minutes.
func TestALabelThatMovesAThousandTimes(t *testing.T) {
	inBubble(t, options{propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
		var invocations sync.WaitGroup
		var running, peak atomic.Int32
		var slowest atomic.Int64
		handle := func(payload []byte) {
			begun := time.Now()
			if n := running.Add(1); n > peak.Load() {
				peak.Store(n)
			}
			p := w.newProcess()
			_, _ = p.invoke(t.Context(), payload)
			p.kill()
			running.Add(-1)
			slowest.Store(max(slowest.Load(), int64(time.Since(begun))))
		}
		versions := []string{w.store("3MVG9wrong1", "wrong", "CANDIDATE"), w.store("3MVG9wrong2", "wrong", "CANDIDATE")}
		w.deliver()
		w.org.ResetStats()
		last := ""
		for n := range 1000 {
			last = versions[n%2]
			w.must(w.describe().MoveLabel(t.Context(), "CANDIDATE", last))
			payload := fmt.Appendf(nil, `{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":%q,`+
				`"detail":{"name":"sftoken/crm","labelUpdated":"CANDIDATE","versionId":%q}}`, time.Now().UTC().Format(time.RFC3339), last)
			invocations.Go(func() { handle(payload) })
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		flood := w.org.Stats().Calls[sfoauthtest.Token]
		t.Logf("%d logins, %d invocations at once, the slowest took %s", flood, peak.Load(), time.Duration(slowest.Load()))
		if flood > 100 || peak.Load() > 40 { // about one in 32 finds the label at home each time
			t.Errorf("%d logins, and %d invocations at once", flood, peak.Load())
		}
		invocations.Wait()
		if s := w.describe(); !s.HasLabel(last, "REJECTED") || s.VersionWithLabel("CANDIDATE") != "" {
			t.Errorf("the version that the label has stayed on was not tried: labels %v", s.Labels)
		}
	})
}

// A forged event looks like the schedule's. It must not cost a login each.
func TestForgedChecksStayWithinTheLoginBudget(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.create("sftoken/broken", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": "http://" + orgHost})
		w.deliver()
		time.Sleep(24 * time.Hour)
		w.org.ResetStats()
		begun := time.Now()
		for range 1000 {
			_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
			w.must(err)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("the checks took %s: one must not wait for the budget", took)
		}
		if n := w.org.Stats().Logins.Attempts; n != 11 { // crm once, and the other one as often as the budget lets it
			t.Errorf("%d logins", n)
		}
		w.logged(t, `"app":"crm"`, `"outcome":"skipped"`)
		w.logged(t, `"app":"crm"`, `"outcome":"ok"`, `"Logins":1`)
		w.logged(t, `"app":"broken"`, `"outcome":"not_checked"`, `"LoginBudgetExhausted":1`)
		w.logged(t, `"msg":"checked"`, `"ChecksCompleted":1`)
		time.Sleep(time.Hour)
		_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
		w.must(err)
		if n := w.org.Stats().ByKey[text(w.at("AWSCURRENT"), "consumerKey")].Succeeded; n != 2 {
			t.Errorf("crm was checked %d times: an hour later it is checked again", n)
		}
	})
}

func TestACheckOfANewVersionIsNotSkipped(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		check := func() {
			_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
			w.must(err)
		}
		check()
		w.store("3MVG9wrong", "wrong", "AWSCURRENT") // its event is late
		check()
		w.logged(t, `"msg":"check"`, `"outcome":"login_failed"`)
	})
}

// Forged label events make the function log in, and are bounded by the budget too.
func TestForgedEventsStayWithinTheLoginBudget(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		payload := fmt.Appendf(nil, `{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","detail":{"name":"sftoken/crm","labelUpdated":"AWSCURRENT","versionId":%q}}`,
			w.describe().VersionWithLabel("AWSCURRENT"))
		w.org.ResetStats()
		begun := time.Now()
		for range 200 {
			_, _ = w.invoke(t.Context(), payload)
		}
		allowed := 10 + int(time.Since(begun)/time.Minute)
		if n := w.org.Stats().Logins.Attempts; n > allowed {
			t.Errorf("%d logins in %s", n, time.Since(begun))
		}
		w.logged(t, `"LoginBudgetExhausted":1`)
		if strings.Contains(w.log.String(), "RotationFailures") {
			t.Error("waiting for the budget is no failure")
		}
	})
}

// The whole wait for new credentials, step by step, fits into the default budget.
func TestAWaitForPropagationFitsIntoTheBudget(t *testing.T) {
	inBubble(t, options{org: sfoauthtest.Config{PropagationDelay: 9 * time.Minute}, propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.rotateOnce()
		if err := w.rotated(oldKey); err != nil || strings.Contains(w.log.String(), "LoginBudgetExhausted") {
			t.Errorf("%v\n%s", err, w.log.String())
		}
	})
}

// A candidate that a person takes back while it is tried is not judged.
func TestACandidateThatIsWithdrawnWhileItIsTried(t *testing.T) {
	for name, moves := range map[string]func(w *world, version string){
		"taken off": func(w *world, version string) { w.must(w.describe().RemoveLabel(w.t.Context(), "CANDIDATE", version)) },
		"moved on":  func(w *world, _ string) { w.store("3MVG9wrong2", "wrong", "CANDIDATE") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
				version := w.store("3MVG9wrong", "wrong", "CANDIDATE")
				// A label keeps the version in existence.
				w.must(w.describe().MoveLabel(t.Context(), "KEPT", version))
				begun := time.Now()
				done := make(chan time.Duration)
				go func() {
					_, err := w.invoke(t.Context(), fmt.Appendf(nil, `{"source":"aws.secretsmanager","detail-type":"Secret Label Updated",`+
						`"detail":{"name":"sftoken/crm","labelUpdated":"CANDIDATE","versionId":%q}}`, version))
					if err != nil {
						t.Error(err)
					}
					done <- time.Since(begun)
				}()
				time.Sleep(2 * time.Minute)
				moves(w, version)
				if took := <-done; took > 4*time.Minute {
					t.Errorf("it went on for %s", took)
				}
				w.logged(t, `"label":"CANDIDATE"`, version, `"outcome":"ok"`, "the label has moved on")
				if s := w.describe(); s.HasLabel(version, "REJECTED") {
					t.Errorf("labels %v", s.Labels)
				}
			})
		})
	}
}

// The same in the last moment, while the verdict is there and the label is not yet moved.
func TestACandidateThatIsWithdrawnAfterItWorked(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		before := w.describe().VersionWithLabel("AWSCURRENT")
		key, secret := w.app.Credentials()
		version := w.store(key, secret, "CANDIDATE")
		w.must(w.describe().MoveLabel(t.Context(), "KEPT", version))
		var once sync.Once
		w.watchOrg = func(c sfoauthtest.Call) {
			if c.Endpoint == sfoauthtest.REST && c.Phase == sfoauthtest.Done {
				once.Do(func() {
					w.quiet.Store(true)
					w.must(w.describe().RemoveLabel(t.Context(), "CANDIDATE", version))
					w.quiet.Store(false)
				})
			}
		}
		w.deliver()
		if s := w.describe(); !s.HasLabel(before, "AWSCURRENT") {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

// A roll-back labels REJECTED first: between the two moves a crash, or a repeated event, must find out what was under way.
func TestARollBackLabelsTheRejectedVersionFirst(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		bad := w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		rejectedFirst := false
		w.watchAWS = func(c localaws.Call) {
			if c.Operation == "UpdateSecretVersionStage" && c.Phase == localaws.Done {
				s := w.describe()
				rejectedFirst = rejectedFirst || s.HasLabel(bad, "REJECTED") && s.HasLabel(bad, "AWSCURRENT")
			}
		}
		w.deliver()
		if !rejectedFirst || !w.describe().HasLabel(bad, "REJECTED") {
			t.Error("AWSCURRENT has moved before REJECTED")
		}
	})
}

func (w *world) eventOf(secret, label, version string) []byte {
	event, err := json.Marshal(map[string]any{
		"source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "time": time.Now().UTC().Format(time.RFC3339),
		"detail": map[string]string{"name": secret, "labelUpdated": label, "versionId": version},
	})
	w.must(err)
	return event
}

// Where the secret has changed since the event, the label is gone, and nothing is waited for.
func TestAStaleEventEndsAtOnce(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		version := w.store("3MVG9wrong", "wrong", "CANDIDATE")
		event := w.eventOf(crm, "CANDIDATE", version)
		time.Sleep(3 * time.Second)
		w.must(w.describe().RemoveLabel(t.Context(), "CANDIDATE", version))
		begun := time.Now()
		_, err := w.invoke(t.Context(), event)
		w.must(err)
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		_, err = w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(crm)})
		w.must(err)
	})
}
