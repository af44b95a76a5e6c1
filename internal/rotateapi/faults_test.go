package rotateapi

import (
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestEveryFaultOfARotation meets every fault of the simulated org at each endpoint that a rotation calls, for as long as Secrets
// Manager tries. Meanwhile AWSCURRENT logs in; afterwards the next rotation completes; and nothing secret is written.
func TestEveryFaultOfARotation(t *testing.T) {
	tried := 0
	for _, at := range []sfoauthtest.Endpoint{
		sfoauthtest.Token, sfoauthtest.REST, sfoauthtest.PrimaryCredentials, sfoauthtest.ListStaged, sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Delete,
	} {
		for _, fault := range sfoauthtest.AllFaults() {
			if !fault.AppliesTo(at) {
				continue
			}
			tried++
			t.Run(string(at)+"/"+fault.String(), func(t *testing.T) {
				inBubble(t, options{adminApp: true, propagation: time.Minute}, func(t *testing.T, w *world) {
					if at == sfoauthtest.Delete { // there is something to delete
						w.rotateOnce()
					}
					oldKey, _ := w.app.Credentials()
					before := w.org.Stats().Calls[at]
					w.org.InjectFault(at, fault, 0)
					_ = w.rotate("")
					w.retry()
					if w.org.Stats().Calls[at] == before {
						t.Error("the fault was never met")
					}
					if !w.logsIn("AWSCURRENT") || w.describe().VersionWithLabel("REJECTED") != "" {
						t.Errorf("AWSCURRENT does not log in, or a version is REJECTED: %v", w.describe().Labels)
					}
					w.org.ClearFaults()
					for try := 0; try < 3 && w.rotated(oldKey) != nil; try++ {
						time.Sleep(24 * time.Hour)
						w.retry()
						w.deliver()
					}
					if err := w.rotated(oldKey); err != nil {
						t.Errorf("%v\n%s", err, w.log.String())
					}
					w.noSecrets()
				})
			})
		}
	}
	if tried < 250 {
		t.Errorf("only %d faults were tried", tried)
	}
}

// TestEveryFaultOfACandidateAndOfARollBack meets every fault while a pair that a person has stored is tried.
func TestEveryFaultOfACandidateAndOfARollBack(t *testing.T) {
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		for _, fault := range sfoauthtest.AllFaults() {
			if !fault.AppliesTo(sfoauthtest.Token) {
				continue
			}
			t.Run(label+"/"+fault.String(), func(t *testing.T) {
				inBubble(t, options{}, func(t *testing.T, w *world) {
					good := w.describe().VersionWithLabel("AWSCURRENT")
					key, secret := w.app.Credentials() // a pair that works, and only seems not to
					version := w.store(key, secret, label)
					w.org.InjectFault(sfoauthtest.Token, fault, 0)
					w.deliver()
					s := w.describe()
					refused := strings.HasPrefix(fault.String(), "400 ") && !passing[fault.String()] // which says that it is final
					if refused && label == "CANDIDATE" {
						if !s.HasLabel(version, "REJECTED") || !s.HasLabel(good, "AWSCURRENT") {
							t.Errorf("labels %v", s.Labels)
						}
					} else if fault.String() != "latency of 1s" && (s.VersionWithLabel("REJECTED") != "" || !s.HasLabel(version, "AWSCURRENT") && label == "AWSCURRENT") {
						t.Errorf("concluded from a %s: labels %v", fault, s.Labels)
					}
					w.noSecrets()
				})
			})
		}
	}
}

// passing are the errors that do not say that the pair is refused.
var passing = map[string]bool{
	"400 invalid_grant token request is already being processed": true, "400 invalid_grant login rate exceeded": true,
	"400 rate_limit_exceeded rate limit exceeded": true, "400 unknown_error retry your request": true,
}
