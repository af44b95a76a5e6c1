// Package vending decides which Salesforce access token a caller gets: a cached one that is known to be valid, one that
// Salesforce has just confirmed, or a new one. internal/tokenapi handles the HTTP request and response.
//
// From the bottom up:
//
//   - state.go: the state of an app and of a cached token
//   - errors.go, backoff.go: errors for callers, and how long to wait after a failure
//   - decide.go: a pure function of the state and a request, which returns the next action
//   - secret.go, refresh.go, login.go, revoke.go: the actions, which call Secrets Manager and Salesforce
//   - share.go, lease.go: performs an action unless another process does so, if there is a token table
//   - adopt.go, inherit.go, record.go: what processes take over from each other, and how it is stored
//   - loop.go: runs the actions of each app, one at a time, until decide returns a response
//   - vending.go: the exported API
package vending

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Config configures a Vendor. A duration of zero means its default.
type Config struct {
	Secrets appsecret.Reader
	// Hosts may be called in addition to Salesforce's own.
	Hosts sfoauth.AllowedHosts
	// HTTPClient calls Salesforce. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// Table is shared with the other processes of the deployment. Nil: each process gets its own tokens.
	Table tokenstore.Store
	// Standby is set in a region whose secrets are or were replicas. AWSCURRENT may be behind Salesforce there, without a
	// label that shows it.
	Standby bool
	// Logins limits the logins of each app: those of this process or, with a Table, of all that share it. Nil: a new
	// budget with the defaults.
	Logins *loginbudget.Budget
	// SecretTTL is how long an app's secret is used before it is read again.
	SecretTTL time.Duration
	// MinTTL is the remaining lifetime below which a token is introspected before it is returned.
	MinTTL time.Duration
	// IntrospectInterval bounds how long a token is trusted after Salesforce has confirmed it.
	IntrospectInterval time.Duration
	// Jitter returns numbers in [0, 1) that spread retries. Nil: math/rand/v2.
	Jitter func() float64
}

// Defaults of Config.
const (
	DefaultSecretTTL          = 5 * time.Minute
	DefaultMinTTL             = 5 * time.Minute
	DefaultIntrospectInterval = 15 * time.Minute
)

// MinSessionTimeout is the shortest session timeout that Salesforce lets an administrator set. Source: Salesforce Help,
// "Modify Session Security Settings".
const MinSessionTimeout = 15 * time.Minute

// DefaultTokenTTL is how long a token from a login is trusted if the response has no expiry. Salesforce does not
// document whether a login begins a session or returns an active one, which another process may have begun. A login
// uses its session, and use in the second half of the timeout extends it, so at least half of the shortest timeout
// remains. Source: as for MinSessionTimeout.
const DefaultTokenTTL = MinSessionTimeout / 2

// CacheStatus tells how a token was obtained. It is the value of the header X-Token-Cache.
type CacheStatus string

const (
	Hit       CacheStatus = "hit"       // cached and trusted
	Miss      CacheStatus = "miss"      // from a login
	Confirmed CacheStatus = "confirmed" // cached, and Salesforce has just confirmed that it is active
	Stale     CacheStatus = "stale"     // cached, not confirmed, before the last known expiry
)

// Request is a caller's request.
type Request struct {
	App       string
	Principal string // the caller's ARN; see appsecret.Principals
	Rejected  string // id of the token that the caller reports as rejected by Salesforce; may be empty

	skipAuthz bool // not from a caller: allowedPrincipals does not apply
	revoke    bool // the cached token, instead of returning one
}

// Grant is a token for a caller.
type Grant struct {
	Token       *sfoauth.Token
	TokenID     string // the first 16 hex digits of the token's SHA-256
	ExpiresIn   time.Duration
	CacheStatus CacheStatus
	VersionID   string // of the secret's version whose credentials the token was issued to
	RefreshErr  error  // why a Stale token was not renewed; nil for the others
}

// CallStats is what the audit log records of a request beside its result: its upstream calls, the time that they took,
// and by which entry the caller was allowed.
type CallStats struct {
	AllowedBy      string          // the entry of allowedPrincipals that allows the caller; empty: none, or no list
	SecretsManager time.Duration   // spent waiting for Secrets Manager
	Salesforce     time.Duration   // spent waiting for Salesforce
	Table          time.Duration   // spent waiting for the token table
	TableErrors    int             // calls to the token table that failed
	LeasesLost     int             // to another process, before the call that held it ended
	Adopted        bool            // the app's token was adopted from the token table
	Logins         []time.Duration // of each token request to Salesforce
	Err            error           // the last call that failed, even if a token could be returned
	Notes          []string        // for the audit log, such as a token that was revoked; contains no secrets
}

func (s *CallStats) notef(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

func (s *CallStats) add(other CallStats) {
	s.SecretsManager += other.SecretsManager
	s.Salesforce += other.Salesforce
	s.Table += other.Table
	s.TableErrors += other.TableErrors
	s.LeasesLost += other.LeasesLost
	s.Adopted = s.Adopted || other.Adopted
	s.Logins = append(s.Logins, other.Logins...)
	s.Notes = append(s.Notes, other.Notes...)
	if other.Err != nil {
		s.Err = other.Err
	}
}

// Vendor vends tokens. It is safe for concurrent use.
type Vendor struct {
	Config
	mu   sync.Mutex
	apps map[string]*app
}

// New returns a Vendor.
func New(config Config) *Vendor {
	config.SecretTTL = cmp.Or(config.SecretTTL, DefaultSecretTTL)
	config.MinTTL = cmp.Or(config.MinTTL, DefaultMinTTL)
	config.IntrospectInterval = cmp.Or(config.IntrospectInterval, DefaultIntrospectInterval)
	if config.Logins == nil {
		config.Logins = loginbudget.New(0, 0)
	}
	if config.Jitter == nil {
		config.Jitter = rand.Float64
	}
	return &Vendor{Config: config, apps: map[string]*app{}}
}

// Vend returns a token for the caller, or an *Error. It returns when ctx ends, but a call that other requests wait for
// continues. Vend adds the calls that it started to stats, even if it fails.
func (v *Vendor) Vend(ctx context.Context, req Request, stats *CallStats) (Grant, error) {
	return v.run(ctx, req, stats)
}

// Prefetch fetches a token for the app if none is cached. It ignores allowedPrincipals and is otherwise like Vend.
func (v *Vendor) Prefetch(ctx context.Context, name string, stats *CallStats) (Grant, error) {
	return v.run(ctx, Request{App: name, skipAuthz: true}, stats)
}

// Revoke revokes the app's cached token, and the tokens whose revocation failed before. If there are none, it does
// nothing. A token that may still be active afterwards is not returned to a caller again, and its revocation is
// retried. Revoke is for emergencies, so unlike Vend it ignores the backoff. It returns the id of the cached token, or
// of the first other token that it revoked.
func (v *Vendor) Revoke(ctx context.Context, req Request, stats *CallStats) (string, error) {
	req.revoke = true
	grant, err := v.run(ctx, req, stats)
	return grant.TokenID, err
}
