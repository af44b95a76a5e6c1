package vending

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// app is what is known of one app.
type app struct {
	name string

	mu     sync.Mutex // guards what follows; never held during a call
	flight *flight    // the work under way; nil: none

	secret      *appsecret.Version // AWSCURRENT as last read; nil: not known
	readAt      time.Time          // when that was
	unread      trouble            // why it could not be read
	session     *session           // the cached token; nil: none
	recent      []string           // ids of the last tokens that logins returned, the newest last; never changed in place
	revocations []revocation       // that are still to be made, the oldest first; never changed in place
	refused     trouble            // why Salesforce gives no token
	blindUntil  time.Time          // until when it is remembered that Salesforce refuses to introspect for this app
	lookedAt    time.Time          // when a caller's word that the token is dead was last looked into
	doubted     string             // id of a token reported as dead while introspection fails; empty: none
	stoodInAt   time.Time          // when a login last took the place of an introspection that failed
}

// session is one token and what is known of its life. It is immutable.
type session struct {
	token   *sfoauth.Token
	id      string
	client  *sfoauth.Client // with the version that the token was made with
	version string          // that version's id
	madeFor string          // the id of AWSCURRENT at the time, which is another where its pair was refused
	horizon time.Time       // until when the token is believed
	alive   time.Time       // until when it lives by what Salesforce last said; at least horizon
	reserve time.Duration   // with less than this left before horizon, Salesforce is asked
	how     CacheStatus     // Miss or Confirmed: what the last flight did
}

func tokenID(token *sfoauth.Token) string {
	sum := sha256.Sum256([]byte(token.AccessToken.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// newSession starts the life of a token that was asked for at the time asked, with version, while current was AWSCURRENT. Its
// session began before the answer, and perhaps long before.
func (v *Vendor) newSession(token *sfoauth.Token, client *sfoauth.Client, version, current *appsecret.Version, asked time.Time) *session {
	s := &session{token: token, id: tokenID(token), client: client, version: version.ID, madeFor: current.ID, how: Miss}
	until := token.Expiry
	if until.IsZero() {
		until = asked.Add(DefaultTokenTTL)
	}
	return v.believe(s, until, asked)
}

// believe returns the session as one that is believed until then. A token that never has MinTTL left would otherwise be
// replaced at every request.
func (v *Vendor) believe(s *session, until, now time.Time) *session {
	next := *s
	next.horizon, next.alive = until, until
	next.reserve = min(v.MinTTL, max(left(until, now)/2, time.Second))
	if s.token.Expiry.IsZero() && left(until, now) >= v.MinTTL {
		next.reserve = v.MinTTL // introspection can give it more
	}
	return &next
}

// unprovable returns a session that only a login can renew, since introspection is refused. It is in use for half of
// what it has left at the least, so that a long MinTTL does not spend the login budget.
func (v *Vendor) unprovable(s *session, now time.Time) *session {
	next := *s
	next.reserve = min(v.MinTTL, left(s.horizon, now)/2)
	return &next
}

// confirmed returns the session after Salesforce, asked at the time asked, has said that it is active until expiry (zero: it did
// not say when).
func (v *Vendor) confirmed(s *session, expiry, asked time.Time) *session {
	next := *s
	next.how = Confirmed
	if !s.token.Expiry.IsZero() {
		return &next
	}
	next.horizon, next.alive, next.reserve = asked.Add(v.IntrospectInterval), asked.Add(v.IntrospectInterval), v.MinTTL
	if !expiry.IsZero() {
		next.horizon, next.alive = earlier(next.horizon, expiry), expiry
	}
	return &next
}

// lasts says whether enough of the session is left to hand its token out. It may be asked of nil.
func (s *session) lasts(now time.Time) bool { return s != nil && left(s.horizon, now) >= s.reserve }

// left is how long it is until t: by the clock that says less, where the monotonic clock and that on the wall disagree. The first
// may stand still while the process is frozen, so that a token would outlive its session and a failure be remembered for
// days; the second may be set back. Others on Lambda have met it: aws-sdk-go-v2 #789, vault-lambda-extension #150.
func left(t, now time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0))) // Round(0) leaves the time on the wall
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (s *session) grant(cache CacheStatus, left time.Duration) Grant {
	return Grant{Token: s.token, TokenID: s.id, ExpiresIn: left, CacheStatus: cache, VersionID: s.version}
}

// grantStale hands the token out for no longer than most, since it could not be renewed.
func (s *session) grantStale(most time.Duration, withheld error, now time.Time) Grant {
	grant := s.grant(Stale, min(left(s.alive, now), most))
	grant.RefreshErr = withheld
	return grant
}

// work is what a flight does for an app. It takes a.mu only to note what came out.
type work func(ctx context.Context, f *flight)

// flight is work under way, which everybody who asks for the same app waits for.
type flight struct {
	done chan struct{} // closed when the fields below are final
	cost CallStats
	made *session // the session that it made or confirmed
	err  error    // what its own caller is told, where the state does not say it
}

// start begins the work. a.mu is held. The flight does not end when its caller gives up, but has a little less time
// than that caller, who then hears what went wrong: a Lambda is frozen between invocations, and a call that sleeps through a
// freeze has failed when it wakes.
func (v *Vendor) start(ctx context.Context, a *app, do work) *flight {
	f := &flight{done: make(chan struct{})}
	a.flight = f
	deadline := time.Now().Add(flightTime)
	if callers, ok := ctx.Deadline(); ok {
		deadline = earlier(deadline, leaveTime(callers).Add(-flightMargin))
	}
	go func() {
		ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		defer cancel()
		defer func() {
			if cause := recover(); cause != nil {
				f.err = InternalError(telemetry.RecoveredError(cause))
			}
			a.mu.Lock()
			a.flight = nil
			a.mu.Unlock()
			close(f.done)
		}()
		do(ctx, f)
	}()
	return f
}

// wait waits until the flight ends, or the caller has no time left but to answer.
func (f *flight) wait(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, leaveTime(deadline))
		defer cancel()
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return outOfTime(ctx)
	}
}

// leaveTime is when a caller with this deadline must begin to answer.
func leaveTime(deadline time.Time) time.Time {
	return deadline.Add(-min(answerTime, time.Until(deadline)/4))
}

// decide answers a request from what is known, or says which work must be done first. a.mu is held. made is the session
// that the request has waited for, if any.
func (v *Vendor) decide(a *app, req Request, made *session, now time.Time) (Grant, work, error) {
	if read, err := v.ready(a, now); read != nil || err != nil {
		return Grant{}, read, err
	}
	if err := a.authorize(req); err != nil {
		return Grant{}, nil, err
	}
	s := a.session
	if s != nil && s == made {
		return s.grant(s.how, left(s.horizon, now)), nil, nil
	}
	failing := a.refused.active(now)
	reported := s != nil && (req.Rejected == s.id || a.doubted == s.id)
	if look := v.lookWithoutLogin(a, reported, now); look != nil {
		return Grant{}, look, nil
	}
	if s != nil && s.madeFor != a.secret.ID {
		return v.replace(a, nil, false, now)
	}
	// A request that comes while it is being looked into waits for what comes out.
	check := reported && (failing || a.flight != nil || !a.lookedRecently(now))
	if !check && s.lasts(now) {
		if a.doubted == s.id {
			return s.grantStale(v.MinTTL, errDoubted, now), nil, nil
		}
		return s.grant(Hit, left(s.horizon, now)), nil, nil
	}
	if check && !failing {
		a.lookedAt = now
	}
	// Introspection does not make a JWT live longer than it says itself; it can only tell that it has died before.
	if s != nil && (a.blind(now) || !check && !s.token.Expiry.IsZero()) {
		s = nil
	}
	return v.replace(a, s, check, now)
}

// lookWithoutLogin returns the work of asking Salesforce about a token that is reported as dead, where the login budget
// is exhausted: introspection costs no login. Nil: there is nothing to ask. a.mu is held.
func (v *Vendor) lookWithoutLogin(a *app, reported bool, now time.Time) work {
	if !reported || !a.refused.exhausted || !a.refused.active(now) || a.blind(now) {
		return nil
	}
	if a.flight == nil {
		if a.lookedRecently(now) {
			return nil
		}
		a.lookedAt = now
	}
	return v.look(a, a.session)
}

// ready returns the work of reading the app's secret where that is due, or the error where the secret is not known.
func (v *Vendor) ready(a *app, now time.Time) (work, error) {
	ttl := v.SecretTTL
	if a.refused.lasting || a.refused.exhausted && len(a.refused.tried) > 0 {
		ttl = min(ttl, rereadEvery) // a new version may be there, which costs no login to see
	}
	switch {
	case !a.unread.active(now) && (a.secret == nil || left(a.readAt.Add(ttl), now) <= 0):
		return v.readSecret(a, a.refused), nil
	case a.secret == nil:
		return nil, a.unread.answer(now)
	}
	return nil, nil
}

// replace returns the work of confirming the session or, where it is nil, of making a new one. While a failure is
// remembered, the cached token is handed out as stale instead, if it still lives.
func (v *Vendor) replace(a *app, confirm *session, reported bool, now time.Time) (Grant, work, error) {
	if !a.refused.active(now) {
		return Grant{}, v.renew(a, confirm, reported, now), nil
	}
	// A token for another org than the secret now names is never handed out.
	s := a.session
	if s != nil && left(s.alive, now) >= time.Second && s.client.BaseURL == a.secret.BaseURI && a.secret.VerifyIdentity(s.token) == nil {
		return s.grantStale(v.MinTTL, a.refused.told, now), nil, nil
	}
	return Grant{}, nil, a.refused.answer(now)
}

// blind reports whether Salesforce refuses to introspect for the app, as far as is remembered.
func (a *app) blind(now time.Time) bool { return left(a.blindUntil, now) > 0 }

// lookedRecently reports whether it is too early to look into a caller's word again.
func (a *app) lookedRecently(now time.Time) bool {
	every := rejectedEvery
	if a.blind(now) {
		every = blindEvery
	}
	return left(a.lookedAt.Add(every), now) > 0
}
