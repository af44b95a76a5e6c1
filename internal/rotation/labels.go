package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// LabelMoved is the event of a label that has moved to another version. Source: Secrets Manager User Guide, "Secret
// Label Updated".
type LabelMoved struct {
	SecretID  string // ARN, or name
	Label     string
	VersionID string
	Time      time.Time // of the move, to the second; zero: not known
}

// staleEvent is the Action for an event whose label has moved on.
const staleEvent = "nothing: the label has moved on"

// LabelMoved reacts to a change of the secret. Events come at least once, late and in any order, and the changes made
// here raise them too. It therefore acts on the labels as they are now.
func (r *Rotator) LabelMoved(ctx context.Context, e LabelMoved) (Outcome, error) {
	run := r.begin()
	out, err := run.labelMoved(ctx, e)
	if errors.Is(err, errSuperseded) {
		out.Action, err = staleEvent, nil
	}
	out.VersionID, out.Usage = e.VersionID, run.usage
	return out, err
}

func (r *run) labelMoved(ctx context.Context, e LabelMoved) (Outcome, error) {
	secret, err := r.openMoved(ctx, e)
	if errors.Is(err, appsecret.ErrNotAnApp) { // another attempt does not change that
		return Outcome{Action: "nothing: " + err.Error()}, nil
	}
	if err != nil {
		return Outcome{}, err
	}
	out, err := r.handleLabel(ctx, secret, e)
	out.App = secret.App
	return out, err
}

// openMoved opens the event's secret, and waits a little for the label to be where the event says: an event may come
// before all reads show what it reports, and must not be mistaken for a late one. If the secret has changed since the
// event, it does not wait: the label has moved on, and a flood of such events must not occupy an invocation each.
func (r *run) openMoved(ctx context.Context, e LabelMoved) (*appsecret.Secret, error) {
	return readUntilSettled(ctx, func() (*appsecret.Secret, bool, error) {
		secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, e.SecretID)
		if err != nil {
			return nil, true, err
		}
		changed := !e.Time.IsZero() && secret.LastChanged.After(e.Time.Add(time.Second))
		idle := !secret.Deleted.IsZero() || secret.IsReplica()
		return secret, changed || idle || secret.HasLabel(e.VersionID, e.Label), nil
	})
}

func (r *run) handleLabel(ctx context.Context, secret *appsecret.Secret, e LabelMoved) (Outcome, error) {
	if !secret.Deleted.IsZero() { // its values cannot be read any more, and restoring it moves no label
		return Outcome{Action: "nothing: the secret is scheduled for deletion"}, nil
	}
	if secret.IsReplica() {
		return Outcome{Action: "nothing: the secret is a replica, and the rotate function of its primary secret in " +
			secret.PrimaryRegion + " reacts"}, nil
	}
	if !secret.HasLabel(e.VersionID, e.Label) {
		return Outcome{Action: staleEvent}, nil
	}
	switch e.Label {
	case appsecret.Candidate:
		return r.tryCandidate(ctx, secret, e.VersionID)
	case appsecret.Current:
		if err := dropPending(ctx, secret); err != nil {
			return Outcome{}, err
		}
		return r.tryCurrent(ctx, secret, e.VersionID)
	case appsecret.Compromised:
		if err := debounce(ctx, r.whileLabelled(secret, e.VersionID, appsecret.Compromised)); err != nil {
			return Outcome{}, err
		}
		out := Outcome{Action: "looked for the compromised credentials"}
		err := r.deleteCompromised(ctx, secret, &out)
		return out, err
	default:
		return Outcome{Action: "nothing: this label has no meaning here"}, nil
	}
}

// dropPending takes AWSPENDING off the version that was AWSCURRENT before. A finished rotation has left it there, and
// Secrets Manager would take it for an unfinished rotation and continue it instead of starting the next. Source: API
// Reference, RotateSecret.
func dropPending(ctx context.Context, secret *appsecret.Secret) error {
	id := secret.VersionWithLabel(appsecret.Pending)
	if id == "" || !secret.HasLabel(id, appsecret.Previous) {
		return nil
	}
	return secret.RemoveLabel(ctx, appsecret.Pending, id)
}

// tryVersion tries the event's version, to which the label has moved, for as long as new credentials may take to work.
// Salesforce may also need that time after a rotation has made staged credentials the primary ones. It stops when the
// label moves on. The version is nil if it cannot be read.
func (r *run) tryVersion(
	ctx context.Context, secret *appsecret.Secret, id, label string,
) (*appsecret.Version, *sfoauth.Token, error) {
	version, err := secret.Read(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if version.IsPlaceholder() {
		return version, nil, &permanentError{errPlaceholder}
	}
	labelled := r.whileLabelled(secret, id, label)
	wanted := func(ctx context.Context) error { return debounce(ctx, labelled) }
	if err := wanted(ctx); err != nil {
		return version, nil, err
	}
	until := r.propagationDeadline(version)
	if moved := secret.LastChanged.Add(r.Propagation); moved.After(until) {
		until = moved
	}
	token, err := r.loginUntil(ctx, version, until, wanted)
	return version, token, err
}

// outcomeOf returns the Outcome of an event about the version, which is nil if it could not be read.
func outcomeOf(version *appsecret.Version) Outcome {
	if version == nil {
		return Outcome{}
	}
	return Outcome{PrincipalsErr: version.PrincipalsErr}
}

// tryCandidate makes the candidate, which a person has stored, current if it works.
func (r *run) tryCandidate(ctx context.Context, secret *appsecret.Secret, id string) (Outcome, error) {
	if secret.HasLabel(id, appsecret.Current) {
		out := Outcome{Action: "nothing: the candidate is AWSCURRENT already"}
		return out, secret.RemoveLabel(ctx, appsecret.Candidate, id)
	}
	version, token, refused := r.tryVersion(ctx, secret, id, appsecret.Candidate)
	if refused == nil {
		refused = r.acceptCandidate(ctx, secret, version, token)
	}
	out := outcomeOf(version)
	if refused != nil && !isPermanent(refused) {
		return out, refused
	}
	secret, err := r.reopen(ctx, secret)
	if err != nil {
		return out, err
	}
	if !secret.HasLabel(id, appsecret.Candidate) || secret.HasLabel(id, appsecret.Current) {
		return out, errSuperseded
	}
	if refused != nil {
		out.Action, out.Rejected = "rejected the candidate", true
		out.Warning, out.Rejection = refused.Error(), refused
		// REJECTED first: a version without a label may vanish.
		err = secret.MoveLabel(ctx, appsecret.Rejected, id)
	} else if err = clearRejected(ctx, secret, id); err == nil {
		if err = secret.MoveLabel(ctx, appsecret.Current, id); err == nil {
			out.Action, out.Rotated = "made the candidate AWSCURRENT", true
		}
	}
	if err != nil {
		return out, err
	}
	return out, secret.RemoveLabel(ctx, appsecret.Candidate, id)
}

// clearRejected takes REJECTED off a version that works and may have been refused before.
func clearRejected(ctx context.Context, secret *appsecret.Secret, version string) error {
	if !secret.HasLabel(version, appsecret.Rejected) {
		return nil
	}
	return secret.RemoveLabel(ctx, appsecret.Rejected, version)
}

// acceptCandidate returns why the candidate, which logs in, must not become current; nil: it may.
func (r *run) acceptCandidate(
	ctx context.Context, secret *appsecret.Secret, version *appsecret.Version, token *sfoauth.Token,
) error {
	if version.PrincipalsErr != nil { // it would deny every caller
		return &permanentError{version.PrincipalsErr}
	}
	compromised, err := r.isCompromised(ctx, secret, version)
	if err != nil {
		return err
	}
	if compromised {
		return &permanentError{errors.New("these credentials are labelled COMPROMISED")}
	}
	return r.checkIdentity(ctx, secret, version, token)
}

// tryCurrent logs in with the version that has become current, and moves back to the previous one if Salesforce refuses
// its credentials.
func (r *run) tryCurrent(ctx context.Context, secret *appsecret.Secret, id string) (Outcome, error) {
	version, token, refused := r.tryVersion(ctx, secret, id, appsecret.Current)
	if refused == nil {
		refused = r.checkIdentity(ctx, secret, version, token)
	}
	if refused == nil {
		refused = checkSignature(secret, token)
	}
	out := outcomeOf(version)
	if refused != nil {
		if !isPermanent(refused) {
			return out, refused
		}
		return r.rollBack(ctx, secret, id, version, refused)
	}
	out.Action = "logged in with the current credentials"
	if err := clearRejected(ctx, secret, id); err != nil {
		return out, err
	}
	// A person, and not a rotation, may have replaced compromised credentials.
	err := r.deleteCompromised(ctx, secret, &out)
	return out, err
}

// rollBack moves AWSCURRENT from the version, which was refused, to AWSPREVIOUS, if that one is acceptable.
func (r *run) rollBack(
	ctx context.Context, secret *appsecret.Secret, id string, version *appsecret.Version, refused error,
) (Outcome, error) {
	out := outcomeOf(version)
	secret, err := r.reopen(ctx, secret)
	if err != nil {
		return out, err
	}
	if !secret.HasLabel(id, appsecret.Current) {
		return out, errSuperseded
	}
	out.Rejection = refused
	previous := secret.VersionWithLabel(appsecret.Previous)
	if previous == "" {
		out.Action, out.Warning = "kept AWSCURRENT although it was refused: there is no other version", refused.Error()
		out.LockedOut = !errors.Is(refused, errPlaceholder) // a deployment has made the secret, and it is not filled in yet
		return out, nil
	}
	err = r.acceptPrevious(ctx, secret, previous, id, version, refused)
	if err != nil && !isPermanent(err) && !appsecret.IsKind(err, appsecret.NotFound) {
		return out, err
	}
	if err != nil {
		out.Action = "kept AWSCURRENT although it was refused: the previous version cannot take its place: " + err.Error()
		out.Warning = refused.Error()
		out.LockedOut = !errors.Is(refused, errPlaceholder) || !errors.Is(err, errPlaceholder)
		return out, nil
	}
	// REJECTED first: once AWSCURRENT has moved, a repeated event finds nothing more to do.
	if err := secret.MoveLabel(ctx, appsecret.Rejected, id); err != nil {
		return out, err
	}
	if err := secret.MoveLabel(ctx, appsecret.Current, previous); err != nil {
		return out, err
	}
	out.Action, out.Warning = "rolled back to version "+previous, refused.Error()
	out.Rejected, out.RolledBack = true, true
	return out, nil
}

// acceptPrevious returns why the previous version must not become current again; nil: it may. It would replace version,
// which was refused and is nil if it cannot be read.
func (r *run) acceptPrevious(
	ctx context.Context, secret *appsecret.Secret, id, current string, version *appsecret.Version, refused error,
) error {
	for _, label := range []string{appsecret.Compromised, appsecret.Rejected} {
		if secret.HasLabel(id, label) {
			return &permanentError{fmt.Errorf("it is labelled %s", label)}
		}
	}
	previous, err := secret.Read(ctx, id)
	if err != nil {
		return err
	}
	if previous.IsPlaceholder() {
		return &permanentError{errPlaceholder}
	}
	compromised, err := r.isCompromised(ctx, secret, previous)
	if err != nil {
		return err
	}
	if compromised {
		return &permanentError{errors.New("its credentials are labelled COMPROMISED")}
	}
	// Wrong credentials must not admit callers again whom the current version keeps out.
	if version != nil && !version.AllowedPrincipals.Covers(previous.AllowedPrincipals) ||
		appsecret.HidesRestriction(refused, previous) {
		return &permanentError{errors.New("its allowedPrincipals allow callers whom the current version denies, " +
			"or cannot be parsed")}
	}
	_, err = r.loginUntil(ctx, previous, time.Now(), r.whileLabelled(secret, current, appsecret.Current))
	return err
}
