package vending

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// state is what is known of one app. Its slices are never changed in place, so that a copy stays as it is.
type state struct {
	secret    *appsecret.Version // AWSCURRENT as last read; nil: not known
	readAt    time.Time          // when secret was read
	secretErr backoff            // why the secret could not be read

	cached    *cachedToken        // nil: none
	recentIDs []string            // of the last tokens that logins returned, the newest last
	pending   []pendingRevocation // the oldest first
	loginErr  backoff             // why Salesforce issues no token

	introspectionDeniedUntil time.Time // Salesforce has refused to introspect for this app
	lastRejectedCheck        time.Time // when a check of a token that a caller reported as dead last began
	doubtedID                string    // of a token reported as dead that could not be introspected; empty: none
	lastLoginInstead         time.Time // when a login last replaced an introspection that failed
	deadIDs                  []string  // of the last tokens that must not be returned again, the newest last
	sharedDeadIDs            []string  // likewise by the last entry of the token table

	// Of the token table:
	adoptedEntry entryID       // of the last entry that was read; zero: none
	wroteEntry   entryID       // of the last entry that this process wrote
	lease        observedLease // another process's
}

// entryID identifies an entry of the token table.
type entryID struct {
	counter int64
	sum     [sha256.Size]byte // of what is sealed
}

// cachedToken is one token and what is known of its life. It is immutable.
type cachedToken struct {
	token            *sfoauth.Token
	id               string
	client           *sfoauth.Client // with the credentials that the token was issued to
	versionID        string          // of the version with those credentials
	currentVersionID string          // of AWSCURRENT at that time; another one if its credentials were refused
	trustedUntil     time.Time       // until when it is returned without an introspection
	expiresAt        time.Time       // by what Salesforce last said; not before trustedUntil
	refreshBefore    time.Duration   // with less than this left before trustedUntil, Salesforce is asked
	source           CacheStatus     // Miss or Confirmed: what the last call did; Hit: adopted from the token table
}

// pendingRevocation is a token that must be revoked, or may have to be.
type pendingRevocation struct {
	*cachedToken
	requested   bool               // by a caller
	compromised *appsecret.Version // that it was issued to; nil: none is known
}

// newToken returns a token that was requested at the given time, with version, while current was AWSCURRENT. The
// token's session began before the response, perhaps long before.
func (c *Config) newToken(
	token *sfoauth.Token, client *sfoauth.Client, version, current *appsecret.Version, requested time.Time,
) *cachedToken {
	t := &cachedToken{
		token: token, id: tokenID(token), client: client, source: Miss,
		versionID: version.ID, currentVersionID: current.ID,
	}
	until := token.Expiry
	if until.IsZero() {
		until = requested.Add(DefaultTokenTTL)
	}
	return c.trust(t, until, requested)
}

// tokenID returns the first 16 hex digits of the token's SHA-256.
func tokenID(token *sfoauth.Token) string {
	sum := sha256.Sum256([]byte(token.AccessToken.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// trust returns a copy of the token that is trusted until the given time. It limits refreshBefore, since a token that
// never has MinTTL left would otherwise be replaced at every request.
func (c *Config) trust(t *cachedToken, until, now time.Time) *cachedToken {
	next := *t
	next.trustedUntil, next.expiresAt = until, until
	next.refreshBefore = min(c.MinTTL, max(remaining(until, now)/2, time.Second))
	if t.token.Expiry.IsZero() && remaining(until, now) >= c.MinTTL {
		next.refreshBefore = c.MinTTL // introspection can extend it
	}
	return &next
}

// withoutIntrospection returns a copy of the token that only a login can renew. It is used for at least half of its
// remaining time, so that a long MinTTL does not exhaust the login budget.
func (c *Config) withoutIntrospection(t *cachedToken, now time.Time) *cachedToken {
	next := *t
	next.refreshBefore = min(c.MinTTL, remaining(t.trustedUntil, now)/2)
	return &next
}

// confirmed returns a copy of the token after an introspection, begun at the given time, has found it active until
// expiry (zero: the response has none).
func (c *Config) confirmed(t *cachedToken, expiry, begun time.Time) *cachedToken {
	next := *t
	next.source = Confirmed
	if !t.token.Expiry.IsZero() {
		return &next
	}
	next.trustedUntil, next.refreshBefore = begun.Add(c.IntrospectInterval), c.MinTTL
	next.expiresAt = next.trustedUntil
	if !expiry.IsZero() {
		next.trustedUntil, next.expiresAt = earlier(next.trustedUntil, expiry), expiry
	}
	return &next
}

// isFresh reports whether the token may be returned without an introspection. It may be called on nil.
func (t *cachedToken) isFresh(now time.Time) bool {
	return t != nil && remaining(t.trustedUntil, now) >= t.refreshBefore
}

func (t *cachedToken) grant(status CacheStatus, expiresIn time.Duration) Grant {
	return Grant{Token: t.token, TokenID: t.id, ExpiresIn: expiresIn, CacheStatus: status, VersionID: t.versionID}
}

// staleGrant grants the token for at most the given time, since it could not be renewed.
func (t *cachedToken) staleGrant(most time.Duration, reason error, now time.Time) Grant {
	grant := t.grant(Stale, min(remaining(t.expiresAt, now), most))
	grant.RefreshErr = reason
	return grant
}

// maxRememberedIDs bounds each list of ids.
const maxRememberedIDs = 20

// remember returns the ids with one more, as the newest.
func remember(ids []string, id string) []string {
	ids = without(ids, id)
	return append(ids[max(0, len(ids)-maxRememberedIDs+1):], id)
}

// without returns the ids that are not id, in a new slice.
func without(ids []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(other string) bool { return other == id })
}

// isDead reports whether the token must not be returned again.
func (s *state) isDead(id string) bool {
	return slices.Contains(s.deadIDs, id) || slices.Contains(s.sharedDeadIDs, id)
}

// noteDead remembers that the token must not be returned again.
func (s *state) noteDead(id string) { s.deadIDs = remember(s.deadIDs, id) }

// introspectionDenied reports whether Salesforce is known not to introspect for the app.
func (s *state) introspectionDenied(now time.Time) bool {
	return remaining(s.introspectionDeniedUntil, now) > 0
}

// rejectedCheckDue reports whether a token that a caller reports as dead may be checked now.
func (s *state) rejectedCheckDue(now time.Time) bool {
	interval := rejectedCheckInterval
	if s.introspectionDenied(now) {
		interval = rejectedCheckIntervalWithoutIntrospection
	}
	return remaining(s.lastRejectedCheck.Add(interval), now) <= 0
}

// remaining returns the time until t, using whichever of the monotonic and wall clocks says less. The monotonic clock
// may stand still while the process is frozen, so that a token would outlive its session; the wall clock may be set
// back. Others have met this on Lambda: aws-sdk-go-v2 #789, vault-lambda-extension #150.
func remaining(t, now time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0))) // Round(0) drops the monotonic time
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
