package rotation_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// arrivals are what of a rotation has arrived in the standby region when the primary region is lost. AWS documents
// neither the lag nor which labels are replicated.
var arrivals = map[string]struct {
	lag     time.Duration
	only    bool // AWSCURRENT and AWSPREVIOUS are the only labels that are replicated
	nothing bool // of the rotation has arrived
}{
	"everything":                 {},
	"everything but labels":      {only: true},
	"after two seconds":          {lag: 2 * time.Second},
	"after two seconds, no more": {lag: 2 * time.Second, only: true},
	"nothing":                    {lag: 10_000 * time.Hour, nothing: true},
}

// lossScenarios are those of crashScenarios during which a region is lost, and more.
func lossScenarios() map[string]crashScenario {
	scenarios := maps.Clone(crashScenarios)
	scenarios["the primary credentials sign"] = crashScenario{
		options: options{org: sfoauthtest.Config{SignWithPrimary: true}},
	}
	delete(scenarios, "flat responses") // what Salesforce's responses look like changes nothing here
	return scenarios
}

// TestLostRegion loses the primary region at every call of a rotation, in one or two ways each, and does then what
// docs/how-to/regions.md says. It tries a sample where simtest.Sampled.
func TestLostRegion(t *testing.T) {
	points, tried := 0, 0
	every := 11 // prime to the fifteen variants of a call, and less, so that each call is tried
	if simtest.Sampled() {
		every = 149
	}
	t.Run("all", func(t *testing.T) {
		scenarios := lossScenarios()
		for _, name := range slices.Sorted(maps.Keys(scenarios)) { // the same sample each time
			scenario := scenarios[name]
			start := func(t *testing.T, test func(h *harness)) {
				o := scenario.options
				o.standby = &standby{}
				runSynctest(t, o, func(_ *testing.T, h *harness) {
					if scenario.prepare != nil {
						scenario.prepare(h)
					}
					test(h)
				})
			}
			calls := 0
			t.Run(name, func(t *testing.T) { start(t, func(h *harness) { calls = h.rotateAndCrash(0, "") }) })
			for call := 1; call <= calls; call++ {
				for _, point := range []crashPoint{killedBefore, killedAfter, responseLost} {
					for _, arrived := range slices.Sorted(maps.Keys(arrivals)) {
						if points++; points%every != 0 {
							continue
						}
						if strings.HasPrefix(name, "compromised") && arrivals[arrived].lag > 0 {
							continue // see TestLostRegionDuringEmergency
						}
						tried++
						t.Run(fmt.Sprintf("%s, call %d, %s, %s has arrived", name, call, point, arrived), func(t *testing.T) {
							t.Parallel()
							start(t, func(h *harness) { h.checkLostRegion(call, point, arrived) })
						})
					}
				}
			}
		}
	})
	t.Logf("a region was lost at %d points", tried)
	if tried < 400 && !simtest.Sampled() {
		t.Error("want at least 400")
	}
}

func (h *harness) checkLostRegion(call int, point crashPoint, arrived string) {
	h.T.Helper()
	s := h.options.standby
	oldKey, oldSecret := h.App.Credentials()
	compromised := h.version("COMPROMISED") != ""
	s.loseDuringRotation(call, point, arrived)
	h.noStandbyChange()
	s.vends("without the primary region")
	time.Sleep(24 * time.Hour)
	s.vends("a day later")

	s.promote(call%2 == 0)
	if compromised {
		s.labelCompromised(oldKey)
	}
	s.recover(oldKey)
	if compromised {
		h.checkEnded(oldKey, oldSecret)
	}
	h.checkReturn(call%3 != 0)
	h.noSecrets()
	h.NoSecrets(s.log.String())
}

// loseDuringRotation rotates in the primary region and loses it at the call.
func (s *standby) loseDuringRotation(call int, point crashPoint, arrived string) {
	s.h.T.Helper()
	h := s.h
	s.deliver()
	s.vends("before the loss")
	s.replicateLike(arrived)
	s.writes = nil
	h.onCrash = func() { h.AWS.Lose(false) }
	h.rotateAndCrash(call, point)
	h.onCrash, h.onOrg, h.onAWS = nil, nil, nil
	h.process.Load().kill()
	s.vends("right after the loss")
	time.Sleep(20 * time.Minute) // what is on its way from elsewhere has arrived
	s.deliver()
	s.check()
}

func (s *standby) replicateLike(arrived string) {
	a := arrivals[arrived]
	s.h.Replication.SetLag(a.lag)
	if a.only {
		s.h.Replication.SetLabels(func(label string) bool { return label == "AWSCURRENT" || label == "AWSPREVIOUS" })
	}
}

func (h *harness) noStandbyChange() {
	h.T.Helper()
	if writes := h.options.standby.writes; len(writes) > 0 {
		h.T.Errorf("the standby region has sent %q", writes)
	}
}

// promote makes the replica a primary secret. With drop it removes AWSPENDING from an unfinished version and switches
// the rotation on, as the stack does that is deployed then. Otherwise the first rotation continues that version.
func (s *standby) promote(drop bool) {
	s.h.T.Helper()
	s.h.Promote()
	if !drop {
		return
	}
	s.as(func() {
		secret := s.h.describe()
		if id := secret.VersionWithLabel("AWSPENDING"); id != "" && id != secret.VersionWithLabel("AWSCURRENT") {
			s.h.unlabel("AWSPENDING", id)
		}
	})
	_, err := s.h.StandbySecrets.RotateSecret(s.h.T.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(crm), RotationLambdaARN: aws.String(standbyFunctionARN), RotateImmediately: aws.Bool(false),
	})
	s.h.Must(err)
}

// labelCompromised labels the version with the compromised credentials, where the label has not arrived.
func (s *standby) labelCompromised(key string) {
	s.h.T.Helper()
	s.as(func() {
		for _, label := range []string{"AWSPREVIOUS", "AWSCURRENT"} {
			if text(s.h.at(label), "consumerKey") == key && s.h.at("COMPROMISED") == nil {
				s.h.Label("COMPROMISED", s.h.version(label))
			}
		}
	})
	s.deliver()
}

// recover rotates in the promoted region until that has succeeded. Each failure costs no caller anything.
func (s *standby) recover(oldKey string) {
	s.h.T.Helper()
	for try := range 3 {
		s.vends("after the promotion")
		_ = s.rotate()
		s.deliver()
		time.Sleep(time.Hour)
		var err error
		if s.as(func() { err = s.h.rotated(oldKey) }); err == nil {
			break
		} else if try == 2 {
			s.as(func() { s.h.T.Errorf("%v: labels %v\n%s", err, s.h.describe().Labels, s.log.String()) })
		}
	}
	s.vends("after a rotation in the promoted region")
}

// checkReturn lets the lost region return and goes back to it as docs/how-to/regions.md says. If the rotation is due
// there, it begins at once, and the promoted region rotates as well before a person stops it.
func (h *harness) checkReturn(due bool) {
	h.T.Helper()
	s := h.options.standby
	h.AWS.Return()
	h.process.Load().kill()
	if due {
		h.rotateInBoth()
	}
	h.cancel()
	s.as(h.cancel)
	h.Replication.SetLag(0)
	h.Replication.SetLabels(nil)
	var value map[string]any
	s.as(func() { value = h.at("AWSCURRENT") })
	h.Store(value, "AWSCURRENT")
	h.deliver()
	_, err := h.Secrets.RemoveRegionsFromReplication(h.T.Context(), &secretsmanager.RemoveRegionsFromReplicationInput{
		SecretId: aws.String(crm), RemoveReplicaRegions: []string{simtest.StandbyRegion},
	})
	h.Must(err)
	_, err = h.Secrets.ReplicateSecretToRegions(h.T.Context(), &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId: aws.String(crm), ForceOverwriteReplicaSecret: true,
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(simtest.StandbyRegion)}},
	})
	h.Must(err)
	s.vends("as a standby region again")
	s.as(func() {
		if !h.describe().IsReplica() {
			h.T.Error("the secret of the standby region is not a replica again")
		}
	})
	h.enable(crm)
	key := h.key()
	h.rotateAndDeliver()
	time.Sleep(time.Hour)
	h.checkRotated(key)
	s.as(func() { h.checkRotated(key) })
	s.vends("after a rotation in the primary region")
	if err := h.vendFrom(h.newVendor(h.Secrets, false)); err != nil {
		h.T.Errorf("the primary region cannot vend: %v", err)
	}
}

// rotateInBoth rotates in the region that has returned and then in the promoted one.
func (h *harness) rotateInBoth() {
	h.T.Helper()
	s := h.options.standby
	_ = h.tryRotate() // the schedule
	h.deliver()
	time.Sleep(time.Hour)
	s.vends("while both regions are primary")
	s.as(h.checkCurrentWorks)
	key := h.key()
	if err := s.rotate(); err != nil && !isUnfinished(err) {
		h.T.Error(err)
	}
	s.recover(h.ifRotated(key))
}

// ifRotated returns the key that a rotation since has replaced, or "none" if there was no rotation.
func (h *harness) ifRotated(key string) string {
	if h.key() == key {
		return "none"
	}
	return key
}

func isUnfinished(err error) bool {
	_, ok := errors.AsType[*types.InvalidRequestException](err)
	return ok
}

// Compromised credentials are deleted at Salesforce at once. If the new ones have not arrived when the primary region
// is lost, a person makes others in Setup and stores them in the promoted region.
func TestLostRegionDuringEmergency(t *testing.T) {
	s := &standby{}
	run(t, options{standby: s}, func(t *testing.T, h *harness) {
		h.compromiseAndDeliver()
		s.deliver()
		s.replicateLike("nothing")
		key, secret := h.App.Credentials()
		h.rotateAndDeliver()
		h.checkEnded(key, secret)
		h.AWS.Lose(false)
		if err := h.vendFrom(h.newVendor(h.StandbySecrets, true)); err == nil {
			t.Error("the standby vends with credentials that are deleted")
		}
		s.promote(true)
		s.as(func() {
			h.storeNew("AWSCURRENT")
			s.deliver()
			h.checkCurrentWorks()
		})
		time.Sleep(time.Minute)
		s.vends("with credentials from Setup")
		s.recover(h.key())
	})
}
