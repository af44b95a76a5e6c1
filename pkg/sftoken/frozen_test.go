package sftoken

import (
	"errors"
	"testing"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// frozen returns the time at as seen by a process that was frozen for d since, while its monotonic clock stood still:
// its wall clock reading is d earlier. Package time has no way to make one.
func frozen(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	seen := at.Add(-d)
	(*struct {
		wall      uint64
		monotonic int64
		_         *time.Location
	})(unsafe.Pointer(&seen)).monotonic += int64(d)
	if monotonic, wall := at.Sub(seen), at.Round(0).Sub(seen.Round(0)); monotonic != 0 || wall != d {
		t.Fatalf("package time has changed: the monotonic clocks differ by %s, the wall clocks by %s", monotonic, wall)
	}
	return seen
}

// The caller may be a Lambda function, which is frozen between requests. This test runs outside a synctest bubble,
// where times have no monotonic reading.
func TestFrozenProcess(t *testing.T) {
	t.Parallel()
	down := func(until time.Time) *TokenSource {
		return &TokenSource{backoff: backoff{err: errors.New("down"), until: until}}
	}
	confirmed := func(now, at time.Time) *TokenSource {
		later := now.Add(time.Hour)
		return &TokenSource{cached: &Token{ID: "1", Expiry: later, refreshAt: later}, confirmedAt: at, confirmed: true}
	}
	now := time.Now()
	for name, c := range map[string]struct {
		source   *TokenSource
		rejected string
		asks     bool
	}{
		"backoff, then frozen":    {down(frozen(t, now.Add(20*time.Second), time.Hour)), "", true},
		"backoff":                 {down(now.Add(20 * time.Second)), "", false},
		"backoff, clock set back": {down(frozen(t, now.Add(-time.Second), -time.Hour)), "", true},
		"confirmed, then frozen":  {confirmed(now, frozen(t, now, time.Minute)), "1", true},
		"confirmed just now":      {confirmed(now, now), "1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.source
			s.config, s.url, s.app = aws.Config{}, "http://127.0.0.1", "crm" // no credentials: nothing is sent
			next := s.decide(t.Context(), &caller{rejected: c.rejected})
			if asks := next.call != nil; asks != c.asks {
				t.Errorf("asks the API: %t", asks)
			}
			if next.call != nil {
				<-next.call.done
			}
		})
	}
}
