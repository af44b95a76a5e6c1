package sfoauth

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEveryKnownErrorIsInTheDocs holds the table of docs/errors.md against the one that counts.
func TestEveryKnownErrorIsInTheDocs(t *testing.T) {
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
		says, advice := e.says, e.advice
		if says == "" && slices.ContainsFunc(knownErrors[:i], func(other knownError) bool { return other.code == e.code }) {
			says = "any other"
		}
		if advice == "" {
			advice = "nothing; the request is retried"
		}
		known = append(known, strings.ReplaceAll("| `"+e.code+"` | "+says+" | "+kinds[e.kind]+" | "+advice+" |", "|  |", "| |"))
	}
	for _, row := range known {
		if !slices.Contains(documented, row) {
			t.Errorf("docs/errors.md lacks the row\n%s", row)
		}
	}
	for _, row := range documented {
		if !slices.Contains(known, row) {
			t.Errorf("docs/errors.md has a row that is in no table of this package\n%s", row)
		}
	}
}
