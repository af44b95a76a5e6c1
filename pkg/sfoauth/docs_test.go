package sfoauth

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestKnownErrorsDocumented compares the table of Salesforce's errors in docs/errors.md with knownErrors.
func TestKnownErrorsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Salesforce errors\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			documented = append(documented, strings.TrimSpace(strings.ReplaceAll(line, `\<`, "<")))
		}
	}
	kinds := map[Kind]string{Permanent: "permanent", Temporary: "temporary", RateLimited: "rate limit"}
	var known []string
	for i, e := range knownErrors {
		contains, hint := e.contains, e.hint
		sameCode := func(other knownError) bool { return other.code == e.code }
		if contains == "" && slices.ContainsFunc(knownErrors[:i], sameCode) {
			contains = "any other"
		}
		if hint == "" {
			hint = "nothing; the request is retried"
		}
		row := "| `" + e.code + "` | " + contains + " | " + kinds[e.kind] + " | " + hint + " |"
		known = append(known, strings.ReplaceAll(row, "|  |", "| |"))
	}
	for _, row := range known {
		if !slices.Contains(documented, row) {
			t.Errorf("docs/errors.md lacks the row\n%s", row)
		}
	}
	for _, row := range documented {
		if !slices.Contains(known, row) {
			t.Errorf("docs/errors.md has a row that is not in knownErrors\n%s", row)
		}
	}
}
