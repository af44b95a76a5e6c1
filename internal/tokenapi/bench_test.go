package tokenapi

import (
	"io"
	"os"
	"testing"

	"github.com/sftoken/sftoken/internal/telemetry"
)

// BenchmarkCachedVend is everything that the function itself does for a token that it has: decode the event, decide,
// write the audit line, encode the response.
func BenchmarkCachedVend(b *testing.B) {
	h := newHarness(b, options{})
	h.handler.log = telemetry.New(io.Discard, 0, "sftoken", "test")
	event, err := os.ReadFile("../../events/get.json")
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		response, err := h.handler.Invoke(b.Context(), event)
		if err != nil || len(response) < 200 {
			b.Fatal(err, len(response))
		}
	}
}
