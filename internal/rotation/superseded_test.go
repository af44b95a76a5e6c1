package rotation_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestPlaceholderDoesNotReplaceCredentials(t *testing.T) {
	run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
		h.store("replace-me", "replace-me", "AWSCURRENT")
		h.enable(crm)
		key := h.key()
		version := h.storeSame("CANDIDATE") // the first credentials; their event is late
		h.failAWS("UpdateSecretVersionStage", 3)
		h.rotate() // stores the placeholder as AWSPENDING, and is interrupted
		h.AWS.ClearFaults()
		h.deliver()
		h.labels("AWSCURRENT", version)
		h.retry()
		h.logged(`"step":"finishSecret"`, `"outcome":"failed"`, errSecretChanged+`"`)
		h.labels("AWSCURRENT", version, "AWSPENDING", "")
		h.rotate()
		h.checkRotated(key)
	})
}

// errSecretChanged is in the error of a rotation that another change of the secret has ended.
const errSecretChanged = "that change takes precedence"

// A malformed CANDIDATE whose event is late must not fail a rotation that has succeeded.
func TestMalformedCandidateDoesNotFailRotation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.StoreText(`{"consumerKey":"only"}`, "CANDIDATE")
		_ = h.tryRotate()
		h.checkRotated(oldKey)
		h.noFailures()
	})
}

func TestPersonWritesDuringRotation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		h.rotate()
		pending := h.version("AWSPENDING")
		key := h.key()
		version := h.storeSame("AWSCURRENT")
		if err := h.step("finishSecret", pending); err == nil || !strings.Contains(err.Error(), "the secret was written") {
			t.Errorf("finishSecret: %v", err)
		}
		h.labels("AWSCURRENT", version)
		h.rotate()
		h.checkRotated(key)
	})
}

func TestCandidateBecomesCurrentDuringRotation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.fields["allowedPrincipals"] = []string{"222222222222"} // the same credentials for fewer callers
		oldKey := h.key()
		version := h.storeSame("CANDIDATE") // its event is late
		h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		h.rotate() // staged, stored, tested, not finished
		h.deliver()
		h.labels("AWSCURRENT", version)
		h.retry()
		h.logged(`"step":"finishSecret"`, `"outcome":"failed"`, "was changed during the rotation of its credentials")
		h.labels("AWSCURRENT", version)
		h.rotate()
		h.checkRotated(oldKey)
		if allowed := fmt.Sprint(h.at("AWSCURRENT")["allowedPrincipals"]); allowed != "[222222222222]" {
			t.Errorf("allowedPrincipals %s", allowed)
		}
		if n := h.Org.Stats().Calls[sfoauthtest.Stage]; n != 1 {
			t.Errorf("credentials were staged %d times: the first ones should be adopted", n)
		}
	})
}

// AWSCURRENT moves at the moment when finishSecret moves it.
func TestCurrentMovesDuringFinishSecret(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		move   func(h *harness, candidate string)
		person bool // whose version takes precedence: the rotation fails
	}{
		"by the candidate's event": {func(h *harness, candidate string) { h.Label("AWSCURRENT", candidate) }, false},
		"by a person": {func(h *harness, _ string) {
			key, secret := h.Org.AddApp(sfoauthtest.AppOptions{}).Credentials()
			h.store(key, secret, "AWSCURRENT")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
				candidate := h.storeNew("CANDIDATE")
				key := h.key()
				var once sync.Once
				h.onAWS = func(call localaws.Call) {
					if call.Operation == "UpdateSecretVersionStage" && call.Phase == localaws.Arrived {
						once.Do(func() {
							h.quiet.Store(true)
							c.move(h, candidate)
							h.quiet.Store(false)
						})
					}
				}
				h.rotate()
				if failed := strings.Contains(h.log.String(), "RotationFailures"); failed != c.person {
					t.Errorf("the rotation failed: %t\n%s", failed, h.log.String())
				}
				if taken := text(h.at("AWSCURRENT"), "consumerKey") == key; taken == c.person {
					t.Errorf("the candidate is current: %t", taken)
				}
				h.checkCurrentWorks()
			})
		})
	}
}

// A person moves AWSCURRENT to a version with a misspelt restriction while a rotation is under way.
func TestMisspeltRestrictionDuringRotation(t *testing.T) {
	t.Parallel()
	for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote} {
		t.Run(string(at), func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				version := h.storeValue("KEPT", map[string]any{"AllowedPrincipals": []string{"222222222222"}})
				h.onceDone(at, func() { h.Label("AWSCURRENT", version) })
				_ = h.tryRotate()
				h.onOrg = nil
				h.deliver()
				h.labels("AWSCURRENT", version)
			})
		})
	}
}

// A label moves after Salesforce has made the new credentials primary. Those of AWSCURRENT still work for some time.
func TestCurrentMovesAfterPromotion(t *testing.T) {
	run(t, options{org: sfoauthtest.Config{SignWithPrimary: true}}, func(t *testing.T, h *harness) {
		version := h.storeValue("KEPT", map[string]any{"allowedPrincipals": []string{"222222222222"}})
		h.onceDone(sfoauthtest.Promote, func() { h.Label("AWSCURRENT", version) })
		_ = h.tryRotate()
		h.onOrg = nil
		h.labels("AWSCURRENT", version, "AWSPENDING", "")
		before := len(h.log.Lines())
		h.deliver()
		time.Sleep(time.Hour)
		h.check()
		for _, line := range h.log.Lines()[before:] {
			if strings.Contains(line, "RotationFailures") || strings.Contains(line, `"LoginFailed":1`) {
				t.Errorf("%.500s", line)
			}
		}
	})
}

// A finished rotation leaves AWSPENDING on the version that it made current. If that is on any other one, Secrets
// Manager takes it for an unfinished rotation and continues it. Source: Secrets Manager API Reference, RotateSecret.
func TestRotationAfterManualChange(t *testing.T) {
	runAll(t, options{adminApp: true}, map[string]func(h *harness){
		"stored":    func(h *harness) { h.storeNew("AWSCURRENT") },
		"candidate": func(h *harness) { h.storeNew("CANDIDATE") },
		"other callers": func(h *harness) {
			h.fields["allowedPrincipals"] = []string{"222222222222"}
			h.storeSame("AWSCURRENT")
		},
	}, func(t *testing.T, h *harness, change func(h *harness)) {
		h.rotateAndDeliver()
		change(h)
		h.deliver()
		key := h.key()
		h.rotate()
		h.checkRotated(key)
		h.noFailures()
	})
}
