// Package rotation changes an app's pair: the four steps that Secrets Manager asks for, what follows when a person changes the
// secret, and a daily check. Every step looks first at what both sides hold, so that it can be run again after a crash at any
// point: with the same token, or with a new one.
//
// What is left behind by a crash, and who mends it:
//
//	a pair staged at Salesforce, not stored     the next createSecret adopts it
//	stored as AWSPENDING, not the main pair     the next step goes on; a new rotation adopts the staged pair
//	the main pair, not yet AWSCURRENT           finishSecret goes on; a new rotation adopts the main pair. Until then
//	                                            AWSCURRENT is the old pair, which works for 30 days more
//	AWSCURRENT, the leaked old pair not deleted the retry of finishSecret, and the AWSCURRENT event, delete it
package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// DefaultPropagation is how long a new pair may take to work everywhere. Source: Salesforce Help says 2 to 10 minutes
// wherever a key is made.
const DefaultPropagation = 10 * time.Minute

// Rotator changes pairs. Its fields must not change once it is in use; its methods are safe for concurrent use.
type Rotator struct {
	Secrets appsecret.Client
	Prefix  string // in front of an app's name in its secret's name
	// AdminApp is the app whose login changes the pairs of the apps in the same org. Empty: each app changes its own.
	AdminApp string
	Hosts    sfoauth.Hosts // beside Salesforce's own
	// HTTPClient talks to Salesforce. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// Propagation is how long a refused pair may only be too new. Zero: it is not waited for.
	Propagation time.Duration
}

// Outcome is what came of one event, for the log.
type Outcome struct {
	App     string // empty where it is not known
	Version string // the version id that the event is about
	Did     string // what was done, in a few words
	Warning string // what a person should know, though nothing failed
	Reason  error  // why a pair was refused, though nothing failed

	Rotated    bool // AWSCURRENT has moved to a new pair
	Refused    bool // a pair was tried and refused, and is labelled REJECTED
	RolledBack bool // AWSCURRENT has gone back to AWSPREVIOUS
	Stuck      bool // AWSCURRENT does not log in, and nothing could be done about it
}

// try logs in with the version and calls the REST API. isFinal tells a refusal from an outage.
func (r *Rotator) try(ctx context.Context, version *appsecret.Version) error {
	client := version.Client(r.Hosts, r.HTTPClient)
	token, err := login(ctx, client)
	if err != nil {
		return err
	}
	if err := version.CheckPins(token); err != nil {
		return &refusal{err}
	}
	return client.CheckAPI(ctx, token)
}

// login asks for a token, and again, for some seconds, while Salesforce still works on another request for one by the same app: the
// token function's, or that of a rotation of another app with the same admin app.
func login(ctx context.Context, client *sfoauth.Client) (*sfoauth.Token, error) {
	for try := time.Duration(1); ; try++ {
		token, err := client.Token(ctx)
		if !isBusy(err) || try == 4 {
			return token, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(try * time.Second):
		}
	}
}

// tryUntil tries again while Salesforce does not know the pair, which may only be too new, until the time given. Where the
// context ends before, nothing has been found out.
func (r *Rotator) tryUntil(ctx context.Context, version *appsecret.Version, until time.Time) error {
	pause := time.Second
	for {
		err := r.try(ctx, version)
		if !refusesPair(err) || time.Now().Add(pause).After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the pair may be too new to work everywhere, and this invocation has no time left to wait: %w (%w)", ctx.Err(), notFinal{err})
		case <-time.After(pause):
		}
		pause = min(2*pause, 20*time.Second)
	}
}

// settled is when a refusal of the version is the last word.
func (r *Rotator) settled(version *appsecret.Version) time.Time {
	return version.Created.Add(r.Propagation)
}

// admin logs in to the API that changes the app's pair. A login that is refused is tried with the other versions that
// may work, since the admin's own pair is changed in the same way.
func (r *Rotator) admin(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version) (*sfoauth.Credentials, error) {
	var first error
	for _, label := range append([]string{appsecret.Current}, appsecret.Ladder...) {
		by, err := r.adminVersion(ctx, secret.App, label, version.BaseURI)
		if err == nil {
			client := by.Client(r.Hosts, r.HTTPClient)
			var token *sfoauth.Token
			if token, err = login(ctx, client); err == nil {
				return client.Credentials(token, version.AppID, version.ConsumerID), nil
			}
			err = fmt.Errorf("logging in as the app that changes the pair of app %s: %w", secret.App, err)
		}
		first = cmp.Or(first, err)
		if label == appsecret.Current && !refusesPair(err) {
			break
		}
	}
	return nil, first
}

// adminVersion reads the version of the admin app's secret, or of the app's own where there is no admin app in its org.
func (r *Rotator) adminVersion(ctx context.Context, app, label, baseURI string) (*appsecret.Version, error) {
	reader := appsecret.Reader{Client: r.Secrets, Prefix: r.Prefix}
	if r.AdminApp != "" {
		version, err := reader.Read(ctx, r.AdminApp, label)
		if err != nil || version.BaseURI == baseURI {
			return version, err
		}
	}
	return reader.Read(ctx, app, label)
}

// refusal is a refusal that was found on this side.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// notFinal shows an error's text and hides what kind it was.
type notFinal struct{ err error }

func (n notFinal) Error() string { return n.err.Error() }

// isFinal says whether the pair was refused, so that trying again is of no use until a person changes something. A refusal says in
// Salesforce's own words what it is: a redirect or a web page may come of a maintenance, or of a proxy on the way.
func isFinal(err error) bool {
	if _, ok := errors.AsType[*refusal](err); ok {
		return true
	}
	if appsecret.IsProblem(err, appsecret.Malformed) {
		return true
	}
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == sfoauth.Final && (refused.Code != "" || refused.Status == 0) // 0: the address itself is refused
}

// isBusy says whether Salesforce has answered "token request is already being processed", the only invalid_grant that passes.
func isBusy(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Code == "invalid_grant" && refused.Kind == sfoauth.Passing
}

func refusesPair(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.RefusesCredentials()
}
