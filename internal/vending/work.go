package vending

import (
	"context"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// Cost is what was spent on a request.
type Cost struct {
	SecretsManager time.Duration   // waited for Secrets Manager
	Salesforce     time.Duration   // waited for Salesforce
	Logins         []time.Duration // how long each token request to Salesforce took
	Err            error           // the last call that failed, even where a token could be handed out all the same
}

func (c *Cost) add(other Cost) {
	c.SecretsManager += other.SecretsManager
	c.Salesforce += other.Salesforce
	c.Logins = append(c.Logins, other.Logins...)
	if other.Err != nil {
		c.Err = other.Err
	}
}

// readSecret reads AWSCURRENT again. Where Salesforce has refused the pairs of some versions, it also looks whether
// there is one that has not been tried.
func (v *Vendor) readSecret(a *app, refused trouble) work {
	unburied, cached := a.unburied, a.session
	return func(ctx context.Context, f *flight) {
		version, err := v.read(ctx, f, a.name, appsecret.Current)
		if err == nil && unburied != nil && cached != nil {
			defer v.buryAgain(ctx, f, a, unburied, cached)
		}
		hope := err == nil && len(refused.tried) > 0 && v.untried(ctx, f, a.name, version, refused.tried)

		now := time.Now()
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.noteUnread(err, v.Jitter, now)
			return
		}
		if hope || a.secret == nil || a.secret.ID != version.ID {
			a.refused, a.blind = trouble{}, false
		}
		a.secret, a.readAt, a.unread = version, now, trouble{}
	}
}

// noteUnread remembers why the secret could not be read. What is gone is forgotten; otherwise what is known stays.
func (a *app) noteUnread(err error, jitter func() float64, now time.Time) {
	told := unreadable(a.name, err)
	a.unread = a.unread.after(told, err, nil, jitter, now)
	if told.Code == UnknownApp {
		a.secret, a.session, a.refused = nil, nil, trouble{}
	}
}

// untried says whether a version that a login might use has a pair that has not been refused yet.
func (v *Vendor) untried(ctx context.Context, f *flight, name string, current *appsecret.Version, tried []*appsecret.Version) bool {
	for _, label := range appsecret.Ladder {
		if version, err := v.read(ctx, f, name, label); err == nil && worthTrying(version, current, tried) {
			return true
		}
	}
	return false
}

// worthTrying says whether a version may stand in for AWSCURRENT: it is for the same org, and its pair is a new one.
func worthTrying(version, current *appsecret.Version, tried []*appsecret.Version) bool {
	if version.BaseURI != current.BaseURI || version.IsPlaceholder() {
		return false
	}
	for _, other := range tried {
		if version.SamePair(other) {
			return false
		}
	}
	return true
}

// renew gets the app a token that can be believed: the given one, where it is not nil and Salesforce confirms it, or else a
// new one.
func (v *Vendor) renew(a *app, confirm *session) work {
	current, blind, old := a.secret, a.blind, a.session
	return func(ctx context.Context, f *flight) {
		var made *session
		var tried []*appsecret.Version
		var err error
		cached := old // as Salesforce now says that it is; nil: dead
		if confirm != nil {
			var said *session
			said, err = v.confirm(ctx, f, confirm)
			blind = isFinal(err) && !refusesPair(err)
			if err == nil {
				cached = said
			}
			if said.lasts(time.Now()) {
				made = said
			}
		}
		// Perhaps only introspection is down, or the instance that the token was for: a token that is over is worth a login.
		over := confirm != nil && left(confirm.alive, time.Now()) <= 0 && !isLimiting(err)
		if made == nil && (err == nil || isFinal(err) || over) {
			made, current, tried, err = v.mint(ctx, f, a.name, current)
		}
		var revoked, unsure bool
		if err == nil && old != nil && old.version != made.version {
			if revoked, unsure = v.bury(ctx, f, a.name, old, made); revoked && made.id == old.id {
				// Salesforce may answer a second login with the session that the first one began: then it has just been ended.
				made, _, _, err = v.mint(ctx, f, a.name, current)
			}
		}

		now := time.Now()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.blind = blind
		if current != a.secret {
			a.secret, a.readAt = current, now
		}
		if a.session = cached; revoked {
			a.session = nil
		}
		if unsure {
			a.unburied = old
		}
		if err != nil {
			a.refused = a.refused.after(ungranted(a.name, err), err, tried, v.Jitter, now)
			return
		}
		a.session, a.refused, f.made = made, trouble{}, made
	}
}

// confirm asks Salesforce whether the session is alive, and returns it as Salesforce says it is; nil: dead.
func (v *Vendor) confirm(ctx context.Context, f *flight, s *session) (*session, error) {
	begun := time.Now()
	said, err := s.client.Introspect(ctx, s.token)
	f.cost.Salesforce += time.Since(begun)
	if err != nil {
		f.cost.Err = err
		return nil, err
	}
	if !said.Active {
		return nil, nil
	}
	return s.confirmed(said.Expiry, v.ConfirmEvery, begun), nil
}

// mint logs in, with AWSCURRENT or, where Salesforce refuses its pair, with another version that works, one login each.
// It returns AWSCURRENT as it is now, and the versions whose pair was refused.
func (v *Vendor) mint(ctx context.Context, f *flight, name string, current *appsecret.Version) (made *session, now *appsecret.Version, tried []*appsecret.Version, err error) {
	made, err = v.login(ctx, f, current, current)
	if !refusesPair(err) {
		return made, current, nil, err
	}
	tried = append(tried, current)
	if again, failed := v.read(ctx, f, name, appsecret.Current); failed == nil && again.ID != current.ID {
		current = again
		if made, err = v.login(ctx, f, current, current); !refusesPair(err) {
			return made, current, nil, err
		}
		tried = append(tried, current)
	}
	for _, label := range appsecret.Ladder {
		version, failed := v.read(ctx, f, name, label)
		if failed != nil || !worthTrying(version, current, tried) {
			continue
		}
		made, failed := v.login(ctx, f, version, current)
		if !isFinal(failed) {
			return made, current, tried, failed
		}
		tried = append(tried, version)
	}
	return nil, current, tried, err
}

// login asks Salesforce for a token with version, while current is AWSCURRENT.
func (v *Vendor) login(ctx context.Context, f *flight, version, current *appsecret.Version) (*session, error) {
	if version.IsPlaceholder() {
		return nil, ErrPlaceholder
	}
	client := version.Client(v.Hosts, v.HTTPClient)
	client.Timeout = salesforceTime
	begun := time.Now()
	token, err := client.Token(ctx)
	took := time.Since(begun)
	f.cost.Salesforce += took
	f.cost.Logins = append(f.cost.Logins, took)
	if err == nil {
		if pinned := version.CheckPins(token); pinned != nil {
			err = &setupError{pinned.Error() + ": mend the secret, or the app's run-as user"}
		}
	}
	if err != nil {
		f.cost.Err = err
		return nil, err
	}
	return v.newSession(token, client, version, current, begun), nil
}

func (v *Vendor) read(ctx context.Context, f *flight, name, label string) (*appsecret.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	begun := time.Now()
	version, err := v.Secrets.Read(ctx, name, label)
	f.cost.SecretsManager += time.Since(begun)
	if err != nil && label == appsecret.Current {
		f.cost.Err = err
	}
	return version, err
}

// Revoke ends the app's cached token at Salesforce and forgets it. Where there is none it does nothing. Where Salesforce
// does not answer, the token is kept, so that the next try can still revoke it. Unlike Vend it asks Salesforce even while
// a failure is remembered: it is for emergencies. It returns the revoked token's id.
func (v *Vendor) Revoke(ctx context.Context, req Request, cost *Cost) (string, error) {
	a, err := v.app(req.App)
	if err != nil {
		return "", err
	}
	var revoked string // the flight's until it has been waited for: a caller who gives up must not touch it
	err = v.await(ctx, a, cost, func(_ *session, now time.Time) (work, error) {
		if read, err := v.ready(a, now); read != nil || err != nil {
			return read, err
		}
		if !a.secret.AllowedPrincipals.Allow(req.Principal) {
			return nil, denied(a.name, req.Principal)
		}
		s := a.session
		if s == nil || revoked != "" {
			return nil, nil
		}
		return func(ctx context.Context, f *flight) {
			if f.err = v.revoke(ctx, f, a, s); f.err == nil {
				revoked = s.id
			}
		}, nil
	})
	if err != nil {
		return "", err
	}
	return revoked, nil
}

func (v *Vendor) revoke(ctx context.Context, f *flight, a *app, s *session) error {
	begun := time.Now()
	err := s.client.Revoke(ctx, s.token)
	f.cost.Salesforce += time.Since(begun)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil { // it may have been done all the same: who asks for the token next has it confirmed
		f.cost.Err = err
		doubtful := *s
		doubtful.horizon, doubtful.alive = time.Time{}, time.Time{}
		a.session = &doubtful
		return ungranted(a.name, err)
	}
	a.session = nil
	return nil
}
