package tokenstore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

// total returns how many calls the table has received.
func total(h *simtest.Harness) int {
	calls := h.Tables.Calls()
	return calls["GetItem"] + calls["UpdateItem"]
}

func TestBypass(t *testing.T) {
	t.Parallel()
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			run(t, func(t *testing.T, h *simtest.Harness) {
				s := tokenstore.NewBypass(h.TokenStore())
				for name, call := range calls(s) {
					h.Tables.InjectFault("", o.fault, 1)
					if err := call(t.Context()); err == nil || errors.Is(err, tokenstore.ErrBypassed) {
						t.Fatalf("%s: %v", name, err)
					}
					before := total(h)
					for range 6 {
						for other, call := range calls(s) {
							if err := call(t.Context()); !errors.Is(err, tokenstore.ErrBypassed) {
								t.Errorf("%s after an error of %s: %v", other, name, err)
							}
						}
						time.Sleep(tokenstore.BypassDuration / 6)
					}
					if n := total(h) - before; n > 0 {
						t.Errorf("%d calls in spite of the bypass", n)
					}
					_, err := s.Get(t.Context(), app) // bypassed calls have not extended it
					h.Must(err)
				}
			})
		})
	}
}

func TestBypassPassesItems(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		s := tokenstore.NewBypass(h.TokenStore())
		equal(t, "the swap's result", swap(t, s, 0, full()), full())
		current, swapped, err := s.CompareAndSwap(t.Context(), app, 0, full())
		if err != nil || swapped {
			t.Errorf("swapped %t: %v", swapped, err)
		}
		equal(t, "the current item", current, full())
		for _, read := range []func(context.Context, string) (tokenstore.Item, error){s.Get, s.Peek} {
			got, err := read(t.Context(), app)
			h.Must(err)
			equal(t, "the item read", got, full())
		}
	})
}

func TestBypassIgnoresCancellation(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		s := tokenstore.NewBypass(h.TokenStore())
		h.Tables.InjectFault("", localaws.TableFault{Hang: true}, 4)
		for _, call := range calls(s) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(tokenstore.Timeout/2, cancel)
			if err := call(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled: %v", err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), tokenstore.Timeout/2)
		defer cancel()
		if _, err := s.Get(ctx, app); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("past its deadline: %v", err)
		}
		_, err := s.Get(t.Context(), app)
		h.Must(err)
	})
}

func TestClearFaultsReleasesCalls(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		h.Tables.InjectFault("", localaws.TableFault{Hang: true}, 0)
		done := make(chan error)
		start := time.Now()
		go func() { _, err := h.TokenStore().Get(t.Context(), app); done <- err }()
		synctest.Wait()
		h.Tables.ClearFaults()
		if err := <-done; err == nil || time.Since(start) > 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestBypassEndsByEitherClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	almost, over := now.Add(time.Nanosecond-tokenstore.BypassDuration), now.Add(-tokenstore.BypassDuration)
	for _, c := range []struct {
		name     string
		failedAt time.Time
		active   bool
	}{
		{"no error", time.Time{}, false},
		{"an error now", now, true},
		{"almost 30 seconds ago", almost, true},
		{"30 seconds ago", over, false},
		{"the wall clock was set back, almost 30 seconds ago", simtest.Frozen(t, almost, -time.Hour), true},
		{"the wall clock was set back, 30 seconds ago", simtest.Frozen(t, over, -time.Hour), false},
		{"the process was frozen for an hour", simtest.Frozen(t, now, time.Hour), false},
	} {
		if got := tokenstore.BypassActive(c.failedAt, now); got != c.active {
			t.Errorf("%s: active %t", c.name, got)
		}
	}
}
