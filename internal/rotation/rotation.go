// Package rotation changes an app's credentials: in the four steps of a Secrets Manager rotation, and when a person
// stores new ones or moves a staging label. A daily check logs in with the current credentials, and tags each secret
// with the result.
//
// Every step first reads the state of Salesforce and Secrets Manager. It can therefore run again after a crash at any
// point, with the same rotation token or a new one.
//
// What a crash leaves behind, and what recovers it:
//
//	credentials staged, not stored             the next createSecret adopts them
//	stored as AWSPENDING, not primary          the next step continues; a new rotation adopts the staged credentials
//	primary, not yet AWSCURRENT                finishSecret continues; a new rotation adopts the primary credentials.
//	                                           Until then AWSCURRENT has the old ones, which work for 30 more days
//	AWSCURRENT, compromised ones not deleted   the retry of finishSecret, and the AWSCURRENT event, delete them
//
// The writer of a secret chooses its IDs and labels. Before the admin app changes anything at Salesforce, the
// secret must therefore prove that it owns the app: see orgCredentials.
package rotation

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// DefaultPropagation is how long new credentials may take to work everywhere. Source: Salesforce Help says 2 to 10
// minutes wherever a consumer key is made.
const DefaultPropagation = 10 * time.Minute

// Rotator changes credentials. Its fields must not change once it is in use; its methods are safe for concurrent use.
type Rotator struct {
	Secrets appsecret.Client
	Lister  secretsmanager.ListSecretsAPIClient
	Prefix  string // in front of an app's name in its secret's name
	// AdminApp is the app whose login changes the credentials of the apps in its org. Empty: each app changes its own.
	AdminApp string
	Hosts    sfoauth.AllowedHosts // in addition to Salesforce's own
	// HTTPClient talks to Salesforce. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// Propagation is how long rejected credentials are retried, because they may not have propagated yet. Zero: no retry.
	Propagation time.Duration
	// Logins limits the logins of each app. It must not be nil.
	Logins *loginbudget.Budget

	mu         sync.Mutex
	identities map[string]identity // by identityKey: the user as which a version has logged in
	checked    map[string]checked  // by app: the last check that found it healthy
}

func (r *Rotator) reader() appsecret.Reader {
	return appsecret.Reader{Client: r.Secrets, Prefix: r.Prefix}
}

// Usage is what one event has cost.
type Usage struct {
	Logins          int  // token requests sent to Salesforce
	BudgetExhausted bool // a login waited for the login budget, or was given up because of it
}

// Outcome is the result of one event, for the log.
type Outcome struct {
	Usage
	App       string // empty where it is not known
	VersionID string // the version that the event is about
	Action    string // what was done, in a few words
	Warning   string // what a person should know although nothing failed
	Rejection error  // why Salesforce rejected credentials; nil: it did not

	// PrincipalsErr is why the version's allowedPrincipals cannot be read. Nil: they can, or the version was not read.
	PrincipalsErr error

	Rotated    bool // AWSCURRENT has moved to new credentials
	Rejected   bool // credentials were tried and rejected, and the version is labelled REJECTED
	RolledBack bool // AWSCURRENT has moved back to AWSPREVIOUS
	LockedOut  bool // AWSCURRENT does not log in, and nothing could be done about it
}

// run is the handling of one event.
type run struct {
	*Rotator
	usage Usage
}

func (r *Rotator) begin() *run { return &run{Rotator: r} }

// errSuperseded is why work was abandoned: the label that asked for it is on another version by now.
var errSuperseded = errors.New("the label has moved on")

var errPlaceholder = errors.New("the secret still holds the placeholder")

// placeholderHint returns how to replace the placeholder.
func placeholderHint(app string) string {
	return "the app's credentials are not stored yet: run `sftoken secret put " + app + "`"
}

// permanentError is a refusal by this package rather than by Salesforce.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// isPermanent reports whether err refuses the credentials, so that another attempt is of no use until a person changes
// something. Salesforce refuses with an OAuth error code; a redirect or a web page may come from maintenance or a
// proxy.
func isPermanent(err error) bool {
	if _, ok := errors.AsType[*permanentError](err); ok || appsecret.IsKind(err, appsecret.Malformed) {
		return true
	}
	refused, ok := errors.AsType[*sfoauth.Error](err)
	// Status 0: the address itself is not allowed.
	return ok && refused.Kind == sfoauth.Permanent && (refused.Code != "" || refused.Status == 0)
}

// isTransient reports whether err says nothing about the credentials: Salesforce or Secrets Manager is down, slow or
// limiting requests, or the login budget is exhausted.
func isTransient(err error) bool {
	if loginbudget.IsExhausted(err) {
		return true
	}
	if failed, ok := errors.AsType[*sfoauth.Error](err); ok {
		return failed.Kind == sfoauth.Temporary || failed.Kind == sfoauth.RateLimited
	}
	return appsecret.IsKind(err, appsecret.Unavailable)
}

// isInvalidClient reports whether Salesforce does not know the credentials. They may just be too new.
func isInvalidClient(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsInvalidClient()
}

// isBusy reports whether Salesforce was still processing another token request of the app.
func isBusy(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsBusy()
}

// isDeadSession reports whether the REST API has refused a token whose user is not blocked.
func isDeadSession(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Status == http.StatusUnauthorized && !refused.IsSessionBlocked()
}

func isNotFound(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsNotFound()
}
