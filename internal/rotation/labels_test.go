package rotation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestCandidateBecomesCurrent(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		version := h.storeNew("CANDIDATE")
		h.deliver()
		h.labels("AWSCURRENT", version, "CANDIDATE", "", "REJECTED", "")
		h.checkCurrentWorks()
		h.logged("made the candidate AWSCURRENT", `"Rotations":1`)
	})
}

func TestRejectedCandidate(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(h *harness) string{
		"wrong credentials": func(h *harness) string { return h.storeWrong("CANDIDATE") },
		"malformed":         func(h *harness) string { return h.StoreText(`{"consumerKey":"only"}`, "CANDIDATE") },
		"not JSON":          func(h *harness) string { return h.StoreText("not JSON", "CANDIDATE") },
		"placeholder":       func(h *harness) string { return h.Store(placeholder(), "CANDIDATE") },
		"another org": func(h *harness) string {
			return h.storeValue("CANDIDATE", map[string]any{"orgId": "00Dxx0000000009"})
		},
		"wrong host": func(h *harness) string {
			return h.Store(valueOf("a", "b", "https://login.salesforce.com"), "CANDIDATE")
		},
		"wrong secret of a right key": func(h *harness) string { return h.store(h.key(), "wrong", "CANDIDATE") },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{}, func(_ *testing.T, h *harness) {
				before := h.version("AWSCURRENT")
				version := store(h)
				h.deliver()
				h.labels("REJECTED", version, "CANDIDATE", "", "AWSCURRENT", before)
				h.logged("rejected the candidate", `"CandidatesRefused":1`)
				if name == "wrong credentials" {
					h.logged("rejected the candidate", `"salesforce_error":"invalid_client_id"`)
				}
				h.noSecrets()
			})
		})
	}
}

func TestCandidateOfFrozenUserIsRejected(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		before := h.version("AWSCURRENT")
		version, _ := h.storeOther("CANDIDATE", h.Org.AddUser(sfoauthtest.UserOptions{Frozen: true}))
		h.deliver()
		h.labels("REJECTED", version, "AWSCURRENT", before)
	})
}

func TestCandidateIsCurrentAlready(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		version := h.storeSame("CANDIDATE")
		h.Label("AWSCURRENT", version)
		h.deliver()
		h.logged("the candidate is AWSCURRENT already")
		h.atRest(version)
	})
}

// A version that was refused, is tried again and works, is not REJECTED any more.
func TestWorkingVersionIsNotRejected(t *testing.T) {
	runAll(t, options{noIDs: true}, map[string]func(h *harness){
		"rolled back to": func(h *harness) { h.storeWrong("AWSCURRENT") },
		"compared with":  func(h *harness) { h.process.Load().kill(); h.storeOther("CANDIDATE", nil) },
	}, func(_ *testing.T, h *harness, next func(h *harness)) {
		h.App.User.Change(func(u *sfoauthtest.UserOptions) { u.LoginDenied = true })
		version := h.storeNew("CANDIDATE")
		h.deliver()
		h.labels("REJECTED", version)
		h.App.User.Change(func(u *sfoauthtest.UserOptions) { u.LoginDenied = false })
		h.Label("CANDIDATE", version)
		h.deliver()
		h.labels("AWSCURRENT", version, "REJECTED", "")
		next(h)
		h.deliver()
		h.labels("AWSCURRENT", version)
	})
}

func TestWorkingVersionStaysCurrent(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		version := h.storeNew("AWSCURRENT")
		h.deliver()
		h.labels("AWSCURRENT", version, "REJECTED", "")
	})
}

func TestRollBack(t *testing.T) {
	runAll(t, options{}, map[string]func(h *harness) string{
		"wrong credentials": func(h *harness) string { return h.storeWrong("AWSCURRENT") },
		"not JSON":          func(h *harness) string { return h.StoreText("oops", "AWSCURRENT") },
		"placeholder":       func(h *harness) string { return h.Store(placeholder(), "AWSCURRENT") },
	}, func(_ *testing.T, h *harness, store func(h *harness) string) {
		good := h.version("AWSCURRENT")
		bad := store(h)
		h.deliver()
		h.labels("AWSCURRENT", good, "REJECTED", bad)
		h.logged("rolled back to version", `"RolledBack":1`)
		h.noSecrets()
	})
}

func TestNoRollBackToCredentialsThatDoNotWork(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.App.Regenerate() // and they are not stored
		version := h.storeWrong("AWSCURRENT")
		h.deliver()
		h.labels("AWSCURRENT", version, "REJECTED", "")
		h.logged(`"level":"ERROR"`, `"outcome":"stuck"`, `"RotationFailures":1`)
	})
}

// The version before was rejected because it acts as another user. It logs in, and must not become current again.
func TestNoRollBackToRejectedVersion(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		good := h.version("AWSCURRENT")
		rejected, _ := h.storeOther("AWSCURRENT", nil)
		h.deliver()
		h.labels("AWSCURRENT", good, "AWSPREVIOUS", rejected, "REJECTED", rejected)
		h.App.Regenerate() // and they are not stored
		h.send("AWSCURRENT", good)
		h.labels("AWSCURRENT", good)
		h.logged(`"outcome":"stuck"`, "it is labelled REJECTED")
	})
}

// A roll-back was interrupted after it labelled AWSCURRENT, which acts as another user, as REJECTED. A candidate is
// compared with the version before.
func TestRejectedVersionIsNotCompared(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		rejected, _ := h.storeOther("AWSCURRENT", nil)
		h.Label("REJECTED", rejected)
		candidate := h.storeNew("CANDIDATE")
		h.send("CANDIDATE", candidate)
		h.labels("AWSCURRENT", candidate, "REJECTED", rejected)
	})
}

// A person corrects the mistake after Salesforce has refused the wrong credentials, and before the roll-back.
func TestMistakeIsCorrectedBeforeRollBack(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.storeWrong("AWSCURRENT")
		var version string
		h.onceDone(sfoauthtest.Token, func() { version = h.storeSame("AWSCURRENT") })
		h.deliver()
		h.atRest(version)
	})
}

func TestRollBackWithoutPreviousVersion(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.CreateSecret("sftoken/erp", wrong())
		h.deliver()
		h.logged(`"app":"erp"`, `"level":"ERROR"`, `"outcome":"stuck"`, "there is no other",
			`"salesforce_error":"invalid_client_id"`)
		h.noDeadLetters()
	})
}

func TestRollBackToVersionWithoutValue(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		version := h.storeWrong("AWSCURRENT")
		h.AWS.InjectFault("GetSecretValue", localaws.Fault{}, 1) // AWSCURRENT is read
		h.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: "ResourceNotFoundException"}, 1)
		h.deliver()
		h.logged(`"outcome":"stuck"`, version)
		h.noDeadLetters()
	})
}

// Between the two moves, a crash or a repeated event must find out what was under way.
func TestRollBackLabelsRejectedFirst(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		bad := h.storeWrong("AWSCURRENT")
		rejectedFirst := false
		h.onAWS = func(c localaws.Call) {
			if c.Operation == "UpdateSecretVersionStage" && c.Phase == localaws.Done {
				s := h.describe()
				rejectedFirst = rejectedFirst || s.HasLabel(bad, "REJECTED") && s.HasLabel(bad, "AWSCURRENT")
			}
		}
		h.deliver()
		h.labels("REJECTED", bad)
		if !rejectedFirst {
			t.Error("AWSCURRENT has moved before REJECTED")
		}
	})
}

// The current version, which acts as another user, is rolled back. REJECTED then moves to a candidate.
func TestRollBackIsFinal(t *testing.T) {
	runAll(t, options{noIDs: true}, map[string]bool{
		"before the event of the roll-back": false, "events in order": true,
	}, func(_ *testing.T, h *harness, inOrder bool) {
		good := h.version("AWSCURRENT")
		bad, _ := h.storeOther("AWSCURRENT", nil)
		if inOrder {
			h.storeWrong("CANDIDATE")
			h.deliver()
		} else {
			h.send("AWSCURRENT", bad)
			h.labels("AWSCURRENT", good, "REJECTED", bad)
			h.send("CANDIDATE", h.storeWrong("CANDIDATE"))
			h.send("AWSCURRENT", good)
		}
		h.labels("AWSCURRENT", good)
	})
}

// Even if REJECTED is taken away again and again, AWSCURRENT does not alternate between two users' credentials.
func TestRollBackComesToRest(t *testing.T) {
	run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
		h.storeOther("AWSCURRENT", nil)
		n := 0
		h.onAWS = func(c localaws.Call) {
			if c.Operation != "UpdateSecretVersionStage" || c.Phase != localaws.Done || n == 20 {
				return
			}
			if s := h.describe(); s.VersionWithLabel("REJECTED") == s.VersionWithLabel("AWSPREVIOUS") {
				n++
				h.store(fmt.Sprintf("3MVG9wrong%d", n), "wrong", "REJECTED") // as if a candidate were rejected
			}
		}
		h.deliver()
		if n == 0 || n > 2 {
			t.Errorf("AWSCURRENT moved to and fro %d times", n)
		}
	})
}

func TestPlaceholderIsNoFailure(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		const name = "sftoken/fresh"
		h.CreateSecret(name, placeholder())
		for range 2 { // made by a deployment; then rotated by schedule, which keeps the placeholder
			out, err := h.Secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(name)})
			h.Must(err)
			_, err = h.invoke(t.Context(), h.event(name, "AWSCURRENT", *out.VersionId))
			h.Must(err)
			h.logged(`"app":"fresh"`, *out.VersionId, `"level":"WARN"`, `"outcome":"ok"`, "placeholder")
			_, err = h.Secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
				SecretId: aws.String(name), SecretString: out.SecretString,
			})
			h.Must(err)
		}
		h.noFailures()
	})
}

func TestOutageIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, fault := range []sfoauthtest.Fault{
		sfoauthtest.Maintenance(), sfoauthtest.Reset(), sfoauthtest.Hang(), sfoauthtest.Body("{}"),
		sfoauthtest.Redirect(302, ""), sfoauthtest.TooManyRequests(time.Minute, false),
		sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded"),
		sfoauthtest.ErrorResponse(500, "server_error", ""),
	} {
		for _, label := range []string{"AWSCURRENT", "CANDIDATE"} {
			t.Run(fault.String()+" "+label, func(t *testing.T) {
				run(t, options{}, func(t *testing.T, h *harness) {
					before := h.version("AWSCURRENT")
					version := h.storeWrong(label)
					h.Org.InjectFault(sfoauthtest.Token, fault, 0)
					h.deliver()
					h.labels(label, version, "REJECTED", "")
					if label == "CANDIDATE" {
						h.labels("AWSCURRENT", before)
					}
					dead := h.bus.DeadLetters()
					if len(dead) != 1 {
						t.Fatalf("%d dead letters", len(dead))
					}
					h.Org.ClearFaults() // and the event is sent again
					_, err := h.invoke(t.Context(), dead[0])
					h.Must(err)
					h.labels("AWSCURRENT", before, "REJECTED", version)
				})
			})
		}
	}
}

func TestPropagationIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"AWSCURRENT", "CANDIDATE"} {
		t.Run(label, func(t *testing.T) {
			o := options{org: sfoauthtest.Config{PropagationDelay: 8 * time.Minute}, propagation: 10 * time.Minute}
			run(t, o, func(_ *testing.T, h *harness) {
				version := h.storeNew(label)
				h.deliver()
				h.labels("AWSCURRENT", version, "REJECTED", "")
			})
		})
	}
}

func TestInvocationEndsBeforePropagation(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"AWSCURRENT", "CANDIDATE"} {
		t.Run(label, func(t *testing.T) {
			run(t, options{propagation: 20 * time.Minute}, func(_ *testing.T, h *harness) { // longer than Lambda allows
				good := h.version("AWSCURRENT")
				version := h.storeWrong(label)
				h.deliver()
				h.logged(`"outcome":"failed"`, "no time left to wait")
				h.labels("REJECTED", version, "AWSCURRENT", good) // by the second attempt, when the refusal is reliable
			})
		})
	}
}

// Staged credentials may have been tried when they were new. Once they are primary, they are new again to some servers.
func TestNewPrimaryCredentialsAreNotRolledBack(t *testing.T) {
	o := options{org: sfoauthtest.Config{StagedCannotLogIn: true}, propagation: 2 * time.Minute}
	runAll(t, o, map[string]int{"one refusal": 1, "refused until the budget is exhausted": 4},
		func(_ *testing.T, h *harness, refusals int) {
			oldKey := h.key()
			h.rotate()
			h.Org.InjectFault(sfoauthtest.Token, invalidClient(), refusals)
			h.deliver()
			h.checkRotated(oldKey)
			h.labels("REJECTED", "")
			if refusals == 1 {
				h.noFailures()
			}
		})
}

// A session that ends between the login and the call that uses it says nothing about the credentials.
func TestEndedSessionIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		for _, times := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d sessions", label, times), func(t *testing.T) {
				run(t, options{}, func(_ *testing.T, h *harness) {
					version := h.storeNew(label)
					h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.EndSession(), times)
					h.deliver()
					h.labels("AWSCURRENT", version, "REJECTED", "")
				})
			})
		}
	}
}
