package sftoken

import (
	"errors"
	"testing"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// frozen returns the time at as a process sees it that has been frozen for so long since, while its monotonic clock stood still:
// by the clock on the wall it is further back. Package time offers no way to make one.
func frozen(t *testing.T, at time.Time, since time.Duration) time.Time {
	t.Helper()
	seen := at.Add(-since)
	(*struct {
		wall      uint64
		monotonic int64
		_         *time.Location
	})(unsafe.Pointer(&seen)).monotonic += int64(since)
	if seen.Sub(at) != 0 || at.Round(0).Sub(seen.Round(0)) != since {
		t.Fatalf("package time has changed: the monotonic clock differs by %s, that on the wall by %s", at.Sub(seen), at.Round(0).Sub(seen.Round(0)))
	}
	return seen
}

// A caller may be a Lambda function too. This runs outside a synctest bubble, where time has no monotonic part.
func TestNothingIsRememberedForLongerInAProcessThatWasFrozen(t *testing.T) {
	for name, c := range map[string]struct {
		source func(now time.Time) *TokenSource
		caller waiter
		asks   bool
	}{
		"a failure": {func(now time.Time) *TokenSource {
			return &TokenSource{backoff: backoff{err: errors.New("down"), until: frozen(t, now.Add(20*time.Second), time.Hour)}}
		}, waiter{}, true},
		"a failure of just now": {func(now time.Time) *TokenSource {
			return &TokenSource{backoff: backoff{err: errors.New("down"), until: now.Add(20 * time.Second)}}
		}, waiter{}, false},
		"a failure, and a clock that was set back": {func(now time.Time) *TokenSource {
			return &TokenSource{backoff: backoff{err: errors.New("down"), until: frozen(t, now.Add(-time.Second), -time.Hour)}}
		}, waiter{}, true},
		"that the API has looked": {func(now time.Time) *TokenSource {
			return &TokenSource{cached: &Token{ID: "1", Expiry: now.Add(time.Hour), refreshAt: now.Add(time.Hour)}, confirmedAt: frozen(t, now, time.Minute), confirmed: true}
		}, waiter{rejected: "1"}, true},
		"that the API has just looked": {func(now time.Time) *TokenSource {
			return &TokenSource{cached: &Token{ID: "1", Expiry: now.Add(time.Hour), refreshAt: now.Add(time.Hour)}, confirmedAt: now, confirmed: true}
		}, waiter{rejected: "1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.source(time.Now())
			s.config, s.url, s.app = aws.Config{}, "http://127.0.0.1", "crm" // without credentials nothing is sent
			_, f, _, _ := s.step(t.Context(), &c.caller)
			if asks := f != nil; asks != c.asks {
				t.Errorf("asks the API: %t", asks)
			}
			if f != nil {
				<-f.done
			}
		})
	}
}
