package vending

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// CallStats is what was spent on a request.
type CallStats struct {
	SecretsManager time.Duration   // waited for Secrets Manager
	Salesforce     time.Duration   // waited for Salesforce
	Logins         []time.Duration // how long each token request to Salesforce took
	Err            error           // the last call that failed, even where a token could be handed out all the same
	Notes          []string        // what an auditor should know beside, such as a token that was revoked; no secrets
}

func (c *CallStats) notef(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

func (c *CallStats) add(other CallStats) {
	c.SecretsManager += other.SecretsManager
	c.Salesforce += other.Salesforce
	c.Logins = append(c.Logins, other.Logins...)
	c.Notes = append(c.Notes, other.Notes...)
	if other.Err != nil {
		c.Err = other.Err
	}
}

// readSecret reads AWSCURRENT again. Where Salesforce has refused the pairs of some versions, it also looks whether
// there is one that has not been tried.
func (v *Vendor) readSecret(a *app, refused trouble) work {
	waiting, cached := a.revocations, a.session
	return func(ctx context.Context, f *flight) {
		version, err := v.read(ctx, f, a.name, appsecret.Current)
		if err == nil && len(waiting) > 0 {
			defer v.revokeAgain(ctx, f, a, v.revoker(version, cached), waiting)
		}
		refuses := len(refused.tried) > 0 && !refused.exhausted
		hope := err == nil && refuses && v.untried(ctx, f, a.name, version, refused.tried)

		now := time.Now()
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.noteUnread(err, v.Jitter, now)
			return
		}
		if hope || a.secret == nil || a.secret.ID != version.ID {
			a.refused, a.blindUntil = trouble{}, time.Time{}
		}
		a.secret, a.readAt, a.unread = version, now, trouble{}
	}
}

// noteUnread remembers why the secret could not be read. A version that is gone is forgotten, and so is one that lets
// in callers whom the one that cannot be read would keep out. Otherwise it stays. The session always does: without a
// version it is not handed out, but it may have to be revoked when the secret can be read again.
func (a *app) noteUnread(err error, jitter func() float64, now time.Time) {
	told := unreadable(a.name, err)
	a.unread = a.unread.after(told, err, nil, jitter, now)
	if told.Code == UnknownApp || a.secret != nil && appsecret.HidesRestriction(err, a.secret) {
		a.secret, a.refused = nil, trouble{}
	}
}

// untried says whether a version that a login might use has a pair that has not been refused yet.
func (v *Vendor) untried(ctx context.Context, f *flight, name string, current *appsecret.Version, tried []*appsecret.Version) bool {
	for _, label := range appsecret.FallbackLabels {
		if version, err := v.read(ctx, f, name, label); err == nil && worthTrying(version, current, tried) {
			return true
		}
	}
	return false
}

// worthTrying says whether a version may stand in for AWSCURRENT: it is for the same org, and its pair is a new one.
func worthTrying(version, current *appsecret.Version, tried []*appsecret.Version) bool {
	return version.BaseURI == current.BaseURI && !version.IsPlaceholder() && !isAmong(version, tried)
}

// isAmong reports whether one of the versions has this one's credentials.
func isAmong(version *appsecret.Version, versions []*appsecret.Version) bool {
	return slices.ContainsFunc(versions, version.SameCredentials)
}

// renew gets the app a token that can be believed: the given one, where it is not nil and Salesforce confirms it, or
// else a new one. reported says that a caller reports the given one as dead. a.mu is held.
func (v *Vendor) renew(a *app, confirm *session, reported bool, now time.Time) work {
	r := renewal{
		Vendor: v, app: a, old: a.session, cached: a.session, current: a.secret, recent: a.recent,
		waiting: a.revocations, blindUntil: a.blindUntil, doubted: a.doubted,
	}
	if a.refused.exhausted {
		r.tried = a.refused.tried
	}
	// An introspection that fails says nothing of the token. Only when it has failed twice may a login take its place,
	// and not often.
	standIn := reported && confirm != nil && a.doubted == confirm.id && left(a.stoodInAt.Add(blindEvery), now) <= 0
	return func(ctx context.Context, f *flight) { r.run(ctx, f, confirm, reported, standIn) }
}

// renewal is the work of getting an app a token that can be believed, and what comes out of it.
type renewal struct {
	*Vendor
	app     *app
	current *appsecret.Version   // AWSCURRENT
	tried   []*appsecret.Version // whose credentials have been refused
	old     *session             // that was cached when the work began
	cached  *session             // the same, as Salesforce now says that it is; nil: dead
	made    *session
	recent  []string
	waiting []revocation
	// As in app:
	blindUntil time.Time
	doubted    string
	stoodInAt  time.Time
}

func (r *renewal) run(ctx context.Context, f *flight, confirm *session, reported, standIn bool) {
	var err error
	if confirm != nil {
		err = r.ask(ctx, f, confirm, reported)
	}
	if r.made == nil && (err == nil || isFinal(err) || r.mayLogIn(confirm, err, standIn)) {
		err = r.logIn(ctx, f)
	}
	if err == nil {
		err = r.settleRevocations(ctx, f)
	}
	r.note(f, err)
}

// mayLogIn reports whether a login may take the place of an introspection that failed: where the token is over, or
// where introspection keeps failing while a caller reports the token as dead. Perhaps only introspection is down, or
// the instance that the token is for.
func (r *renewal) mayLogIn(confirm *session, err error, standIn bool) bool {
	if isLimiting(err) {
		return false
	}
	if over := left(confirm.alive, time.Now()) <= 0; over || !standIn {
		return over
	}
	r.stoodInAt = time.Now()
	return true
}

// ask asks Salesforce about the cached token.
func (r *renewal) ask(ctx context.Context, f *flight, confirm *session, reported bool) error {
	said, err := r.confirm(ctx, f, confirm)
	if refusesIntrospection(err) {
		r.blindUntil = time.Now().Add(blindFor)
	}
	if err != nil {
		if reported && !isFinal(err) {
			r.doubted = confirm.id
		}
		return err
	}
	r.blindUntil, r.doubted, r.cached = time.Time{}, "", said
	if said.lasts(time.Now()) {
		r.made = said
	}
	return nil
}

// logIn makes a new token, and asks Salesforce about it where the login alone does not tell enough: where it has
// returned a token that this process has seen before, whose session may end any moment, and where MinTTL asks for more
// than a login promises.
func (r *renewal) logIn(ctx context.Context, f *flight) error {
	made, err := r.mint(ctx, f)
	if err != nil {
		return err
	}
	seen := slices.Contains(r.recent, made.id)
	r.remember(made.id)
	now := time.Now()
	switch {
	case !made.token.Expiry.IsZero(): // it says itself
	case left(r.blindUntil, now) > 0:
		made = r.unprovable(made, now)
	case seen || left(made.horizon, now) < r.MinTTL:
		if made, err = r.prove(ctx, f, made, seen); err != nil {
			return err
		}
	}
	r.made, r.doubted = made, ""
	return nil
}

// prove asks Salesforce how long a token lives that a login has just returned.
func (r *renewal) prove(ctx context.Context, f *flight, made *session, seen bool) (*session, error) {
	said, err := r.confirm(ctx, f, made)
	now := time.Now()
	switch {
	case refusesIntrospection(err):
		r.blindUntil = now.Add(blindFor)
		return r.unprovable(made, now), nil
	case err != nil && seen:
		return r.believe(made, now.Add(unprovenTTL), now), nil
	case err != nil:
		return made, nil
	case said == nil:
		f.cost.Err = errDeadToken
		return nil, errDeadToken
	}
	alive := said.alive
	said = r.believe(said, said.horizon, now)
	said.alive, said.how = alive, Miss
	return said, nil
}

// remember notes that a login has returned the token.
func (r *renewal) remember(id string) {
	if !slices.Contains(r.recent, id) {
		r.recent = append(slices.Clone(r.recent[max(0, len(r.recent)-maxRecent+1):]), id)
	}
}

// settleRevocations revokes what must not outlive the new token's arrival: the old one, where its credentials have
// leaked, and whatever could not be revoked before. Salesforce may answer a second login with the session that the
// first one began: if that has just been ended, there is another login.
func (r *renewal) settleRevocations(ctx context.Context, f *flight) error {
	if r.old != nil && r.old.version != r.made.version {
		r.waiting = queue(f, r.waiting, revocation{session: r.old})
	}
	if len(r.waiting) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, revokeTime)
	defer cancel()
	var dead []string
	r.waiting, dead, _ = r.revokeAll(limited, f, r.app.name, r.waiting, r.made.client)
	f.cost.noteRevoked(dead)
	if r.old != nil && slices.Contains(dead, r.old.id) {
		r.cached = nil
	}
	if !slices.Contains(dead, r.made.id) {
		return nil
	}
	r.made = nil
	return r.logIn(ctx, f)
}

// note writes what has come out into the app.
func (r *renewal) note(f *flight, err error) {
	now, a := time.Now(), r.app
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recent, a.revocations, a.blindUntil, a.doubted = r.recent, r.waiting, r.blindUntil, r.doubted
	if !r.stoodInAt.IsZero() {
		a.stoodInAt = r.stoodInAt
	}
	if r.current != a.secret {
		a.secret, a.readAt = r.current, now
	}
	a.session = r.cached
	if err != nil {
		a.refused = a.refused.after(ungranted(a.name, err), err, r.tried, r.Jitter, now)
		return
	}
	a.session, a.refused, f.made = r.made, trouble{}, r.made
}

// look asks Salesforce about the cached token, and does not log in if it is dead. What comes out changes nothing of why
// no login can be made, and neither does a failure.
func (v *Vendor) look(a *app, s *session) work {
	return func(ctx context.Context, f *flight) {
		said, err := v.confirm(ctx, f, s)
		now := time.Now()
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case err == nil:
			a.session, a.doubted = said, ""
		case refusesIntrospection(err):
			a.blindUntil = now.Add(blindFor)
		case isLimiting(err): // as long as Salesforce says, or a minute
			a.doubted, a.lookedAt = s.id, now.Add(limitOf(err)-rejectedEvery)
		case !isFinal(err):
			a.doubted = s.id
		}
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
	return v.confirmed(s, said.Expiry, begun), nil
}

// mint logs in, with AWSCURRENT or, where Salesforce refuses its pair, with another version that works, one login each.
// It leaves AWSCURRENT as it is now, and the versions whose pair was refused. Those that were refused before the login
// budget ran out are not tried again before the others.
func (r *renewal) mint(ctx context.Context, f *flight) (*session, error) {
	var refused error
	var unsigned *session
	for changed := true; changed; {
		unsigned = nil
		if !isAmong(r.current, r.tried) {
			made, err := r.login(ctx, f, r.app.name, r.current, r.current)
			switch {
			case err == nil && made.token.SignatureErr != nil:
				unsigned = made
			case !refusesPair(err):
				if !isExhausted(err) {
					r.tried = nil
				}
				return made, err
			default:
				r.tried, refused = append(slices.Clip(r.tried), r.current), err
			}
		}
		changed = r.currentChanged(ctx, f)
	}
	if unsigned != nil {
		return unsigned, r.checkSigner(ctx, f, unsigned)
	}
	for _, label := range appsecret.FallbackLabels {
		version, failed := r.read(ctx, f, r.app.name, label)
		if failed != nil || !worthTrying(version, r.current, r.tried) {
			continue
		}
		made, err := r.login(ctx, f, r.app.name, version, r.current)
		if err == nil && made.token.SignatureErr != nil {
			f.cost.noteUnsigned(made)
		}
		if !isFinal(err) {
			return made, err
		}
		r.tried = append(slices.Clip(r.tried), version)
		refused = cmp.Or(refused, err)
	}
	if refused == nil { // each was tried before the budget ran out
		r.tried = nil
		return r.mint(ctx, f)
	}
	return nil, refused
}

// checkSigner returns why a token must not be used that was made with AWSCURRENT's credentials, but whose signature was
// not. It may be used where those need not be the app's primary ones: Salesforce does not document which secret it
// signs with for others. So it is while another version's are on their way to replace them, or where AWSPREVIOUS has
// made the signature.
func (r *renewal) checkSigner(ctx context.Context, f *flight, made *session) error {
	for _, label := range appsecret.FallbackLabels {
		version, err := r.read(ctx, f, r.app.name, label)
		if err != nil || !worthTrying(version, r.current, []*appsecret.Version{r.current}) {
			continue
		}
		if label != appsecret.Previous || r.client(version).VerifySignature(made.token) == nil {
			f.cost.noteUnsigned(made)
			return nil
		}
	}
	err := &sfoauth.Error{Op: "token", Status: http.StatusOK, Kind: sfoauth.InvalidResponse, Err: made.token.SignatureErr}
	f.cost.Err = err
	return err
}

// noteUnsigned notes that a token is used though its signature does not verify.
func (c *CallStats) noteUnsigned(made *session) {
	c.notef("version %s, whose credentials may not be the primary ones: %v", made.version, made.token.SignatureErr)
}

// currentChanged reads AWSCURRENT again and reports whether it is another version now.
func (r *renewal) currentChanged(ctx context.Context, f *flight) bool {
	again, err := r.read(ctx, f, r.app.name, appsecret.Current)
	if err != nil || again.ID == r.current.ID {
		return false
	}
	r.current = again
	return true
}

// login asks Salesforce for a token with version, while current is AWSCURRENT, if the app's budget has a login left.
// The token's signature need not verify: see Token.SignatureErr.
func (v *Vendor) login(
	ctx context.Context, f *flight, name string, version, current *appsecret.Version,
) (*session, error) {
	if version.IsPlaceholder() {
		return nil, ErrPlaceholder
	}
	if err := v.Logins.Take(name); err != nil {
		f.cost.Err = err
		return nil, err
	}
	client := v.client(version)
	client.AllowUnverifiedSignature = true // the caller decides
	begun := time.Now()
	token, err := client.Token(ctx)
	took := time.Since(begun)
	f.cost.Salesforce += took
	f.cost.Logins = append(f.cost.Logins, took)
	if err == nil {
		if pinned := version.VerifyIdentity(token); pinned != nil {
			err = &setupError{pinned.Error() + ": fix the secret, or the app's run-as user"}
		}
	}
	if err != nil {
		f.cost.Err = err
		return nil, err
	}
	return v.newSession(token, client, version, current, begun), nil
}

// client returns an OAuth client with the version's credentials.
func (v *Vendor) client(version *appsecret.Version) *sfoauth.Client {
	client := version.Client(v.Hosts, v.HTTPClient)
	client.Timeout = salesforceTime
	return client
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
