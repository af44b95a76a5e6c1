package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// defaultWait is how long a command waits for the rotate function: new credentials may take 10 minutes to work
// everywhere.
const defaultWait = 20 * time.Minute

// The time between two polls doubles from the first value to the second.
const (
	minPollInterval = 250 * time.Millisecond
	maxPollInterval = 2 * time.Second
)

// poll calls done until it returns true or an error, for at most the timeout. The app is for the hint.
func poll(ctx context.Context, timeout time.Duration, app string, done func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for interval := minPollInterval; ; interval = min(2*interval, maxPollInterval) {
		finished, err := done(limited)
		if finished || err != nil && limited.Err() == nil {
			return err
		}
		select {
		case <-limited.Done():
			reason := fmt.Errorf("no result after %s", timeout)
			if ctx.Err() != nil {
				reason = ctx.Err()
			}
			return withHint(fmt.Errorf("stopped waiting, but the rotate function continues: %w", reason),
				"follow it with `sftoken secret status "+app+"`")
		case <-time.After(interval):
		}
	}
}

// newRequestToken returns a random ClientRequestToken, which becomes the version's ID.
func newRequestToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
