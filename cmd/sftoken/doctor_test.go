package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// diagnose runs doctor twice: with --json, whose report it returns, and without, where the text must fit 80 columns.
func (s *testStack) diagnose(t *testing.T, p localaws.Principal, want int, args ...string) *doctor.Report {
	t.Helper()
	args = append([]string{"doctor", "crm"}, args...)
	stdout, stderr, code := s.command(t, p, "", append(args, "--json")...)
	report := &doctor.Report{}
	if err := json.Unmarshal([]byte(stdout), report); err != nil || code != want || stderr != "" {
		t.Fatalf("--json: exit %d, want %d: %v: %s%s", code, want, err, stdout, stderr)
	}
	stdout, stderr, code = s.command(t, p, "", args...)
	if code != want || stderr != "" {
		t.Errorf("exit %d, want %d: %s", code, want, stderr)
	}
	checkWidth(t, stdout)
	return report
}

// checkWidth fails the test for lines of more than 80 columns that could have been wrapped.
func checkWidth(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, "\x1b") {
		t.Error("colors without a terminal")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if utf8.RuneCountInString(line) > 80 && strings.Contains(strings.TrimSpace(line[24:]), " ") {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
}

// formatReport formats a report, with masks for what differs from run to run.
func formatReport(report *doctor.Report) string {
	var text strings.Builder
	p := &reportPrinter{terminal: newTerminal(&text)}
	p.header(report.Version)
	for _, r := range report.Checks {
		r.Found, r.Fix = maskReport(r.Found), maskReport(r.Fix)
		p.result(r)
	}
	p.summary(report)
	return text.String()
}

func maskReport(text string) string {
	text = maskDemo(text)
	for _, mask := range []struct{ pattern, with string }{
		{`UUID`, "VERSION"},
		{`\d+ (second|minute|hour|day)s?\b`, "N ${1}s"},
		{`\d+ logins?\b`, "N logins"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d UTC`, "DATE"},
		{`888[A-Za-z0-9]{15}|0xI[A-Za-z0-9]{15}`, "RECORDID"},
	} {
		text = regexp.MustCompile(mask.pattern).ReplaceAllString(text, mask.with)
	}
	return text
}

// TestDoctorOutput shows a working setup to three callers, and then two broken setups.
func TestDoctorOutput(t *testing.T) {
	t.Parallel()
	var written localaws.SyncBuffer
	s := newTestStack(t, io.Discard, "SECRET_TTL=1s")
	must(t, s.WaitIdle(t.Context()))
	show := func(name string, p localaws.Principal, exit int, args ...string) {
		t.Helper()
		report := s.diagnose(t, p, exit, args...)
		simtest.Golden(t, "doctor/"+name+".txt", formatReport(report))
		text, _ := json.Marshal(report) // strings and numbers always can be
		_, _ = written.Write(text)
	}
	show("owner", ownerKey, 0)
	show("caller", billingKey, 0)
	show("stranger", strangerKey, exitFailed)
	show("egress", ownerKey, 0, "--egress-addresses", "203.0.113.5, 127.0.0.0/8")
	show("other-egress", billingKey, exitFailed, "--egress-addresses", "203.0.113.5,203.0.113.6")

	s.App.Change(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true })
	s.Token.Kill() // its cached token
	show("no-run-as-user", ownerKey, exitFailed)
	show("no-run-as-user-for-a-caller", billingKey, exitFailed)
	s.App.Change(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = false })
	s.Token.Kill()

	const odd = `{"baseUri":"https://acme.lightning.force.com","consumerKey":"3MVG9pasted","consumerSecret":"\"pasted\""}`
	_, stderr, code := s.command(t, ownerKey, odd, "secret", "put", "crm", "--no-verify")
	if code != 0 || !strings.Contains(stderr, "warning: baseUri") ||
		!strings.Contains(stderr, "https://acme.my.salesforce.com") || !strings.Contains(stderr, "quotation marks") {
		t.Errorf("secret put of odd values: exit %d: %s", code, stderr)
	}
	must(t, s.WaitIdle(t.Context()))
	show("rolled-back", ownerKey, 0) // by the rotate function
	for _, secret := range s.Org.Secrets() {
		if strings.Contains(written.String(), secret) {
			t.Errorf("a secret of %d characters was shown", len(secret))
		}
	}
}

func TestDoctorWithSharedTokens(t *testing.T) {
	t.Parallel()
	s := startStack(t, stack.Config{Log: io.Discard, SharedTokens: true})
	must(t, s.WaitIdle(t.Context()))
	report := s.diagnose(t, ownerKey, 0, "--token-table", stack.TokenTable)
	simtest.Golden(t, "doctor/shared-tokens.txt", formatReport(report))
}

func TestDoctorWithoutNetwork(t *testing.T) {
	t.Parallel()
	s := &testStack{&stack.Stack{URL: "http://127.0.0.1:1/v1", AWSURL: "http://127.0.0.1:1"}}
	report := s.diagnose(t, billingKey, exitFailed)
	got := map[string]doctor.Status{}
	for _, r := range report.Checks {
		got[r.Check] = r.Status
	}
	want := map[string]doctor.Status{"credentials": doctor.OK, "identity": doctor.Skipped, "address": doctor.OK,
		"reachable": doctor.Failed, "allowed": doctor.Skipped, "secret": doctor.Skipped}
	for check, status := range want {
		if got[check] != status {
			t.Errorf("nothing listens: %s is %s, want %s", check, got[check], status)
		}
	}
	if report.Outcome != doctor.Failed || report.App != "crm" || report.URL != s.URL {
		t.Errorf("%+v", report)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 13, []string{"one two three"}},
		{"öne twö three", 7, []string{"öne twö", "three"}},
		{"a word-that-is-too-long for it", 8, []string{"a", "word-that-is-too-long", "for it"}},
		{"run `sftoken rotate crm` now", 20, []string{"run", "`sftoken rotate crm`", "now"}},
		{"run `a command too long for it` now", 12, []string{"run", "`a command", "too long for", "it` now"}},
		{"\x1b[31mred\x1b[0m two", 7, []string{"\x1b[31mred\x1b[0m two"}},
	} {
		if got := wrap(c.text, c.width); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
