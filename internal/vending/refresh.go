package vending

import (
	"context"
	"slices"
	"time"
)

const (
	// unconfirmedTTL is how long to trust a token that a login has returned again, while introspection fails.
	unconfirmedTTL = time.Minute
	// introspectionDeniedTTL is how long it is remembered that Salesforce refuses to introspect for an app.
	introspectionDeniedTTL = 30 * time.Minute
)

// refresh gets the app a token that can be trusted: the cached one if the step is refresh and Salesforce confirms it,
// or else a new one.
func (c *call) refresh(ctx context.Context) {
	c.replaced = c.cached
	if c.loginErr.budgetExhausted {
		c.tried = c.loginErr.tried
	}
	var err error
	if c.step == refresh {
		err = c.introspectCached(ctx)
	}
	if c.obtained == nil && (err == nil || isPermanent(err) || c.mayLogInInstead(err)) {
		err = c.logIn(ctx)
	}
	c.inheritRevocations(ctx, false) // also after a failure, which will replace the entry
	if err == nil {
		err = c.settleRevocations(ctx)
	}
	if err != nil {
		c.obtained = nil
		c.loginErr = c.loginErr.next(loginError(c.app.name, err), err, c.tried, c.Jitter, time.Now())
		return
	}
	c.cached, c.loginErr = c.obtained, backoff{}
}

// introspectCached asks Salesforce about the cached token. If it is dead, c.cached is nil.
func (c *call) introspectCached(ctx context.Context) error {
	t, err := c.introspect(ctx, c.cached)
	if err != nil {
		// A first failed introspection may not cause a login; a second may. See mayLogInInstead.
		c.wasDoubted = c.doubtedID == c.cached.id
		if c.rejectedCheck && !isPermanent(err) {
			c.doubtedID = c.cached.id
		}
		return err
	}
	c.doubtedID, c.cached = "", t
	if t.isFresh(time.Now()) {
		c.obtained = t
	}
	return nil
}

// mayLogInInstead reports whether a login may replace an introspection that failed: if the cached token has expired,
// or if introspection keeps failing while a caller reports the token as dead. Perhaps only introspection is down, or
// the instance that the token is for.
func (c *call) mayLogInInstead(err error) bool {
	now := time.Now()
	switch {
	case isRateLimited(err):
		return false
	case remaining(c.cached.expiresAt, now) <= 0:
		return true
	case c.rejectedCheck && c.wasDoubted &&
		remaining(c.lastLoginInstead.Add(rejectedCheckIntervalWithoutIntrospection), now) <= 0:
		c.lastLoginInstead = now
		return true
	}
	return false
}

// introspectOnly asks Salesforce about the cached token, and does not log in if it is dead. It keeps
// loginErr, since there still can be no login.
func (c *call) introspectOnly(ctx context.Context) {
	c.inheritRevocations(ctx, false)
	t, err := c.introspect(ctx, c.cached)
	switch {
	case err == nil:
		c.cached, c.doubtedID = t, ""
	case isRateLimited(err): // the next check is due when Salesforce allows it
		c.doubtedID, c.lastRejectedCheck = c.cached.id, time.Now().Add(rateLimit(err)-rejectedCheckInterval)
	case !isPermanent(err):
		c.doubtedID = c.cached.id
	}
}

// introspect asks Salesforce whether the token is active, and returns it with its new expiry; nil: it is dead.
func (c *call) introspect(ctx context.Context, t *cachedToken) (*cachedToken, error) {
	if err := c.keepLease(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	result, err := t.client.Introspect(ctx, t.token)
	c.stats.Salesforce += time.Since(begun)
	if err != nil {
		c.stats.Err = err
		if isIntrospectionDenied(err) {
			c.introspectionDeniedUntil = time.Now().Add(introspectionDeniedTTL)
		}
		return nil, err
	}
	if !result.Active {
		c.noteDead(t.id)
		return nil, nil
	}
	return c.confirmed(t, result.Expiry, begun), nil
}

// logIn gets a new token. It introspects the token if the login does not tell enough: if this process has seen the
// token before, whose session may end at any moment, or if MinTTL asks for more than a login promises.
func (c *call) logIn(ctx context.Context) error {
	t, err := c.loginWithFallback(ctx)
	if err != nil {
		return err
	}
	seen := slices.Contains(c.recentIDs, t.id)
	c.recentIDs = remember(c.recentIDs, t.id)
	c.deadIDs, c.sharedDeadIDs = without(c.deadIDs, t.id), without(c.sharedDeadIDs, t.id)
	now := time.Now()
	switch {
	case !t.token.Expiry.IsZero(): // a JWT
	case c.introspectionDenied(now):
		t = c.withoutIntrospection(t, now)
	case seen || remaining(t.trustedUntil, now) < c.MinTTL:
		if t, err = c.introspectNew(ctx, t, seen); err != nil {
			return err
		}
	}
	c.obtained, c.doubtedID = t, ""
	return nil
}

// introspectNew asks Salesforce for the expiry of a token that a login has just returned.
func (c *call) introspectNew(ctx context.Context, t *cachedToken, seen bool) (*cachedToken, error) {
	result, err := c.introspect(ctx, t)
	now := time.Now()
	switch {
	case isIntrospectionDenied(err):
		return c.withoutIntrospection(t, now), nil
	case err != nil && seen:
		return c.trust(t, now.Add(unconfirmedTTL), now), nil
	case err != nil:
		return t, nil //nolint:nilerr // the login alone promises DefaultTokenTTL
	case result == nil:
		c.stats.Err = errDeadToken
		return nil, errDeadToken
	}
	next := c.trust(result, result.trustedUntil, now)
	next.expiresAt, next.source = result.expiresAt, Miss
	return next, nil
}
