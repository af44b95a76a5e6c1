package vending

import (
	"context"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// bury revokes a token that was made with a pair that has leaked, with the rights of another one that was not. Any other old token
// is left to its holders. It says whether it has revoked it, and whether it is unsure, for want of an answer, that it need not.
func (v *Vendor) bury(ctx context.Context, f *flight, name string, old, other *session) (revoked, unsure bool) {
	leaked, err := v.read(ctx, f, name, appsecret.Compromised)
	if err == nil && old.madeWith(leaked) && !other.madeWith(leaked) {
		begun := time.Now()
		err = other.client.Revoke(ctx, old.token)
		f.cost.Salesforce += time.Since(begun)
		revoked, unsure = err == nil, err != nil && !isFinal(err)
	} else {
		unsure = appsecret.IsProblem(err, appsecret.Unavailable)
	}
	if err != nil && (unsure || leaked != nil) {
		f.cost.Err = err
	}
	return revoked, unsure
}

// madeWith says whether the session began with the version's pair, which may be in other versions too: a person who changes
// another field of the secret makes one.
func (s *session) madeWith(version *appsecret.Version) bool {
	return s.client.BaseURL == version.BaseURI && version.Pair().Equal(sfoauth.Pair{ConsumerKey: s.client.ConsumerKey, ConsumerSecret: s.client.ConsumerSecret})
}

// buryAgain does what bury could not.
func (v *Vendor) buryAgain(ctx context.Context, f *flight, a *app, old, cached *session) {
	revoked, unsure := v.bury(ctx, f, a.name, old, cached)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !unsure {
		a.unburied = nil
	}
	if revoked && a.session != nil && a.session.id == old.id {
		a.session = nil
	}
}
