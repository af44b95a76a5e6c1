package vending

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

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
		if c.noteTableCall(r.took, r.err); r.err == nil && c.shares() {
			c.adopt(ctx, r.item.Entry)
		}
	}
}

// adopt takes over what the entry says, if this process has not read it yet and it was made for AWSCURRENT.
func (c *call) adopt(ctx context.Context, entry tokenstore.Entry) {
	id := idOf(entry)
	if entry.Version == "" || id == c.adoptedEntry {
		return
	}
	replayed := id.counter < c.adoptedEntry.counter
	c.adoptedEntry = id
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

// idOf identifies an entry. Its counter alone does not: it begins anew after the item has been deleted.
func idOf(entry tokenstore.Entry) entryID { return entryID{entry.Counter, sha256.Sum256(entry.Sealed)} }

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

// merge takes over what the record says. replayed: this process has read a later one.
func (c *call) merge(ctx context.Context, r *record, replayed bool) {
	r.correctClock(time.Now())
	for _, id := range r.RecentIDs {
		c.recentIDs = remember(c.recentIDs, id)
	}
	// A login may have returned a token again whose revocation had failed.
	if !replayed {
		c.sharedDeadIDs = nil
	}
	for _, id := range r.DeadIDs {
		c.sharedDeadIDs = remember(c.sharedDeadIDs, id)
	}
	c.doubtedID = r.DoubtedID
	c.introspectionDeniedUntil = later(c.introspectionDeniedUntil, r.IntrospectionDeniedUntil)
	c.lastRejectedCheck = later(c.lastRejectedCheck, r.LastRejectedCheck)
	c.lastLoginInstead = later(c.lastLoginInstead, r.LastLoginInstead)
	c.Logins.Lower(c.app.name, r.LoginsLeft, r.Written)
	c.loginErr = backoff{}
	version := c.versionsByID(ctx)
	if r.Failure != nil {
		c.loginErr = r.Failure.restore(c.app.name, version)
	}
	if r.Token != nil && remaining(r.Token.ExpiresAt, time.Now()) > 0 {
		c.adoptToken(r.Token, version(r.Token.VersionID))
	}
	if c.cached != nil && c.isDead(c.cached.id) {
		c.cached = nil
	}
}

// adoptToken caches another process's token.
func (c *call) adoptToken(r *tokenRecord, version *appsecret.Version) {
	if version == nil {
		return // its credentials have no label any more
	}
	t, err := r.restore(c, version, c.secret)
	if err != nil {
		c.stats.notef("ignored the token in the token table: %v", err)
		return
	}
	if c.isDead(t.id) {
		return
	}
	// As after a login, a token of other credentials may have to be revoked. A revocation is of both tokens.
	old, requested := c.cached, c.step == revoke
	if old != nil && !c.isDead(old.id) &&
		(old.versionID != t.versionID || requested && old.id != t.id) {
		c.enqueue(pendingRevocation{cachedToken: old, requested: requested})
	}
	c.cached, c.stats.Adopted = t, true
}

// versionsByID returns a function that returns the version with an ID if it is AWSCURRENT or one that a login falls
// back to, and otherwise nil. It reads each label once at most.
func (c *call) versionsByID(ctx context.Context) func(id string) *appsecret.Version {
	fallbacks := sync.OnceValue(func() (versions []*appsecret.Version) {
		for _, label := range appsecret.FallbackLabels {
			if version, err := c.read(ctx, label); err == nil {
				versions = append(versions, version)
			}
		}
		return versions
	})
	return func(id string) *appsecret.Version {
		if id == c.secret.ID {
			return c.secret
		}
		for _, version := range fallbacks() {
			if version.ID == id {
				return version
			}
		}
		return nil
	}
}
