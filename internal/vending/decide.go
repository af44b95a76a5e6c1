package vending

import (
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

const (
	// rejectedCheckInterval limits, per app, how often ?rejected triggers a check of the token.
	rejectedCheckInterval = 5 * time.Second
	// rejectedCheckIntervalWithoutIntrospection is the same where Salesforce refuses to introspect, so that a check
	// costs a login. It also limits the logins that replace an introspection that failed.
	rejectedCheckIntervalWithoutIntrospection = time.Minute
	// rereadInterval is how often the secret of a refused app is read again, in case a new version has been stored.
	rereadInterval = time.Second
)

// step is what to do next for a request.
type step string

const (
	respond    step = "respond"    // return the action's grant or err
	loadSecret step = "loadSecret" // read AWSCURRENT
	introspect step = "introspect" // ask Salesforce about the cached token, without a login if it is dead
	refresh    step = "refresh"    // introspect the cached token, and log in if it is dead
	logIn      step = "logIn"      // get a new token
	revoke     step = "revoke"     // revoke the cached token and those that are pending
)

// action is a step with its parameters.
type action struct {
	step
	grant Grant
	err   *Error // nil: the grant
	// allowedBy is the entry of allowedPrincipals that allows the caller; empty: there is none.
	allowedBy string
	// rejectedCheck: the step checks a token that a caller reports as dead.
	rejectedCheck bool
}

// input is a request and what has happened to it so far.
type input struct {
	Request
	obtained  *cachedToken // that a call returned which the request waited for; nil: none
	revoked   bool         // the request's own revoke call has ended
	revokedID string       // of the token that it revoked; empty: none
	busy      bool         // a call for the app is in progress, which the request would wait for
}

// decide returns the next action for a request. It has no side effects.
func decide(c *Config, s *state, in input, now time.Time) action {
	if a, ok := secretReady(c, s, now); !ok {
		return a
	}
	entry, err := authorize(s.secret, in.Request)
	if err != nil {
		return action{step: respond, err: err}
	}
	a := decideAllowed(c, s, in, now)
	a.allowedBy = entry
	return a
}

// decideAllowed returns the next action for a caller that may have the app's tokens.
func decideAllowed(c *Config, s *state, in input, now time.Time) action {
	if in.revoke {
		// With a token table, other processes may have a token.
		if in.revoked || s.cached == nil && len(s.pending) == 0 && c.Table == nil {
			return action{step: respond, grant: Grant{TokenID: in.revokedID}}
		}
		return action{step: revoke}
	}
	t := s.cached
	if t != nil && t == in.obtained {
		return action{step: respond, grant: t.grant(t.source, remaining(t.trustedUntil, now))}
	}
	blocked := s.loginErr.blocked(now)
	rejected := t != nil && (in.Rejected == t.id || s.doubtedID == t.id)
	// A request that arrives during a check waits for its result.
	due := rejected && (in.busy || s.rejectedCheckDue(now))
	if due && blocked && s.loginErr.budgetExhausted && !s.introspectionDenied(now) {
		return action{step: introspect, rejectedCheck: true} // which costs no login
	}
	if t != nil && t.currentVersionID != s.secret.ID {
		return unlessBlocked(c, s, action{step: logIn}, now)
	}
	check := due || rejected && blocked
	if !check && t.isFresh(now) {
		if s.doubtedID == t.id {
			return action{step: respond, grant: t.staleGrant(c.MinTTL, errDoubted, now)}
		}
		return action{step: respond, grant: t.grant(Hit, remaining(t.trustedUntil, now))}
	}
	// Another process is renewing the token.
	if !rejected && t != nil && remaining(s.lease.recheck, now) > 0 && remaining(t.trustedUntil, now) >= time.Second {
		return action{step: respond, grant: t.grant(Hit, remaining(t.trustedUntil, now))}
	}
	// Introspection cannot extend the expiry of a JWT; it can only find that it has ended early.
	if t == nil || s.introspectionDenied(now) || !check && !t.token.Expiry.IsZero() {
		return unlessBlocked(c, s, action{step: logIn, rejectedCheck: check}, now)
	}
	return unlessBlocked(c, s, action{step: refresh, rejectedCheck: check}, now)
}

// secretReady reports whether the app's secret is known. Otherwise it returns what to do instead.
func secretReady(c *Config, s *state, now time.Time) (action, bool) {
	ttl := c.SecretTTL
	if s.loginErr.permanent || s.loginErr.budgetExhausted && len(s.loginErr.tried) > 0 {
		ttl = min(ttl, rereadInterval) // there may be a new version, and reading the secret costs no login
	}
	switch {
	case !s.secretErr.blocked(now) && (s.secret == nil || remaining(s.readAt.Add(ttl), now) <= 0):
		return action{step: loadSecret}, false
	case s.secret == nil:
		return action{step: respond, err: s.secretErr.callerError(now)}, false
	}
	return action{}, true
}

// authorize returns why the caller may not have the app's tokens; nil: it may. The entry is the one that allows it;
// empty: the app has no list.
func authorize(secret *appsecret.Version, req Request) (entry string, err *Error) {
	if req.skipAuthz {
		return "", nil
	}
	entry, ok := secret.AllowedPrincipals.Match(req.Principal)
	if !ok {
		return "", accessDenied(req.App, req.Principal, secret.PrincipalsErr)
	}
	return entry, nil
}

// unlessBlocked returns the action. In a backoff it returns the cached token as stale instead, if that has not expired.
func unlessBlocked(c *Config, s *state, a action, now time.Time) action {
	if !s.loginErr.blocked(now) {
		return a
	}
	// A token for another org than the secret now names is never handed out.
	t := s.cached
	if t != nil && remaining(t.expiresAt, now) >= time.Second && t.client.BaseURL == s.secret.BaseURI &&
		s.secret.VerifyIdentity(t.token) == nil {
		return action{step: respond, grant: t.staleGrant(c.MinTTL, s.loginErr.err, now)}
	}
	return action{step: respond, err: s.loginErr.callerError(now)}
}
