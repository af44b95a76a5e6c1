package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestCheckChangesNothing(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.CreateSecret("sftoken/broken", wrong())
		h.CreateSecret("sftoken/empty", placeholder())
		h.CreateSecret("other/secret", map[string]any{"not": "ours"})
		h.CreateSecret("sftoken/team/other", map[string]any{"not": "an app's"})
		_, err := h.Secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: aws.String(crm), RotateImmediately: aws.Bool(false),
			RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(30 days)")},
		})
		h.Must(err)
		time.Sleep(33 * 24 * time.Hour)
		calls := h.AWS.Calls()
		h.check()
		h.logged(`"msg":"check"`, `"app":"crm"`, `"outcome":"ok"`, `"RotationOverdue":1`, `"PairAge":28512`)
		h.logged(`"app":"broken"`, `"login_failed"`, "invalid_client_id", `"LoginFailed":1`)
		h.logged(`"app":"empty"`, `"level":"WARN"`, `"outcome":"ok"`, "sftoken secret put empty")
		for _, line := range h.log.Lines() {
			if strings.Contains(line, `"app":"empty"`) &&
				(strings.Contains(line, "LoginFailed") || strings.Contains(line, "PairAge")) {
				t.Errorf("the placeholder counts as credentials: %s", line)
			}
		}
		if strings.Contains(h.log.String(), "other") {
			t.Error("a secret outside the prefix was looked at")
		}
		for _, operation := range []string{"PutSecretValue", "UpdateSecretVersionStage"} {
			if after := h.AWS.Calls()[operation]; after != calls[operation] {
				t.Errorf("%s was called", operation)
			}
		}
		h.noSecrets()
	})
}

func TestCheckOutcomes(t *testing.T) {
	t.Parallel()
	token := func(fault sfoauthtest.Fault) func(h *harness) {
		return func(h *harness) { h.Org.InjectFault(sfoauthtest.Token, fault, 0) }
	}
	user := func(change func(*sfoauthtest.UserOptions)) func(h *harness) {
		return func(h *harness) { h.App.User.Change(change) }
	}
	const blocked = "This session is not valid for use with the REST API"
	for name, c := range map[string]struct {
		prepare func(h *harness)
		want    []string
	}{
		"Salesforce is down": {token(sfoauthtest.Maintenance()), []string{`"not_checked"`, `"level":"WARN"`, `"PairAge"`}},
		"the REST API is down": {
			func(h *harness) { h.Org.InjectFault(sfoauthtest.REST, sfoauthtest.Reset(), 0) }, []string{`"not_checked"`},
		},
		"too many logins": {
			token(sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded")),
			[]string{`"not_checked"`, `"salesforce_error":"invalid_grant"`},
		},
		"Secrets Manager is down": {func(h *harness) { h.failAWS("GetSecretValue", 0) }, []string{`"not_checked"`}},
		"the secret is unknown":   {func(h *harness) { h.failAWS("DescribeSecret", 0) }, []string{`"not_checked"`}},
		"the credentials are too new": {
			func(h *harness) { h.storeNew("AWSCURRENT"); h.Org.InjectFault(sfoauthtest.Token, invalidClient(), 0) },
			[]string{`"not_checked"`, `"salesforce_error":"invalid_client_id"`},
		},
		"the secret cannot be read": {
			func(h *harness) {
				h.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: "AccessDeniedException"}, 0)
			},
			[]string{`"login_failed"`, `"LoginFailed":1`},
		},
		"the response is not trusted": {token(sfoauthtest.WrongSignature()), []string{`"login_failed"`, `"LoginFailed":1`}},
		"the user is inactive": {
			user(func(u *sfoauthtest.UserOptions) { u.Inactive = true }),
			[]string{`"login_failed"`, `"LoginFailed":1`, `"salesforce_error":"invalid_grant"`},
		},
		"the user is frozen": {
			user(func(u *sfoauthtest.UserOptions) { u.Frozen = true }),
			[]string{`"outcome":"login_failed"`, `"RunAsUserBlocked":1`, blocked},
		},
		"sessions are locked to an address": {
			user(func(u *sfoauthtest.UserOptions) { u.SessionsLocked = true }),
			[]string{`"outcome":"login_failed"`, `"RunAsUserBlocked":1`, blocked},
		},
		"My Domain was renamed": {
			func(h *harness) { h.Org.Rename("https://renamed.my.salesforce.com") },
			[]string{"https://renamed.my.salesforce.com"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{propagation: 10 * time.Minute}, func(t *testing.T, h *harness) {
				time.Sleep(time.Hour)
				c.prepare(h)
				h.check()
				h.logged(append(c.want, `"msg":"check"`, `"app":"crm"`)...)
				log := h.log.String()
				if known := name != "the secret is unknown"; strings.Contains(log, "RotationOverdue") != known {
					t.Errorf("RotationOverdue is in the line: %t", !known)
				}
				if strings.Contains(log, `"PairAge":0`) ||
					strings.Contains(log, "not_checked") && strings.Contains(log, "LoginFailed") {
					t.Error("a number that is not known is in the line")
				}
			})
		})
	}
}

func TestCheckSharesItsTime(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.CreateSecret("sftoken/aa", h.value(h.App, nil))
		h.CreateSecret("sftoken/zz", wrong())
		h.AWS.InjectFault("DescribeSecret", localaws.Fault{Secret: "sftoken/aa", Hang: true}, 0)
		h.check()
		h.logged(`"app":"aa"`, `"not_checked"`)
		h.logged(`"app":"crm"`, `"outcome":"ok"`)
		h.logged(`"app":"zz"`, `"LoginFailed":1`)
	})
}

func TestCheckReportsUnreadablePrincipals(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.storeValue("AWSCURRENT", map[string]any{"allowedPrincipals": []string{"2222"}})
		for range 2 { // a check that is skipped reports it too
			h.check()
			lines := h.log.Lines()
			line := lines[len(lines)-2]
			if !strings.Contains(line, `"msg":"check"`) || !strings.Contains(line, `"PrincipalsUnreadable":1`) {
				t.Errorf("the line is %s", line)
			}
		}
	})
}

func TestCheckOfNewVersionIsNotSkipped(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		h.check()
		h.storeWrong("AWSCURRENT") // its event is late
		h.check()
		h.logged(`"msg":"check"`, `"outcome":"login_failed"`)
	})
}

// A forged event looks like the schedule's. Not every one may cost a login.
func TestForgedChecksStayWithinLoginBudget(t *testing.T) {
	checks := 1000
	if testing.Short() {
		checks = 50
	}
	run(t, options{}, func(t *testing.T, h *harness) {
		h.CreateSecret("sftoken/broken", wrong())
		h.deliver()
		time.Sleep(24 * time.Hour)
		h.Org.ResetStats()
		begun := time.Now()
		for range checks {
			h.check()
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("the checks took %s: one must not wait for the budget", took)
		}
		if n := h.Org.Stats().Logins.Attempts; n != 11 { // crm once, and the other app as often as its budget allows
			t.Errorf("%d logins", n)
		}
		h.logged(`"app":"crm"`, `"outcome":"skipped"`)
		h.logged(`"app":"crm"`, `"outcome":"ok"`, `"Logins":1`)
		h.logged(`"app":"broken"`, `"outcome":"not_checked"`, `"LoginBudgetExhausted":1`)
		h.logged(`"msg":"checked"`, `"ChecksCompleted":1`)
		time.Sleep(time.Hour)
		h.check()
		if n := h.Org.Stats().ByKey[h.key()].Succeeded; n != 2 {
			t.Errorf("crm was checked %d times: an hour later it is checked again", n)
		}
	})
}
