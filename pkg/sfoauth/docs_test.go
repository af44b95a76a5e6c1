package sfoauth

import (
	"cmp"
	"os"
	"regexp"
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
	kinds := map[Kind]string{Permanent: "permanent", Temporary: "temporary", RateLimited: "rate limited"}
	row := regexp.MustCompile("^\\| `\\w+` \\|[^|]*\\| (permanent|temporary|rate limited) \\|")
	var documented []string
	for line := range strings.Lines(string(text)) {
		if row.MatchString(line) {
			documented = append(documented, strings.TrimSpace(strings.ReplaceAll(line, `\<`, "<")))
		}
	}
	var known []string
	for i, e := range knownErrors {
		contains, hint := e.contains, cmp.Or(e.hint, "nothing: it is retried")
		sameCode := func(other knownError) bool { return other.code == e.code }
		if contains == "" && slices.ContainsFunc(knownErrors[:i], sameCode) {
			contains = "others"
		}
		line := "| `" + e.code + "` | " + contains + " | " + kinds[e.kind] + " | " + hint + " |"
		known = append(known, strings.ReplaceAll(line, "|  |", "| |"))
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
