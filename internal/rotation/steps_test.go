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
		for _, i := range []int{0, 0, 2, 1, 1, 2, 0, 3, 3, 0, 2} {
			if err := h.step(steps[i], pending); err != nil {
				t.Errorf("%s: %v", steps[i], err)
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
	t.Parallel()
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

func TestMissingPermissions(t *testing.T) {
	t.Parallel()
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
				h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "External Client App Developer",
					`"app":"crm"`, fmt.Sprintf(`"secret_version":%q`, h.version("AWSPENDING")))
			})
		})
	}
}

// Salesforce documents neither its response when nothing is staged, nor which secret signs.
func TestRotationWithUndocumentedBehavior(t *testing.T) {
	t.Parallel()
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
	runAll(t, options{}, map[string]func(h *harness, staged sfoauthtest.StagedCredentials){
		"they expire within a day": func(*harness, sfoauthtest.StagedCredentials) { time.Sleep(708 * time.Hour) }, // of 720
		"their secret is not shown": func(h *harness, staged sfoauthtest.StagedCredentials) {
			body := fmt.Sprintf(`{"stagedCredentials":[{"id":%q,"key":%q,"state":"Active"}]}`, staged.ID, staged.Key)
			h.Org.InjectFault(sfoauthtest.ListStaged, sfoauthtest.Body(body), 1)
		},
	}, func(t *testing.T, h *harness, spoil func(h *harness, staged sfoauthtest.StagedCredentials)) {
		oldKey := h.key()
		staged := h.stage()
		spoil(h, staged)
		h.rotate()
		h.checkRotated(oldKey)
		if h.key() == staged.Key || h.Org.CanLogin(staged.Key, staged.Secret) {
			t.Error("they were adopted, or left")
		}
	})
}

// The staged credentials are lost before finishSecret.
func TestMissingStagedCredentialsAreAbandoned(t *testing.T) {
	runAll(t, options{}, map[string]func(h *harness){
		"expired": func(h *harness) { time.Sleep(31 * 24 * time.Hour); _ = h.tryRotate() },
		"deleted": func(h *harness) {
			h.Must(h.staged().Delete(h.T.Context(), h.App.Staged()[0].ID))
			err := h.step("finishSecret", h.version("AWSPENDING"))
			if err == nil || !strings.Contains(err.Error(), "are not at Salesforce any more") {
				h.T.Error(err)
			}
		},
	}, func(t *testing.T, h *harness, lose func(h *harness)) {
		oldKey := h.key()
		h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		h.rotate() // staged, stored, tested, not finished
		lose(h)
		h.rotate()
		h.checkRotated(oldKey)
	})
}

// A server that does not yet know what another has stored does not end a rotation.
func TestStaleResponseDoesNotEndRotation(t *testing.T) {
	t.Parallel()
	empty := sfoauthtest.Body(`{"stagedCredentials":[]}`)
	notFound := sfoauthtest.ErrorResponse(404, "NOT_FOUND", "The requested resource does not exist")
	for name, c := range map[string]struct {
		response sfoauthtest.Fault
		times    int
		after    int // so many current responses
	}{
		"setSecret reads an empty list":         {empty, 1, 1},
		"setSecret reads an empty list 5 times": {empty, 5, 1},
		"setSecret gets 404":                    {notFound, 2, 1},
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

// The time that a repeated step waits for begins with the first response, however slow that is.
func TestSlowStaleResponseDoesNotEndRotation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		h.rotate() // staged, stored, tested, not finished
		time.Sleep(time.Hour)
		h.Org.InjectFault(sfoauthtest.ListStaged, sfoauthtest.Body(`{"stagedCredentials":[]}`), 1)
		var once sync.Once
		h.onOrg = func(c sfoauthtest.Call) {
			if c.Endpoint == sfoauthtest.ListStaged && c.Phase == sfoauthtest.Arrived {
				once.Do(func() { time.Sleep(5 * time.Second) })
			}
		}
		h.Must(h.step("setSecret", h.version("AWSPENDING")))
		h.retry()
		h.checkRotated(oldKey)
	})
}

// A 404 from a proxy or a web server does not say that nothing is staged.
func TestWebPageDoesNotEndRotation(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		h.rotate() // staged, stored, tested, not finished
		pending := h.version("AWSPENDING")
		h.Org.InjectFault(sfoauthtest.ListStaged, sfoauthtest.WebPage(404), 0)
		if err := h.step("finishSecret", pending); err == nil {
			t.Error("finishSecret succeeded")
		}
		h.labels("AWSPENDING", pending)
		h.Org.ClearFaults()
		h.retry()
		h.checkRotated(oldKey)
	})
}

func TestPromotedCredentialsAreWaitedFor(t *testing.T) {
	run(t, options{adminApp: true, propagation: 10 * time.Minute}, func(t *testing.T, h *harness) {
		oldKey := h.key()
		h.onceDone(sfoauthtest.Promote, func() { h.Org.InjectFault(sfoauthtest.Token, invalidClient(), 10) })
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
	t.Parallel()
	for _, token := range []string{rotationToken, ""} {
		t.Run(token, func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				h.rotateAndCrash(1, killedBefore) // AWSPENDING is announced, and has no value
				client := &recorder{Client: h.Secrets}
				_, err := h.rotator(client).Step(t.Context(), rotation.Step{
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
