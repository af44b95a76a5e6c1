package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Step is one step of a rotation as Secrets Manager asks for it. Source: Secrets Manager User Guide, "Lambda rotation functions".
type Step struct {
	Name      string // createSecret, setSecret, testSecret, finishSecret
	SecretID  string // ARN, or name
	VersionID string // the id of the version that is to become AWSCURRENT
	// RotationToken is passed back with PutSecretValue. Empty where the event has none. It must not be logged.
	RotationToken string
}

// readConsistencyTimeout is how long a value that was written a moment ago is waited for: Secrets Manager's reads are eventually
// consistent, and steps follow each other at once.
const readConsistencyTimeout = 5 * time.Second

// Step does one step. The checks before it are those of AWS's own template for rotation functions.
func (r *Rotator) Step(ctx context.Context, e Step) (Outcome, error) {
	run := r.begin()
	out, err := run.step(ctx, e)
	if errors.Is(err, errSuperseded) {
		err = fmt.Errorf("version %s is not AWSPENDING any more: the secret was written, or the rotation cancelled, during %s", e.VersionID, e.Name)
	}
	out.Usage = run.usage
	return out, err
}

func (r *run) step(ctx context.Context, e Step) (Outcome, error) {
	secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, e.SecretID)
	if err != nil {
		return Outcome{VersionID: e.VersionID}, err
	}
	out := Outcome{App: secret.App, VersionID: e.VersionID}
	switch {
	// A test before the rotation is switched on demands nothing of it.
	case !secret.RotationEnabled && e.Name != "testSecret":
		return out, fmt.Errorf("secret %s is not enabled for rotation", secret.Name)
	case secret.HasLabel(e.VersionID, appsecret.Current):
		out.Action = "nothing: the version is AWSCURRENT already"
		if e.Name == "finishSecret" {
			return r.deleteCompromised(ctx, out, secret)
		}
		return out, nil
	case !secret.HasLabel(e.VersionID, appsecret.Pending):
		return out, fmt.Errorf("version %s of secret %s is not AWSPENDING: it is not in rotation, or somebody wrote the secret meanwhile, "+
			"and that version counts; the next rotation takes care of a pair left staged at Salesforce", e.VersionID, secret.Name)
	}
	switch e.Name {
	case "createSecret":
		return r.create(ctx, out, secret, e)
	case "setSecret":
		return r.set(ctx, out, secret)
	case "testSecret":
		return r.test(ctx, out, secret)
	case "finishSecret":
		return r.finish(ctx, out, secret)
	default:
		return out, fmt.Errorf("unknown rotation step %q", e.Name)
	}
}

// create stores a new pair as AWSPENDING.
func (r *run) create(ctx context.Context, out Outcome, secret *appsecret.Secret, e Step) (Outcome, error) {
	_, err := secret.Read(ctx, e.VersionID)
	if err == nil {
		out.Action = "nothing: AWSPENDING has a value already"
		return out, nil
	}
	if !appsecret.IsKind(err, appsecret.NotFound) {
		return out, err
	}
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	if err != nil {
		return out, err
	}
	var value sfoauth.Secret
	switch {
	case current.IsPlaceholder():
		value, out.Action = current.Value(), "kept the placeholder"
		out.Warning = placeholderHint(secret.App)
	case current.CanSelfRotate():
		pair, did, err := r.newPair(ctx, secret, current)
		if err != nil {
			return out, err
		}
		value, out.Action = current.WithCredentials(pair), did
	default:
		candidate, err := r.candidate(ctx, secret)
		if err != nil {
			return out, err
		}
		value, out.Action = candidate.Value(), "took the pair labelled CANDIDATE"
	}
	return out, secret.Put(ctx, e.VersionID, e.RotationToken, appsecret.Pending, value.Reveal())
}

// newPair returns credentials that Salesforce holds beside those that are AWSCURRENT. What an earlier rotation has left there
// is adopted; only where there is nothing, new ones are made.
func (r *run) newPair(ctx context.Context, secret *appsecret.Secret, current *appsecret.Version) (sfoauth.ConsumerCredentials, string, error) {
	at, err := r.fetchCredentials(ctx, secret, current)
	if err != nil {
		return sfoauth.ConsumerCredentials{}, "", err
	}
	if err := r.verifyOwnership(ctx, secret, at); err != nil {
		return sfoauth.ConsumerCredentials{}, "", err
	}
	if !equal(at.primary, current.Credentials()) { // Salesforce has promoted them, and AWSCURRENT was never moved
		if err := r.checkReplaced(ctx, at, secret, current); err != nil {
			return sfoauth.ConsumerCredentials{}, "", err
		}
		return at.primary, "adopted the main pair at Salesforce, which is newer than AWSCURRENT", nil
	}
	compromised, err := r.isCompromised(ctx, secret, current)
	if err != nil {
		return sfoauth.ConsumerCredentials{}, "", err
	}
	for _, p := range at.staged {
		// Who had the leaked pair may have read the staged one.
		if p.State == sfoauth.Active && !compromised && !p.ConsumerSecret.IsZero() && !expiresSoon(p) {
			return p.ConsumerCredentials, "adopted the pair that was staged at Salesforce", nil
		}
		if _, err := at.remove(ctx, p); err != nil {
			return sfoauth.ConsumerCredentials{}, "", fmt.Errorf("making room for a new pair: %w", err)
		}
	}
	staged, err := at.Stage(ctx)
	return staged.ConsumerCredentials, "staged a new pair at Salesforce", err
}

// checkReplaced fails where the current credentials are not the consumer's and log in all the same: the ids beside them are another
// app's, as after new credentials were stored and the ids forgotten.
func (r *run) checkReplaced(ctx context.Context, at *orgCredentials, secret *appsecret.Secret, current *appsecret.Version) error {
	if at.knows(current.Credentials()) {
		return nil
	}
	_, err := r.login(ctx, current, secret.App, false)
	if err == nil {
		err = fmt.Errorf("the current credentials of app %s log in, and its appId and consumerId belong to another app: correct them with `sftoken secret put %s`", secret.App, secret.App)
	} else if isInvalidClient(err) {
		err = nil
	}
	return err
}

func expiresSoon(p sfoauth.StagedCredentials) bool {
	return !p.Expiration.IsZero() && time.Until(p.Expiration) < 24*time.Hour
}

// candidate is the new pair of an app that cannot make one itself.
func (r *run) candidate(ctx context.Context, secret *appsecret.Secret) (*appsecret.Version, error) {
	holder := secret.VersionWithLabel(appsecret.Candidate)
	if holder == "" {
		return nil, fmt.Errorf("app %s is due for a new pair, and a person must make it, since its secret has no appId and consumerId: "+
			"make one in Salesforce's Setup, then `sftoken secret stage %s`", secret.App, secret.App)
	}
	candidate, err := secret.Read(ctx, holder)
	if err != nil {
		return nil, err
	}
	if candidate.PrincipalsErr != nil {
		return nil, fmt.Errorf("the CANDIDATE of app %s would deny every caller: %w", secret.App, candidate.PrincipalsErr)
	}
	compromised, err := r.isCompromised(ctx, secret, candidate)
	if err == nil && compromised {
		err = fmt.Errorf("the credentials labelled CANDIDATE of app %s are labelled COMPROMISED as well: make others in Salesforce's Setup, then `sftoken secret stage %s`", secret.App, secret.App)
	}
	return candidate, err
}

// set checks that Salesforce still holds the pending pair.
func (r *run) set(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	pending, err := r.pending(ctx, secret, out.VersionID)
	if err != nil {
		return out, err
	}
	if !pending.CanSelfRotate() {
		out.Action = "nothing: this app's pair is not made through Salesforce's API"
		return out, nil
	}
	at, err := r.fetchCredentials(ctx, secret, pending)
	if err != nil {
		return out, err
	}
	held, err := r.waitFor(ctx, at, secret, pending)
	if err != nil {
		return out, err
	}
	if !held {
		return out, r.abandonMissing(ctx, secret, out.VersionID)
	}
	out.Action = "found the pending pair at Salesforce"
	return out, nil
}

// abandonMissing gives up a pair that Salesforce does not hold any more. Without the label the next rotation starts afresh; with it,
// Secrets Manager would try this one for ever.
func (r *run) abandonMissing(ctx context.Context, secret *appsecret.Secret, version string) error {
	err := fmt.Errorf("the pending pair of app %s is not at Salesforce any more: it has expired, or somebody has deleted it; the next rotation makes another", secret.App)
	return errors.Join(err, secret.RemoveLabel(ctx, appsecret.Pending, version))
}

// test logs in with the pending pair.
func (r *run) test(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	pending, err := r.pending(ctx, secret, out.VersionID)
	if err != nil {
		return out, err
	}
	if pending.IsPlaceholder() {
		out.Action = "nothing: the secret still holds the placeholder"
		out.Warning = placeholderHint(secret.App)
		return out, nil
	}
	token, err := r.loginUntil(ctx, pending, r.propagationDeadline(pending), r.whileLabelled(secret, pending.ID, appsecret.Pending))
	if err == nil {
		err = r.checkIdentity(ctx, secret, pending, token)
	}
	switch {
	case err == nil:
		out.Action = "logged in with the pending pair"
		if token.SignatureErr != nil {
			out.Warning = "the pending pair logs in, and the signature of its token does not verify with its consumer secret: Salesforce may sign with another one until the pair is the main one"
		}
		return out, nil
	case !isPermanent(err):
		return out, err
	case isInvalidClient(err) && pending.CanSelfRotate():
		at, failed := r.fetchCredentials(ctx, secret, pending)
		if failed == nil && at.stagedID(pending) != "" {
			out.Action = "found the pending pair at Salesforce, where it does not log in yet"
			out.Warning = "the staged pair does not log in; finishSecret makes it the main one and moves AWSCURRENT only when it does"
			return out, nil
		}
	case !pending.CanSelfRotate() && !r.isCurrent(ctx, secret, pending):
		out.Rejected = true
		return out, errors.Join(fmt.Errorf("testing the pending pair: %w", err), secret.MoveLabel(ctx, appsecret.Rejected, out.VersionID),
			r.dropCandidate(ctx, secret, pending), secret.RemoveLabel(ctx, appsecret.Pending, out.VersionID))
	}
	return out, fmt.Errorf("testing the pending pair: %w", err)
}

// isCurrent says whether the pending version is a copy of AWSCURRENT, as Secrets Manager makes it to try the function.
func (r *run) isCurrent(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) bool {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	return err == nil && pending.SameCredentials(current)
}

// finish makes the pending pair the main one at Salesforce, and AWSCURRENT.
func (r *run) finish(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	pending, err := r.pending(ctx, secret, out.VersionID)
	if err != nil {
		return out, err
	}
	if err := r.checkNotSuperseded(ctx, secret, pending); err != nil {
		return out, err
	}
	if pending.CanSelfRotate() {
		at, err := r.fetchCredentials(ctx, secret, pending)
		if err != nil {
			return out, err
		}
		held, err := r.waitFor(ctx, at, secret, pending)
		if err != nil {
			return out, err
		}
		if !held {
			return out, r.abandonMissing(ctx, secret, out.VersionID)
		}
		if !equal(at.primary, pending.Credentials()) {
			if err := at.Promote(ctx, at.stagedID(pending)); err != nil {
				return out, fmt.Errorf("making the staged pair the main one: %w", err)
			}
		}
		// The old pair works for 30 days more, so that AWSCURRENT can wait for the new one.
		wanted := r.whileLabelled(secret, pending.ID, appsecret.Pending)
		token, err := r.loginUntil(ctx, pending, time.Now().Add(r.Propagation), wanted)
		if err == nil {
			err = r.checkIdentity(ctx, secret, pending, token)
		}
		if err != nil {
			return out, fmt.Errorf("the new pair is the main one at Salesforce and does not log in: %w", err)
		}
	}
	if err := r.makeCurrent(ctx, secret, pending); err != nil {
		return out, err
	}
	out.Action, out.Rotated = "made the pending version AWSCURRENT", true
	if err := r.dropCandidate(ctx, secret, pending); err != nil {
		return out, err
	}
	return r.deleteCompromised(ctx, out, secret)
}

// makeCurrent moves AWSCURRENT to the pending version. Where it has moved to a third one since the secret was opened, that one counts,
// unless it is the candidate that the pending version was made of, and its event has come first.
func (r *run) makeCurrent(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	err := secret.MoveLabel(ctx, appsecret.Current, pending.ID)
	if err == nil {
		return nil
	}
	now, failed := r.reopen(ctx, secret)
	if failed != nil || now.VersionWithLabel(appsecret.Current) == secret.VersionWithLabel(appsecret.Current) || !now.HasLabel(pending.ID, appsecret.Pending) {
		return err
	}
	err = r.checkNotSuperseded(ctx, now, pending)
	switch {
	case errors.Is(err, errSecretChanged) && pending.CanSelfRotate():
		return errors.Join(err, r.handOver(ctx, now, pending))
	case err != nil:
		return err
	}
	return now.MoveLabel(ctx, appsecret.Current, pending.ID)
}

// errSecretChanged is in the error of giving up a pending version for another change of the secret.
var errSecretChanged = errors.New("that change counts")

// handOver stores the pending credentials, which are the primary ones by now, with the other fields of AWSCURRENT, as CANDIDATE: the
// event makes them current. Those of AWSCURRENT work for 30 days more, and are not the primary ones.
func (r *run) handOver(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	if appsecret.IsKind(err, appsecret.Malformed) {
		return nil
	}
	if err != nil {
		return err
	}
	if secret.VersionWithLabel(appsecret.Candidate) != "" || current.AppID != pending.AppID || current.ConsumerID != pending.ConsumerID {
		return nil // a person has other plans
	}
	return secret.Put(ctx, pending.ID+"-candidate", "", appsecret.Candidate, current.WithCredentials(pending.Credentials()).Reveal())
}

// checkNotSuperseded gives up a pending version that was made of another version than the one that is AWSCURRENT by now: of that one, its
// pair alone may be changed. A label that was moved, as for a candidate, does not make Secrets Manager abandon the rotation.
func (r *run) checkNotSuperseded(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	switch {
	case appsecret.IsKind(err, appsecret.Malformed) && !appsecret.HidesRestriction(err, pending):
		return nil // there is nothing to keep
	case appsecret.IsKind(err, appsecret.Malformed): // the pending version would let in callers whom it keeps out
	case err != nil:
		return err
	case pending.IsPlaceholder() && current.IsPlaceholder(), !pending.IsPlaceholder() && current.WithCredentials(pending.Credentials()).Equal(pending.Value()):
		return nil
	}
	// The candidate that a person put there for this rotation may differ in more.
	if holder := secret.VersionWithLabel(appsecret.Candidate); holder != "" {
		candidate, err := secret.Read(ctx, holder)
		if err == nil && candidate.Value().Equal(pending.Value()) {
			return nil
		}
		if err != nil && !appsecret.IsKind(err, appsecret.Malformed) {
			return err
		}
	}
	err = fmt.Errorf("the secret of app %s was changed while its pair was being rotated, and %w", secret.App, errSecretChanged)
	if pending.CanSelfRotate() {
		err = fmt.Errorf("%w; the next rotation adopts the new pair", err)
	}
	return errors.Join(err, secret.RemoveLabel(ctx, appsecret.Pending, pending.ID))
}

// dropCandidate takes CANDIDATE off the version whose pair has been dealt with.
func (r *run) dropCandidate(ctx context.Context, secret *appsecret.Secret, done *appsecret.Version) error {
	holder := secret.VersionWithLabel(appsecret.Candidate)
	if holder == "" {
		return nil
	}
	candidate, err := secret.Read(ctx, holder)
	if appsecret.IsKind(err, appsecret.Malformed) || appsecret.IsKind(err, appsecret.NotFound) {
		return nil // its event judges it
	}
	if err != nil || !candidate.SameCredentials(done) {
		return err
	}
	return secret.RemoveLabel(ctx, appsecret.Candidate, holder)
}

// pending reads the version in rotation, waiting a little for a value that the step before has written.
func (r *run) pending(ctx context.Context, secret *appsecret.Secret, version string) (*appsecret.Version, error) {
	until := time.Now().Add(readConsistencyTimeout)
	for {
		pending, err := secret.Read(ctx, version)
		if !appsecret.IsKind(err, appsecret.NotFound) || time.Now().After(until) {
			return pending, err
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
