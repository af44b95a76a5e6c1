package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// try logs in with the version and calls the REST API. isPermanent distinguishes a refusal from an outage.
func (r *run) try(ctx context.Context, version *appsecret.Version) (*sfoauth.Token, error) {
	client := version.Client(r.Hosts, r.HTTPClient)
	var token *sfoauth.Token
	attempts := 0
	err := retry(ctx, nil, func() (_ time.Duration, err error) {
		if token, err = r.login(ctx, version, version.App, true); err != nil {
			return 0, err
		}
		if err := version.VerifyIdentity(token); err != nil {
			return 0, &permanentError{err}
		}
		err = client.Ping(ctx, token)
		// The session may have ended since the login: an administrator, a caller's DELETE or a revocation ends sessions
		// that several logins share. That says nothing about the credentials.
		if attempts++; isDeadSession(err) && attempts < 3 {
			return time.Second, nil
		}
		return 0, err
	})
	if err == nil {
		r.remember(version, token)
	}
	return token, err
}

// login requests a token with the version's credentials, within the login budget of app. That is the app that needs the
// login, so that the writer of one secret cannot spend the admin app's logins for the others. If Salesforce is still
// processing another request of the same app, it tries again for some seconds.
//
// Where the budget is exhausted it waits while there is time, or returns at once if now is true.
func (r *run) login(
	ctx context.Context, version *appsecret.Version, app string, now bool,
) (token *sfoauth.Token, err error) {
	client := version.Client(r.Hosts, r.HTTPClient)
	client.AllowUnverifiedSignature = true // it is undocumented which secret signs while credentials are staged or rotated
	requests := 0
	err = retry(ctx, nil, func() (time.Duration, error) {
		err := r.Logins.Take(app)
		if exhausted, ok := errors.AsType[*loginbudget.ExhaustedError](err); ok {
			r.usage.BudgetExhausted = true
			if now {
				return 0, err
			}
			return exhausted.RetryAfter, err
		}
		r.usage.Logins++
		token, err = client.Token(ctx)
		if requests++; isBusy(err) && requests < 4 {
			return time.Duration(requests) * time.Second, err
		}
		return 0, err
	})
	return token, err
}

// loginUntil tries the version again while Salesforce does not know its credentials, which may just be too new, until
// the time given. Before each further attempt it calls wanted, and stops with its error. If ctx ends before, the error
// is never permanent.
func (r *run) loginUntil(
	ctx context.Context, version *appsecret.Version, until time.Time, wanted func(context.Context) error,
) (token *sfoauth.Token, err error) {
	pause := backoff()
	err = retry(ctx, wanted, func() (wait time.Duration, err error) {
		token, err = r.try(ctx, version)
		if exhausted, ok := errors.AsType[*loginbudget.ExhaustedError](err); ok {
			wait = exhausted.RetryAfter
		} else if left := time.Until(until); isInvalidClient(err) && left > 0 {
			wait = min(pause(), left)
		} else {
			return 0, err
		}
		// The text alone: isPermanent must not match err.
		return wait, fmt.Errorf("it is too early to judge the credentials, and this invocation has no time left to wait: %s",
			err.Error())
	})
	if err != nil {
		return nil, err
	}
	return token, nil
}

// propagationDeadline is when the version's credentials must be known everywhere, so that a refusal is reliable.
func (r *run) propagationDeadline(version *appsecret.Version) time.Time {
	return version.Created.Add(r.Propagation)
}

// admin returns a client of the API that changes the app's credentials: with the login of the admin app, or of the app
// itself where there is no admin app in its org. Where Salesforce refuses that app's current credentials, it tries the
// other versions that may work, since those credentials are rotated in the same way.
func (r *run) admin(
	ctx context.Context, secret *appsecret.Secret, version *appsecret.Version,
) (*sfoauth.StagedCredentialsClient, error) {
	current, err := r.adminVersion(ctx, secret.App, version.BaseURI)
	if err != nil {
		return nil, err
	}
	login := func(as *appsecret.Version) (*sfoauth.StagedCredentialsClient, error) {
		token, err := r.login(ctx, as, secret.App, false)
		if err != nil {
			return nil, fmt.Errorf("logging in as app %s to change the credentials of app %s: %w", as.App, secret.App, err)
		}
		return as.Client(r.Hosts, r.HTTPClient).StagedCredentials(token, version.AppID, version.ConsumerID), nil
	}
	client, refused := login(current)
	if !isInvalidClient(refused) {
		return client, refused
	}
	read := func(label string) (*appsecret.Version, error) { return r.reader().Read(ctx, current.App, label) }
	for _, fallback := range appsecret.Fallbacks(current, []*appsecret.Version{current}, read) {
		if client, err := login(fallback); err == nil {
			return client, nil
		}
	}
	return nil, refused
}

// adminVersion returns AWSCURRENT of the admin app, or of app where there is no admin app in its org.
func (r *run) adminVersion(ctx context.Context, app, baseURI string) (*appsecret.Version, error) {
	if r.AdminApp != "" {
		version, err := r.reader().Read(ctx, r.AdminApp, appsecret.Current)
		if err != nil || version.BaseURI == baseURI {
			return version, err
		}
	}
	return r.reader().Read(ctx, app, appsecret.Current)
}
