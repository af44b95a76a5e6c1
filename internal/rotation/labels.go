package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// LabelMoved is the event that a label has moved to another version. Source: Secrets Manager User Guide, "Secret Label Updated".
type LabelMoved struct {
	SecretID  string // ARN, or name
	Label     string
	VersionID string
	Time      time.Time // when, to the second; zero: not known
}

// LabelMoved reacts to a change of the secret. Events come at least once, late and in any order, and our own changes raise
// them too: what counts is who has the label now.
func (r *Rotator) LabelMoved(ctx context.Context, e LabelMoved) (Outcome, error) {
	run := r.begin()
	out, err := run.labelMoved(ctx, e)
	if errors.Is(err, errSuperseded) {
		out, err = staleEvent(out), nil
	}
	out.Usage = run.usage
	return out, err
}

func (r *run) labelMoved(ctx context.Context, e LabelMoved) (Outcome, error) {
	secret, err := r.openMoved(ctx, e)
	if errors.Is(err, appsecret.ErrNotAnApp) { // trying again makes it none
		return Outcome{VersionID: e.VersionID, Action: "nothing: " + err.Error()}, nil
	}
	if err != nil {
		return Outcome{VersionID: e.VersionID}, err
	}
	out := Outcome{App: secret.App, VersionID: e.VersionID}
	if !secret.Deleted.IsZero() { // its values cannot be read any more, and restoring it moves no label
		out.Action = "nothing: the secret is going to be deleted"
		return out, nil
	}
	if !secret.HasLabel(e.VersionID, e.Label) {
		return staleEvent(out), nil
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
		if err := debounce(ctx, r.whileLabelled(secret, out.VersionID, appsecret.Compromised)); err != nil {
			return out, err
		}
		out.Action = "looked for the leaked pair"
		return r.deleteCompromised(ctx, out, secret)
	default:
		out.Action = "nothing: this label has no meaning here"
		return out, nil
	}
}

// openMoved opens the event's secret, and waits a little for the label to be where the event says: the event may come before all reads
// show what it tells of, and must not be mistaken for a late one. It does not wait where the secret has
// changed since the event: the label has moved on, and a flood of such events must not hold an invocation each.
func (r *run) openMoved(ctx context.Context, e LabelMoved) (*appsecret.Secret, error) {
	until := time.Now().Add(readConsistencyTimeout)
	for {
		secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, e.SecretID)
		if err != nil || secret.HasLabel(e.VersionID, e.Label) || !secret.Deleted.IsZero() || time.Now().After(until) {
			return secret, err
		}
		if !e.Time.IsZero() && secret.LastChanged.After(e.Time.Add(time.Second)) {
			return secret, nil
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func staleEvent(out Outcome) Outcome {
	out.Action = "nothing: the label has moved on"
	return out
}

// tryCandidate makes credentials current that a person has put there to be tried, if they work.
func (r *run) tryCandidate(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	if secret.HasLabel(out.VersionID, appsecret.Current) {
		out.Action = "nothing: the candidate is AWSCURRENT already"
		return out, secret.RemoveLabel(ctx, appsecret.Candidate, out.VersionID)
	}
	refused := r.acceptCandidate(ctx, &out, secret)
	if refused != nil && !isPermanent(refused) {
		return out, refused
	}
	secret, err := r.reopen(ctx, secret)
	if err != nil {
		return out, err
	}
	if !secret.HasLabel(out.VersionID, appsecret.Candidate) || secret.HasLabel(out.VersionID, appsecret.Current) {
		return staleEvent(out), nil
	}
	if refused != nil {
		out.Action, out.Rejected = "refused the candidate", true
		out.Warning, out.Rejection = refused.Error(), refused
		// REJECTED first: a version without any label may vanish.
		if err := secret.MoveLabel(ctx, appsecret.Rejected, out.VersionID); err != nil {
			return out, err
		}
		return out, secret.RemoveLabel(ctx, appsecret.Candidate, out.VersionID)
	}
	if err := clearRejected(ctx, secret, out.VersionID); err != nil {
		return out, err
	}
	if err := secret.MoveLabel(ctx, appsecret.Current, out.VersionID); err != nil {
		return out, err
	}
	out.Action, out.Rotated = "made the candidate AWSCURRENT", true
	return out, secret.RemoveLabel(ctx, appsecret.Candidate, out.VersionID)
}

// clearRejected takes REJECTED off a version that works, which may have been refused before.
func clearRejected(ctx context.Context, secret *appsecret.Secret, version string) error {
	if !secret.HasLabel(version, appsecret.Rejected) {
		return nil
	}
	return secret.RemoveLabel(ctx, appsecret.Rejected, version)
}

// acceptCandidate returns why the candidate must not become current; nil: it may.
func (r *run) acceptCandidate(ctx context.Context, out *Outcome, secret *appsecret.Secret) error {
	version, token, err := r.tryVersion(ctx, out, secret, appsecret.Candidate)
	if err != nil {
		return err
	}
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

// tryCurrent goes back to the version before, where a person has stored credentials that Salesforce refuses over ones that work.
func (r *run) tryCurrent(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	version, token, refused := r.tryVersion(ctx, &out, secret, appsecret.Current)
	if refused == nil {
		refused = cmp.Or(r.checkIdentity(ctx, secret, version, token), checkSignature(secret, token))
	}
	if refused == nil {
		out.Action = "logged in with the current pair"
		if err := clearRejected(ctx, secret, out.VersionID); err != nil {
			return out, err
		}
		return r.deleteCompromised(ctx, out, secret) // a person, and no rotation, may have replaced a pair that has leaked
	}
	if !isPermanent(refused) {
		return out, refused
	}
	secret, err := r.reopen(ctx, secret)
	if err != nil {
		return out, err
	}
	if !secret.HasLabel(out.VersionID, appsecret.Current) {
		return staleEvent(out), nil
	}
	out.Rejection = refused
	previous := secret.VersionWithLabel(appsecret.Previous)
	if previous == "" {
		out.Action, out.Warning = "left AWSCURRENT, which was refused: there is no other version", refused.Error()
		out.LockedOut = !errors.Is(refused, errPlaceholder) // a deployment has made the secret, and nobody has filled it in yet
		return out, nil
	}
	err = r.acceptPrevious(ctx, secret, previous, out.VersionID, version, refused)
	switch {
	case err != nil && !isPermanent(err) && !appsecret.IsKind(err, appsecret.NotFound):
		return out, err
	case err != nil:
		out.Action = "left AWSCURRENT, which was refused: the version before cannot take its place: " + err.Error()
		out.Warning = refused.Error()
		out.LockedOut = !errors.Is(refused, errPlaceholder) || !errors.Is(err, errPlaceholder)
		return out, nil
	}
	// REJECTED first: once AWSCURRENT has moved, a repeated event finds nothing more to do.
	if err := secret.MoveLabel(ctx, appsecret.Rejected, out.VersionID); err != nil {
		return out, err
	}
	if err := secret.MoveLabel(ctx, appsecret.Current, previous); err != nil {
		return out, err
	}
	out.Action, out.Warning = fmt.Sprintf("went back to version %s", previous), refused.Error()
	out.Rejected, out.RolledBack = true, true
	return out, nil
}

// acceptPrevious returns why the version before must not become current again in place of one that was refused, for the reason given;
// nil: it may.
func (r *run) acceptPrevious(ctx context.Context, secret *appsecret.Secret, id, current string, version *appsecret.Version, refused error) error {
	for _, label := range []string{appsecret.Compromised, appsecret.Rejected} {
		if secret.HasLabel(id, label) {
			return &permanentError{errors.New("it is labelled " + label)}
		}
	}
	previous, err := secret.Read(ctx, id)
	switch {
	case err != nil:
		return err
	case previous.IsPlaceholder():
		return &permanentError{errPlaceholder}
	}
	compromised, err := r.isCompromised(ctx, secret, previous)
	if err != nil {
		return err
	}
	if compromised {
		return &permanentError{errors.New("its credentials are labelled COMPROMISED")}
	}
	// Wrong credentials must not let in again the callers whom the current version keeps out.
	if version != nil && !version.AllowedPrincipals.Covers(previous.AllowedPrincipals) || appsecret.HidesRestriction(refused, previous) {
		return &permanentError{errors.New("its allowedPrincipals let in callers whom those of the current version keep out, or cannot be read")}
	}
	_, err = r.loginUntil(ctx, previous, time.Now(), r.whileLabelled(secret, current, appsecret.Current))
	return err
}

// dropPending takes AWSPENDING off the version that was AWSCURRENT before. A finished rotation has left it there, and Secrets Manager
// would take it for one that has not ended, and go on with it instead of the next. Source: API Reference, RotateSecret.
func dropPending(ctx context.Context, secret *appsecret.Secret) error {
	holder := secret.VersionWithLabel(appsecret.Pending)
	if holder == "" || !secret.HasLabel(holder, appsecret.Previous) {
		return nil
	}
	return secret.RemoveLabel(ctx, appsecret.Pending, holder)
}

var errPlaceholder = errors.New("the secret still holds the placeholder")

// placeholderHint says what to do about the placeholder.
func placeholderHint(app string) string {
	return "nobody has stored the app's pair yet: `sftoken secret put " + app + "`"
}

// reopen opens the secret once more, since a person may have stored other credentials while these were tried for minutes. It waits a
// little where it is shown an earlier state than it has seen before: reads are eventually consistent.
func (r *run) reopen(ctx context.Context, secret *appsecret.Secret) (*appsecret.Secret, error) {
	until := time.Now().Add(readConsistencyTimeout)
	for {
		now, err := appsecret.Open(ctx, r.Secrets, r.Prefix, secret.ARN)
		if err != nil || !now.LastChanged.Before(secret.LastChanged) || time.Now().After(until) {
			return now, err
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// debounce returns after about a second in which the label has stayed, so that one that moves again and again costs few logins. It
// looks at random times, so that it notices a label that goes to and fro. Each move has an event of its own, so
// that nothing is lost with this one.
func debounce(ctx context.Context, labelled func(context.Context) error) error {
	for range 5 {
		if err := sleep(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond)); err != nil {
			return err
		}
		if err := labelled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tryVersion tries the event's version, to which the label has moved, with all the time that new credentials may take to work:
// Salesforce may know staged ones everywhere only some time after a rotation has made them the primary ones. It gives up where the
// label moves on. The version is nil where it cannot be read.
func (r *run) tryVersion(ctx context.Context, out *Outcome, secret *appsecret.Secret, label string) (*appsecret.Version, *sfoauth.Token, error) {
	version, err := secret.Read(ctx, out.VersionID)
	if err != nil {
		return nil, nil, err
	}
	out.PrincipalsErr = version.PrincipalsErr
	if version.IsPlaceholder() {
		return version, nil, &permanentError{errPlaceholder}
	}
	labelled := r.whileLabelled(secret, version.ID, label)
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
