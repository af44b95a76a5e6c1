package demo

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// callers is how many callers a load has.
const callers = 8

// load is callers that fetch tokens all the time, and check that each works.
type load struct {
	mu       sync.Mutex
	took     []time.Duration
	failures []error
	seen     map[string]bool // access tokens returned since liveTokens was last called
	dead     atomic.Int64    // tokens that did not work when they were returned
	leaks    atomic.Int64    // odd while a leak is handled: a token may then be revoked between its response and the check
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

func (d *demo) startLoad(ctx context.Context) *load {
	l := &load{seen: map[string]bool{}}
	ctx, l.stop = context.WithCancel(ctx)
	for range callers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				d.fetchOnce(ctx, l)
				time.Sleep(30 * time.Millisecond)
			}
		})
	}
	return l
}

func (d *demo) fetchOnce(ctx context.Context, l *load) {
	start, leak := time.Now(), l.leaks.Load()
	token, err := d.fetch(ctx, d.stack.Keys.Billing)
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	l.took = append(l.took, time.Since(start))
	if err != nil {
		l.failures = append(l.failures, err)
	} else {
		l.seen[token.AccessToken.Reveal()] = true
	}
	l.mu.Unlock()
	if err == nil && !d.active(token) && leak%2 == 0 && l.leaks.Load() == leak {
		l.dead.Add(1)
	}
}

// liveTokens returns the access tokens that are returned now: each instance of the token function has its own.
func (l *load) liveTokens() []string {
	time.Sleep(secretTTL + 200*time.Millisecond) // by then each instance has logged in with the current credentials
	l.mu.Lock()
	l.seen = map[string]bool{}
	l.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.seen))
}

// end stops the callers and returns the durations of their requests, sorted.
func (l *load) end() []time.Duration {
	l.stop()
	l.wg.Wait()
	return slices.Sorted(slices.Values(l.took))
}

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(10 * time.Microsecond)
}
