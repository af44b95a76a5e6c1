package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Step is one step of a rotation as Secrets Manager requests it. Source: Secrets Manager User Guide, "Lambda rotation
// functions".
type Step struct {
	Name      string // createSecret, setSecret, testSecret, finishSecret
	SecretID  string // ARN, or name
	VersionID string // of the version that is to become AWSCURRENT
	// RotationToken is passed back with PutSecretValue. Empty where the event has none. It must not be logged.
	RotationToken string
}

// Step performs one step. The checks before it are those of AWS's own template for rotation functions.
func (r *Rotator) Step(ctx context.Context, e Step) (Outcome, error) {
	run := r.begin()
	out, err := run.step(ctx, e)
	if errors.Is(err, errSuperseded) {
		err = fmt.Errorf("version %s is not AWSPENDING any more: the secret was written, or the rotation cancelled, "+
			"during %s", e.VersionID, e.Name)
	}
	out.VersionID, out.Usage = e.VersionID, run.usage
	return out, err
}

func (r *run) step(ctx context.Context, e Step) (Outcome, error) {
	secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, e.SecretID)
	if err != nil {
		return Outcome{}, err
	}
	if secret.IsReplica() {
		return Outcome{App: secret.App}, replicaError(secret)
	}
	out, err := r.perform(ctx, secret, e)
	if err == nil && e.Name == "finishSecret" {
		err = r.deleteCompromised(ctx, secret, &out)
	}
	out.App = secret.App
	return out, err
}

func (r *run) perform(ctx context.Context, secret *appsecret.Secret, e Step) (Outcome, error) {
	switch {
	case !secret.RotationEnabled && e.Name != "testSecret": // which may run before the rotation is switched on
		return Outcome{}, fmt.Errorf("secret %s is not enabled for rotation", secret.Name)
	case secret.HasLabel(e.VersionID, appsecret.Current):
		return Outcome{Action: "nothing: the version is AWSCURRENT already"}, nil
	case !secret.HasLabel(e.VersionID, appsecret.Pending):
		return Outcome{}, fmt.Errorf("version %s of secret %s is not AWSPENDING: it is not being rotated, or the secret was "+
			"written meanwhile and that version takes precedence; the next rotation handles any credentials left staged "+
			"at Salesforce", e.VersionID, secret.Name)
	}
	switch e.Name {
	case "createSecret":
		return r.create(ctx, secret, e)
	case "setSecret":
		return r.set(ctx, secret, e.VersionID)
	case "testSecret":
		return r.test(ctx, secret, e.VersionID)
	case "finishSecret":
		return r.finish(ctx, secret, e.VersionID)
	default:
		return Outcome{}, fmt.Errorf("unknown rotation step %q", e.Name)
	}
}

// create stores new credentials as AWSPENDING.
func (r *run) create(ctx context.Context, secret *appsecret.Secret, e Step) (Outcome, error) {
	_, err := secret.Read(ctx, e.VersionID)
	if err == nil {
		return Outcome{Action: "nothing: AWSPENDING has a value already"}, nil
	}
	if !appsecret.IsKind(err, appsecret.NotFound) {
		return Outcome{}, err
	}
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	var value sfoauth.Secret
	switch {
	case current.IsPlaceholder():
		value, out.Action, out.Warning = current.Value(), "kept the placeholder", placeholderHint(secret.App)
	case current.CanSelfRotate():
		created, action, err := r.newCredentials(ctx, secret, current)
		if err != nil {
			return Outcome{}, err
		}
		value, out.Action = current.WithCredentials(created), action
	default:
		candidate, err := r.candidate(ctx, secret)
		if err != nil {
			return Outcome{}, err
		}
		value, out.Action = candidate.Value(), "took the credentials labelled CANDIDATE"
	}
	return out, secret.Put(ctx, e.VersionID, e.RotationToken, appsecret.Pending, value.Reveal())
}

// candidate returns the new credentials of an app whose credentials only a person can make.
func (r *run) candidate(ctx context.Context, secret *appsecret.Secret) (*appsecret.Version, error) {
	id := secret.VersionWithLabel(appsecret.Candidate)
	if id == "" {
		return nil, fmt.Errorf("app %s is due for new credentials, which a person must make because its secret has no appId "+
			"and consumerId: make them in Salesforce's Setup, then run `sftoken secret stage %s`", secret.App, secret.App)
	}
	candidate, err := secret.Read(ctx, id)
	if err != nil {
		return nil, err
	}
	if candidate.PrincipalsErr != nil {
		return nil, fmt.Errorf("the CANDIDATE of app %s would deny every caller: %w", secret.App, candidate.PrincipalsErr)
	}
	compromised, err := r.isCompromised(ctx, secret, candidate)
	if err == nil && compromised {
		err = fmt.Errorf("the CANDIDATE credentials of app %s are also labelled COMPROMISED: make others in Salesforce's "+
			"Setup, then run `sftoken secret stage %s`", secret.App, secret.App)
	}
	return candidate, err
}

// set checks that Salesforce still holds the pending credentials.
func (r *run) set(ctx context.Context, secret *appsecret.Secret, id string) (Outcome, error) {
	pending, err := r.pending(ctx, secret, id)
	if err != nil {
		return Outcome{}, err
	}
	if !pending.CanSelfRotate() {
		return Outcome{Action: "nothing: this app's credentials are not made through Salesforce's API"}, nil
	}
	if _, err := r.fetchPending(ctx, secret, pending); err != nil {
		return Outcome{}, err
	}
	return Outcome{Action: "found the pending credentials at Salesforce"}, nil
}

// test logs in with the pending credentials.
func (r *run) test(ctx context.Context, secret *appsecret.Secret, id string) (Outcome, error) {
	pending, err := r.pending(ctx, secret, id)
	if err != nil {
		return Outcome{}, err
	}
	if pending.IsPlaceholder() {
		return Outcome{Action: "nothing: " + errPlaceholder.Error(), Warning: placeholderHint(secret.App)}, nil
	}
	wanted := r.whileLabelled(secret, pending.ID, appsecret.Pending)
	token, err := r.loginUntil(ctx, pending, r.propagationDeadline(pending), wanted)
	if err == nil {
		err = r.checkIdentity(ctx, secret, pending, token)
	}
	if err != nil {
		return r.failTest(ctx, secret, pending, err)
	}
	out := Outcome{Action: "logged in with the pending credentials"}
	if token.SignatureErr != nil {
		out.Warning = "the signature of the token does not verify with the consumer secret of the pending credentials: " +
			"Salesforce may sign with another secret until they are the primary ones"
	}
	return out, nil
}

// failTest decides what follows if the pending credentials do not log in. Staged ones may not log in before they are
// the primary ones. A candidate that is refused is labelled REJECTED, and the rotation is abandoned.
func (r *run) failTest(
	ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version, refused error,
) (Outcome, error) {
	if !isPermanent(refused) {
		return Outcome{}, refused
	}
	err := fmt.Errorf("testing the pending credentials: %w", refused)
	if pending.CanSelfRotate() {
		if !isInvalidClient(refused) {
			return Outcome{}, err
		}
		at, failed := r.fetchCredentials(ctx, secret, pending)
		if failed != nil || at.stagedID(pending) == "" {
			return Outcome{}, err
		}
		return Outcome{
			Action: "found the pending credentials at Salesforce, where they do not log in yet",
			Warning: "the staged credentials do not log in; finishSecret makes them the primary ones and moves AWSCURRENT " +
				"only when they do",
		}, nil
	}
	if r.isCurrent(ctx, secret, pending) {
		return Outcome{}, err
	}
	// REJECTED first: a version without a label may vanish.
	return Outcome{Rejected: true}, errors.Join(err, secret.MoveLabel(ctx, appsecret.Rejected, pending.ID),
		r.dropCandidate(ctx, secret, pending), secret.RemoveLabel(ctx, appsecret.Pending, pending.ID))
}

// isCurrent reports whether the pending version is a copy of AWSCURRENT, which Secrets Manager makes to test the
// function.
func (r *run) isCurrent(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) bool {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	return err == nil && pending.SameCredentials(current)
}

// finish makes the pending credentials the primary ones at Salesforce, and their version AWSCURRENT.
func (r *run) finish(ctx context.Context, secret *appsecret.Secret, id string) (Outcome, error) {
	pending, err := r.pending(ctx, secret, id)
	if err != nil {
		return Outcome{}, err
	}
	if err := r.checkNotSuperseded(ctx, secret, pending); err != nil {
		return Outcome{}, err
	}
	if pending.CanSelfRotate() {
		if err := r.promote(ctx, secret, pending); err != nil {
			return Outcome{}, err
		}
	}
	if err := r.makeCurrent(ctx, secret, pending); err != nil {
		return Outcome{}, err
	}
	out := Outcome{Action: "made the pending version AWSCURRENT", Rotated: true}
	return out, r.dropCandidate(ctx, secret, pending)
}

// promote makes the pending credentials the primary ones, and waits until they log in. The old ones work for 30 more
// days, so AWSCURRENT can wait for the new ones.
func (r *run) promote(ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version) error {
	at, err := r.fetchPending(ctx, secret, pending)
	if err != nil {
		return err
	}
	if !equal(at.primary, pending.Credentials()) {
		if err := at.Promote(ctx, at.stagedID(pending)); err != nil {
			return fmt.Errorf("making the staged credentials the primary ones: %w", err)
		}
	}
	wanted := r.whileLabelled(secret, pending.ID, appsecret.Pending)
	token, err := r.loginUntil(ctx, pending, time.Now().Add(r.Propagation), wanted)
	if err == nil {
		err = r.checkIdentity(ctx, secret, pending, token)
	}
	if err != nil {
		return fmt.Errorf("the new credentials are the primary ones at Salesforce and do not log in: %w", err)
	}
	return nil
}

// pending reads the version that is being rotated, and waits a little for a value that the step before has written.
func (r *run) pending(ctx context.Context, secret *appsecret.Secret, id string) (*appsecret.Version, error) {
	return readUntilSettled(ctx, func() (*appsecret.Version, bool, error) {
		pending, err := secret.Read(ctx, id)
		return pending, !appsecret.IsKind(err, appsecret.NotFound), err
	})
}
