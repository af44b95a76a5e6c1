package vending

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sftoken/sftoken/internal/tokenstore"
)

const (
	// leaseTime is a little longer than one call to Salesforce. A holder that makes several renews the lease between
	// them. There is no heartbeat: Lambda freezes a process between invocations.
	leaseTime = salesforceTimeout + time.Second
	// entryTTL is how long DynamoDB keeps an item after its last write.
	entryTTL = 24 * time.Hour
)

// heldLease is a lease that the call holds.
type heldLease struct {
	counter int64     // of the item, as written by the call
	until   time.Time // when other processes may take it
	entry   tokenstore.Entry
}

// observedLease is another process's lease as this process has seen it.
type observedLease struct {
	counter int64     // of the item
	since   time.Time // when that counter was first seen
	recheck time.Time // until when the lease need not be looked at again
}

// takeLease takes the lease, on condition that the item has not changed. Otherwise it returns the item as it is now.
func (c *call) takeLease(ctx context.Context, item tokenstore.Item) (tokenstore.Item, bool, error) {
	now := time.Now()
	until := now.Add(leaseTime)
	if item.Version == "" {
		item.Expires = now.Add(entryTTL).Truncate(time.Second)
	}
	next := tokenstore.Item{LeaseUntil: until, Entry: item.Entry}
	current, swapped, err := c.compareAndSwap(ctx, item.Counter, next)
	if err != nil || !swapped {
		return current, false, err
	}
	c.held, c.leaseLost = &heldLease{counter: item.Counter + 1, until: until, entry: item.Entry}, false
	c.inherit()
	return item, true, nil
}

// keepLease renews the lease if it could end during a call to Salesforce. It returns errLeaseLost if another process
// has taken it. Without a lease it does nothing: a result that there is already stays, and is completed.
func (c *call) keepLease(ctx context.Context) error {
	if c.leaseLost && c.obtained == nil && c.step != revoke {
		return errLeaseLost
	}
	if c.held == nil || remaining(c.held.until, time.Now()) >= salesforceTimeout {
		return nil
	}
	c.swap(ctx, time.Now().Add(leaseTime), c.held.entry)
	if c.leaseLost {
		return errLeaseLost
	}
	return nil
}

// write writes the call's state into the item. until is the end of the lease; zero: it ends.
func (c *call) write(ctx context.Context, until time.Time) {
	if !c.shares() { // AWSCURRENT has become a placeholder, which is no secret to seal with
		c.swap(ctx, until, c.held.entry)
		return
	}
	now := time.Now()
	text, err := json.Marshal(c.newRecord(now))
	if err != nil {
		c.noteTableErr(err)
		return
	}
	entry, err := tokenstore.Seal(c.secret.ConsumerSecret, c.app.name, tokenstore.Entry{
		Version: c.secret.ID, Counter: c.held.counter + 1, Expires: now.Add(entryTTL).Truncate(time.Second),
	}, text)
	if err != nil {
		c.noteTableErr(err)
		return
	}
	if c.swap(ctx, until, entry) {
		c.adoptedEntry = idOf(entry)
		c.wroteEntry = c.adoptedEntry
	}
}

// swap writes the item if the call still holds the lease.
func (c *call) swap(ctx context.Context, until time.Time, entry tokenstore.Entry) bool {
	_, swapped, err := c.compareAndSwap(ctx, c.held.counter, tokenstore.Item{LeaseUntil: until, Entry: entry})
	switch {
	case swapped:
		c.held = &heldLease{counter: c.held.counter + 1, until: until, entry: entry}
	case err == nil:
		c.stats.LeasesLost++
		c.leaseLost, c.held = true, nil
	default: // the write may have happened
		c.held = nil
	}
	return swapped
}

// withdraw tells the other processes not to return the tokens that are about to be revoked, before that happens: a
// crash in between would leave a dead token in the table.
func (c *call) withdraw(ctx context.Context) {
	if c.held != nil {
		c.write(ctx, time.Now().Add(leaseTime))
	}
}

// leaseHeld reports whether another process holds the item's lease. The holder's clock may be wrong: the lease has also
// ended if the item has not changed for as long as a lease takes.
func (c *call) leaseHeld(item tokenstore.Item, now time.Time) bool {
	if c.lease.counter != item.Counter {
		c.lease = observedLease{counter: item.Counter, since: now}
	}
	until := earlier(item.LeaseUntil, c.lease.since.Add(leaseTime))
	c.lease.recheck = earlier(until, now.Add(maxPoll))
	return remaining(until, now) > 0
}
