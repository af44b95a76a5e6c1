package simtest

import (
	"testing"
	"time"
	"unsafe"
)

// Frozen returns the time at as seen by a process that was frozen for d since, while its monotonic clock stood still:
// its wall clock reading is d earlier. Package time has no way to make one. Outside a synctest bubble only: inside one,
// times have no monotonic reading.
func Frozen(t testing.TB, at time.Time, d time.Duration) time.Time {
	t.Helper()
	seen := at.Add(-d)
	(*struct {
		wall      uint64
		monotonic int64
		_         *time.Location
	})(unsafe.Pointer(&seen)).monotonic += int64(d) //nolint:gosec // checked below
	if monotonic, wall := at.Sub(seen), at.Round(0).Sub(seen.Round(0)); monotonic != 0 || wall != d {
		t.Fatalf("package time has changed: the monotonic clocks differ by %s, the wall clocks by %s", monotonic, wall)
	}
	return seen
}
