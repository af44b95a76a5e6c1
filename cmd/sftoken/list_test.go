package main

import (
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
)

// The table fits 80 columns, also with long names, many labels and labels from other tools.
func TestListTable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	days := func(n int) time.Time { return now.AddDate(0, 0, n) }
	apps := []status{
		{
			App: "crm", Rotation: true, Current: "v2", CurrentCreated: days(-12), LastRotated: days(-12),
			NextRotation: days(18), LastCheck: &check{now.Add(-3 * time.Hour), true},
			Versions: map[string][]string{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT", "AWSPENDING"}},
		},
		{
			App: "erp", Current: "v1", CurrentCreated: days(-400), LastCheck: &check{now.Add(-90 * time.Minute), false},
			Versions: map[string][]string{"v1": {"AWSCURRENT"}, "v2": {"CANDIDATE"}},
		},
		{
			App: "hr-" + strings.Repeat("x", 60), Rotation: true, Current: "v1", CurrentCreated: days(-100),
			LastRotated: days(-100), NextRotation: days(-70), Overdue: true, LastCheck: &check{days(-30), false},
			Versions: map[string][]string{
				"v1": {"AWSCURRENT"}, "v2": {"AWSPENDING"}, "v3": {"COMPROMISED", "REJECTED", hostile},
				"v4": {"a-label-of-another-tool-" + strings.Repeat("x", 232)},
			},
		},
		{App: "new-without-a-value", Rotation: true, NextRotation: days(1)},
		{App: "nightly", Rotation: true, NextRotation: now.Add(-time.Hour), Current: "v1", CurrentCreated: now},
		// A forged tag.
		{App: "notyet", Current: "v1", CurrentCreated: now, LastCheck: &check{now.AddDate(7000, 0, 0), true}},
		{App: "old", Current: "v1", Deleted: days(7)},
		{App: "sap", ReplicaOf: "eu-central-1", Current: "v1", CurrentCreated: days(-3), LastRotated: days(-3)},
	}
	var out strings.Builder
	printApps(newTerminal(&out), apps, now)
	simtest.Golden(t, "list.golden", out.String())
	for line := range strings.Lines(out.String()) {
		if !isPrintable(line) || utf8.RuneCountInString(line) > 81 {
			t.Errorf("%q", line)
		}
	}
	out.Reset()
	printApps(&terminal{Writer: &out, width: 80, colored: true}, apps, now)
	for _, want := range []string{"\x1b[31mfailed 90m ago\x1b[0m  CANDIDATE\n", "\x1b[33moverdue 70d\x1b[0m  "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%q", want, out.String())
		}
	}
}

// Secrets Manager lists a secret for a while after its deletion. That its dates are denied is a warning.
func TestListWithoutDates(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard)
	list := func(fault string) (string, string, int) {
		s.AWS.InjectFault("ListSecretVersionIds", localaws.Fault{Code: fault}, 1)
		return s.command(t, ownerKey, "", "list")
	}
	stdout, stderr, code := list("ResourceNotFoundException")
	if code != 0 || !strings.Contains(stdout, "\ncrm  -    -  ") {
		t.Errorf("deleted: exit %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = list("AccessDeniedException")
	if code != 0 || !strings.Contains(stdout, "\ncrm  -    -  ") ||
		!strings.Contains(stderr, "warning: app crm: the dates of the versions: ListSecretVersionIds:\n  "+
			"       AccessDenied") {
		t.Errorf("denied: exit %d\n%s%s", code, stdout, stderr)
	}
}
