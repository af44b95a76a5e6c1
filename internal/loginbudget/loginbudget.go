// Package loginbudget limits how often a process logs in to Salesforce for each app. Salesforce locks a user out for an
// hour after 3,600 logins within one, so an attacker who causes logins can cause an outage. The caller decides what to
// do without a login.
package loginbudget

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Defaults of New.
const (
	DefaultBurst   = 10
	DefaultPerHour = 60
)

// Budget counts the logins of one process by app. It is safe for concurrent use.
type Budget struct {
	burst int
	rate  rate.Limit

	mu   sync.Mutex
	apps map[string]*rate.Limiter
}

// New returns a Budget that allows each app burst logins at once, and perHour in the long run. Zero means the default.
func New(burst, perHour int) *Budget {
	burst, perHour = cmp.Or(burst, DefaultBurst), cmp.Or(perHour, DefaultPerHour)
	perSecond := rate.Limit(float64(perHour) / time.Hour.Seconds())
	return &Budget{burst: burst, rate: perSecond, apps: map[string]*rate.Limiter{}}
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
	return fmt.Sprintf("the login budget of app %s is exhausted (LOGIN_BURST, LOGINS_PER_HOUR): the next login is in %s; "+
		"find out what causes so many", e.App, max(e.RetryAfter.Round(time.Second), time.Second))
}

// IsExhausted reports whether err is, or wraps, an *ExhaustedError.
func IsExhausted(err error) bool {
	_, ok := errors.AsType[*ExhaustedError](err)
	return ok
}

// Take takes one login from the app's budget, or returns an *ExhaustedError.
func (b *Budget) Take(app string) error {
	b.mu.Lock() // until the reservation is cancelled: after a later reservation it could not be returned
	defer b.mu.Unlock()
	now := time.Now()
	r := b.limiter(app).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	// The budget counts in fractions: after RetryAfter a login may be short by a rounding error.
	if wait < time.Millisecond {
		return nil
	}
	r.CancelAt(now) // a login that does not happen must not delay the next one
	return &ExhaustedError{App: app, RetryAfter: wait}
}

// limiter returns the app's limiter. The caller holds b.mu.
func (b *Budget) limiter(app string) *rate.Limiter {
	l := b.apps[app]
	if l == nil {
		l = rate.NewLimiter(b.rate, b.burst)
		b.apps[app] = l
	}
	return l
}

// Left returns how many logins the app's budget allows now, with fractions.
func (b *Budget) Left(app string) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limiter(app).TokensAt(time.Now())
}

// Lower lowers the app's budget to what is left of it at now if it allowed left logins at the given time, by another
// process's count. It never raises it.
func (b *Budget) Lower(app string, left float64, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	left = max(0, left+max(0, now.Sub(at).Seconds())*float64(b.rate))
	if left >= b.limiter(app).TokensAt(now) {
		return
	}
	// A limiter that allowed only whole logins a little earlier allows that fraction more now.
	whole := math.Floor(left)
	l := rate.NewLimiter(b.rate, b.burst)
	since := time.Duration((left - whole) / float64(b.rate) * float64(time.Second))
	l.ReserveN(now.Add(-since), b.burst-int(whole))
	b.apps[app] = l
}
