package sftoken

import (
	"context"
	"fmt"
	"time"
)

const (
	// patience bounds the tries for a caller whose context has no deadline.
	patience = time.Minute
	// requestTime bounds one request. API Gateway gives up after 29 seconds. Source: API Gateway Developer Guide, "Quotas for
	// configuring and running a REST API".
	requestTime = 30 * time.Second
	// lookEvery is how often the API looks into a caller's word that a token is dead, and a little more.
	lookEvery = 5*time.Second + 100*time.Millisecond
)

// flight is a request under way, which everybody who wants the token waits for. It goes on when the caller who began it gives
// up: whoever comes next finds what it has brought.
type flight struct {
	done chan struct{} // closed when err is final, and the token cached
	err  error
}

// caller is somebody who wants a token.
type caller struct {
	rejected string // id of the token that Salesforce has refused; empty: none
	tries    int    // requests that the caller has seen fail
	looked   bool   // the API has had the time to look into the rejection
}

// get returns a token for the caller. It is the rejected one only where the API insists on it.
func (s *TokenSource) get(ctx context.Context, c caller) (*Token, error) {
	if s.err != nil {
		return nil, s.err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var told error // why the last request failed
	for {
		token, f, pause, err := s.next(ctx, &c)
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
			if c.tries++; c.tries >= worth(told) {
				return nil, told
			}
		}
	}
}

// next says what the caller does now: wait for the flight; or pause and ask again, where there is time for that; or take the
// token or the error.
func (s *TokenSource) next(ctx context.Context, c *caller) (token *Token, f *flight, pause time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	alive := s.cached != nil && now.Before(s.cached.Expiry)
	refused := s.cached != nil && s.cached.ID == c.rejected
	looking, held := left(s.asked.Add(lookEvery), now), left(s.held.until, now)
	switch {
	case alive && !refused && now.Before(s.cached.renew):
		return s.cached, nil, 0, nil
	case alive && refused && looking > 0 && (s.sure || c.looked):
		return s.cached, nil, 0, nil
	case alive && refused && looking > 0:
		c.looked = true
		return s.cached, nil, looking, nil
	case s.flight != nil:
		return nil, s.flight, 0, nil
	case held > 0 && alive && !refused: // what was to be renewed is still good
		return s.cached, nil, 0, nil
	case held > 0:
		return nil, nil, held, s.held.err
	}
	if s.cached != nil && !refused {
		return nil, s.start(ctx, ""), 0, nil
	}
	return nil, s.start(ctx, c.rejected), 0, nil
}

// left is how long it is until t, by the clock that says less: the monotonic one may stand still while a process is frozen, and that
// on the wall may be set back.
func left(t, now time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0))) // Round(0) leaves the time on the wall
}

// start begins a request. s.mu is held.
func (s *TokenSource) start(ctx context.Context, rejected string) *flight {
	f := &flight{done: make(chan struct{})}
	s.flight = f
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		defer cancel()
		token, err := s.fetch(ctx, rejected)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, f.err = nil, err
		switch {
		case err == nil:
			s.cached, s.held = token, hold{}
			if token.ID == rejected {
				s.asked, s.sure = time.Now(), token.Cache != "hit"
			}
		case worth(err) > 1:
			s.held = s.held.after(err)
		}
		close(f.done)
	}()
	return f
}

// bounded gives a context a deadline, if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, patience)
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
