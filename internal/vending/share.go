package vending

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

const (
	// leaseTime is a little longer than one call to Salesforce. A holder that makes several renews the lease between
	// them. There is no heartbeat: Lambda freezes a process between invocations.
	leaseTime = salesforceTimeout + time.Second
	// minPoll and maxPoll bound how long to wait before the table is read again while another process holds the lease.
	minPoll = 200 * time.Millisecond
	maxPoll = time.Second
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

// shares reports whether the step is coordinated with other processes.
func (c *call) shares() bool { return c.Table != nil && !c.secret.IsPlaceholder() }

// share performs the step unless another process has done so, or is about to. It takes the app's lease for that. After
// it has returned without performing the step, decide has another one for the request.
func (c *call) share(ctx context.Context) {
	item, err := c.callTable(func() (tokenstore.Item, error) { return c.Table.Get(ctx, c.app.name) })
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
			item, err = c.callTable(func() (tokenstore.Item, error) { return c.Table.Peek(ctx, c.app.name) })
			continue
		}
		var taken bool
		if item, taken, err = c.takeLease(ctx, item); !taken {
			continue
		}
		if c.performHolding(ctx) {
			return
		}
		item, err = c.callTable(func() (tokenstore.Item, error) { return c.Table.Get(ctx, c.app.name) })
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

// takeLease takes the lease, on condition that the item has not changed. Otherwise it returns the item as it is now.
func (c *call) takeLease(ctx context.Context, item tokenstore.Item) (tokenstore.Item, bool, error) {
	now, swapped := time.Now(), false
	until := now.Add(leaseTime)
	if item.Version == "" {
		item.Expires = now.Add(entryTTL).Truncate(time.Second)
	}
	current, err := c.callTable(func() (current tokenstore.Item, err error) {
		next := tokenstore.Item{LeaseUntil: until, Entry: item.Entry}
		current, swapped, err = c.Table.CompareAndSwap(ctx, c.app.name, item.Counter, next)
		return current, err
	})
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
	swapped := false
	_, err := c.callTable(func() (current tokenstore.Item, err error) {
		next := tokenstore.Item{LeaseUntil: until, Entry: entry}
		current, swapped, err = c.Table.CompareAndSwap(ctx, c.app.name, c.held.counter, next)
		return current, err
	})
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

// idOf identifies an entry. Its counter alone does not: it begins anew after the item has been deleted.
func idOf(entry tokenstore.Entry) entryID { return entryID{entry.Counter, sha256.Sum256(entry.Sealed)} }

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

// pause waits before the table is read again. It reports whether there is time left.
func (c *call) pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(float64(wait) * (1 + c.Jitter()) / 2)):
		return true
	}
}

// readAhead begins to read the table if the process knows nothing of the app, at the same time as the secret. The
// function that it returns waits for the entry and adopts it.
func (c *call) readAhead(ctx context.Context) (adopt func()) {
	if c.Table == nil || c.secret != nil {
		return func() {}
	}
	type result struct {
		item tokenstore.Item
		err  error
		took time.Duration
	}
	results := make(chan result, 1)
	go func() {
		begun := time.Now()
		item, err := c.Table.Get(ctx, c.app.name)
		results <- result{item, err, time.Since(begun)}
	}()
	return func() {
		r := <-results
		c.stats.Table += r.took
		if r.err != nil {
			c.noteTableErr(r.err)
		} else if c.shares() {
			c.adopt(ctx, r.item.Entry)
		}
	}
}

// adopt takes over what the entry says, if this process has not read it yet and it was made for AWSCURRENT.
func (c *call) adopt(ctx context.Context, entry tokenstore.Entry) {
	if entry.Version == "" || idOf(entry) == c.adoptedEntry {
		return
	}
	replayed := entry.Counter < c.adoptedEntry.counter
	c.adoptedEntry = idOf(entry)
	if entry.Version != c.secret.ID && c.currentChanged(ctx) { // this process may be the one that is behind
		c.forgetFailure()
	}
	if entry.Version != c.secret.ID {
		return
	}
	r, err := c.open(c.secret, entry)
	if err != nil {
		c.noteTableErr(err)
		return
	}
	pending := len(c.pending)
	c.merge(ctx, r, replayed)
	if len(c.pending) > pending {
		c.publish() // other requests need not wait for Salesforce
		c.retryRevocations(ctx, c.revoker())
	}
}

// open decrypts an entry that was sealed with the version's credentials.
func (c *call) open(version *appsecret.Version, entry tokenstore.Entry) (*record, error) {
	text, err := tokenstore.Open(version.ConsumerSecret, c.app.name, entry)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if json.Unmarshal(text, r) != nil { // its error may quote the text
		return nil, errors.New("the entry in the token table is not one of this program's")
	}
	return r, nil
}

// inherit takes over the revocations that the item's last holder has left.
func (c *call) inherit() {
	if c.held.entry.Version != c.secret.ID || idOf(c.held.entry) == c.wroteEntry {
		return // see inheritRevocations; or this process knows them
	}
	if r, err := c.open(c.secret, c.held.entry); err == nil {
		c.enqueueRecords(r.Revocations, c.secret)
	}
}

// inheritRevocations takes over the token of the item's entry, and its revocations, if the entry belongs to another
// version: the process that got that token may be gone, and its credentials may be compromised. Whatever the step comes
// to will replace the entry. requested: a caller asks for the revocation.
func (c *call) inheritRevocations(ctx context.Context, requested bool) {
	if c.held == nil || c.held.entry.Version == "" || c.held.entry.Version == c.secret.ID {
		return
	}
	var versions []*appsecret.Version
	compromised, err := c.read(ctx, appsecret.Compromised)
	if err == nil {
		versions = append(versions, compromised)
	}
	if previous, err := c.read(ctx, appsecret.Previous); err == nil {
		versions = append(versions, previous)
	}
	for _, version := range versions {
		r, err := c.open(version, c.held.entry)
		if err != nil {
			continue
		}
		c.enqueueRecords(r.Revocations, version)
		if r.Token == nil {
			return
		}
		issuer := version
		for _, other := range versions { // it may have been a fallback
			if other.ID == r.Token.VersionID {
				issuer = other
			}
		}
		t, err := r.Token.restore(c, issuer, version)
		if err == nil && !slices.Contains(r.DeadIDs, t.id) {
			p := pendingRevocation{cachedToken: t, requested: requested}
			if sameCredentials(t.client, compromised) {
				p.compromised = compromised
			}
			c.enqueue(p)
		}
		return
	}
}

// enqueueRecords adds revocations of another process, which were requested or are of compromised credentials.
func (c *call) enqueueRecords(records []tokenRecord, version *appsecret.Version) {
	for i := range records {
		if t, err := records[i].restore(c, version, version); err == nil {
			c.enqueue(pendingRevocation{cachedToken: t, requested: true})
		}
	}
}

// callTable measures a call to the token table, and notes its failure.
func (c *call) callTable(do func() (tokenstore.Item, error)) (tokenstore.Item, error) {
	begun := time.Now()
	item, err := do()
	c.stats.Table += time.Since(begun)
	if err != nil {
		c.noteTableErr(err)
	}
	return item, err
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
