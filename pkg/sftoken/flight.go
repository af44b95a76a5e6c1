package sftoken

import (
	"context"
	"fmt"
	"time"
)

const (
	// defaultTimeout bounds the tries for a caller whose context has no deadline.
	defaultTimeout = time.Minute
	// requestTimeout bounds one request. API Gateway gives up after 29 seconds. Source: API Gateway Developer Guide, "Quotas for
	// configuring and running a REST API".
	requestTimeout = 30 * time.Second
	// rejectedCheckInterval is how often the API looks into a caller's word that a token is dead, and a little more.
	rejectedCheckInterval = 5*time.Second + 100*time.Millisecond
)

// call is a request under way, which everybody who wants the token waits for. It goes on when the caller who began it gives
// up: whoever comes next finds what it has brought.
type call struct {
	done chan struct{} // closed when err is final, and the token cached
	err  error
}

// waiter is somebody who wants a token.
type waiter struct {
	rejected       string // id of the token that Salesforce has refused; empty: none
	failures       int    // requests that the caller has seen fail
	waitedForCheck bool   // the API has had the time to look into the rejection
}

// get returns a token for the caller. It is the rejected one only where the API insists on it.
func (s *TokenSource) get(ctx context.Context, c waiter) (*Token, error) {
	if s.err != nil {
		return nil, s.err
	}
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	var told error // why the last request failed
	for {
		token, f, pause, err := s.step(ctx, &c)
		if f == nil {
			if pause == 0 || !sleep(ctx, pause) {
				return token, err
			}
			continue
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			if told != nil {
				return nil, told // says more than that time is up
			}
			return nil, fmt.Errorf("sftoken: waiting for a token of app %s: %w", s.app, ctx.Err())
		}
		if told = f.err; told != nil {
			if c.failures++; c.failures >= maxAttempts(told) {
				return nil, told
			}
		}
	}
}

// step says what the caller does now: wait for the flight; or pause and ask again, where there is time for that; or take the
// token or the error.
func (s *TokenSource) step(ctx context.Context, c *waiter) (token *Token, f *call, pause time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	alive := s.cached != nil && now.Before(s.cached.Expiry)
	refused := s.cached != nil && s.cached.ID == c.rejected
	looking, held := remaining(s.confirmedAt.Add(rejectedCheckInterval), now), remaining(s.backoff.until, now)
	switch {
	case alive && !refused && now.Before(s.cached.refreshAt):
		return s.cached, nil, 0, nil
	case alive && refused && looking > 0 && (s.confirmed || c.waitedForCheck):
		return s.cached, nil, 0, nil
	case alive && refused && looking > 0:
		c.waitedForCheck = true
		return s.cached, nil, looking, nil
	case s.inFlight != nil:
		return nil, s.inFlight, 0, nil
	case held > 0 && alive && !refused: // what was to be renewed is still good
		return s.cached, nil, 0, nil
	case held > 0:
		return nil, nil, held, s.backoff.err
	}
	if s.cached != nil && !refused {
		return nil, s.start(ctx, ""), 0, nil
	}
	return nil, s.start(ctx, c.rejected), 0, nil
}

// remaining is how long it is until t, by the clock that says less: the monotonic one may stand still while a process is frozen, and that
// on the wall may be set back.
func remaining(t, now time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0))) // Round(0) leaves the time on the wall
}

// start begins a request. s.mu is held.
func (s *TokenSource) start(ctx context.Context, rejected string) *call {
	f := &call{done: make(chan struct{})}
	s.inFlight = f
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		token, err := s.fetch(ctx, rejected)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight, f.err = nil, err
		switch {
		case err == nil:
			s.cached, s.backoff = token, backoff{}
			if token.ID == rejected {
				s.confirmedAt, s.confirmed = time.Now(), token.Cache != "hit"
			}
		case maxAttempts(err) > 1:
			s.backoff = s.backoff.next(err)
		}
		close(f.done)
	}()
	return f
}

// withDefaultTimeout gives a context a deadline, if it has none.
func withDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// sleep sleeps, or returns false at once where ctx ends before that, or when it does.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
