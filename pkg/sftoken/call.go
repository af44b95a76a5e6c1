package sftoken

import (
	"context"
	"time"
)

const (
	// defaultTimeout bounds the attempts for a caller whose context has no deadline.
	defaultTimeout = time.Minute
	// requestTimeout bounds one request. API Gateway gives up after 29 seconds. Source: API Gateway Developer Guide,
	// "Quotas for configuring and running a REST API".
	requestTimeout = 30 * time.Second
	// refreshPatience is how long the caller that starts a refresh waits for it while the cached token has not expired.
	// Others do not wait.
	refreshPatience = 2 * time.Second
	// rejectedCheckInterval is how often the API checks a rejected token, plus a margin.
	rejectedCheckInterval = 5*time.Second + 100*time.Millisecond
)

// call is a request in flight. It continues when the caller that started it gives up, and its token is cached.
type call struct {
	done chan struct{} // closed when err is set and the token is cached
	err  error
}

// caller is one call of Fetch or Refresh.
type caller struct {
	rejected       string // id of the token that Salesforce rejected; empty: none
	failures       int    // requests that failed while the caller waited
	waitedForCheck bool   // rejectedCheckInterval has passed, so that the API checks the token
}

// action is what a caller does next: wait for call, or pause and decide again, or return token and err.
type action struct {
	call  *call         // wait for it; with a token for pause at most, then return that
	pause time.Duration // wait, then decide again; without the time for that, return
	token *Token        // return it
	err   error         // return it
}

// get returns a token for the caller. It returns the rejected one only if the API confirms it.
func (s *TokenSource) get(ctx context.Context, c caller) (*Token, error) {
	if s.err != nil {
		return nil, s.err
	}
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	var lastErr error
	for {
		next := s.decide(ctx, &c)
		if next.call == nil {
			if next.pause == 0 || !sleep(ctx, next.pause) {
				return next.token, next.err
			}
			continue
		}
		var impatient <-chan time.Time
		if next.token != nil {
			impatient = time.After(next.pause)
		}
		select {
		case <-next.call.done:
		case <-impatient:
			if time.Now().Before(next.token.Expiry) {
				return next.token, nil
			}
			continue // it has expired meanwhile
		case <-ctx.Done():
			if lastErr != nil {
				return nil, lastErr // more useful than a timeout
			}
			return nil, newTransportError("waiting for a token of app "+s.app, ctx.Err())
		}
		if lastErr = next.call.err; lastErr != nil {
			if c.failures++; c.failures >= maxAttempts(lastErr) {
				return nil, lastErr
			}
		}
	}
}

// decide returns what the caller does next. It starts a request if one is needed and none is in flight.
func (s *TokenSource) decide(ctx context.Context, c *caller) action {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	alive := s.cached != nil && now.Before(s.cached.Expiry)
	rejected := s.cached != nil && s.cached.ID == c.rejected
	untilCheck := remaining(s.confirmedAt.Add(rejectedCheckInterval), now)
	backoff := remaining(s.backoff.until, now)
	switch {
	case alive && !rejected && now.Before(s.cached.RefreshAt):
		return action{token: s.cached}
	case alive && rejected && untilCheck > 0 && (s.confirmed || c.waitedForCheck):
		return action{token: s.cached}
	case alive && rejected && untilCheck > 0:
		c.waitedForCheck = true
		return action{pause: untilCheck, token: s.cached}
	case alive && !rejected && (s.inFlight != nil || backoff > 0): // it is to be refreshed, and still works
		return action{token: s.cached}
	case s.inFlight != nil:
		return action{call: s.inFlight}
	case backoff > 0:
		return action{pause: backoff, err: s.backoff.after(backoff)}
	case rejected || s.cached == nil:
		return action{call: s.start(ctx, c.rejected)}
	case alive:
		return action{call: s.start(ctx, ""), pause: refreshPatience, token: s.cached}
	default:
		return action{call: s.start(ctx, "")}
	}
}

// remaining returns the time until t, using whichever of the monotonic and wall clocks says less. The monotonic clock
// may stop while a process is frozen, and the wall clock may be set back.
func remaining(t, now time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0))) // Round(0) strips the monotonic reading
}

// start starts a request. s.mu is held.
func (s *TokenSource) start(ctx context.Context, rejected string) *call {
	c := &call{done: make(chan struct{})}
	s.inFlight = c
	patience := patience(ctx)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		token, err := s.fetchAny(ctx, rejected, patience)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight, c.err = nil, err
		switch {
		case err == nil:
			s.cached, s.backoff = token, backoff{}
			if token.ID == rejected {
				s.confirmedAt, s.confirmed = time.Now(), token.Cache != "hit"
			}
		case IsTemporary(err):
			s.backoff = s.backoff.next(err)
		}
		close(c.done)
	}()
	return c
}

// withDefaultTimeout bounds a context that has no deadline.
func withDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// sleep waits for d and reports whether it did. It returns false at once if ctx ends before that.
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
