// Package loginbudget limits how often a process logs in to Salesforce for each app. Salesforce locks a user out for
// an hour after 3,600 logins within one, so causing logins is a way to cause an outage. What to do without a login is
// left to the caller.
package loginbudget

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Defaults of New.
const (
	DefaultBurst   = 10
	DefaultPerHour = 60
)

// Budget counts the logins of one process, app by app. It is safe for concurrent use.
type Budget struct {
	burst int
	rate  rate.Limit

	mu   sync.Mutex
	apps map[string]*rate.Limiter
}

// New returns a Budget of burst logins at once and perHour in the long run, for each app. Zero means the default.
func New(burst, perHour int) *Budget {
	if burst == 0 {
		burst = DefaultBurst
	}
	if perHour == 0 {
		perHour = DefaultPerHour
	}
	return &Budget{
		burst: burst,
		rate:  rate.Limit(float64(perHour) / time.Hour.Seconds()),
		apps:  map[string]*rate.Limiter{},
	}
}

// String describes the budget, for the log.
func (b *Budget) String() string {
	return fmt.Sprintf("%d at once, %.0f an hour", b.burst, float64(b.rate)*time.Hour.Seconds())
}

// ExhaustedError is why there was no login.
type ExhaustedError struct {
	App        string
	RetryAfter time.Duration // until the budget has room for another login
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf(
		"the login budget of app %s is spent: the next login is in %s; find out what causes so many (LOGIN_BURST and LOGINS_PER_HOUR set the budget)",
		e.App,
		max(e.RetryAfter.Round(time.Second), time.Second),
	)
}

// Take takes one login from the app's budget, or returns an *ExhaustedError.
func (b *Budget) Take(app string) error {
	b.mu.Lock() // until a reservation is cancelled: a later one in between would keep it from being given back
	defer b.mu.Unlock()
	now := time.Now()
	r := b.limiter(app).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait < time.Millisecond { // the budget counts in fractions: a caller that has waited as it was told must not find it short by one
		return nil
	}
	r.CancelAt(now) // a login that does not happen must not push the next one back
	return &ExhaustedError{App: app, RetryAfter: wait}
}

// limiter returns the app's limiter. b.mu is held.
func (b *Budget) limiter(app string) *rate.Limiter {
	l := b.apps[app]
	if l == nil {
		l = rate.NewLimiter(b.rate, b.burst)
		b.apps[app] = l
	}
	return l
}
