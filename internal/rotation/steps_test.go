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
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestStepsOutsideARotation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		current := h.version("AWSCURRENT")
		other := h.store("3MVG9other", "other", "OTHER")
		for _, step := range steps {
			for _, version := range []string{"00000000-0000-4000-8000-000000000000", other} {
				if err := h.step(step, version); err == nil || !strings.Contains(err.Error(), "is not AWSPENDING") {
					t.Errorf("%s of %s, which is not pending: %v", step, version, err)
				}
			}
			if err := h.step(step, current); err != nil {
				t.Errorf("%s of the version that is current: %v", step, err)
			}
		}
		if err := h.step("fetchSecret", current); err != nil {
			t.Errorf("an unknown step of the version that is current: %v", err)
		}
		if n := h.Org.Stats().Calls[sfoauthtest.Stage]; n != 0 {
			t.Errorf("credentials were staged %d times", n)
		}
		h.cancel()
		for _, step := range []string{"createSecret", "setSecret", "finishSecret"} {
			if err := h.step(step, current); err == nil || !strings.Contains(err.Error(), "not enabled for rotation") {
				t.Errorf("%s without rotation: %v", step, err)
			}
		}
		h.labels("AWSCURRENT", current)
	})
}

func TestUnknownStep(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		h.rotate()
		pending := h.version("AWSPENDING")
		err := h.step("fetchSecret", pending)
		if err == nil || !strings.Contains(err.Error(), `unknown rotation step "fetchSecret"`) {
			t.Error(err)
		}
		h.labels("AWSPENDING", pending)
	})
}

func TestStepsRepeatedAndOutOfOrder(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.rotateAndCrash(1, killedBefore) // in createSecret: the version is announced and has no value
		pending := h.version("AWSPENDING")
		for _, step := range steps[1:] {
			if err := h.step(step, pending); err == nil {
				t.Errorf("%s before createSecret succeeds", step)
			}
		}
		for step := range strings.FieldsSeq("createSecret createSecret testSecret setSecret setSecret testSecret createSecret " +
			"finishSecret finishSecret createSecret testSecret") {
			if err := h.step(step, pending); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		h.checkRotated(oldKey)
		n := h.Org.Stats().Calls
		if n[sfoauthtest.Stage] != 1 || n[sfoauthtest.Promote] != 1 || n[sfoauthtest.Delete] != 0 {
			t.Errorf("staged, promoted, deleted: %v", n)
		}
	})
}

func TestStepTestBeforeRotationIsEnabled(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.cancel()
		h.Must(h.step("testSecret", h.storeSame("AWSPENDING")))
	})
}

func TestEnablingRotationRejectsNothing(t *testing.T) {
	for _, noIDs := range []bool{false, true} {
		t.Run(fmt.Sprintf("without IDs %t", noIDs), func(t *testing.T) {
			run(t, options{noIDs: noIDs}, func(t *testing.T, h *harness) {
				before := h.describe()
				h.App.Regenerate() // and it is not stored: the test fails
				h.enable(crm)
				h.logged(`"step":"testSecret"`, `"outcome":"failed"`, "invalid_client_id")
				h.labels("AWSCURRENT", before.VersionWithLabel("AWSCURRENT"), "REJECTED", "", "AWSPENDING", "")
				if after := h.describe(); len(after.Labels) != len(before.Labels) {
					t.Errorf("labels %v, before %v", after.Labels, before.Labels)
				}
				if n := h.Org.Stats().Calls[sfoauthtest.Stage]; n != 0 {
					t.Errorf("credentials were staged %d times", n)
				}
			})
		})
	}
}

func TestRotationOfPlaceholder(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.Store(placeholder(), "AWSCURRENT")
		h.enable(crm)
		h.logged(`"step":"testSecret"`, `"outcome":"ok"`, "sftoken secret put crm")
		h.rotate()
		h.logged(`"step":"finishSecret"`, `"outcome":"ok"`)
	})
}

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

// errSecretChanged is what a rotation says that another change of the secret has ended.
const errSecretChanged = "that change takes precedence"

func TestMissingPermissions(t *testing.T) {
	for name, o := range map[string]options{
		"no permission":                  {},
		"no access through the REST API": {org: sfoauthtest.Config{RESTSecretsDisabled: true}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, o, func(t *testing.T, h *harness) {
				if !o.org.RESTSecretsDisabled {
					h.App.User.Change(func(u *sfoauthtest.UserOptions) { u.ViewClientSecret = false })
				}
				h.rotate()
				h.checkCurrentWorks()
				h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "External Client App Developer")
			})
		})
	}
}

// Salesforce documents neither its response when nothing is staged, nor which secret signs.
func TestRotationWithUndocumentedBehavior(t *testing.T) {
	for name, config := range map[string]sfoauthtest.Config{
		"404 if nothing is staged":           {EmptyStagedNotFound: true},
		"the primary credentials sign":       {SignWithPrimary: true},
		"both":                               {EmptyStagedNotFound: true, SignWithPrimary: true},
		"and staged ones that do not log in": {EmptyStagedNotFound: true, SignWithPrimary: true, StagedCannotLogIn: true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{org: config}, func(t *testing.T, h *harness) {
				for range 3 {
					oldKey := h.key()
					h.rotateAndDeliver()
					h.checkRotated(oldKey)
				}
				if config.SignWithPrimary && !config.StagedCannotLogIn {
					h.logged(`"step":"testSecret"`, `"outcome":"ok"`, `"level":"WARN"`, "signature")
				}
			})
		})
	}
}

func TestStagedCredentialsAreAdopted(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		staged := h.stage()
		h.rotate()
		h.checkRotated(oldKey)
		if h.key() != staged.Key || h.Org.Stats().Calls[sfoauthtest.Stage] != 1 {
			t.Error("others were staged")
		}
	})
}

// Credentials that were left staged are adopted only if they are complete and live long enough.
func TestUnusableStagedCredentialsAreReplaced(t *testing.T) {
	for name, spoil := range map[string]func(h *harness, staged sfoauthtest.StagedCredentials){
		"they expire within a day": func(*harness, sfoauthtest.StagedCredentials) { time.Sleep(29*24*time.Hour + 12*time.Hour) },
		"their secret is not shown": func(h *harness, staged sfoauthtest.StagedCredentials) {
			body := fmt.Sprintf(`{"stagedCredentials":[{"id":%q,"key":%q,"state":"Active"}]}`, staged.ID, staged.Key)
			h.Org.InjectFault(sfoauthtest.ListStaged, sfoauthtest.Body(body), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				oldKey := h.key()
				staged := h.stage()
				spoil(h, staged)
				h.rotate()
				h.checkRotated(oldKey)
				if h.key() == staged.Key || h.Org.CanLogin(staged.Key, staged.Secret) {
					t.Error("they were adopted, or left")
				}
			})
		})
	}
}

// The staged credentials are lost before finishSecret.
func TestMissingStagedCredentialsAreAbandoned(t *testing.T) {
	for name, lose := range map[string]func(h *harness){
		"expired": func(h *harness) { time.Sleep(31 * 24 * time.Hour); _ = h.tryRotate() },
		"deleted": func(h *harness) {
			h.Must(h.staged().Delete(h.t.Context(), h.App.Staged()[0].ID))
			err := h.step("finishSecret", h.version("AWSPENDING"))
			if err == nil || !strings.Contains(err.Error(), "are not at Salesforce any more") {
				h.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				oldKey := h.key()
				h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
				h.rotate() // staged, stored, tested, not finished
				lose(h)
				h.rotate()
				h.checkRotated(oldKey)
			})
		})
	}
}

// A server that does not yet know what another has stored does not end a rotation.
func TestStaleResponseDoesNotEndRotation(t *testing.T) {
	empty := sfoauthtest.Body(`{"stagedCredentials":[]}`)
	for name, c := range map[string]struct {
		response sfoauthtest.Fault
		times    int
		after    int // so many current responses
	}{
		"setSecret reads an empty list":         {empty, 1, 1},
		"setSecret reads an empty list 5 times": {empty, 5, 1},
		"setSecret gets 404":                    {sfoauthtest.ErrorResponse(404, "NOT_FOUND", "The requested resource does not exist"), 2, 1},
		"finishSecret reads an empty list":      {empty, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{propagation: 10 * time.Minute}, func(t *testing.T, h *harness) {
				oldKey := h.key()
				reads := 0
				h.onOrg = func(call sfoauthtest.Call) {
					if call.Endpoint == sfoauthtest.ListStaged && call.Phase == sfoauthtest.Done {
						if reads++; reads == c.after {
							h.Org.InjectFault(sfoauthtest.ListStaged, c.response, c.times)
						}
					}
				}
				h.rotate()
				h.checkRotated(oldKey)
				h.noFailures()
			})
		})
	}
}

func TestPromotedCredentialsAreWaitedFor(t *testing.T) {
	run(t, options{adminApp: true, propagation: 10 * time.Minute}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.onOrg = func(c sfoauthtest.Call) {
			if c.Endpoint == sfoauthtest.Promote && c.Phase == sfoauthtest.Done {
				h.Org.InjectFault(sfoauthtest.Token, invalidClient(), 10)
			}
		}
		h.rotate()
		h.checkRotated(oldKey)
		h.noFailures()
	})
}

func TestAppWithoutIDs(t *testing.T) {
	run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
		h.rotate()
		h.logged("sftoken secret stage crm", `"RotationFailures":1`)
		h.abandon()
		h.enable(crm)
		h.storeNew("CANDIDATE") // its event is late
		h.rotate()
		h.checkCurrentWorks()
		h.labels("CANDIDATE", "")
		if text(h.at("AWSCURRENT"), "consumerKey") != h.key() {
			t.Error("the candidate was not taken")
		}
		h.deliver()
		h.checkCurrentWorks()
	})
}

// The first credentials are made in Setup, and stored with the IDs that let the function make the next ones.
func TestRotationTakesCandidateWithIDs(t *testing.T) {
	run(t, options{noIDs: true, adminApp: true}, func(t *testing.T, h *harness) {
		h.fields["appId"], h.fields["consumerId"] = h.App.ID, h.App.ConsumerID
		h.storeNew("CANDIDATE") // its event is late
		key := h.key()
		h.rotate()
		h.checkRotated("none")
		h.labels("CANDIDATE", "")
		if text(h.at("AWSCURRENT"), "consumerKey") != key {
			t.Error("the candidate was not taken")
		}
		h.deliver()
		h.rotate()
		h.checkRotated(key)
	})
}

func TestRotationRejectsWrongCandidate(t *testing.T) {
	run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
		good := h.version("AWSCURRENT")
		h.storeWrong("CANDIDATE") // its event is late
		h.rotate()
		h.labels("AWSCURRENT", good, "CANDIDATE", "", "AWSPENDING", "")
		if h.version("REJECTED") == "" {
			t.Error("no version is REJECTED")
		}
		h.logged(`"step":"testSecret"`, `"outcome":"failed"`, `"CandidatesRefused":1`,
			`"salesforce_error":"invalid_client_id"`)
		h.deliver()
		h.rotate()
		h.logged(`"step":"createSecret"`, "sftoken secret stage crm") // a person is reminded again
		h.labels("AWSCURRENT", good)
		h.checkCurrentWorks()
	})
}

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
	for name, c := range map[string]struct {
		move   func(h *harness, candidate string)
		person bool // whose version takes precedence: the rotation fails
	}{
		"by the event of the candidate that it took": {func(h *harness, candidate string) { h.Label("AWSCURRENT", candidate) }, false},
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

// onceDone calls f once, when the first call of the endpoint has been processed.
func (h *harness) onceDone(at sfoauthtest.Endpoint, f func()) {
	var once sync.Once
	h.onOrg = func(c sfoauthtest.Call) {
		if c.Endpoint == at && c.Phase == sfoauthtest.Done {
			once.Do(f)
		}
	}
}

// A person moves AWSCURRENT to a version with a misspelt restriction while a rotation is under way.
func TestMisspeltRestrictionDuringRotation(t *testing.T) {
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
	for name, change := range map[string]func(h *harness){
		"stored":    func(h *harness) { h.storeNew("AWSCURRENT") },
		"candidate": func(h *harness) { h.storeNew("CANDIDATE") },
		"other callers": func(h *harness) {
			h.fields["allowedPrincipals"] = []string{"222222222222"}
			h.storeSame("AWSCURRENT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
				h.rotateAndDeliver()
				change(h)
				h.deliver()
				key := h.key()
				h.rotate()
				h.checkRotated(key)
				h.noFailures()
			})
		})
	}
}

// recorder is a Secrets Manager client that keeps what it sends.
type recorder struct {
	appsecret.Client
	puts []*secretsmanager.PutSecretValueInput
}

func (r *recorder) PutSecretValue(
	ctx context.Context, in *secretsmanager.PutSecretValueInput, o ...func(*secretsmanager.Options),
) (*secretsmanager.PutSecretValueOutput, error) {
	r.puts = append(r.puts, in)
	return r.Client.PutSecretValue(ctx, in, o...)
}

// Source: Secrets Manager API Reference, PutSecretValue: a function that gets a RotationToken must pass it back.
func TestRotationTokenIsPassedBack(t *testing.T) {
	for _, token := range []string{rotationToken, ""} {
		t.Run(token, func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				h.rotateAndCrash(1, killedBefore) // AWSPENDING is announced, and has no value
				client := &recorder{Client: h.Secrets}
				_, err := h.rotator(client, nil).Step(t.Context(), rotation.Step{
					Name: "createSecret", SecretID: crm, VersionID: h.version("AWSPENDING"), RotationToken: token,
				})
				h.Must(err)
				if len(client.puts) != 1 || aws.ToString(client.puts[0].RotationToken) != token ||
					(client.puts[0].RotationToken == nil) != (token == "") {
					t.Errorf("%d values were stored, or without the right token", len(client.puts))
				}
			})
		})
	}
}
