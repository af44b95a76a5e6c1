package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// defaultWait is how long a command waits for the rotate function: a new pair may take 10 minutes to work everywhere.
const defaultWait = 20 * time.Minute

// pollEvery is the time between two looks.
const pollEvery = 2 * time.Second

// poll asks every two seconds, for as long as timeout.
func poll(ctx context.Context, timeout time.Duration, done func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		finished, err := done(limited)
		if finished || err != nil && limited.Err() == nil {
			return err
		}
		select {
		case <-limited.Done():
			why := fmt.Errorf("no result after %s", timeout)
			if ctx.Err() != nil {
				why = ctx.Err()
			}
			return fmt.Errorf("stopped waiting, and it goes on: %w; see `sftoken secret status`", why)
		case <-time.After(pollEvery):
		}
	}
}

// newRequestToken returns a random version id.
func newRequestToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
