package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// story is what happened, and what an auditor should find out about it.
type story struct {
	*testStack
	groups  map[string]*insights
	names   *strings.Replacer // fills in what a query leaves to its reader
	answers map[string][]row  // of each question, rows that must be among the result's, each in part; a *regexp.Regexp stands for what matches
}

func tellAStory(t *testing.T) *story {
	t.Helper()
	var log localaws.SyncBuffer
	s := startStack(t, stack.Config{
		Log: &log, Timeout: 4 * time.Second,
		Env:         []string{"SECRET_TTL=1s", "PROPAGATION=1s", "PREFETCH=erp", "LOGIN_BURST=60", "LOGINS_PER_HOUR=60"},
		ClockOffset: 2 * stack.RotationDays * 24 * time.Hour, // so that the rotation is overdue
	})
	access := &accessLog{format: accessFormat(t)}
	run := func(as localaws.Principal, code int, stdin string, args ...string) string {
		t.Helper()
		s.as(t, as)
		stdout, stderr, got := command(t, stdin, args...)
		if got != code {
			t.Fatalf("%q: exit %d: %s%s", args, got, stdout, stderr)
		}
		return stdout
	}
	var first struct {
		ID string `json:"token_id"`
	}
	if err := json.Unmarshal([]byte(run(billingKey, 0, "", "get", "crm")), &first); err != nil {
		t.Fatal(err)
	}
	run(billingKey, 0, "", "get", "crm", "-o", "none")
	run(ownerKey, 0, "", "get", "crm", "-o", "none")
	session, err := os.ReadFile("../../events/get.json") // of a role's session
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token.Invoke(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	access.add(billingKey.ARN, http.MethodGet, http.StatusOK, "-")
	run(strangerKey, exitRefused, "", "get", "crm")
	access.add(strangerKey.ARN, http.MethodGet, http.StatusForbidden, "-") // the function's own refusal
	refusedByIAM(t, s.SourceFor(strangerKey).Revoke(t.Context()))
	access.add(strangerKey.ARN, http.MethodDelete, http.StatusForbidden, "ACCESS_DENIED")
	access.add("-", http.MethodGet, http.StatusForbidden, "MISSING_AUTHENTICATION_TOKEN")
	leaked := s.current(t)

	s.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Maintenance(), 0)
	run(billingKey, 0, "", "get", "crm", "--rejected", first.ID, "-o", "none")
	s.Org.ClearFaults()
	run(ownerKey, 0, "", "rotate", "crm", "--compromised", "--yes")
	second := s.current(t)
	const wrong = `{"consumerKey":"3MVG9wrong","consumerSecret":"wrong"}`
	run(ownerKey, exitFailed, wrong, "secret", "stage", "crm", "--wait")
	run(ownerKey, 0, wrong, "secret", "put", "crm", "--no-verify")
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Token.Kill()
	run(billingKey, 0, "", "get", "crm", "-o", "none")
	if _, err := s.Rotate.Invoke(t.Context(), []byte(`{"detail-type":"Scheduled Event"}`)); err != nil {
		t.Fatal(err)
	}
	s.tellOfOtherApps(t, &log, run)
	s.App.Change(func(o *sfoauthtest.AppOptions) { o.FlowOff = true })
	s.Token.Kill()
	run(billingKey, exitMisconfigured, "", "get", "crm")
	s.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
	run(ownerKey, 0, "", "rotate", "crm")

	told := &story{testStack: s, groups: map[string]*insights{}}
	for name, lines := range map[string][]string{
		"TokenLogs": withMessage(log.Lines(), "vend", "revoke", "prefetch"), "RotateLogs": withMessage(log.Lines(), "rotation", "label", "check", "checked"), "AccessLogs": access.lines,
	} {
		if told.groups[name], err = newInsights(lines); err != nil {
			t.Fatal(err)
		}
	}
	told.names = strings.NewReplacer("VERSION", leaked, "TOKEN_ID", first.ID, "ARN", billingKey.ARN)
	told.answers = map[string][]row{
		"Who took a token for crm last month": {
			{"caller.account": "222222222222", "caller.arn": billingKey.ARN, "tokens": 4.0}, {"caller.account": "111111111111", "caller.arn": ownerKey.ARN, "tokens": 1.0},
		},
		"Who took a token for crm, by role": {{"role": "billing", "caller.account": "222222222222", "sessions": 1.0, "tokens": 1.0}},
		"What one caller took": {
			{"app": "crm", "outcome": "ok", "cache": "miss", "secret_version": leaked}, {"cache": "hit"}, {"cache": "stale"}, {"outcome": "app_misconfigured"},
		},
		"Who has held a token": {
			{"caller.arn": billingKey.ARN, "times": 3.0, "secret_version": leaked}, {"caller.arn": ownerKey.ARN, "times": 1.0}, {"caller.source_ip": "192.0.2.10"},
		},
		"Which callers do not reuse their tokens": {{"caller.arn": billingKey.ARN}},
		"Which tokens came from the version that leaked, and who got them": {
			{"token_id": first.ID, "caller.arn": billingKey.ARN, "times": 3.0}, {"token_id": first.ID, "caller.arn": ownerKey.ARN, "times": 1.0},
			{"token_id": first.ID, "caller.arn": "arn:aws:sts::222222222222:assumed-role/billing/anna", "times": 1.0},
		},
		"Has the last instance left that version": {{"secret_version": leaked}, {"secret_version": second}},
		"Who revoked a token":                     {{"caller.arn": ownerKey.ARN, "outcome": "ok", "app": "crm"}},
		"What the function refused, by caller": {
			{"outcome": "access_denied", "caller.arn": strangerKey.ARN, "refusals": 1.0}, {"outcome": "app_misconfigured", "caller.arn": billingKey.ARN},
		},
		"Whose requests IAM refused": {
			{"error": "ACCESS_DENIED", "caller": strangerKey.ARN, "method": "DELETE", "path": "/v1/tokens/crm", "refusals": 1.0},
			{"error": "MISSING_AUTHENTICATION_TOKEN", "caller": "-", "method": "GET"},
		},
		"What Salesforce answered": {{"app": "crm", "outcome": "app_misconfigured", "salesforce_error": "unsupported_grant_type"}},
		"How many logins an hour":  {{"app": "crm"}},
		"How tokens were come by":  {{"app": "crm", "cache": "hit"}, {"app": "crm", "cache": "miss"}, {"app": "crm", "cache": "stale", "tokens": 1.0}},
		"Who is slow":              {{"app": "crm"}},
		"When did the pair change, and why": {
			{"did": regexp.MustCompile("^made the pending version AWSCURRENT"), "step": "finishSecret", "secret_version": second},
			{"did": regexp.MustCompile("; deleted the leaked pair at Salesforce$"), "secret_version": second}, // by that step, or by the event
			{"did": "refused the candidate", "label": "CANDIDATE"}, {"did": "went back to version " + second, "label": "AWSCURRENT"},
		},
		"What went wrong with a pair": {{"msg": "rotation", "step": "createSecret", "outcome": "failed"}},
		"How old is each pair":        {{"app": "crm", "secret_version": second, "overdue": 1.0, "refused": 0.0}},
	}
	return told
}

// refusedByIAM checks that the request did not reach the function.
func refusedByIAM(t *testing.T, err error) {
	t.Helper()
	if refused, ok := errors.AsType[*sftoken.Error](err); !ok || refused.Code != "" {
		t.Fatalf("not refused by API Gateway: %v", err)
	}
}

// accessLog is API Gateway's, in the template's format. No stand-in writes one, so its lines are made of what was asked and answered.
type accessLog struct {
	format string
	lines  []string
}

func accessFormat(t *testing.T) string {
	t.Helper()
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	format := regexp.MustCompile(`(?m)^ +Format: '(.*)'$`).FindStringSubmatch(string(template))
	if format == nil {
		t.Fatal("the template has no access log format")
	}
	return format[1]
}

// add writes a line. What API Gateway does not know is "-". Source: API Gateway Developer Guide, "Variables for access logging for API
// Gateway".
func (a *accessLog) add(arn, method string, status int, kind string) {
	line := strings.NewReplacer("$context.identity.userArn", arn, "$context.httpMethod", method, "$context.status", strconv.Itoa(status), "$context.error.responseType", kind,
		"$context.path", "/v1/tokens/crm", "$context.requestTimeEpoch", strconv.FormatInt(time.Now().UnixMilli(), 10)).Replace(a.format)
	a.lines = append(a.lines, regexp.MustCompile(`\$context\.[A-Za-z.]+`).ReplaceAllString(line, "-"))
}

// withMessage returns the lines that a function wrote with one of the messages. A log group has others too, which are not JSON.
func withMessage(lines []string, messages ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		var fields struct{ Msg string }
		return json.Unmarshal([]byte(line), &fields) != nil || !slices.Contains(messages, fields.Msg)
	})
}

func (s *testStack) current(t *testing.T) string {
	t.Helper()
	secret, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return secret.VersionWithLabel("AWSCURRENT")
}

// tellOfOtherApps is what happens to apps beside crm: a list of principals that cannot be read, a secret that is denied,
// a user that is frozen, and a caller who spends an app's logins.
func (s *testStack) tellOfOtherApps(t *testing.T, log *localaws.SyncBuffer, run func(as localaws.Principal, code int, stdin string, args ...string) string) {
	t.Helper()
	for app, more := range map[string]string{"unreadable": `,"allowedPrincipals":"everyone"`, "denied": "", "spent": "", "blocked": ""} {
		user := s.Org.AddUser(sfoauthtest.UserOptions{Frozen: app == "blocked"})
		key, secret := s.Org.AddApp(sfoauthtest.AppOptions{Name: app, RunAs: user}).Credentials()
		value := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q%s}`, key, secret, s.OrgURL, more)
		input := &secretsmanager.CreateSecretInput{Name: aws.String(prefix + app), SecretString: &value}
		if _, err := s.Secrets.CreateSecret(t.Context(), input); err != nil {
			t.Fatal(err)
		}
	}
	run(ownerKey, exitRefused, "", "get", "unreadable")
	s.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: "AccessDeniedException"}, 0)
	run(ownerKey, exitRefused, "", "get", "denied")
	s.AWS.ClearFaults()
	s.Token.Kill() // so that one process makes all the logins that follow
	for range 60 {
		run(ownerKey, 0, "", "get", "spent", "-o", "none")
		run(ownerKey, 0, "", "revoke", "spent")
	}
	run(ownerKey, exitLater, "", "get", "spent", "--timeout", "1s")
	if _, err := s.Rotate.Invoke(t.Context(), []byte(`{"detail-type":"Scheduled Event"}`)); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) { // a process's lines may come after its answer
		if text := log.String(); strings.Contains(text, "RunAsUserBlocked") && strings.Contains(text, "principals_error") {
			return
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the check of the other apps is not in the log")
		}
	}
}
