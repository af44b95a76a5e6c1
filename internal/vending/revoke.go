package vending

import (
	"context"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// revocation is a token that is to be dead, and is not yet known to be.
type revocation struct {
	*session
	asked  bool               // a caller has asked for it
	leaked *appsecret.Version // whose credentials have made the token, and have leaked; nil: none is known
}

// queue returns the list with one more revocation. A token that is in it already stays where it is. Of too many the
// oldest is given up.
func queue(f *flight, waiting []revocation, more revocation) []revocation {
	waiting = slices.Clone(waiting)
	if at := slices.IndexFunc(waiting, func(r revocation) bool { return r.id == more.id }); at >= 0 {
		waiting[at].asked = waiting[at].asked || more.asked
		return waiting
	}
	if len(waiting) >= maxRevocations {
		f.cost.notef("gave up revoking token %s: more than %d revocations wait", waiting[0].id, maxRevocations)
		waiting = slices.Delete(waiting, 0, 1)
	}
	return append(waiting, more)
}

// revoker returns the client whose credentials may revoke other tokens: that of the cached token, which has worked, or
// of AWSCURRENT.
func (v *Vendor) revoker(current *appsecret.Version, cached *session) *sfoauth.Client {
	if cached != nil {
		return cached.client
	}
	return v.client(current)
}

// revokeAll makes the revocations that wait, with the rights of client. It returns those that still wait, the ids of
// the tokens that are dead now, and the last failure. A token is dead when Salesforce says so, or when its own expiry
// has passed.
func (v *Vendor) revokeAll(
	ctx context.Context, f *flight, name string, waiting []revocation, client *sfoauth.Client,
) (rest []revocation, dead []string, err error) {
	waiting = v.due(ctx, f, name, waiting)
	for i, r := range waiting {
		// Without another pair, the token's holders would lose it for one whose credentials have leaked as well.
		if !r.asked && (r.leaked == nil || sameCredentials(client, r.leaked)) {
			rest = append(rest, r)
			continue
		}
		failed := v.revokeOne(ctx, f, r.session, client)
		if failed == nil {
			dead = append(dead, r.id)
			continue
		}
		f.cost.Err, err = failed, failed
		rest = append(rest, r)
		if !isFinal(failed) { // Salesforce is down: the others wait as well
			return append(rest, waiting[i+1:]...), dead, err
		}
	}
	return rest, dead, err
}

// due returns the revocations that are to be made, or may be. It notes which tokens' credentials have leaked, since the
// label that says so may move on before they can be revoked.
func (v *Vendor) due(ctx context.Context, f *flight, name string, waiting []revocation) []revocation {
	leaked, unread := v.leaked(ctx, f, name, waiting)
	var due []revocation
	for _, r := range waiting {
		if r.madeBy(leaked) {
			r.leaked = leaked
		}
		over := !r.token.Expiry.IsZero() && left(r.token.Expiry, time.Now()) <= 0
		if !over && (r.asked || r.leaked != nil || unread) {
			due = append(due, r)
		}
	}
	return due
}

// leaked returns the version whose credentials have leaked (nil: none), where one of the revocations depends on it.
// unread: it could not be read, so that there may be one.
func (v *Vendor) leaked(
	ctx context.Context, f *flight, name string, waiting []revocation,
) (version *appsecret.Version, unread bool) {
	if !slices.ContainsFunc(waiting, func(r revocation) bool { return !r.asked && r.leaked == nil }) {
		return nil, false
	}
	version, err := v.read(ctx, f, name, appsecret.Compromised)
	if appsecret.IsKind(err, appsecret.Unavailable) || appsecret.IsKind(err, appsecret.Denied) {
		f.cost.Err = err
		return nil, true
	}
	return version, false
}

// revokeOne ends a token at Salesforce: with the rights of client, where that is for the same org, and else or if they
// are refused with those of the credentials that the token was made with.
func (v *Vendor) revokeOne(ctx context.Context, f *flight, s *session, client *sfoauth.Client) error {
	begun := time.Now()
	defer func() { f.cost.Salesforce += time.Since(begun) }()
	if client.BaseURL != s.client.BaseURL {
		return s.client.Revoke(ctx, s.token)
	}
	err := client.Revoke(ctx, s.token)
	if refusesPair(err) && !pairOf(client).Equal(pairOf(s.client)) {
		return s.client.Revoke(ctx, s.token)
	}
	return err
}

func pairOf(client *sfoauth.Client) sfoauth.ConsumerCredentials {
	return sfoauth.ConsumerCredentials{ConsumerKey: client.ConsumerKey, ConsumerSecret: client.ConsumerSecret}
}

// sameCredentials reports whether the client has the version's consumer key and secret. The address does not count: it
// can be written in other ways. nil is no version.
func sameCredentials(client *sfoauth.Client, version *appsecret.Version) bool {
	return version != nil && version.Credentials().Equal(pairOf(client))
}

// madeBy reports whether the session began with the version's credentials, which may be in other versions too: a person
// who changes another field of the secret makes one.
func (s *session) madeBy(version *appsecret.Version) bool { return sameCredentials(s.client, version) }

// revokeAgain tries the revocations that wait.
func (v *Vendor) revokeAgain(ctx context.Context, f *flight, a *app, client *sfoauth.Client, waiting []revocation) {
	ctx, cancel := context.WithTimeout(ctx, revokeTime)
	defer cancel()
	rest, dead, _ := v.revokeAll(ctx, f, a.name, waiting, client)
	f.cost.noteRevoked(dead)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noteRevoked(rest, dead)
}

func (c *CallStats) noteRevoked(tokens []string) {
	for _, id := range tokens {
		c.notef("revoked token %s", id)
	}
}

// noteRevoked remembers which revocations still wait, and forgets the cached token if it is dead. a.mu is held.
func (a *app) noteRevoked(rest []revocation, dead []string) {
	a.revocations = rest
	if a.session != nil && slices.Contains(dead, a.session.id) {
		a.session = nil
	}
}

// Revoke ends the app's cached token at Salesforce and forgets it, and those whose revocation has failed before. Where
// there are none it does nothing. A token that is not known to be dead afterwards is not handed out any more, and its
// revocation is tried again. Unlike Vend it asks Salesforce even while a failure is remembered: it is for emergencies.
// It returns the id of the cached token, or of the first other one that it has revoked.
func (v *Vendor) Revoke(ctx context.Context, req Request, cost *CallStats) (string, error) {
	a, err := v.app(req.App)
	if err != nil {
		return "", err
	}
	var revoked string // the flight's until it has been waited for: a caller who gives up must not touch it
	begun := false
	err = v.await(ctx, a, cost, func(_ *session, now time.Time) (work, error) {
		if read, err := v.ready(a, now); read != nil || err != nil {
			return read, err
		}
		if err := a.authorize(req); err != nil {
			return nil, err
		}
		if begun || a.session == nil && len(a.revocations) == 0 {
			return nil, nil
		}
		begun = a.flight == nil
		return v.revokeCached(a, &revoked), nil
	})
	if err != nil {
		return "", err
	}
	return revoked, nil
}

// revokeCached returns the work of ending the cached token and those that wait. a.mu is held.
func (v *Vendor) revokeCached(a *app, revoked *string) work {
	waiting, cached, client := a.revocations, a.session, v.revoker(a.secret, a.session)
	return func(ctx context.Context, f *flight) {
		if cached != nil { // first, since it is the one that others use
			waiting = slices.DeleteFunc(slices.Clone(waiting), func(r revocation) bool { return r.id == cached.id })
			waiting = slices.Insert(waiting, 0, revocation{session: cached, asked: true})
		}
		rest, dead, err := v.revokeAll(ctx, f, a.name, waiting, client)
		if cached != nil && len(rest) > 0 && rest[0].session == cached {
			rest = queue(f, rest[1:], rest[0])
		}
		if len(dead) > 0 {
			*revoked = dead[0]
			f.cost.noteRevoked(dead[1:])
		}
		if err != nil {
			f.err = unrevoked(a.name, err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.session = nil
		a.noteRevoked(rest, dead)
	}
}
