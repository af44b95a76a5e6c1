package rotation_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// invokeNew calls a new process of the function, which ends afterwards.
func (h *harness) invokeNew(payload []byte) {
	p := h.newProcess()
	_, _ = p.invoke(h.T.Context(), payload)
	p.kill()
}

// A label that moves ten times a second starts an invocation, and a process, for each move. Those whose version has
// lost the label must end, and not try for ten minutes.
func TestFloodOfLabelMoves(t *testing.T) {
	moves := 1000
	if testing.Short() {
		moves = 200
	}
	run(t, options{propagation: 10 * time.Minute}, func(t *testing.T, h *harness) {
		var invocations sync.WaitGroup
		var running, peak atomic.Int32
		versions := []string{h.store("3MVG9wrong1", "wrong", "CANDIDATE"), h.store("3MVG9wrong2", "wrong", "CANDIDATE")}
		h.deliver()
		h.Org.ResetStats()
		last := ""
		for n := range moves {
			last = versions[n%2]
			h.Must(h.describe().MoveLabel(t.Context(), "CANDIDATE", last))
			event := h.event(crm, "CANDIDATE", last)
			invocations.Go(func() {
				if n := running.Add(1); n > peak.Load() {
					peak.Store(n)
				}
				h.invokeNew(event)
				running.Add(-1)
			})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		t.Logf("%d logins, %d invocations at once", h.Logins(), peak.Load())
		if h.Logins() > moves/10 || peak.Load() > 40 { // about one in 32 finds the label in place each time
			t.Errorf("%d logins, and %d invocations at once", h.Logins(), peak.Load())
		}
		invocations.Wait()
		h.labels("REJECTED", last, "CANDIDATE", "") // the version on which the label has stayed was tried
	})
}

// The writer of evil moves COMPROMISED between two versions; each move costs a login of the admin app.
func TestSecretWriterCannotSpendAdminLogins(t *testing.T) {
	t.Parallel()
	for _, warm := range []bool{true, false} {
		t.Run(fmt.Sprintf("one process %t", warm), func(t *testing.T) {
			run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
				a := &attack{harness: h, own: h.Org.AddApp(sfoauthtest.AppOptions{Name: "Evil"})}
				h.CreateSecret(evil, h.value(a.own, nil))
				h.deliver()
				a.put("3MVG9bogus", "bogus", "AWSCURRENT", "")
				versions := []string{a.put("3MVG9bogus1", "bogus", "COMPROMISED", ""), a.put("3MVG9bogus2", "bogus", "KEPT", "")}
				time.Sleep(time.Hour)
				admin, err := appsecret.Reader{Client: h.Secrets, Prefix: simtest.Prefix}.Read(t.Context(), "admin", "AWSCURRENT")
				h.Must(err)
				h.Org.ResetStats()
				var wg sync.WaitGroup
				for n := range 300 {
					secret, err := appsecret.Open(t.Context(), h.Secrets, simtest.Prefix, evil)
					h.Must(err)
					id := versions[n%2]
					h.Must(secret.MoveLabel(t.Context(), "COMPROMISED", id))
					event := h.event(evil, "COMPROMISED", id)
					wg.Go(func() {
						if warm {
							_, _ = h.invoke(t.Context(), event)
						} else {
							h.invokeNew(event)
						}
					})
					time.Sleep(100 * time.Millisecond)
				}
				if !warm {
					wg.Wait()
				}
				logins := h.Org.Stats().ByKey[admin.ConsumerKey].Succeeded
				t.Logf("%d logins of the admin app", logins)
				if logins > 20 {
					t.Errorf("%d logins of the admin app", logins)
				}
				if warm {
					_ = h.tryRotate()
					if text(h.at("AWSCURRENT"), "consumerKey") != h.key() {
						t.Error("crm's credentials were not rotated")
					}
					h.logged(`"app":"crm"`, "made the pending version AWSCURRENT")
					for line := range strings.Lines(h.log.String()) {
						if strings.Contains(line, `"app":"crm"`) && strings.Contains(line, "LoginBudgetExhausted") {
							t.Errorf("crm waited for the budget that evil has spent: %s", line)
						}
					}
				}
				wg.Wait()
			})
		})
	}
}

// The login that compares credentials with others is charged to the app too. The budget here is two logins.
func TestComparisonsAreChargedToTheApp(t *testing.T) {
	t.Parallel()
	charged := func(t *testing.T, h *harness, compare func(r *rotation.Rotator)) {
		r := h.rotator(h.Secrets)
		r.Logins = loginbudget.New(2, 0)
		compare(r)
		if r.Logins.Take("crm") == nil {
			t.Error("crm has a login left")
		}
	}
	t.Run("with the last working user", func(t *testing.T) {
		run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
			version, _ := h.storeOther("CANDIDATE", nil)
			charged(t, h, func(r *rotation.Rotator) {
				e := rotation.LabelMoved{SecretID: crm, Label: "CANDIDATE", VersionID: version}
				_, err := r.LabelMoved(t.Context(), e)
				h.Must(err)
			})
		})
	})
	t.Run("with the consumer", func(t *testing.T) {
		run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
			h.storeOther("AWSCURRENT", h.App.User)
			h.rotate() // createSecret fails
			charged(t, h, func(r *rotation.Rotator) {
				e := rotation.Step{Name: "createSecret", SecretID: crm, VersionID: h.version("AWSPENDING")}
				_, err := r.Step(t.Context(), e)
				if err == nil || !strings.Contains(err.Error(), "belong to another app") {
					t.Error(err)
				}
			})
		})
	})
}

// Forged label events make the function log in, and are bounded by the budget too.
func TestForgedEventsStayWithinLoginBudget(t *testing.T) {
	events := 200
	if testing.Short() {
		events = 40
	}
	run(t, options{}, func(t *testing.T, h *harness) {
		event := h.event(crm, "AWSCURRENT", h.version("AWSCURRENT"))
		h.Org.ResetStats()
		begun := time.Now()
		for range events {
			_, _ = h.invoke(t.Context(), event)
		}
		allowed := 10 + int(time.Since(begun)/time.Minute)
		if n := h.Org.Stats().Logins.Attempts; n > allowed {
			t.Errorf("%d logins in %s", n, time.Since(begun))
		}
		h.logged(`"LoginBudgetExhausted":1`)
		h.noFailures() // to wait for the budget is no failure
	})
}

// The whole wait for new credentials, step by step, fits into the default budget.
func TestPropagationFitsIntoLoginBudget(t *testing.T) {
	o := options{org: sfoauthtest.Config{PropagationDelay: 9 * time.Minute}, propagation: 10 * time.Minute}
	run(t, o, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.rotateAndDeliver()
		h.checkRotated(oldKey)
		if log := h.log.String(); strings.Contains(log, "LoginBudgetExhausted") {
			t.Error(log)
		}
	})
}

// With the smallest budgets that the settings allow, a rotation ends within a day.
func TestRotationWithSmallLoginBudget(t *testing.T) {
	t.Parallel()
	for _, b := range [][2]int{{1, 10}, {5, 10}, {10, 10}, {1, 60}} {
		t.Run(fmt.Sprint(b), func(t *testing.T) {
			run(t, options{propagation: 10 * time.Minute}, func(_ *testing.T, h *harness) {
				oldKey := h.key()
				r := h.rotator(h.Secrets)
				r.Logins = loginbudget.New(b[0], b[1])
				h.process.Load().invoke = h.handler(r).Invoke
				_ = h.tryRotate()
				for hour := 0; hour < 24 && h.rotated(oldKey) != nil; hour++ {
					time.Sleep(time.Hour)
					h.retry()
				}
				h.checkRotated(oldKey)
			})
		})
	}
}
