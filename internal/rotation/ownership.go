package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// verifyOwnership fails unless a version of the secret holds credentials of the consumer and no other app's secret
// does: two secrets that share a consumer would end each other's credentials.
func (r *run) verifyOwnership(ctx context.Context, secret *appsecret.Secret, at *orgCredentials) error {
	versions, err := secret.ReadAll(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(versions, func(v *appsecret.Version) bool { return at.knows(v.Credentials()) }) {
		return fmt.Errorf("no version of secret %s holds the credentials that Salesforce has for its appId and consumerId: "+
			"if they were made in Setup, store them with `sftoken secret stage %s`; if the IDs belong to another app, "+
			"correct them with `sftoken secret put %s`", secret.Name, secret.App, secret.App)
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
		case err != nil: // it has no credentials that work, or none that can be read here
		case at.knows(other.Credentials()):
			return fmt.Errorf("secrets %s and %s%s hold credentials of the same Salesforce app, and rotating one ends those "+
				"of the other: keep one of the secrets, or make a Salesforce app for each", secret.Name, r.Prefix, app)
		}
	}
	return nil
}

// checkReplaced fails if the current credentials are not the consumer's and log in nevertheless. Then appId and
// consumerId name a different app, which happens when new credentials are stored but not the IDs. That app's primary
// credentials must not be adopted.
func (r *run) checkReplaced(
	ctx context.Context, at *orgCredentials, secret *appsecret.Secret, current *appsecret.Version,
) error {
	if at.knows(current.Credentials()) {
		return nil
	}
	_, err := r.login(ctx, current, secret.App, false)
	if err == nil {
		return fmt.Errorf("the current credentials of app %s log in, and its appId and consumerId belong to another app: "+
			"correct them with `sftoken secret put %s`", secret.App, secret.App)
	}
	if isInvalidClient(err) {
		return nil
	}
	return err
}

// isCompromised reports whether the version's credentials are those of the version labelled COMPROMISED: a change of
// other fields makes a new version with the same ones.
func (r *run) isCompromised(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version) (bool, error) {
	id := secret.VersionWithLabel(appsecret.Compromised)
	if id == "" || id == version.ID {
		return id != "", nil
	}
	compromised, err := secret.Read(ctx, id)
	if appsecret.IsKind(err, appsecret.Malformed) {
		return false, nil // it names no credentials
	}
	return err == nil && equal(compromised.Credentials(), version.Credentials()), err
}

// deleteCompromised deletes the compromised credentials at Salesforce once they are not AWSCURRENT any more. Other
// replaced credentials keep working for their 30 days. It adds what was done to out, and sets its warning if a person
// should know something.
func (r *run) deleteCompromised(ctx context.Context, secret *appsecret.Secret, out *Outcome) error {
	id := secret.VersionWithLabel(appsecret.Compromised)
	if id == "" {
		return nil
	}
	current, err := r.reader().Read(ctx, secret.App, appsecret.Current)
	if err != nil {
		return err
	}
	old, err := secret.Read(ctx, id)
	switch {
	case appsecret.IsKind(err, appsecret.Malformed):
		out.Warning = "the version labelled COMPROMISED does not name the credentials to delete: " + err.Error()
		return nil
	case err != nil:
		return err
	case equal(old.Credentials(), current.Credentials()): // in any spelling of baseUri
		return nil
	case !current.CanSelfRotate():
		out.Warning = "the compromised credentials cannot be deleted through Salesforce's API: delete them in Setup"
		return nil
	}
	at, err := r.fetchCredentials(ctx, secret, current)
	if err != nil {
		return err
	}
	for _, p := range at.staged {
		switch {
		case equal(p.ConsumerCredentials, old.Credentials()):
			deleted, err := at.remove(ctx, p)
			if err != nil {
				return fmt.Errorf("deleting the compromised credentials at Salesforce: %w", err)
			}
			if deleted {
				out.Action += "; deleted the compromised credentials at Salesforce"
			}
		case p.ConsumerKey == old.ConsumerKey:
			out.Warning = "the version labelled COMPROMISED has another consumer secret than Salesforce has for its " +
				"consumer key: nothing was deleted; if the credentials have leaked, delete them in Setup"
		}
	}
	return nil
}
