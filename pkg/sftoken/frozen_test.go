package sftoken

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/sim/simtest"
)

// The caller may be a Lambda function, which is frozen between requests. This test runs outside a synctest bubble,
// where times have no monotonic reading.
func TestFrozenProcess(t *testing.T) {
	t.Parallel()
	down := func(until time.Time) *TokenSource {
		return &TokenSource{backoff: backoff{err: errors.New("down"), until: until}}
	}
	confirmed := func(now, at time.Time) *TokenSource {
		later := now.Add(time.Hour)
		return &TokenSource{cached: &Token{ID: "1", Expiry: later, RefreshAt: later}, confirmedAt: at, confirmed: true}
	}
	now := time.Now()
	for name, c := range map[string]struct {
		source   *TokenSource
		rejected string
		asks     bool
	}{
		"backoff, then frozen":    {down(simtest.Frozen(t, now.Add(20*time.Second), time.Hour)), "", true},
		"backoff":                 {down(now.Add(20 * time.Second)), "", false},
		"backoff, clock set back": {down(simtest.Frozen(t, now.Add(-time.Second), -time.Hour)), "", true},
		"confirmed, then frozen":  {confirmed(now, simtest.Frozen(t, now, time.Minute)), "1", true},
		"confirmed just now":      {confirmed(now, now), "1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.source
			s.addresses = []*address{{url: "http://127.0.0.1"}} // without credentials nothing is sent
			s.config, s.app = aws.Config{}, "crm"
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

// TestFrozenPause: an address's pause ends while the process is frozen, and is no longer if the clock is set back.
func TestFrozenPause(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		pausedUntil time.Time
		first       bool
	}{
		"paused":                      {now.Add(time.Minute), false},
		"paused, then frozen":         {simtest.Frozen(t, now.Add(time.Minute), time.Hour), true},
		"paused, then clock set back": {simtest.Frozen(t, now.Add(-time.Second), -time.Hour), true},
	} {
		first := &address{pausedUntil: c.pausedUntil}
		s := &TokenSource{addresses: []*address{first, {}}}
		if isFirst := s.byPreference()[0] == first; isFirst != c.first {
			t.Errorf("%s: the address comes first: %t", name, isFirst)
		}
	}
}
