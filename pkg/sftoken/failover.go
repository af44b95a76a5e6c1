package sftoken

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// slowAfter is how long the API at an address may take before the next address is asked as well. A login takes as long
	// as Salesforce takes, usually less than a second. It is a third of the caller's time if that is shorter, but no
	// less than slowAgainAfter.
	slowAfter = 5 * time.Second
	// slowAgainAfter is the same for an address that has failed.
	slowAgainAfter = time.Second
	// After a failure other addresses come first for minPause, which doubles with each failure in a row, up to maxPause.
	minPause = 10 * time.Second
	maxPause = 5 * time.Minute
)

// attempt is the result of a request to one address.
type attempt struct {
	address *address
	token   *Token
	err     error
}

// fetchAny fetches a token from the first address that provides one. It asks the next address when one has failed, or
// has not responded after patience. A refusal by the preferred address is final: another region may learn later that a
// caller lost its permission.
func (s *TokenSource) fetchAny(ctx context.Context, rejected string, patience time.Duration) (*Token, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the requests that are still in progress
	queue := s.byPreference()
	done := make(chan attempt, len(queue))
	var running []*address // in the order in which they were asked
	ask := func() {
		a := queue[0]
		queue, running = queue[1:], append(running, a)
		go func() {
			token, err := s.fetch(ctx, a, rejected)
			done <- attempt{a, token, err}
		}()
	}
	failed := make([]error, len(s.addresses)) // by address
	for ask(); len(running) > 0; {
		select {
		case <-s.slow(running, queue, patience):
			ask()
		case next := <-done:
			i := slices.Index(running, next.address)
			if next.err == nil {
				s.noteSuccess(next.address, running[:i])
				return next.token, nil
			}
			if next.address == s.addresses[0] && !failsOver(next.err) {
				return nil, next.err
			}
			running = slices.Delete(running, i, i+1)
			failed[slices.Index(s.addresses, next.address)] = next.err
			s.noteFailure(next.address)
			if len(queue) > 0 {
				ask()
			}
		}
	}
	return nil, s.firstError(failed)
}

// byPreference returns the addresses in the order in which they are asked: those in a pause come last.
func (s *TokenSource) byPreference() []*address {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ready, paused []*address
	for _, a := range s.addresses {
		if remaining(a.pausedUntil, time.Now()) > 0 {
			paused = append(paused, a)
		} else {
			ready = append(ready, a)
		}
	}
	return append(ready, paused...)
}

// patience returns how long a caller waits for an address before the next one is asked as well.
func patience(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return slowAfter
	}
	return min(max(time.Until(deadline)/3, slowAgainAfter), slowAfter)
}

// slow returns a channel that receives when the address that was asked last is slow, or nil if no other one is left.
func (s *TokenSource) slow(running, queue []*address, patience time.Duration) <-chan time.Time {
	if len(queue) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if running[len(running)-1].failures > 0 {
		return time.After(slowAgainAfter)
	}
	return time.After(patience)
}

// noteSuccess notes that an address has provided a token before others that were asked earlier.
func (s *TokenSource) noteSuccess(a *address, slower []*address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.failures, a.pausedUntil = 0, time.Time{}
	for _, other := range slower {
		other.pause()
	}
}

func (s *TokenSource) noteFailure(a *address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.pause()
}

// pause makes other addresses come first for a while. A quarter is added at random, so that clients do not return at
// the same moment.
func (a *address) pause() {
	pause := min(minPause<<min(a.failures, 8), maxPause)
	a.pausedUntil, a.failures = time.Now().Add(pause+rand.N(pause/4)), a.failures+1
}

// failsOver reports whether a request that failed with err may succeed at another address. It would not after a refusal
// by the API, a 429 included, or without AWS credentials.
func failsOver(err error) bool {
	if response, ok := errors.AsType[*Error](err); ok {
		return response.Status < http.StatusBadRequest || response.Status >= http.StatusInternalServerError
	}
	_, isTransport := errors.AsType[*transportError](err)
	return isTransport || errors.Is(err, errNoToken) || errors.Is(err, errMalformedToken)
}

// failoverError is the error if several addresses failed. It wraps the one that tells a caller what to do next.
type failoverError struct {
	error
	text string
}

func (e *failoverError) Error() string { return e.text }
func (e *failoverError) Unwrap() error { return e.error }

// firstError returns the error that is worth the most attempts, the first one of several, or nil if there is none. Its
// text has all errors, with their addresses if there are several. Its RetryAfter is that of the address that may work
// first.
func (s *TokenSource) firstError(failed []error) error {
	var first error
	var texts []string
	retryAfter := time.Duration(math.MaxInt64)
	for i, err := range failed {
		switch {
		case err == nil:
			continue
		case len(s.addresses) == 1:
			return err
		case first == nil || maxAttempts(err) > maxAttempts(first):
			first = err
		}
		if failsOver(err) { // another error is a refusal, which does not end soon
			retryAfter = min(retryAfter, retryAfterOf(err))
		}
		texts = append(texts, s.addresses[i].host+": "+err.Error())
	}
	if first == nil {
		return nil
	}
	return limitRetryAfter(&failoverError{first, strings.Join(texts, "; ")}, retryAfter)
}
