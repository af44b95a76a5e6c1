package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// LabelMoved is the event that a label has moved to another version. Source: Secrets Manager User Guide, "Secret Label Updated".
type LabelMoved struct {
	SecretID string // ARN, or name
	Label    string
	Version  string
}

// LabelMoved reacts to a change of the secret. Events come at least once, late and in any order, and our own changes raise
// them too: what counts is who has the label now.
func (r *Rotator) LabelMoved(ctx context.Context, e LabelMoved) (Outcome, error) {
	secret, err := r.openMoved(ctx, e)
	if errors.Is(err, appsecret.ErrNotAnApp) { // trying again makes it none
		return Outcome{Version: e.Version, Did: "nothing: " + err.Error()}, nil
	}
	if err != nil {
		return Outcome{Version: e.Version}, err
	}
	out := Outcome{App: secret.App, Version: e.Version}
	if !secret.Deleted.IsZero() { // its values cannot be read any more, and restoring it moves no label
		out.Did = "nothing: the secret is going to be deleted"
		return out, nil
	}
	if !secret.Has(e.Version, e.Label) {
		return movedOn(out), nil
	}
	switch e.Label {
	case appsecret.Candidate:
		return r.tryCandidate(ctx, out, secret)
	case appsecret.Current:
		if err := dropPending(ctx, secret); err != nil {
			return out, err
		}
		return r.tryCurrent(ctx, out, secret)
	case appsecret.Compromised:
		out.Did = "looked for the leaked pair"
		return r.bury(ctx, out, secret)
	default:
		out.Did = "nothing: this label has no meaning here"
		return out, nil
	}
}

// openMoved opens the event's secret, and waits a little for the label to be where the event says: the event may come before all reads
// show what it tells of, and if it were taken for a late one, nobody would try the pair.
func (r *Rotator) openMoved(ctx context.Context, e LabelMoved) (*appsecret.Secret, error) {
	until := time.Now().Add(readAgain)
	for {
		secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, e.SecretID)
		if err != nil || secret.Has(e.Version, e.Label) || !secret.Deleted.IsZero() || time.Now().After(until) {
			return secret, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func movedOn(out Outcome) Outcome {
	out.Did = "nothing: the label has moved on"
	return out
}

// tryCandidate makes a pair current that a person has put there to be tried, if it works.
func (r *Rotator) tryCandidate(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	if secret.Has(out.Version, appsecret.Current) {
		out.Did = "nothing: the candidate is AWSCURRENT already"
		return out, secret.Unlabel(ctx, appsecret.Candidate, out.Version)
	}
	refused := r.tryVersion(ctx, secret, out.Version)
	if refused != nil && !isFinal(refused) {
		return out, refused
	}
	secret, err := r.again(ctx, secret)
	if err != nil {
		return out, err
	}
	if !secret.Has(out.Version, appsecret.Candidate) {
		return movedOn(out), nil
	}
	if refused != nil {
		out.Did, out.Refused = "refused the candidate", true
		out.Warning, out.Reason = refused.Error(), refused
		// REJECTED first: a version without any label may vanish.
		if err := secret.Move(ctx, appsecret.Rejected, out.Version); err != nil {
			return out, err
		}
		return out, secret.Unlabel(ctx, appsecret.Candidate, out.Version)
	}
	if err := secret.Move(ctx, appsecret.Current, out.Version); err != nil {
		return out, err
	}
	out.Did, out.Rotated = "made the candidate AWSCURRENT", true
	return out, secret.Unlabel(ctx, appsecret.Candidate, out.Version)
}

// tryCurrent goes back to the version before, where somebody has stored a pair that Salesforce refuses over one that works.
func (r *Rotator) tryCurrent(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	refused := r.tryVersion(ctx, secret, out.Version)
	if refused == nil {
		out.Did = "logged in with the current pair"
		return r.bury(ctx, out, secret) // a person, and no rotation, may have replaced a pair that has leaked
	}
	if !isFinal(refused) {
		return out, refused
	}
	secret, err := r.again(ctx, secret)
	if err != nil {
		return out, err
	}
	if !secret.Has(out.Version, appsecret.Current) {
		return movedOn(out), nil
	}
	out.Reason = refused
	previous := secret.Holder(appsecret.Previous)
	if previous == "" {
		out.Did, out.Warning = "left the current pair, which does not log in: there is no other", refused.Error()
		out.Stuck = !errors.Is(refused, errPlaceholder) // a deployment has made the secret, and nobody has filled it in yet
		return out, nil
	}
	version, err := secret.Read(ctx, previous)
	if err == nil && version.IsPlaceholder() {
		err = &refusal{errPlaceholder}
	}
	if err == nil {
		err = r.try(ctx, version)
	}
	switch {
	case err != nil && !isFinal(err) && !appsecret.IsProblem(err, appsecret.Unknown):
		return out, err
	case err != nil:
		out.Did, out.Warning = "left the current pair, which does not log in: the one before does not either", refused.Error()
		out.Stuck = !errors.Is(refused, errPlaceholder) || !errors.Is(err, errPlaceholder)
		return out, nil
	}
	// REJECTED first: once AWSCURRENT has moved, a repeated event finds nothing more to do.
	if err := secret.Move(ctx, appsecret.Rejected, out.Version); err != nil {
		return out, err
	}
	if err := secret.Move(ctx, appsecret.Current, previous); err != nil {
		return out, err
	}
	out.Did, out.Warning = fmt.Sprintf("went back to version %s", previous), refused.Error()
	out.Refused, out.RolledBack = true, true
	return out, nil
}

// dropPending takes AWSPENDING off the version that was AWSCURRENT before. A finished rotation has left it there, and Secrets Manager
// would take it for one that has not ended, and go on with it instead of the next. Source: API Reference, RotateSecret.
func dropPending(ctx context.Context, secret *appsecret.Secret) error {
	holder := secret.Holder(appsecret.Pending)
	if holder == "" || !secret.Has(holder, appsecret.Previous) {
		return nil
	}
	return secret.Unlabel(ctx, appsecret.Pending, holder)
}

var errPlaceholder = errors.New("the secret still holds the placeholder")

// fill says what to do about the placeholder.
func fill(app string) string {
	return "nobody has stored the app's pair yet: `sftoken secret put " + app + "`"
}

// again opens the secret once more: a new pair is tried for minutes, and a person who has stored another one meanwhile, over a wrong
// one as a rule, has decided.
func (r *Rotator) again(ctx context.Context, secret *appsecret.Secret) (*appsecret.Secret, error) {
	return appsecret.Open(ctx, r.Secrets, r.Prefix, secret.ARN)
}

// tryVersion tries a pair that somebody has stored or moved a label to, with all the time that a new one may take to work: Salesforce may
// know a staged pair everywhere only some time after a rotation has made it the main one.
func (r *Rotator) tryVersion(ctx context.Context, secret *appsecret.Secret, id string) error {
	version, err := secret.Read(ctx, id)
	switch {
	case err != nil:
		return err
	case version.IsPlaceholder():
		return &refusal{errPlaceholder}
	}
	until := r.settled(version)
	if moved := secret.LastChanged.Add(r.Propagation); moved.After(until) {
		until = moved
	}
	return r.tryUntil(ctx, version, until)
}
