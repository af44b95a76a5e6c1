package vending

import (
	"cmp"
	"errors"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// unknownAppTTL is how long it is remembered that an app does not exist.
const unknownAppTTL = 5 * time.Second

// backoff is a failure that is remembered. The zero value is none.
type backoff struct {
	err       *Error
	retryAt   time.Time
	delay     time.Duration // the last wait, before jitter
	permanent bool          // until a person changes something
	tried     []*appsecret.Version
	// budgetExhausted: there was no login. tried holds the versions that Salesforce had refused before.
	budgetExhausted bool
}

// blocked reports whether it is too early to try again.
func (b backoff) blocked(now time.Time) bool { return b.err != nil && remaining(b.retryAt, now) > 0 }

// callerError returns the error for a caller at this time.
func (b backoff) callerError(now time.Time) *Error {
	e := *b.err
	if e.isTemporary() {
		e.RetryAfter = max(remaining(b.retryAt, now), time.Second)
	}
	return &e
}

// next returns the backoff after one more failure. e is the error for callers, and err what happened.
func (b backoff) next(e *Error, err error, tried []*appsecret.Version, jitter func() float64, now time.Time) backoff {
	next := backoff{err: e, tried: tried}
	double := func(first, most time.Duration) time.Duration {
		next.delay = first
		if b.err != nil && b.permanent == next.permanent {
			next.delay = min(max(2*b.delay, first), most)
		}
		return next.delay
	}
	refused, _ := errors.AsType[*sfoauth.Error](err)
	secret, _ := errors.AsType[*appsecret.Error](err)
	exhausted, _ := errors.AsType[*loginbudget.ExhaustedError](err)
	switch {
	case exhausted != nil:
		next.budgetExhausted, next.delay = true, b.delay
		next.retryAt = now.Add(max(exhausted.RetryAfter, time.Second))
		if b.err != nil { // Salesforce's last error is more useful to the caller
			e.SalesforceError = b.err.SalesforceError
		}
	case secret != nil && e.Code == UnknownApp:
		next.retryAt = now.Add(unknownAppTTL)
	case secret != nil && e.Code == AppMisconfigured:
		next.retryAt = now.Add(rereadInterval)
	case e.Code == AppMisconfigured:
		next.permanent = true
		next.retryAt = now.Add(double(30*time.Second, 5*time.Minute))
	case refused != nil && refused.Kind == sfoauth.RateLimited:
		next.retryAt = now.Add(rateLimit(err))
	default:
		wait := spread(double(time.Second, 30*time.Second), jitter)
		if refused != nil {
			wait = max(wait, min(refused.RetryAfter, 5*time.Minute))
		}
		next.retryAt = now.Add(wait)
	}
	return next
}

// spread returns between half and all of the wait.
func spread(wait time.Duration, jitter func() float64) time.Duration {
	return time.Duration(float64(wait) * (1 + jitter()) / 2)
}

// rateLimit returns how long to send nothing after Salesforce has limited the requests. It is at least a second:
// Retry-After may be a date in whole seconds, which may be so near that the same request would retry at once.
func rateLimit(err error) time.Duration {
	refused, _ := errors.AsType[*sfoauth.Error](err)
	return max(cmp.Or(refused.RetryAfter, time.Minute), time.Second)
}
