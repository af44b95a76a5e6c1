package sfoauth

import (
	"slices"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestKnownErrorsDocumented compares the table of Salesforce's errors in docs/reference/errors.md with knownErrors.
func TestKnownErrorsDocumented(t *testing.T) {
	t.Parallel()
	var documented []string
	for _, row := range mdtest.Read(t, "../../docs/reference/errors.md").TablesUnder(t, "Salesforce errors")[0] {
		documented = append(documented, strings.ReplaceAll(strings.Join(row, " | "), `\<`, "<"))
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
		known = append(known, strings.Join([]string{"`" + e.code + "`", contains, kinds[e.kind], hint}, " | "))
	}
	for _, row := range known {
		if !slices.Contains(documented, row) {
			t.Errorf("docs/reference/errors.md lacks the row\n%s", row)
		}
	}
	for _, row := range documented {
		if !slices.Contains(known, row) {
			t.Errorf("docs/reference/errors.md has a row that is not in knownErrors\n%s", row)
		}
	}
}
