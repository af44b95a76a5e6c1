package vending

import (
	"context"
	"errors"
	"time"

	"github.com/sftoken/sftoken/internal/tokenstore"
)

// minPoll and maxPoll bound how long to wait before the table is read again while another process holds the lease.
const (
	minPoll = 200 * time.Millisecond
	maxPoll = time.Second
)

// shares reports whether the step is coordinated with other processes.
func (c *call) shares() bool { return c.Table != nil && !c.secret.IsPlaceholder() }

// share performs the step unless another process has done so, or is about to. It takes the app's lease for that. After
// it has returned without performing the step, decide has another one for the request.
func (c *call) share(ctx context.Context) {
	item, err := c.readItem(ctx, c.Table.Get)
	for wait := minPoll; err == nil; wait = min(2*wait, maxPoll) {
		c.adopt(ctx, item.Entry)
		held := c.leaseHeld(item, time.Now())
		next := decide(c.Config, &c.state, c.in, time.Now())
		if next.step != c.step {
			return
		}
		c.rejectedCheck = next.rejectedCheck
		if held {
			if !c.pause(ctx, wait) {
				break
			}
			item, err = c.readItem(ctx, c.Table.Peek)
			continue
		}
		var taken bool
		if item, taken, err = c.takeLease(ctx, item); !taken {
			continue
		}
		if c.performHolding(ctx) {
			return
		}
		item, err = c.readItem(ctx, c.Table.Get)
	}
	c.performAlone(ctx)
}

// performAlone performs the step as a process without a token table does.
func (c *call) performAlone(ctx context.Context) {
	switch {
	case c.step == revoke: // even without time left, so that this process does not return the token again
		c.stats.notef("the token table could not be used: other processes may still return the token")
	case ctx.Err() != nil:
		c.err = timeoutError(ctx)
		return
	}
	c.perform(ctx)
	if c.step == revoke && ctx.Err() != nil && c.err == nil { // other processes' tokens are not revoked
		c.err = timeoutError(ctx)
	}
}

// performHolding performs the step as the holder of the lease, and writes the result. It returns false, and the state
// is as before, if another process took the lease before there was a result.
func (c *call) performHolding(ctx context.Context) bool {
	before := c.state
	c.tried, c.err = nil, nil
	c.perform(ctx)
	if c.held != nil {
		// The call's time may be used up, but the write is short.
		c.write(context.WithoutCancel(ctx), time.Time{})
		c.held = nil
		return true
	}
	if c.leaseLost && c.obtained == nil {
		c.state, c.leaseLost, c.performed = before, false, false
		return false
	}
	return true
}

// pause waits before the table is read again. It reports whether there is time left.
func (c *call) pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(spread(wait, c.Jitter)):
		return true
	}
}

// readItem reads the app's item with one of the table's methods.
func (c *call) readItem(
	ctx context.Context, read func(context.Context, string) (tokenstore.Item, error),
) (tokenstore.Item, error) {
	begun := time.Now()
	item, err := read(ctx, c.app.name)
	c.noteTableCall(time.Since(begun), err)
	return item, err
}

func (c *call) compareAndSwap(
	ctx context.Context, seen int64, next tokenstore.Item,
) (current tokenstore.Item, swapped bool, err error) {
	begun := time.Now()
	current, swapped, err = c.Table.CompareAndSwap(ctx, c.app.name, seen, next)
	c.noteTableCall(time.Since(begun), err)
	return current, swapped, err
}

func (c *call) noteTableCall(took time.Duration, err error) {
	c.stats.Table += took
	if err != nil {
		c.noteTableErr(err)
	}
}

// noteTableErr notes that the token table could not be used.
func (c *call) noteTableErr(err error) {
	if errors.Is(err, tokenstore.ErrBypassed) {
		return
	}
	c.stats.TableErrors++
	if c.stats.Err == nil {
		c.stats.Err = err
	}
}
