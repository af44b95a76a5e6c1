package rotation

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// place is what Salesforce holds for an app's consumer.
type place struct {
	*sfoauth.Credentials
	main sfoauth.Pair
	slot []sfoauth.StagedPair
}

// look asks Salesforce what it holds for the consumer that the version names.
func (r *Rotator) look(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version) (*place, error) {
	credentials, err := r.admin(ctx, secret, version)
	if err != nil {
		return nil, err
	}
	at := &place{Credentials: credentials}
	if at.main, err = at.Main(ctx); err != nil {
		return nil, permission("reading the main pair", err)
	}
	if at.slot, err = at.Staged(ctx); err != nil {
		return nil, permission("reading the staged pair", err)
	}
	return at, nil
}

// permission says what may be missing where Salesforce does not let the pair be read, which it answers in two ways.
func permission(doing string, err error) error {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	if ok && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound) {
		return fmt.Errorf("%s: %w: check appId and consumerId, that the user has the permissions External Client App Developer and View Client Secret, "+
			"and that the org allows access to consumer secrets through the REST API", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// staged returns the id of the version's pair where it is staged; empty: it is not.
func (at *place) staged(version *appsecret.Version) string {
	for _, p := range at.slot {
		if p.ConsumerKey == version.ConsumerKey && p.State == sfoauth.Active {
			return p.ID
		}
	}
	return ""
}

// holds says whether the version's pair is the main one, or staged to become it.
func (at *place) holds(version *appsecret.Version) bool {
	return at.main.Equal(version.Pair()) || at.staged(version) != ""
}

// remove deletes a staged or replaced pair, and says whether it was still there: a step and an event may be at it at the same time.
func (at *place) remove(ctx context.Context, p sfoauth.StagedPair) (deleted bool, err error) {
	err = at.Delete(ctx, p.ID)
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok && refused.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// bury deletes the leaked pair at Salesforce once it is not AWSCURRENT any more. Every other old pair is left in its 30 days
// of grace.
func (r *Rotator) bury(ctx context.Context, out Outcome, secret *appsecret.Secret) (Outcome, error) {
	leaked := secret.Holder(appsecret.Compromised)
	if leaked == "" {
		return out, nil
	}
	current, err := appsecret.Reader{Client: r.Secrets, Prefix: r.Prefix}.Read(ctx, secret.App, appsecret.Current)
	if err != nil {
		return out, err
	}
	old, err := secret.Read(ctx, leaked)
	if err != nil && !appsecret.IsProblem(err, appsecret.Malformed) {
		return out, err
	}
	switch {
	case err != nil:
		out.Warning = "the leaked version does not say which pair to delete: " + err.Error()
		return out, nil
	case old.SamePair(current):
		return out, nil
	case !current.Rotates():
		out.Warning = "the leaked pair cannot be deleted through Salesforce's API: delete it in Setup"
		return out, nil
	}
	at, err := r.look(ctx, secret, current)
	if err != nil {
		return out, err
	}
	for _, p := range at.slot {
		if p.ConsumerKey != old.ConsumerKey {
			continue
		}
		deleted, err := at.remove(ctx, p)
		if err != nil {
			return out, fmt.Errorf("deleting the leaked pair at Salesforce: %w", err)
		}
		if deleted {
			out.Did += "; deleted the leaked pair at Salesforce"
		}
	}
	return out, nil
}
