package vending

import (
	"context"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// secretTimeout bounds one read of Secrets Manager, with the SDK's retries.
const secretTimeout = 4 * time.Second

// loadSecret reads AWSCURRENT, and retries the revocations that are pending. If Salesforce has refused the
// credentials of some versions, it also looks for a version that has not been tried.
func (c *call) loadSecret(ctx context.Context) {
	adopt := c.readAhead(ctx)
	version, err := c.read(ctx, appsecret.Current)
	if err != nil {
		c.noteSecretErr(err)
		return
	}
	refused := c.loginErr.tried
	if c.secret == nil || c.secret.ID != version.ID {
		c.adoptedEntry = entryID{} // an entry that belonged to another version may belong to this one
		c.forgetFailure()
	} else if len(refused) > 0 && !c.loginErr.budgetExhausted && c.hasUntriedCredentials(ctx, version, refused) {
		c.forgetFailure()
	}
	c.secret, c.readAt, c.secretErr = version, time.Now(), backoff{}
	adopt()
	if len(c.pending) > 0 {
		c.publish() // other requests need not wait for Salesforce
		c.retryRevocations(ctx, c.revoker())
	}
}

// forgetFailure allows a login at once, since there are other credentials now.
func (c *call) forgetFailure() {
	c.loginErr, c.introspectionDeniedUntil = backoff{}, time.Time{}
}

// noteSecretErr remembers why the secret could not be read. The version that is known stays in use, unless the secret
// is gone, or the stored value would deny callers whom the known version allows. The cached token stays in any case:
// without a version it is not handed out, but it may have to be revoked later.
func (c *call) noteSecretErr(err error) {
	e := secretError(c.app.name, err)
	c.secretErr = c.secretErr.next(e, err, nil, c.Jitter, time.Now())
	if e.Code == UnknownApp || c.secret != nil && appsecret.HidesRestriction(err, c.secret) {
		c.secret, c.loginErr = nil, backoff{}
	}
}

// hasUntriedCredentials reports whether a version that a login might use has credentials that were not refused yet.
func (c *call) hasUntriedCredentials(
	ctx context.Context,
	current *appsecret.Version,
	refused []*appsecret.Version,
) bool {
	for range appsecret.Fallbacks(current, refused, c.reader(ctx)) {
		return true
	}
	return false
}

func (c *call) reader(ctx context.Context) func(label string) (*appsecret.Version, error) {
	return func(label string) (*appsecret.Version, error) { return c.read(ctx, label) }
}

// read reads the version of the app's secret that has the label.
func (c *call) read(ctx context.Context, label string) (*appsecret.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	begun := time.Now()
	version, err := c.Secrets.Read(ctx, c.app.name, label)
	c.stats.SecretsManager += time.Since(begun)
	if err != nil && label == appsecret.Current {
		c.stats.Err = err
	}
	return version, err
}
