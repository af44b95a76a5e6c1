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

// checkedTag returns the tag with the result of the last check; empty: none.
func (h *harness) checkedTag() string {
	h.T.Helper()
	out, err := h.Secrets.DescribeSecret(h.T.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(crm)})
	h.Must(err)
	for _, tag := range out.Tags {
		if *tag.Key == "sftoken:checked" {
			return *tag.Value
		}
	}
	return ""
}

func TestCheckTagsSecret(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		_, err := h.Secrets.TagResource(t.Context(), &secretsmanager.TagResourceInput{
			SecretId: aws.String(crm), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("sales")}},
		})
		h.Must(err)
		check := func(want string) {
			t.Helper()
			h.check()
			if got := h.checkedTag(); got != want {
				t.Errorf("%s: the tag is %q, want %q", time.Now().UTC().Format(time.RFC3339), got, want)
			}
		}
		time.Sleep(time.Until(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC))) // the bubble's clock starts an hour before
		check("2000-01-01T01:00:00Z ok")
		time.Sleep(30 * time.Minute)
		check("2000-01-01T01:00:00Z ok") // skipped, since it was healthy less than an hour ago
		time.Sleep(24 * time.Hour)
		check("2000-01-02T01:30:00Z ok")
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		time.Sleep(24 * time.Hour)
		check("2000-01-02T01:30:00Z ok") // an outage, which says nothing about the credentials
		h.Org.ClearFaults()
		h.Org.InjectFault(sfoauthtest.Token, invalidClient(), 0)
		time.Sleep(24 * time.Hour)
		check("2000-01-04T01:30:00Z failed")
		h.Org.ClearFaults()
		h.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: "AccessDeniedException"}, 0)
		time.Sleep(24 * time.Hour)
		check("2000-01-05T01:30:00Z failed")
		h.AWS.ClearFaults()
		if n, err := h.bus.Deliver(t.Context()); n != 0 {
			t.Errorf("the tags caused %d events: %v", n, err)
		}
		h.storeValue("AWSCURRENT", placeholder())
		check("2000-01-05T01:30:00Z failed") // no credentials to check
	})
}

// A result that cannot be recorded is still a result.
func TestCheckWithoutTag(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]localaws.Fault{
		"denied": {Code: "AccessDeniedException"}, "too many tags": {Code: "InvalidParameterException"},
		"down": {Code: "InternalServiceError", Status: 500}, "hangs": {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				h.AWS.InjectFault("TagResource", fault, 0)
				h.check()
				h.logged(`"msg":"check"`, `"level":"WARN"`, `"outcome":"ok"`, `"LoginFailed":0`, "tagging secret sftoken/crm")
				h.logged(`"msg":"checked"`, `"outcome":"ok"`, `"ChecksCompleted":1`)
				if tag := h.checkedTag(); tag != "" {
					t.Errorf("the tag is %q", tag)
				}
				h.check()
				h.logged(`"outcome":"skipped"`) // the check itself counts
				time.Sleep(time.Hour)
				h.Org.InjectFault(sfoauthtest.Token, invalidClient(), 0)
				h.check()
				h.logged(`"level":"ERROR"`, `"outcome":"login_failed"`, `"LoginFailed":1`, "tagging secret sftoken/crm")
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
