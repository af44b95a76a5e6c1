package vending

import (
	"context"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

const (
	// maxPending bounds the pending revocations of an app.
	maxPending = 100
	// retryRevocationsTimeout bounds the revocations that are retried while a request waits for a token.
	retryRevocationsTimeout = 3 * time.Second
)

// revoke revokes the cached token and those that are pending, at a caller's request.
func (c *call) revoke(ctx context.Context) {
	c.inheritRevocations(ctx, true)
	client, cached := c.revoker(), c.cached
	if cached != nil { // first, since it is the one in use
		c.pending = slices.DeleteFunc(slices.Clone(c.pending), func(p pendingRevocation) bool { return p.id == cached.id })
		c.pending = slices.Insert(c.pending, 0, pendingRevocation{cachedToken: cached, requested: true})
		c.cached = nil
		c.noteDead(cached.id)
		c.withdraw(ctx)
	}
	dead, err := c.revokePending(ctx, client)
	if cached != nil && len(c.pending) > 0 && c.pending[0].cachedToken == cached {
		first := c.pending[0]
		c.pending = c.pending[1:]
		c.enqueue(first)
	}
	if len(dead) > 0 {
		c.revokedID = dead[0]
		c.noteRevoked(dead[1:])
	}
	if err != nil {
		c.err = revocationError(c.app.name, err)
	}
}

// retryRevocations retries the pending revocations, authenticating as client, and returns the ids of the tokens that
// are dead now.
func (c *call) retryRevocations(ctx context.Context, client *sfoauth.Client) []string {
	ctx, cancel := context.WithTimeout(ctx, retryRevocationsTimeout)
	defer cancel()
	dead, _ := c.revokePending(ctx, client)
	c.noteRevoked(dead)
	if c.cached != nil && slices.Contains(dead, c.cached.id) {
		c.cached = nil
	}
	return dead
}

// settleRevocations revokes the replaced token if its credentials are compromised, and retries the pending
// revocations. Salesforce may return the session of the first login to a second one: if that has just been revoked,
// it logs in again.
func (c *call) settleRevocations(ctx context.Context) error {
	if c.replaced != nil && c.replaced.versionID != c.obtained.versionID {
		c.enqueue(pendingRevocation{cachedToken: c.replaced})
	}
	if len(c.pending) == 0 {
		return nil
	}
	if !slices.Contains(c.retryRevocations(ctx, c.obtained.client), c.obtained.id) {
		return nil
	}
	c.obtained = nil
	return c.logIn(ctx)
}

// enqueue adds a pending revocation. A token that is pending already keeps its place. If there are too many, the
// oldest is dropped.
func (c *call) enqueue(p pendingRevocation) {
	pending := slices.Clone(c.pending)
	if at := slices.IndexFunc(pending, func(other pendingRevocation) bool { return other.id == p.id }); at >= 0 {
		pending[at].requested = pending[at].requested || p.requested
		c.pending = pending
		return
	}
	if len(pending) >= maxPending {
		c.stats.notef("gave up revoking token %s: more than %d revocations wait", pending[0].id, maxPending)
		pending = slices.Delete(pending, 0, 1)
	}
	c.pending = append(pending, p)
}

func (c *call) noteRevoked(ids []string) {
	for _, id := range ids {
		c.stats.notef("revoked token %s", id)
	}
}

// revoker returns the client that revokes other tokens: that of the cached token, which has worked, or of AWSCURRENT.
func (c *call) revoker() *sfoauth.Client {
	if c.cached != nil {
		return c.cached.client
	}
	return c.client(c.secret)
}

// revokePending makes the pending revocations that are due, authenticating as client, and leaves the others pending.
// It returns the ids of the tokens that are dead now, and the last failure. A token is dead if Salesforce says so, or
// if its own expiry has passed.
func (c *call) revokePending(ctx context.Context, client *sfoauth.Client) (dead []string, err error) {
	due := c.dueRevocations(ctx)
	c.pending = nil
	for i, p := range due {
		// If there are no other credentials, revoking would only replace a token by one of the same compromised ones.
		if !p.requested && (p.compromised == nil || sameCredentials(client, p.compromised)) {
			c.pending = append(c.pending, p)
			continue
		}
		failed := c.revokeToken(ctx, p.cachedToken, client)
		if failed == nil {
			c.noteDead(p.id)
			dead = append(dead, p.id)
			continue
		}
		c.stats.Err, err = failed, failed
		c.pending = append(c.pending, p)
		if !isPermanent(failed) { // Salesforce is down for the others as well
			c.pending = append(c.pending, due[i+1:]...)
			break
		}
	}
	return dead, err
}

// dueRevocations returns the pending revocations that must be made, or may have to be. It notes which tokens have
// compromised credentials, since the label may move on before they can be revoked.
func (c *call) dueRevocations(ctx context.Context) []pendingRevocation {
	compromised, unknown := c.readCompromised(ctx)
	var due []pendingRevocation
	for _, p := range c.pending {
		// The same credentials may be in several versions: changing another field of the secret stores a new one.
		if sameCredentials(p.client, compromised) {
			p.compromised = compromised
		}
		expired := !p.token.Expiry.IsZero() && remaining(p.token.Expiry, time.Now()) <= 0
		if !expired && (p.requested || p.compromised != nil || unknown) {
			due = append(due, p)
		}
	}
	return due
}

// readCompromised returns the version with compromised credentials (nil: none), if a pending revocation depends on
// it. It also reports whether the version is unknown because it could not be read.
func (c *call) readCompromised(ctx context.Context) (version *appsecret.Version, unknown bool) {
	depends := func(p pendingRevocation) bool { return !p.requested && p.compromised == nil }
	if !slices.ContainsFunc(c.pending, depends) {
		return nil, false
	}
	version, err := c.read(ctx, appsecret.Compromised)
	if appsecret.IsKind(err, appsecret.Unavailable) || appsecret.IsKind(err, appsecret.Denied) {
		c.stats.Err = err
		return nil, true
	}
	return version, false
}

// revokeToken revokes a token at Salesforce: authenticating as client if that is for the same org, and otherwise, or if
// client is refused, with the credentials that the token was issued to.
func (c *call) revokeToken(ctx context.Context, t *cachedToken, client *sfoauth.Client) error {
	if err := c.keepLease(ctx); err != nil {
		return err
	}
	begun := time.Now()
	defer func() { c.stats.Salesforce += time.Since(begun) }()
	if client.BaseURL != t.client.BaseURL {
		return t.client.Revoke(ctx, t.token)
	}
	err := client.Revoke(ctx, t.token)
	if isInvalidClient(err) && !credentialsOf(client).Equal(credentialsOf(t.client)) {
		return t.client.Revoke(ctx, t.token)
	}
	return err
}

func credentialsOf(client *sfoauth.Client) sfoauth.ConsumerCredentials {
	return sfoauth.ConsumerCredentials{ConsumerKey: client.ConsumerKey, ConsumerSecret: client.ConsumerSecret}
}

// sameCredentials reports whether the client has the version's consumer key and secret. It ignores the address, which
// can be written in several ways. A nil version has none.
func sameCredentials(client *sfoauth.Client, version *appsecret.Version) bool {
	return version != nil && version.Credentials().Equal(credentialsOf(client))
}
