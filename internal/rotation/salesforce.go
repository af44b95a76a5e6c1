package rotation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// orgCredentials is what Salesforce holds for the consumer that a secret names.
//
// The ids that name it are the word of the secret's writer, and the admin app may reach the consumers of every app in the org. So
// nothing is taken from a consumer or changed there before a version of the secret has proved that it is the secret's own: by
// holding a consumer key and secret that equal the consumer's primary or staged ones. A consumer key alone proves nothing, since
// it is no secret; nor does a label or a version id, which the writer chooses.
type orgCredentials struct {
	*sfoauth.StagedCredentialsClient
	primary sfoauth.ConsumerCredentials
	staged  []sfoauth.StagedCredentials
}

// fetchCredentials asks Salesforce what it holds for the consumer that the version names.
func (r *run) fetchCredentials(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version) (*orgCredentials, error) {
	credentials, err := r.admin(ctx, secret, version)
	if err != nil {
		return nil, err
	}
	at := &orgCredentials{StagedCredentialsClient: credentials}
	return at, at.fetch(ctx)
}

func (at *orgCredentials) fetch(ctx context.Context) (err error) {
	if at.primary, err = at.Primary(ctx); err != nil {
		return permission("reading the main pair", err)
	}
	at.staged, err = at.ListStaged(ctx)
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok && refused.Status == http.StatusNotFound && refused.Err == nil { // no web page
		at.staged = nil // the ids and the permissions were good enough for the primary credentials: there are no others
		return nil
	}
	if err != nil {
		return permission("reading the staged pair", err)
	}
	return nil
}

func isNotFound(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsNotFound()
}

// permission says what may be missing where Salesforce does not let the pair be read, which it answers in two ways.
func permission(doing string, err error) error {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	if ok && refused.Kind == sfoauth.Permanent && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound) {
		return fmt.Errorf("%s: %w: check appId and consumerId, that the user has the permissions External Client App Developer and View Client Secret, "+
			"and that the org allows access to consumer secrets through the REST API", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// equal reports whether both are the same consumer key and secret, compared in constant time. Incomplete ones equal nothing.
func equal(p, other sfoauth.ConsumerCredentials) bool {
	complete := p.ConsumerKey != "" && !p.ConsumerSecret.IsZero()
	return p.Equal(other) && complete
}

// stagedID returns the id under which the version's credentials are staged; empty: they are not.
func (at *orgCredentials) stagedID(version *appsecret.Version) string {
	for _, p := range at.staged {
		if p.State == sfoauth.Active && equal(p.ConsumerCredentials, version.Credentials()) {
			return p.ID
		}
	}
	return ""
}

// holds reports whether the version's credentials are the primary ones, or staged to become them.
func (at *orgCredentials) holds(version *appsecret.Version) bool {
	return equal(at.primary, version.Credentials()) || at.stagedID(version) != ""
}

// knows reports whether the consumer has these credentials, as the primary ones or in whatever state beside them.
func (at *orgCredentials) knows(p sfoauth.ConsumerCredentials) bool {
	return equal(at.primary, p) || slices.ContainsFunc(at.staged, func(s sfoauth.StagedCredentials) bool { return equal(s.ConsumerCredentials, p) })
}

// waitFor returns once Salesforce holds the pending credentials, which it may not show everywhere until some time after they were
// made. It returns false where they are still missing when they must have settled.
func (r *run) waitFor(ctx context.Context, at *orgCredentials, secret *appsecret.Secret, pending *appsecret.Version) (bool, error) {
	wanted := r.whileLabelled(secret, pending.ID, appsecret.Pending)
	until := r.propagationDeadline(pending)
	if soon := time.Now().Add(readConsistencyTimeout); until.Before(soon) { // a step that is run again long afterwards may meet a late server too
		until = soon
	}
	for pause := time.Second; !at.holds(pending); pause = min(2*pause, maxPause) {
		if time.Now().Add(pause).After(until) {
			return false, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return false, err
		}
		if err := wanted(ctx); err != nil {
			return false, err
		}
		if err := at.fetch(ctx); err != nil {
			return false, err
		}
	}
	return true, nil
}

// verifyOwnership fails unless a version of the secret holds credentials of the consumer, and no other app's secret does: two secrets that
// share a consumer would end each other's credentials.
func (r *run) verifyOwnership(ctx context.Context, secret *appsecret.Secret, at *orgCredentials) error {
	versions, err := secret.ReadAll(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(versions, func(v *appsecret.Version) bool { return at.knows(v.Credentials()) }) {
		return fmt.Errorf("no version of secret %s holds the credentials that Salesforce has for its appId and consumerId: "+
			"if they were made in Setup, store them with `sftoken secret stage %s`; if the ids belong to another app, correct them with `sftoken secret put %s`",
			secret.Name, secret.App, secret.App)
	}
	return r.checkUnshared(ctx, secret, at)
}

func (r *run) checkUnshared(ctx context.Context, secret *appsecret.Secret, at *orgCredentials) error {
	apps, err := r.apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if app == secret.App {
			continue
		}
		other, err := r.reader().Read(ctx, app, appsecret.Current)
		switch {
		case appsecret.IsKind(err, appsecret.Unavailable):
			return fmt.Errorf("looking for another secret with the same credentials: %w", err)
		case err != nil: // it has none that work, or none that can be read here
		case at.knows(other.Credentials()):
			return fmt.Errorf("secrets %s and %s%s hold credentials of the same Salesforce app, and rotating one ends those of the other: "+
				"keep one of the secrets, or make a Salesforce app for each", secret.Name, r.Prefix, app)
		}
	}
	return nil
}

// remove deletes a staged or replaced pair, and says whether it was still there: a step and an event may be at it at the same time.
func (at *orgCredentials) remove(ctx context.Context, p sfoauth.StagedCredentials) (deleted bool, err error) {
	err = at.Delete(ctx, p.ID)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// deleteCompromised deletes the compromised credentials at Salesforce once they are not AWSCURRENT any more. Every other replaced
// ones keep their 30 days of grace.
func (r *run) deleteCompromised(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	holder := secret.VersionWithLabel(appsecret.Compromised)
	if holder == "" {
		return out, nil
	}
	current, err := r.reader().Read(ctx, secret.App, appsecret.Current)
	if err != nil {
		return out, err
	}
	old, err := secret.Read(ctx, holder)
	if err != nil && !appsecret.IsKind(err, appsecret.Malformed) {
		return out, err
	}
	switch {
	case err != nil:
		out.Warning = "the leaked version does not say which pair to delete: " + err.Error()
		return out, nil
	case equal(old.Credentials(), current.Credentials()): // in whichever spelling of baseUri
		return out, nil
	case !current.CanSelfRotate():
		out.Warning = "the leaked pair cannot be deleted through Salesforce's API: delete it in Setup"
		return out, nil
	}
	at, err := r.fetchCredentials(ctx, secret, current)
	if err != nil {
		return out, err
	}
	for _, p := range at.staged {
		switch {
		case equal(p.ConsumerCredentials, old.Credentials()):
			deleted, err := at.remove(ctx, p)
			if err != nil {
				return out, fmt.Errorf("deleting the leaked pair at Salesforce: %w", err)
			}
			if deleted {
				out.Action += "; deleted the leaked pair at Salesforce"
			}
		case p.ConsumerKey == old.ConsumerKey:
			out.Warning = "the version labelled COMPROMISED has another consumer secret than Salesforce has for its consumer key: " +
				"nothing was deleted; if the credentials have leaked, delete them in Setup"
		}
	}
	return out, nil
}

// isCompromised reports whether the version's credentials are those of the version labelled COMPROMISED: a change of other fields
// makes a new version of them.
func (r *run) isCompromised(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version) (bool, error) {
	holder := secret.VersionWithLabel(appsecret.Compromised)
	if holder == "" || holder == version.ID {
		return holder != "", nil
	}
	compromised, err := secret.Read(ctx, holder)
	if err != nil {
		if appsecret.IsKind(err, appsecret.Malformed) {
			err = nil // it names no credentials
		}
		return false, err
	}
	return equal(compromised.Credentials(), version.Credentials()), nil
}
