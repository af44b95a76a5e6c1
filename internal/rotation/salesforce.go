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
// The secret's writer chooses the IDs that name it, and the admin app may reach the consumers of every app in the org.
// Nothing is therefore taken from a consumer or changed there before a version of the secret has proved ownership: by
// holding a consumer key and secret that equal the consumer's primary or staged ones. A consumer key alone proves
// nothing, since it is not secret. Neither does a label or a version ID, which the writer chooses.
type orgCredentials struct {
	*sfoauth.StagedCredentialsClient
	primary sfoauth.ConsumerCredentials
	staged  []sfoauth.StagedCredentials
}

// fetchCredentials asks Salesforce what it holds for the consumer that the version names.
func (r *run) fetchCredentials(
	ctx context.Context, secret *appsecret.Secret, version *appsecret.Version,
) (*orgCredentials, error) {
	client, err := r.admin(ctx, secret, version)
	if err != nil {
		return nil, err
	}
	at := &orgCredentials{StagedCredentialsClient: client}
	return at, at.fetch(ctx)
}

func (at *orgCredentials) fetch(ctx context.Context) (err error) {
	if at.primary, err = at.Primary(ctx); err != nil {
		return withPermissionHint("reading the primary credentials", err)
	}
	at.staged, err = at.ListStaged(ctx)
	refused, ok := errors.AsType[*sfoauth.Error](err)
	if ok && refused.Status == http.StatusNotFound && refused.Err == nil { // from the API itself and not a web page
		return nil // IDs and permissions were sufficient for the primary credentials: no others exist
	}
	if err != nil {
		return withPermissionHint("reading the staged credentials", err)
	}
	return nil
}

// withPermissionHint adds what may be missing if Salesforce refuses access to credentials, for which it has two
// responses.
func withPermissionHint(doing string, err error) error {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	denied := ok && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound)
	if denied && refused.Kind == sfoauth.Permanent {
		return fmt.Errorf("%s: %w: check appId and consumerId, the user's permissions External Client App Developer and "+
			"View Client Secret, and that the org allows access to consumer secrets through the REST API", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// fetchPending is fetchCredentials for the pending version, and waits until its credentials are among the result:
// Salesforce may not show them everywhere at once. If they are still missing after that time, it abandons the rotation.
func (r *run) fetchPending(
	ctx context.Context, secret *appsecret.Secret, pending *appsecret.Version,
) (*orgCredentials, error) {
	client, err := r.admin(ctx, secret, pending)
	if err != nil {
		return nil, err
	}
	at := &orgCredentials{StagedCredentialsClient: client}
	var until time.Time // set after the first response, which may be slow
	pause := backoff()
	err = retry(ctx, r.whileLabelled(secret, pending.ID, appsecret.Pending), func() (time.Duration, error) {
		if err := at.fetch(ctx); err != nil || at.holds(pending) {
			return 0, err
		}
		if until.IsZero() {
			until = r.propagationDeadline(pending)
			// A step that is repeated long afterwards may also meet a server that lags behind.
			if soon := time.Now().Add(readConsistencyTimeout); until.Before(soon) {
				until = soon
			}
		}
		wait := pause()
		if time.Now().Add(wait).After(until) {
			return 0, r.abandonMissing(ctx, secret, pending.ID)
		}
		return wait, nil
	})
	return at, err
}

// abandonMissing abandons credentials that Salesforce does not hold any more. Without AWSPENDING the next rotation
// starts afresh; with it, Secrets Manager would continue with this version forever.
func (r *run) abandonMissing(ctx context.Context, secret *appsecret.Secret, version string) error {
	err := fmt.Errorf("the pending credentials of app %s are not at Salesforce any more, because they have expired or "+
		"were deleted; the next rotation makes new ones", secret.App)
	return errors.Join(err, secret.RemoveLabel(ctx, appsecret.Pending, version))
}

// equal reports whether both are the same consumer key and secret, compared in constant time. Incomplete ones equal
// nothing.
func equal(p, other sfoauth.ConsumerCredentials) bool {
	complete := p.ConsumerKey != "" && !p.ConsumerSecret.IsZero()
	return p.Equal(other) && complete
}

// stagedID returns the ID under which the version's credentials are staged; empty: they are not.
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

// knows reports whether the consumer has these credentials, as the primary ones or in any other state.
func (at *orgCredentials) knows(p sfoauth.ConsumerCredentials) bool {
	return equal(at.primary, p) || slices.ContainsFunc(at.staged, func(s sfoauth.StagedCredentials) bool {
		return equal(s.ConsumerCredentials, p)
	})
}

// remove deletes staged or replaced credentials and reports whether they still existed: a step and an event may delete
// the same ones at the same time.
func (at *orgCredentials) remove(ctx context.Context, p sfoauth.StagedCredentials) (deleted bool, err error) {
	err = at.Delete(ctx, p.ID)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// newCredentials returns credentials that Salesforce holds in addition to those of AWSCURRENT, and what was done to get
// them. It adopts those that an earlier rotation has left there, and otherwise makes new ones.
func (r *run) newCredentials(
	ctx context.Context, secret *appsecret.Secret, current *appsecret.Version,
) (created sfoauth.ConsumerCredentials, action string, err error) {
	at, err := r.fetchCredentials(ctx, secret, current)
	if err != nil {
		return created, "", err
	}
	if err := r.verifyOwnership(ctx, secret, at); err != nil {
		return created, "", err
	}
	if !equal(at.primary, current.Credentials()) { // Salesforce has promoted them, and AWSCURRENT was never moved
		if err := r.checkReplaced(ctx, at, secret, current); err != nil {
			return created, "", err
		}
		return at.primary, "adopted the primary credentials at Salesforce, which are newer than AWSCURRENT", nil
	}
	compromised, err := r.isCompromised(ctx, secret, current)
	if err != nil {
		return created, "", err
	}
	for _, p := range at.staged {
		// Anyone with the compromised credentials may have read the staged ones.
		if p.State == sfoauth.Active && !compromised && !p.ConsumerSecret.IsZero() && !expiresSoon(p) {
			return p.ConsumerCredentials, "adopted the credentials that were staged at Salesforce", nil
		}
		if _, err := at.remove(ctx, p); err != nil {
			return created, "", fmt.Errorf("deleting staged credentials to make room for new ones: %w", err)
		}
	}
	staged, err := at.Stage(ctx)
	return staged.ConsumerCredentials, "staged new credentials at Salesforce", err
}

func expiresSoon(p sfoauth.StagedCredentials) bool {
	return !p.Expiration.IsZero() && time.Until(p.Expiration) < 24*time.Hour
}
