package docs

import (
	"os"
	"regexp"
	"testing"
)

// TestContributingNames checks that the files and tests that the recipes name exist.
func TestContributingNames(t *testing.T) {
	isTest := regexp.MustCompile(`^Test[A-Z]\w+$`)
	isPath := regexp.MustCompile(`^[\w.-]*/[\w./-]*$`)
	exists := declaredTests(t)
	contributing := page(t, "CONTRIBUTING.md")
	lines := map[string]int{}
	for _, h := range contributing.Headings {
		lines[h.Text] = h.Line
	}
	found := 0
	for _, span := range contributing.Code {
		switch {
		case span.Line < lines["Recipes"] || span.Line > lines["Conventions"]:
		case isTest.MatchString(span.Text):
			found++
			if !exists[span.Text] {
				t.Errorf("CONTRIBUTING.md:%d: there is no test %s", span.Line, span.Text)
			}
		case isPath.MatchString(span.Text):
			found++
			if _, err := os.Stat(root + span.Text); err != nil {
				t.Errorf("CONTRIBUTING.md:%d: %v", span.Line, err)
			}
		}
	}
	if found < 15 {
		t.Errorf("found only %d names", found)
	}
}
