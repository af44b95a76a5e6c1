package vending

import (
	"context"
	"slices"

	"github.com/sftoken/sftoken/internal/appsecret"
)

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
