// Package rotation changes an app's credentials: the four steps that Secrets Manager asks for, what follows when a person changes
// the secret, and a daily check. Every step looks first at what both sides hold, so that it can be run again after a crash at any
// point: with the same token, or with a new one.
//
// What a crash leaves behind, and what recovers it:
//
//	credentials staged, not stored              the next createSecret adopts them
//	stored as AWSPENDING, not primary           the next step goes on; a new rotation adopts the staged credentials
//	primary, not yet AWSCURRENT                 finishSecret goes on; a new rotation adopts the primary credentials. Until then
//	                                            AWSCURRENT has the old ones, which work for 30 days more
//	AWSCURRENT, compromised ones not deleted    the retry of finishSecret, and the AWSCURRENT event, delete them
//
// The ids in a secret come from its writer, and so do its labels. What the rights of the admin app are used for at Salesforce
// therefore depends on proof: see orgCredentials.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// DefaultPropagation is how long a new pair may take to work everywhere. Source: Salesforce Help says 2 to 10 minutes
// wherever a key is made.
const DefaultPropagation = 10 * time.Minute

// Rotator changes credentials. Its fields must not change once it is in use; its methods are safe for concurrent use.
type Rotator struct {
	Secrets appsecret.Client
	Lister  secretsmanager.ListSecretsAPIClient
	Prefix  string // in front of an app's name in its secret's name
	// AdminApp is the app whose login changes the credentials of the apps in the same org. Empty: each app changes its own.
	AdminApp string
	Hosts    sfoauth.AllowedHosts // beside Salesforce's own
	// HTTPClient talks to Salesforce. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// Propagation is how long refused credentials may only be too new. Zero: they are not waited for.
	Propagation time.Duration
	// Logins limits the logins of each app. It must not be nil.
	Logins *loginbudget.Budget

	mu         sync.Mutex
	identities map[string]identity // by identityKey: as whom a version has logged in
	checked    map[string]checked  // by app: the last check that found it well
}

// Usage is what one event has cost.
type Usage struct {
	Logins          int  // token requests sent to Salesforce
	BudgetExhausted bool // a login had to wait for the login budget, or was given up for want of it
}

// Outcome is what came of one event, for the log.
type Outcome struct {
	Usage
	App       string // empty where it is not known
	VersionID string // the version id that the event is about
	Action    string // what was done, in a few words
	Warning   string // what a person should know, though nothing failed
	Rejection error  // why credentials were refused, though nothing failed

	PrincipalsErr error // why the version's allowedPrincipals cannot be read; nil: they can, or the version was not read

	Rotated    bool // AWSCURRENT has moved to new credentials
	Rejected   bool // credentials were tried and refused, and the version is labelled REJECTED
	RolledBack bool // AWSCURRENT has gone back to AWSPREVIOUS
	LockedOut  bool // AWSCURRENT does not log in, and nothing could be done about it
}

// run is the handling of one event.
type run struct {
	*Rotator
	usage Usage
}

func (r *Rotator) begin() *run { return &run{Rotator: r} }

// identity is as whom credentials log in.
type identity struct{ org, user string }

// try logs in with the version and calls the REST API. isFinal tells a refusal from an outage.
func (r *run) try(ctx context.Context, version *appsecret.Version) (*sfoauth.Token, error) {
	client := version.Client(r.Hosts, r.HTTPClient)
	for attempt := 1; ; attempt++ {
		token, err := r.login(ctx, version, version.App, true)
		if err != nil {
			return nil, err
		}
		if err := version.VerifyIdentity(token); err != nil {
			return nil, &permanentError{err}
		}
		err = client.Ping(ctx, token)
		// The session may have ended since the login: an administrator, a caller's DELETE or the revocation after a leak ends sessions
		// that several logins share. That says nothing about the credentials.
		if ended := isDeadSession(err); !ended || attempt == 3 {
			if err == nil {
				r.remember(version, token)
			}
			return token, err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// isDeadSession reports whether the REST API has refused a token whose user is not blocked.
func isDeadSession(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Status == http.StatusUnauthorized && !refused.IsSessionBlocked()
}

// login asks for a token with the version's credentials, within the login budget of the app that needs it: the writer of one secret
// must not spend the logins of the admin app for the others. It asks again, for some seconds,
// while Salesforce still works on another request for one by the same app: the token function's, or that of a rotation of another
// app with the same admin app.
//
// Where the budget is exhausted it waits for it while there is time, or with now returns at once.
func (r *run) login(ctx context.Context, version *appsecret.Version, app string, now bool) (*sfoauth.Token, error) {
	client := version.Client(r.Hosts, r.HTTPClient)
	client.AllowUnverifiedSignature = true // which secret signs while credentials are staged or rotated is documented nowhere
	for busy := 0; ; {
		err := r.Logins.Take(app)
		if spent, ok := errors.AsType[*loginbudget.ExhaustedError](err); ok {
			r.usage.BudgetExhausted = true
			if now || !hasTime(ctx, spent.RetryAfter) || sleep(ctx, spent.RetryAfter) != nil {
				return nil, err
			}
			continue
		}
		r.usage.Logins++
		token, err := client.Token(ctx)
		if busy++; !isBusy(err) || busy == 4 {
			return token, err
		}
		if sleep(ctx, time.Duration(busy)*time.Second) != nil {
			return nil, err
		}
	}
}

// hasTime reports whether ctx lasts longer than d.
func hasTime(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > d
}

func (r *run) remember(version *appsecret.Version, token *sfoauth.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.identities == nil || len(r.identities) >= 1000 { // a few versions of a few dozen apps
		r.identities = map[string]identity{}
	}
	r.identities[identityKey(version)] = identity{token.OrganizationID, token.UserID}
}

// identityKey has the app in it, since the writer of a secret can choose its version ids.
func identityKey(version *appsecret.Version) string { return version.App + " " + version.ID }

// maxPause bounds the wait between two tries of credentials that may be too new. A whole rotation fits into the default login
// budget even where they take ten minutes: it tries 12 times then, and logs in 6 times besides.
const maxPause = 2 * time.Minute

// loginUntil tries again while Salesforce does not know the credentials, which may only be too new, until the time given. Before each
// further try it asks wanted, and stops with its error. Where ctx ends before, nothing has been found out.
func (r *run) loginUntil(ctx context.Context, version *appsecret.Version, until time.Time, wanted func(context.Context) error) (*sfoauth.Token, error) {
	pause := time.Second
	for {
		token, err := r.try(ctx, version)
		wait := pause
		if spent, ok := errors.AsType[*loginbudget.ExhaustedError](err); ok {
			wait = spent.RetryAfter
		} else if left := time.Until(until); !isInvalidClient(err) || left <= 0 {
			return token, err
		} else {
			wait = min(pause, left)
			pause = min(2*pause, maxPause)
		}
		if !hasTime(ctx, wait) || sleep(ctx, wait) != nil {
			return nil, fmt.Errorf("it is too early to judge the credentials, and this invocation has no time left to wait: %w", opaqueError{err})
		}
		if err := wanted(ctx); err != nil {
			return nil, err
		}
	}
}

// errSuperseded is why work was abandoned: the label that asked for it is on another version by now.
var errSuperseded = errors.New("the label has moved on")

// whileLabelled returns what tryUntil asks: whether the version still has the label.
func (r *run) whileLabelled(secret *appsecret.Secret, version, label string) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := r.reopen(ctx, secret)
		if err != nil {
			return err
		}
		if !now.HasLabel(version, label) {
			return errSuperseded
		}
		return nil
	}
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// propagationDeadline is when a refusal of the version is the last word.
func (r *run) propagationDeadline(version *appsecret.Version) time.Time {
	return version.Created.Add(r.Propagation)
}

// checkIdentity fails where the token, which version has got, is another org's or user's than the last working version's, unless
// the version pins them. Otherwise the app's callers would silently act as another user.
func (r *run) checkIdentity(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version, token *sfoauth.Token) error {
	if version.OrgID != "" && version.UserID != "" {
		return nil // CheckPins has compared them
	}
	before, err := r.lastIdentity(ctx, secret, version, true)
	if err == nil && before != nil && !before.allows(version, token) { // the app's run-as user may have changed since it was remembered
		before, err = r.lastIdentity(ctx, secret, version, false)
	}
	if err != nil || before == nil || before.allows(version, token) {
		return err
	}
	return &permanentError{fmt.Errorf("the new credentials log in to organization %s as user %s, and the last working ones to organization %s as user %s: "+
		"if that is meant, pin the new ones with orgId and userId", token.OrganizationID, token.UserID, before.org, before.user)}
}

// allows reports whether the token, which version has got, is this identity's, but for what the version pins.
func (i *identity) allows(version *appsecret.Version, token *sfoauth.Token) bool {
	return (version.OrgID != "" || sfoauth.EqualIDs(i.org, token.OrganizationID)) &&
		(version.UserID != "" || sfoauth.EqualIDs(i.user, token.UserID))
}

// lastIdentity returns as whom the last working version other than this one logs in; nil: there is none any more. It may be what this
// process remembers; otherwise that is only used where the version does not log in any more.
func (r *run) lastIdentity(ctx context.Context, secret *appsecret.Secret, version *appsecret.Version, remembered bool) (*identity, error) {
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
			continue // AWSCURRENT has gone back, from this newer one
		}
		r.mu.Lock()
		known, ok := r.identities[identityKey(older)]
		r.mu.Unlock()
		if ok && remembered {
			return &known, nil
		}
		token, err := r.login(ctx, older, older.App, false)
		if err == nil {
			r.remember(older, token)
			return &identity{token.OrganizationID, token.UserID}, nil
		}
		if !isPermanent(err) {
			return nil, fmt.Errorf("comparing with version %s, which has worked before: %w", id, err)
		}
		if ok {
			return &known, nil
		}
	}
	return nil, nil
}

// checkSignature fails where the signature of the current version's token does not verify, though no other version is about to become
// current, so that the version's credentials should be the primary ones and have signed it.
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
		return as.Client(r.Hosts, r.HTTPClient).StagedCredentialsClient(token, version.AppID, version.ConsumerID), nil
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

func (r *Rotator) reader() appsecret.Reader {
	return appsecret.Reader{Client: r.Secrets, Prefix: r.Prefix}
}

// permanentError is a refusal that was found on this side.
type permanentError struct{ error }

func (r *permanentError) Unwrap() error { return r.error }

// opaqueError shows an error's text and hides what kind it was.
type opaqueError struct{ err error }

func (n opaqueError) Error() string { return n.err.Error() }

// isPermanent says whether the pair was refused, so that trying again is of no use until a person changes something. A refusal says in
// Salesforce's own words what it is: a redirect or a web page may come of a maintenance, or of a proxy on the way.
func isPermanent(err error) bool {
	if _, ok := errors.AsType[*permanentError](err); ok {
		return true
	}
	if appsecret.IsKind(err, appsecret.Malformed) {
		return true
	}
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == sfoauth.Permanent && (refused.Code != "" || refused.Status == 0) // 0: the address itself is refused
}

// isBusy says whether Salesforce has answered "token request is already being processed", the only invalid_grant that passes.
func isBusy(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Code == "invalid_grant" && refused.Kind == sfoauth.Temporary
}

func isInvalidClient(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsInvalidClient()
}
