package rotation_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// crashPoint is what happens at a call of the function.
type crashPoint string

const (
	killedBefore crashPoint = "killed before the call is sent"
	killedAfter  crashPoint = "killed after the call took effect, before the response"
	responseLost crashPoint = "response lost, process alive"
)

type crashScenario struct {
	options options
	prepare func(h *harness)
}

// crashScenarios are the rotations that are interrupted at every call.
var crashScenarios = map[string]crashScenario{
	"an app that rotates itself":           {},
	"an admin app":                         {options: options{adminApp: true}},
	"flat responses":                       {options: options{org: sfoauthtest.Config{FlatStaged: true}}},
	"replaced credentials are still there": {prepare: (*harness).rotateAndDeliver},
	"new credentials alongside replaced ones": {
		options: options{org: sfoauthtest.Config{StageAlongsideRotated: true}},
		prepare: (*harness).rotateAndDeliver,
	},
	"compromised": {prepare: (*harness).compromiseAndDeliver},
	"compromised, with replaced credentials": {
		prepare: func(h *harness) { h.rotateAndDeliver(); h.compromiseAndDeliver() },
	},
	"slow propagation": {
		options: options{org: sfoauthtest.Config{PropagationDelay: 4 * time.Minute}, propagation: 10 * time.Minute},
	},
	"staged credentials that do not log in": {
		options: options{org: sfoauthtest.Config{StagedCannotLogIn: true}, propagation: 2 * time.Minute},
	},
	"credentials left staged": {prepare: func(h *harness) { h.stage() }},
}

// TestRotationCrashRecovery interrupts a rotation at every call in every way, and checks that the next one completes
// it. With -short it tries a sample.
func TestRotationCrashRecovery(t *testing.T) {
	points, tried := 0, 0
	t.Run("all", func(t *testing.T) { // returns when its parallel subtests have ended
		for _, name := range slices.Sorted(maps.Keys(crashScenarios)) {
			scenario := crashScenarios[name]
			start := func(t *testing.T, test func(h *harness)) {
				runSynctest(t, scenario.options, func(_ *testing.T, h *harness) {
					if scenario.prepare != nil {
						scenario.prepare(h)
					}
					test(h)
				})
			}
			calls := 0
			t.Run(name, func(t *testing.T) { start(t, func(h *harness) { calls = h.rotateAndCrash(0, "") }) })
			if calls < 8 {
				t.Fatalf("%s: a rotation takes %d calls", name, calls)
			}
			for call := 1; call <= calls; call++ {
				for _, point := range []crashPoint{killedBefore, killedAfter, responseLost} {
					for _, newToken := range []bool{false, true} {
						if points++; !sample(19, points) { // prime to the six variants of a call
							continue
						}
						tried++
						t.Run(fmt.Sprintf("%s, call %d, %s, new token %t", name, call, point, newToken), func(t *testing.T) {
							t.Parallel()
							start(t, func(h *harness) { h.checkRecovery(call, point, newToken) })
						})
					}
				}
			}
		}
	})
	t.Logf("a rotation was interrupted at %d points", tried)
	if tried < 2000 && !simtest.Sampled() {
		t.Error("want at least 2,000")
	}
}

// checkRecovery interrupts a rotation and checks that the next one completes it, and that AWSCURRENT worked in between.
func (h *harness) checkRecovery(call int, point crashPoint, newToken bool) {
	h.T.Helper()
	oldKey, oldSecret := h.App.Credentials()
	compromised := h.version("COMPROMISED") != ""
	h.rotateAndCrash(call, point)
	h.deliver()
	for try := 0; try == 0 || h.rotated(oldKey) != nil && try < 3; try++ {
		time.Sleep(time.Hour)
		if newToken {
			h.abandon()
			_ = h.tryRotate()
		} else {
			h.retry()
		}
		h.deliver()
	}
	h.checkRotated(oldKey)
	if compromised {
		h.checkEnded(oldKey, oldSecret)
	}
	h.noSecrets()
}

// rotateAndCrash rotates, and crashes at the given call (0: at none). It returns how many calls the function made. From
// then on it checks after each change at Salesforce or in Secrets Manager that AWSCURRENT logs in.
func (h *harness) rotateAndCrash(call int, point crashPoint) int {
	h.T.Helper()
	var made atomic.Int32
	crashed := false
	at := func(arrived, changes bool, what string) {
		if arrived {
			made.Add(1)
		}
		if crashed && h.onCrash != nil {
			return // the region is lost
		}
		if !arrived && changes && !h.logsIn("AWSCURRENT") {
			h.T.Errorf("after %s AWSCURRENT does not log in", what)
		}
		if int(made.Load()) != call || crashed || arrived != (point == killedBefore) {
			return
		}
		crashed = true
		if h.onCrash != nil {
			h.onCrash()
		}
		if point != responseLost {
			h.process.Load().kill()
		}
		panic(http.ErrAbortHandler)
	}
	h.watch(at)
	_ = h.tryRotate()
	if call > 0 && !crashed {
		h.T.Errorf("call %d was never made", call)
	}
	return int(made.Load())
}

// watch calls observe before each call of the function arrives, and after it was processed. changes reports whether the
// call may change what logs in.
func (h *harness) watch(observe func(arrived, changes bool, what string)) {
	h.onOrg = func(c sfoauthtest.Call) {
		changes := c.Endpoint == sfoauthtest.Stage || c.Endpoint == sfoauthtest.Promote || c.Endpoint == sfoauthtest.Delete
		observe(c.Phase == sfoauthtest.Arrived, changes, string(c.Endpoint))
	}
	h.onAWS = func(c localaws.Call) {
		changes := c.Operation == "PutSecretValue" || c.Operation == "UpdateSecretVersionStage"
		observe(c.Phase == localaws.Arrived, changes, c.Operation)
	}
}
