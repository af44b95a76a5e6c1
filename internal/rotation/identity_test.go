package rotation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// New credentials that act as another user are refused, unless the secret pins that user.
func TestIdentityOfNewCredentials(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		for variant := range 4 {
			pinned, oldWorks := variant&1 > 0, variant&2 > 0
			t.Run(fmt.Sprintf("%s, pinned %t, the old ones work %t", label, pinned, oldWorks), func(t *testing.T) {
				run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
					before := h.version("AWSCURRENT")
					if !oldWorks { // a new process does not know the user of the old ones
						h.process.Load().kill()
						h.App.Regenerate()
					}
					user := h.Org.AddUser(sfoauthtest.UserOptions{})
					if pinned {
						h.fields["orgId"], h.fields["userId"] = h.Org.ID(), user.ID
					}
					version, _ := h.storeOther(label, user)
					h.deliver()
					want := version
					if !pinned && oldWorks {
						want = before
						h.logged(h.Org.ID(), user.ID, h.App.User.ID, "pin the new ones with orgId and userId")
						if strings.Contains(h.log.String(), "made the candidate AWSCURRENT") {
							t.Error("the candidate was current for a while")
						}
					}
					if rejected := h.version("REJECTED") == version; rejected == (want == version) {
						t.Errorf("rejected: %t", rejected)
					}
					h.labels("AWSCURRENT", want)
					time.Sleep(time.Hour)
					h.deliver() // it has come to rest
					if n := h.bus.Waiting(); n != 0 {
						t.Errorf("%d events wait", n)
					}
					h.labels("AWSCURRENT", want)
					h.noFailures()
				})
			})
		}
	}
}

// A version that pins the org alone may not act as another user. Nor may one whose predecessor does not log in any
// more, if this process remembers the predecessor's user.
func TestIdentityOfCandidate(t *testing.T) {
	runAll(t, options{noIDs: true}, map[string]func(h *harness){
		"pinned org":      func(h *harness) { h.fields["orgId"] = h.Org.ID() },
		"remembered user": func(h *harness) { h.App.Regenerate() },
	}, func(_ *testing.T, h *harness, prepare func(h *harness)) {
		before := h.version("AWSCURRENT")
		prepare(h)
		version, _ := h.storeOther("CANDIDATE", nil)
		h.deliver()
		h.labels("AWSCURRENT", before, "REJECTED", version)
	})
}

// The same in the steps of a rotation that takes a candidate.
func TestRotationToAnotherUser(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		before := h.version("AWSCURRENT")
		_, other := h.storeOther("CANDIDATE", nil) // its event is late
		h.rotate()
		h.logged(`"step":"testSecret"`, `"outcome":"failed"`, other.User.ID, h.App.User.ID)
		h.deliver()
		h.labels("AWSCURRENT", before, "CANDIDATE", "")
	})
}

// The app's run-as user was changed in Salesforce. Old and new credentials both act as the new user.
func TestRotationAfterChangeOfRunAsUser(t *testing.T) {
	runAll(t, options{adminApp: true}, map[string]bool{
		"one process": false, "the event in an older process": true,
	}, func(_ *testing.T, h *harness, twoProcesses bool) {
		oldKey := h.key()
		old := h.process.Load()
		other := h.Org.AddUser(sfoauthtest.UserOptions{})
		h.App.Change(func(o *sfoauthtest.AppOptions) { o.RunAs = other })
		if twoProcesses {
			h.start()
		}
		h.rotate()
		h.checkRotated(oldKey)
		h.process.Store(old)
		h.deliver()
		h.checkRotated(oldKey)
	})
}

// The current credentials log in, as another user; the log must not claim that they do not.
func TestLogOfAnotherUser(t *testing.T) {
	run(t, options{noIDs: true}, func(t *testing.T, h *harness) {
		h.App.Regenerate()
		h.storeOther("AWSCURRENT", nil)
		h.deliver()
		if log := h.log.String(); strings.Contains(log, "does not log in") || strings.Contains(log, "do not log in") {
			t.Error(log)
		}
	})
}

func (h *harness) putAdmin(value map[string]any, label string) {
	h.T.Helper()
	_, err := h.Secrets.PutSecretValue(h.T.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("sftoken/admin"), VersionStages: []string{label},
		SecretString: aws.String(simtest.Encode(value)),
	})
	h.Must(err)
}

func TestAdminAppOfAnotherOrgIsNotUsed(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		oldKey := h.key()
		h.putAdmin(valueOf("3MVG9other", "other", "https://other.my.salesforce.com"), "AWSCURRENT")
		permit(h.App.User)
		h.rotate()
		h.checkRotated(oldKey)
	})
}

// The admin app's credentials were made in Setup, which ends those before, and staged; the event is late.
func TestAdminAppIsBeingRotated(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		oldKey := h.key()
		admin := h.Org.AddApp(sfoauthtest.AppOptions{Name: "Admin 2"})
		permit(admin.User)
		h.putAdmin(h.value(admin, nil), "CANDIDATE")
		h.putAdmin(valueOf("3MVG9dead", "dead", simtest.OrgURL), "AWSCURRENT")
		h.rotate()
		h.checkRotated(oldKey)
	})
}

// The other versions of the admin app are tried only if Salesforce refuses the credentials of AWSCURRENT.
func TestAdminLoginIsLimited(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		admin := h.Org.AddApp(sfoauthtest.AppOptions{Name: "Admin 2"})
		permit(admin.User)
		h.putAdmin(h.value(admin, nil), "CANDIDATE")
		limited := sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded")
		h.Org.InjectFault(sfoauthtest.Token, limited, 1)
		h.rotate()
		h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "logging in as app admin", "login rate exceeded",
			`"Logins":1`)
	})
}

func TestBusyLoginIsRetried(t *testing.T) {
	busy := sfoauthtest.ErrorResponse(400, "invalid_grant", "token request is already being processed")
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		oldKey := h.key()
		h.Org.InjectFault(sfoauthtest.Token, busy, 3)
		h.rotate()
		h.Org.InjectFault(sfoauthtest.Token, busy, 3)
		h.deliver()
		h.checkRotated(oldKey)
		h.noFailures()
		h.Org.InjectFault(sfoauthtest.Token, busy, 0) // without end
		h.rotate()
		h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "already being processed")
	})
}
