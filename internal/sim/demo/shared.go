package demo

import (
	"context"
	"io"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

// processes is how many processes of the token function share tokens.
const processes = 10

// shareTokens counts the logins of several processes without a token table, and with one.
func (d *demo) shareTokens(ctx context.Context) error {
	alone, err := d.fleetLogins(ctx, false)
	if err != nil {
		return err
	}
	if err := d.check(alone.cold == processes && alone.changed == processes,
		"Lambda starts another process for each request that arrives while the others are busy. Without a token table "+
			"%d processes log in %d times, and %d times more when the secret changes.",
		processes, alone.cold, alone.changed); err != nil {
		return err
	}
	var shared fleetLogins
	for range 3 { // a process that waits for the table for over 300 ms, on a machine that is busy, logs in alone
		if shared, err = d.fleetLogins(ctx, true); err != nil {
			return err
		}
		if shared.cold == 1 && shared.changed == 1 {
			break
		}
	}
	return d.check(shared.cold == 1 && shared.changed == 1,
		"With SharedTokens they keep their token in DynamoDB, encrypted. %d processes log in once, and once more when the "+
			"secret changes.", processes)
}

// fleetLogins are the logins of processes that take turns.
type fleetLogins struct {
	cold    int // after they have started
	changed int // after the secret has changed
}

func (d *demo) fleetLogins(ctx context.Context, shared bool) (n fleetLogins, err error) {
	s, err := stack.Start(ctx, stack.Config{
		SharedTokens: shared, Processes: processes, Log: io.Discard, Env: []string{"SECRET_TTL=" + secretTTL.String()},
	})
	if err != nil {
		return n, err
	}
	defer s.Close()
	fleet := &demo{Config: d.Config, stack: s}
	if n.cold, err = fleet.fetchFromEach(ctx); err != nil {
		return n, err
	}
	key, secret := s.App.Regenerate()
	if _, err := fleet.store(ctx, key, secret, appsecret.Current); err != nil {
		return n, err
	}
	time.Sleep(secretTTL)
	n.changed, err = fleet.fetchFromEach(ctx)
	return n, err
}

// fetchFromEach sends a request to each process, and returns how many of them logged in.
func (d *demo) fetchFromEach(ctx context.Context) (logins int, err error) {
	for range processes {
		token, err := d.fetch(ctx, d.stack.Keys.Billing)
		if err != nil {
			return 0, err
		}
		if token.Cache == "miss" {
			logins++
		}
	}
	return logins, nil
}
