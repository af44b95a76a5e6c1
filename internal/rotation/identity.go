package rotation

import (
	"context"
	"fmt"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// identity is the user as which credentials log in.
type identity struct{ org, user string }

// maxIdentities bounds what a process remembers: a few versions of a few dozen apps.
const maxIdentities = 1000

// identityKey includes the app because the writer of a secret can choose its version IDs.
func identityKey(version *appsecret.Version) string { return version.App + " " + version.ID }

func (r *Rotator) remember(version *appsecret.Version, token *sfoauth.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.identities == nil || len(r.identities) >= maxIdentities {
		r.identities = map[string]identity{}
	}
	r.identities[identityKey(version)] = identity{token.OrganizationID, token.UserID}
}

func (r *Rotator) remembered(version *appsecret.Version) (identity, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.identities[identityKey(version)]
	return known, ok
}

// checkIdentity fails if version's token belongs to another org or user than the last working version's, unless the
// version pins them. Otherwise the app's callers would silently act as another user.
func (r *run) checkIdentity(
	ctx context.Context, secret *appsecret.Secret, version *appsecret.Version, token *sfoauth.Token,
) error {
	if version.OrgID != "" && version.UserID != "" {
		return nil // VerifyIdentity has compared them
	}
	last, err := r.lastIdentity(ctx, secret, version, true)
	if err == nil && last != nil && !last.allows(version, token) {
		// The app's run-as user may have changed since it was remembered.
		last, err = r.lastIdentity(ctx, secret, version, false)
	}
	if err != nil || last == nil || last.allows(version, token) {
		return err
	}
	return &permanentError{fmt.Errorf("the new credentials log in to organization %s as user %s, and the last working "+
		"ones to organization %s as user %s: if that is intended, pin the new ones with orgId and userId",
		token.OrganizationID, token.UserID, last.org, last.user)}
}

// allows reports whether the token of version belongs to this org and user, except where the version pins them.
func (i *identity) allows(version *appsecret.Version, token *sfoauth.Token) bool {
	return (version.OrgID != "" || sfoauth.EqualIDs(i.org, token.OrganizationID)) &&
		(version.UserID != "" || sfoauth.EqualIDs(i.user, token.UserID))
}

// lastIdentity returns the user as which the last working version other than this one logs in; nil: there is none. With
// useMemory, the result may be what this process remembers. Otherwise that is used only if the version does not log in
// any more.
func (r *run) lastIdentity(
	ctx context.Context, secret *appsecret.Secret, version *appsecret.Version, useMemory bool,
) (*identity, error) {
	for _, label := range []string{appsecret.Current, appsecret.Previous} {
		id := secret.VersionWithLabel(label)
		if id == "" || id == version.ID || secret.HasLabel(id, appsecret.Rejected) {
			continue
		}
		older, err := secret.Read(ctx, id)
		switch {
		case appsecret.IsKind(err, appsecret.Malformed) || appsecret.IsKind(err, appsecret.NotFound):
			continue
		case err != nil:
			return nil, err
		case older.IsPlaceholder():
			continue
		case older.SameCredentials(version):
			return nil, nil // the same credentials log in as the same user
		case secret.HasLabel(version.ID, appsecret.Current) && older.Created.After(version.Created):
			continue // AWSCURRENT has moved back from this newer version
		}
		known, ok := r.remembered(older)
		if ok && useMemory {
			return &known, nil
		}
		token, err := r.login(ctx, older, older.App, false)
		switch {
		case err == nil:
			r.remember(older, token)
			return &identity{token.OrganizationID, token.UserID}, nil
		case !isPermanent(err):
			return nil, fmt.Errorf("comparing with version %s, which has worked before: %w", id, err)
		case ok:
			return &known, nil
		}
	}
	return nil, nil
}

// checkSignature fails if the signature of the current version's token does not verify although no other version is
// about to become current. Then the version's credentials should be the primary ones and have signed the token.
func checkSignature(secret *appsecret.Secret, token *sfoauth.Token) error {
	current := secret.VersionWithLabel(appsecret.Current)
	for _, label := range []string{appsecret.Pending, appsecret.Candidate} {
		if next := secret.VersionWithLabel(label); next != "" && next != current {
			return nil
		}
	}
	if token.SignatureErr == nil {
		return nil
	}
	return fmt.Errorf("the token for app %s cannot be trusted: %w", secret.App, token.SignatureErr)
}
