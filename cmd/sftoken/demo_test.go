package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/simtest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := command(t, "", "demo")
	if code != 0 {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	checkWidth(t, withoutLog(stdout))
	simtest.Golden(t, "demo.golden", maskDemo(unwrap(stdout)))
}

func TestDemoJSON(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("skipped: the demo takes 15 seconds")
	}
	stdout, stderr, code := command(t, "", "demo", "--json")
	var result struct {
		OK     bool
		Passed []string
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || !result.OK || len(result.Passed) < 15 {
		t.Errorf("exit %d: %v: %s%s", code, err, stdout, stderr)
	}
}

// withoutLog returns the demo's output without its log lines.
func withoutLog(text string) string {
	return regexp.MustCompile(`(?m)^ +\{.*\n`).ReplaceAllString(text, "")
}

// unwrap joins wrapped lines, whose breaks depend on masked numbers.
func unwrap(text string) string {
	return regexp.MustCompile(`(?m)^ +\d+\. .*(\n {6}[^\s{].*)+`).ReplaceAllStringFunc(text, func(step string) string {
		return strings.ReplaceAll(step, "\n      ", " ")
	})
}

// maskDemo masks what differs between runs. Failures and rotations stay.
func maskDemo(text string) string {
	for _, mask := range []struct{ pattern, with string }{
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b`, "UUID"}, // versions too
		{`\b[0-9a-f]{16}\b`, "TOKENID"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`\b00[5D][A-Za-z0-9]{12,15}\b`, "RECORDID"},
		{`"time":"[^"]*"`, `"time":"TIME"`},
		{`(_ms)":[0-9.]+`, `${1}":N`},
		{`org's \d+ secrets`, "org's N secrets"},
		{`the \d+ lines`, "the N lines"},
		{`(?m)^ +vends +failures +rotations +logins +p50 +p99$`, "  vends failures rotations logins p50 p99"},
		{`(?m)^ +\d+ +(\d+) +(\d+) +\d+ +[0-9.]+[µm]?s +[0-9.]+[µm]?s$`, "  N $1 $2 N p50 p99"},
	} {
		text = regexp.MustCompile(mask.pattern).ReplaceAllString(text, mask.with)
	}
	return text
}
