package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestRotationFaults injects every fault of the simulated org at each endpoint that a rotation calls, for as long as
// Secrets Manager retries. Meanwhile AWSCURRENT logs in; afterwards the next rotation completes; and no secret is
// logged. With -short it tries a sample.
func TestRotationFaults(t *testing.T) {
	cases := 0
	for _, at := range []sfoauthtest.Endpoint{
		sfoauthtest.Token, sfoauthtest.REST, sfoauthtest.PrimaryCredentials, sfoauthtest.ListStaged, sfoauthtest.Stage,
		sfoauthtest.Promote, sfoauthtest.Delete,
	} {
		for _, fault := range sfoauthtest.AllFaults() {
			if !fault.AppliesTo(at) {
				continue
			}
			if cases++; !sample(13, cases) {
				continue
			}
			t.Run(string(at)+"/"+fault.String(), func(t *testing.T) {
				run(t, options{adminApp: true, propagation: time.Minute}, func(t *testing.T, h *harness) {
					if at == sfoauthtest.Delete { // there is something to delete
						h.rotateAndDeliver()
					}
					oldKey := h.key()
					before := h.Org.Stats().Calls[at]
					h.Org.InjectFault(at, fault, 0)
					_ = h.tryRotate()
					h.retry()
					if h.Org.Stats().Calls[at] == before {
						t.Error("the endpoint was never called")
					}
					h.checkCurrentWorks()
					h.labels("REJECTED", "")
					h.Org.ClearFaults()
					for try := 0; try < 3 && h.rotated(oldKey) != nil; try++ {
						time.Sleep(24 * time.Hour)
						h.retry()
						h.deliver()
					}
					h.checkRotated(oldKey)
					h.noSecrets()
				})
			})
		}
	}
	if cases < 250 {
		t.Errorf("only %d faults", cases)
	}
}

// temporary are the errors that do not refuse the credentials.
var temporary = map[string]bool{
	"400 invalid_grant token request is already being processed": true, "400 invalid_grant login rate exceeded": true,
	"400 rate_limit_exceeded rate limit exceeded": true, "400 unknown_error retry your request": true,
}

// TestLabelFaults injects every fault of the token endpoint while credentials that a person has stored are tried.
func TestLabelFaults(t *testing.T) {
	cases := 0
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		for _, fault := range sfoauthtest.AllFaults() {
			if !fault.AppliesTo(sfoauthtest.Token) {
				continue
			}
			if cases++; !sample(7, cases) {
				continue
			}
			t.Run(label+"/"+fault.String(), func(t *testing.T) {
				run(t, options{}, func(_ *testing.T, h *harness) {
					good := h.version("AWSCURRENT")
					version := h.storeSame(label) // they work, and only seem not to
					h.Org.InjectFault(sfoauthtest.Token, fault, 0)
					h.deliver()
					switch refused := strings.HasPrefix(fault.String(), "400 ") && !temporary[fault.String()]; {
					case refused && label == "CANDIDATE":
						h.labels("REJECTED", version, "AWSCURRENT", good)
					case fault.String() == "latency of 1s": // it works
					case label == "AWSCURRENT":
						h.labels("REJECTED", "", "AWSCURRENT", version)
					default:
						h.labels("REJECTED", "")
					}
					h.noSecrets()
				})
			})
		}
	}
}
