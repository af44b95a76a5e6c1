package doctor

import (
	"strings"
	"testing"
)

// AWS follows its message on a wrong signature with the request, whose headers hold the session token.
func TestLineIsTheFirst(t *testing.T) {
	t.Parallel()
	if got := line("does not match\n\nx-amz-security-token:the-token"); got != "does not match" {
		t.Errorf("%q", got)
	}
	if got := line(strings.Repeat("é", 301)); got != strings.Repeat("é", 300)+"…" {
		t.Errorf("%d bytes", len(got))
	}
}
