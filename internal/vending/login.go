package vending

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// salesforceTimeout bounds one call to Salesforce.
const salesforceTimeout = 6 * time.Second

// loginWithFallback logs in with AWSCURRENT or, if Salesforce refuses its credentials, with another version that works,
// one login each. It leaves AWSCURRENT as it is now in c.secret, and the versions with refused credentials in c.tried.
// Those that were refused before the login budget ran out are not tried again before the others.
func (c *call) loginWithFallback(ctx context.Context) (*cachedToken, error) {
	var refused error
	var unsigned *cachedToken
	for changed := true; changed; changed = c.currentChanged(ctx) {
		unsigned = nil
		if c.secret.IsAmong(c.tried) {
			continue
		}
		t, err := c.login(ctx, c.secret)
		switch {
		case err == nil && t.token.SignatureErr != nil:
			unsigned = t
		case isInvalidClient(err):
			c.tried, refused = append(slices.Clip(c.tried), c.secret), err
		default:
			if !loginbudget.IsExhausted(err) {
				c.tried = nil
			}
			return t, err
		}
	}
	if unsigned != nil {
		return unsigned, c.checkSigner(ctx, unsigned)
	}
	for _, version := range appsecret.Fallbacks(c.secret, c.tried, c.reader(ctx)) {
		t, err := c.login(ctx, version)
		if err == nil && t.token.SignatureErr != nil {
			c.noteUnsigned(t)
		}
		if !isPermanent(err) {
			return t, err
		}
		c.tried = append(slices.Clip(c.tried), version)
		refused = cmp.Or(refused, err)
	}
	if refused == nil { // all were refused before the budget ran out
		c.tried = nil
		return c.loginWithFallback(ctx)
	}
	return nil, refused
}

// checkSigner returns an error if a token that was issued to AWSCURRENT's credentials, but not signed with them, must
// not be used. Salesforce does not document which secret signs for credentials that are not the app's primary ones. So
// the token may be used while AWSCURRENT may not be primary: while another version is about to replace it, if
// AWSPREVIOUS made the signature, or in a standby region, where the primary credentials may not have arrived.
func (c *call) checkSigner(ctx context.Context, t *cachedToken) error {
	if c.Standby {
		c.noteUnsigned(t)
		return nil
	}
	for label, version := range appsecret.Fallbacks(c.secret, []*appsecret.Version{c.secret}, c.reader(ctx)) {
		if label != appsecret.Previous || c.client(version).VerifySignature(t.token) == nil {
			c.noteUnsigned(t)
			return nil
		}
	}
	err := &sfoauth.Error{Op: "token", Status: http.StatusOK, Kind: sfoauth.InvalidResponse, Err: t.token.SignatureErr}
	c.stats.Err = err
	return err
}

// noteUnsigned notes that a token is used although its signature does not verify.
func (c *call) noteUnsigned(t *cachedToken) {
	c.stats.notef("version %s, whose credentials may not be the primary ones: %v", t.versionID, t.token.SignatureErr)
}

// currentChanged reads AWSCURRENT and reports whether it is another version now.
func (c *call) currentChanged(ctx context.Context) bool {
	version, err := c.read(ctx, appsecret.Current)
	if err != nil || version.ID == c.secret.ID {
		return false
	}
	c.secret, c.readAt = version, time.Now()
	return true
}

// login asks Salesforce for a token with the version's credentials, if the login budget allows it. The token's
// signature need not verify: see sfoauth.Token.SignatureErr.
func (c *call) login(ctx context.Context, version *appsecret.Version) (*cachedToken, error) {
	if version.IsPlaceholder() {
		return nil, ErrPlaceholder
	}
	if err := c.keepLease(ctx); err != nil {
		return nil, err
	}
	if err := c.Logins.Take(c.app.name); err != nil {
		c.stats.Err = err
		return nil, err
	}
	client := c.client(version)
	client.AllowUnverifiedSignature = true // loginWithFallback checks it
	begun := time.Now()
	token, err := client.Token(ctx)
	took := time.Since(begun)
	c.stats.Salesforce += took
	c.stats.Logins = append(c.stats.Logins, took)
	if err == nil {
		if wrong := version.VerifyIdentity(token); wrong != nil {
			err = &setupError{wrong.Error() + ": fix the secret, or the app's run-as user"}
		}
	}
	if err != nil {
		c.stats.Err = err
		return nil, err
	}
	return c.newToken(token, client, version, c.secret, begun), nil
}

// client returns an OAuth client with the version's credentials.
func (c *call) client(version *appsecret.Version) *sfoauth.Client {
	client := version.Client(c.Hosts, c.HTTPClient)
	client.Timeout = salesforceTimeout
	return client
}
