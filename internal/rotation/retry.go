package rotation

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

const (
	// readConsistencyTimeout is how long a value or label that was written a moment ago is waited for. Secrets
	// Manager's reads are eventually consistent, and the steps of a rotation follow each other at once.
	readConsistencyTimeout = 5 * time.Second
	readInterval           = 500 * time.Millisecond

	// maxPause bounds the wait between two attempts with credentials that may be too new. A whole rotation fits into the
	// default login budget even if they take ten minutes: it then tries 12 times, and logs in 6 times more.
	maxPause = 2 * time.Minute
)

// attempt is one attempt at something. It returns how long to wait before the next one; zero: it is done, and err is
// its result. With a wait, err is why another attempt is needed; it may be nil.
type attempt func() (wait time.Duration, err error)

// retry makes attempts until one is done. After each wait it stops with the error of wanted, which may be nil. If ctx
// ends before a wait does, it returns at once, with the error of the last attempt or else that of ctx.
func retry(ctx context.Context, wanted func(context.Context) error, try attempt) error {
	for {
		wait, err := try()
		if wait <= 0 {
			return err
		}
		if ended := sleep(ctx, wait); ended != nil {
			return cmp.Or(err, ended)
		}
		if wanted == nil {
			continue
		}
		if err := wanted(ctx); err != nil {
			return err
		}
	}
}

// sleep waits. If ctx ends before d does, it returns ctx's error, and does so at once if ctx has a deadline.
func sleep(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// backoff returns the waits between attempts: one second, then twice the last one, up to maxPause.
func backoff() func() time.Duration {
	next := time.Second
	return func() time.Duration {
		pause := next
		next = min(2*next, maxPause)
		return pause
	}
}

// readUntilSettled reads until the result or error is no longer one that eventually consistent reads explain, for
// readConsistencyTimeout at most.
func readUntilSettled[T any](
	ctx context.Context, read func() (result T, settled bool, err error),
) (result T, err error) {
	until := time.Now().Add(readConsistencyTimeout)
	err = retry(ctx, nil, func() (time.Duration, error) {
		var settled bool
		if result, settled, err = read(); settled || time.Now().After(until) {
			return 0, err
		}
		return readInterval, nil
	})
	return result, err
}

// reopen opens the secret again, because a person may have stored other credentials while these were tried for minutes.
// It waits a little for a result that is not older than secret.
func (r *run) reopen(ctx context.Context, secret *appsecret.Secret) (*appsecret.Secret, error) {
	return readUntilSettled(ctx, func() (*appsecret.Secret, bool, error) {
		now, err := secret.Reopen(ctx)
		return now, err != nil || !now.LastChanged.Before(secret.LastChanged), err
	})
}

// whileLabelled returns a function that fails with errSuperseded once the version has lost the label.
func (r *run) whileLabelled(secret *appsecret.Secret, version, label string) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := r.reopen(ctx, secret)
		if err == nil && !now.HasLabel(version, label) {
			err = errSuperseded
		}
		return err
	}
}

// debounce waits for about a second and fails if the label moves meanwhile, so that a label that moves again and again
// costs few logins. It looks at random times to notice a label that alternates. Each move has its own event, so an
// event that is abandoned here loses nothing.
func debounce(ctx context.Context, labelled func(context.Context) error) error {
	looks := 0
	return retry(ctx, labelled, func() (time.Duration, error) {
		if looks++; looks > 5 {
			return 0, nil
		}
		return 100*time.Millisecond + rand.N(200*time.Millisecond), nil
	})
}
