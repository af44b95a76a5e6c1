package rotation_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestForeignSecretIsIgnored(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		before := h.Org.Stats().Logins.Attempts
		for _, name := range []string{"sftoken/team/crm", "sftoken/README", "other/crm"} {
			h.CreateSecret(name, map[string]any{"consumerKey": "3MVG9wrong"})
		}
		h.deliver()
		h.noDeadLetters()
		if n := h.Org.Stats().Logins.Attempts - before; n != 0 {
			t.Errorf("%d logins", n)
		}
		h.logged(`"outcome":"ok"`, "sftoken/team/crm", appsecret.ErrNotAnApp.Error())
	})
}

func TestEventOfDeletedSecret(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.storeSame("CANDIDATE")
		h.storeWrong("AWSCURRENT")
		_, err := h.Secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(crm)})
		h.Must(err)
		h.deliver()
		h.logged(`"label":"CANDIDATE"`, `"outcome":"ok"`, "scheduled for deletion")
		h.noFailures()
		h.noDeadLetters()
	})
}

func TestStaleEvent(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.store("3MVG9wrong1", "wrong", "CANDIDATE")
		last := h.store("3MVG9wrong2", "wrong", "CANDIDATE")
		before := h.Logins()
		h.deliver()
		h.logged(`"label":"CANDIDATE"`, "the label has moved on")
		h.labels("REJECTED", last)
		if n := h.Logins() - before; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// If the secret has changed since the event, the label is gone, and nothing is waited for.
func TestStaleEventEndsAtOnce(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		version := h.storeWrong("CANDIDATE")
		event := h.event(crm, "CANDIDATE", version)
		time.Sleep(3 * time.Second)
		h.unlabel("CANDIDATE", version)
		begun := time.Now()
		_, err := h.invoke(t.Context(), event)
		h.Must(err)
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

// A candidate that a person takes back while it is tried is not judged.
func TestCandidateIsWithdrawnDuringLogins(t *testing.T) {
	runAll(t, options{propagation: 10 * time.Minute}, map[string]func(h *harness, version string){
		"taken off": func(h *harness, version string) { h.unlabel("CANDIDATE", version) },
		"moved on":  func(h *harness, _ string) { h.store("3MVG9wrong2", "wrong", "CANDIDATE") },
	}, func(t *testing.T, h *harness, withdraw func(h *harness, version string)) {
		version := h.storeWrong("CANDIDATE")
		h.Label("KEPT", version) // without a label the version would vanish
		event := h.event(crm, "CANDIDATE", version)
		begun := time.Now()
		done := make(chan time.Duration)
		go func() {
			if _, err := h.invoke(t.Context(), event); err != nil {
				t.Error(err)
			}
			done <- time.Since(begun)
		}()
		time.Sleep(2 * time.Minute)
		withdraw(h, version)
		if took := <-done; took > 4*time.Minute {
			t.Errorf("it went on for %s", took)
		}
		h.logged(`"label":"CANDIDATE"`, version, `"outcome":"ok"`, "the label has moved on")
		if h.version("REJECTED") == version {
			t.Error("it was rejected")
		}
	})
}

// The same at the last moment, after the credentials have worked and before the label moves.
func TestCandidateIsWithdrawnAfterItWorked(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		before := h.version("AWSCURRENT")
		version := h.storeSame("CANDIDATE")
		h.Label("KEPT", version)
		h.onceDone(sfoauthtest.REST, func() { h.unlabel("CANDIDATE", version) })
		h.deliver()
		h.labels("AWSCURRENT", before)
	})
}

// laggingReads is a Secrets Manager client that returns an earlier state for stale calls of DescribeSecret.
type laggingReads struct {
	appsecret.Client
	before *secretsmanager.DescribeSecretOutput
	stale  func(call int) bool
	calls  int
}

func (l *laggingReads) DescribeSecret(
	ctx context.Context, in *secretsmanager.DescribeSecretInput, o ...func(*secretsmanager.Options),
) (*secretsmanager.DescribeSecretOutput, error) {
	if l.calls++; l.stale(l.calls) {
		return l.before, nil
	}
	return l.Client.DescribeSecret(ctx, in, o...)
}

// Secrets Manager's reads are eventually consistent.
func TestLaggingReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		label   string
		noIDs   bool
		from, n int // n stale reads, the first one being this
		action  string
	}{
		{"CANDIDATE", false, 1, 4, "made the candidate AWSCURRENT"},
		{"AWSCURRENT", false, 1, 4, "logged in with the current credentials"},
		{"CANDIDATE", true, 1, 1, ""}, {"CANDIDATE", true, 2, 1, ""}, {"CANDIDATE", true, 3, 1, ""},
		{"CANDIDATE", true, 4, 1, ""}, {"CANDIDATE", true, 5, 1, ""}, {"CANDIDATE", true, 6, 1, ""},
		{"CANDIDATE", true, 7, 1, ""}, {"CANDIDATE", true, 8, 1, ""},
	} {
		t.Run(fmt.Sprintf("%s, %d from %d on", c.label, c.n, c.from), func(t *testing.T) {
			run(t, options{noIDs: c.noIDs}, func(t *testing.T, h *harness) {
				before, err := h.Secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(crm)})
				h.Must(err)
				version := h.storeNew(c.label)
				stale := func(call int) bool { return call >= c.from && call < c.from+c.n }
				e := rotation.LabelMoved{SecretID: crm, Label: c.label, VersionID: version}
				if c.action == "" {
					e.Time = time.Now()
				}
				r := h.rotator(&laggingReads{Client: h.Secrets, before: before, stale: stale})
				out, err := r.LabelMoved(t.Context(), e)
				h.labels("AWSCURRENT", version)
				if c.action != "" && (err != nil || out.Action != c.action) {
					t.Errorf("%q, %v", out.Action, err)
				}
			})
		})
	}
}

func TestEventsLateRepeatedAndReversed(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.bus.Copies = 3
		h.bus.Shuffle = func(n int, swap func(i, j int)) {
			for i := range n / 2 {
				swap(i, n-1-i)
			}
		}
		good := h.version("AWSCURRENT")
		h.store("3MVG9wrong1", "wrong", "CANDIDATE")
		h.store("3MVG9wrong2", "wrong", "CANDIDATE")
		h.store("3MVG9wrong3", "wrong", "AWSCURRENT")
		h.deliver()
		h.labels("AWSCURRENT", good, "CANDIDATE", "")
		h.deliver()
	})
}

// deliverInParallel delivers the events that wait, n at a time.
func (h *harness) deliverInParallel(n int) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(h.deliver)
	}
	wg.Wait()
}

// atRest checks that the version is current and works, and that no alarm fires.
func (h *harness) atRest(current string) {
	h.T.Helper()
	h.labels("AWSCURRENT", current, "CANDIDATE", "")
	h.checkCurrentWorks()
	h.noFailures()
}

// Each event is delivered twice at the same time, as "at least once" allows.
func TestSimultaneousEvents(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(h *harness) (current string){
		"a candidate that works": func(h *harness) string { return h.storeNew("CANDIDATE") },
		"a candidate that is rejected": func(h *harness) string {
			h.storeWrong("CANDIDATE")
			return h.version("AWSCURRENT")
		},
		"a roll-back": func(h *harness) string {
			before := h.version("AWSCURRENT")
			h.storeWrong("AWSCURRENT")
			return before
		},
		"compromised credentials that a person replaces": func(h *harness) string {
			h.compromiseAndDeliver()
			staged := h.promote()
			return h.store(staged.ConsumerKey, staged.ConsumerSecret.Reveal(), "AWSCURRENT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{}, func(_ *testing.T, h *harness) {
				key, secret := h.App.Credentials()
				h.bus.Copies = 2
				for _, slow := range []sfoauthtest.Endpoint{sfoauthtest.Token, sfoauthtest.Delete} {
					h.Org.InjectFault(slow, sfoauthtest.Latency(time.Second), 0)
				}
				current := prepare(h)
				h.deliverInParallel(2)
				if strings.Contains(name, "compromised") {
					h.checkEnded(key, secret)
				}
				h.atRest(current)
			})
		})
	}
	t.Run("a roll-back, three times", func(t *testing.T) {
		run(t, options{}, func(_ *testing.T, h *harness) {
			good := h.version("AWSCURRENT")
			bad := h.storeWrong("AWSCURRENT")
			h.bus.Copies = 3
			h.deliverInParallel(3)
			h.labels("AWSCURRENT", good, "REJECTED", bad)
		})
	})
}

// A person stores wrong credentials, and right ones while the wrong ones are tried, which takes as long as propagation.
func TestMistakeIsCorrectedDuringLogins(t *testing.T) {
	t.Parallel()
	same := func(h *harness) (key, secret string) { return h.App.Credentials() }
	regenerate := func(h *harness) (key, secret string) { return h.App.Regenerate() }
	for name, c := range map[string]struct {
		label   string // of both
		delay   time.Duration
		correct func(h *harness) (key, secret string)
	}{
		"over working credentials":          {"AWSCURRENT", 10 * time.Minute, same},
		"over credentials that Setup ended": {"AWSCURRENT", 10 * time.Minute, regenerate},
		"as a candidate":                    {"CANDIDATE", 10 * time.Minute, regenerate},
		"as a candidate, and wrong again":   {"CANDIDATE", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{propagation: c.delay}, func(_ *testing.T, h *harness) {
				current := h.version("AWSCURRENT")
				h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 0)
				key, secret := "3MVG9wrong2", "wrong"
				if c.correct != nil {
					key, secret = c.correct(h)
				}
				var both sync.WaitGroup
				h.storeWrong(c.label)
				both.Go(h.deliver)
				time.Sleep(time.Second + c.delay/3)
				version := h.store(key, secret, c.label)
				both.Go(h.deliver)
				both.Wait()
				if c.correct != nil {
					current = version
				}
				h.atRest(current)
			})
		})
	}
}

// The writer of a secret chooses its version IDs, and can repeat those of another secret.
func TestVersionIDOfAnotherSecret(t *testing.T) {
	run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
		id := h.version("AWSCURRENT")
		own := h.Org.AddApp(sfoauthtest.AppOptions{Name: "Evil"})
		_, err := h.Secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String(evil), ClientRequestToken: &id, SecretString: aws.String(simtest.Encode(h.value(own, nil))),
		})
		h.Must(err)
		h.deliver()
		version := h.storeNew("CANDIDATE")
		h.deliver()
		h.labels("AWSCURRENT", version)
	})
}
