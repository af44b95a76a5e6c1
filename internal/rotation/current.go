package rotation

import (
	"context"
	"errors"
	"fmt"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// errSecretChanged is in the error of abandoning a pending version because of another change of the secret.
var errSecretChanged = errors.New("that change takes precedence")

// makeCurrent moves AWSCURRENT to the pending version. If it has moved to a third version since the secret was opened,
// that one takes precedence, unless it is the candidate that the pending version was made of and its event came first.
func (r *run) makeCurrent(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	err := secret.MoveLabel(ctx, appsecret.Current, pending.ID)
	if err == nil {
		return nil
	}
	now, failed := r.reopen(ctx, secret)
	if failed != nil || !now.HasLabel(pending.ID, appsecret.Pending) ||
		now.VersionWithLabel(appsecret.Current) == secret.VersionWithLabel(appsecret.Current) {
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

// handOver stores the pending credentials, which are the primary ones by now, with the other fields of AWSCURRENT, as
// CANDIDATE. The candidate's event makes them current. The credentials of AWSCURRENT work for 30 more days.
func (r *run) handOver(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	if appsecret.IsKind(err, appsecret.Malformed) {
		return nil
	}
	if err != nil {
		return err
	}
	if secret.VersionWithLabel(appsecret.Candidate) != "" ||
		current.AppID != pending.AppID || current.ConsumerID != pending.ConsumerID {
		return nil // a person is changing more
	}
	value := current.WithCredentials(pending.Credentials())
	return secret.Put(ctx, pending.ID+"-candidate", "", appsecret.Candidate, value.Reveal())
}

// checkNotSuperseded abandons a pending version that was made of another version than the one that is AWSCURRENT by
// now, unless the two differ in their credentials alone. A label that moves, as for a candidate, does not make Secrets
// Manager abandon the rotation.
func (r *run) checkNotSuperseded(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	ok, err := keepsCurrent(ctx, secret, pending)
	if err != nil || ok {
		return err
	}
	// A candidate that was stored for this rotation may differ in more.
	if ok, err = isCandidate(ctx, secret, pending); err != nil || ok {
		return err
	}
	err = fmt.Errorf("the secret of app %s was changed during the rotation of its credentials, and %w",
		secret.App, errSecretChanged)
	if pending.CanSelfRotate() {
		err = fmt.Errorf("%w; the next rotation adopts the new credentials", err)
	}
	return errors.Join(err, secret.RemoveLabel(ctx, appsecret.Pending, pending.ID))
}

// keepsCurrent reports whether the pending version loses nothing of AWSCURRENT but its credentials.
func keepsCurrent(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) (bool, error) {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	switch {
	case appsecret.IsKind(err, appsecret.Malformed): // there is nothing to keep, except for a restriction of callers
		return !appsecret.HidesRestriction(err, pending), nil
	case err != nil:
		return false, err
	case pending.IsPlaceholder():
		return current.IsPlaceholder(), nil
	}
	return current.WithCredentials(pending.Credentials()).Equal(pending.Value()), nil
}

// isCandidate reports whether the pending version is a copy of CANDIDATE.
func isCandidate(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) (bool, error) {
	id := secret.VersionWithLabel(appsecret.Candidate)
	if id == "" {
		return false, nil
	}
	candidate, err := secret.Read(ctx, id)
	if appsecret.IsKind(err, appsecret.Malformed) {
		return false, nil
	}
	return err == nil && candidate.Value().Equal(pending.Value()), err
}

// dropCandidate removes CANDIDATE from its version if that one has the credentials of done: nothing is left to try.
func (r *run) dropCandidate(ctx context.Context, secret *appsecret.Secret, done *appsecret.Version) error {
	id := secret.VersionWithLabel(appsecret.Candidate)
	if id == "" {
		return nil
	}
	candidate, err := secret.Read(ctx, id)
	if appsecret.IsKind(err, appsecret.Malformed) || appsecret.IsKind(err, appsecret.NotFound) {
		return nil // the event of the label deals with it
	}
	if err != nil || !candidate.SameCredentials(done) {
		return err
	}
	return secret.RemoveLabel(ctx, appsecret.Candidate, id)
}
