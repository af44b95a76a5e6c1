// Package vending decides which token a caller gets: one that is cached and known to be good, one that Salesforce has just
// confirmed, or a new one, and to whom. It leaves the request's and the answer's form to functions/token.
package vending

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Config is what a Vendor works with. Zero durations mean the defaults below.
type Config struct {
	Secrets appsecret.Reader
	// Hosts may be talked to beside Salesforce's own.
	Hosts sfoauth.AllowedHosts
	// HTTPClient talks to Salesforce. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// Logins limits the logins of each app. Nil: a budget of its own with the defaults.
	Logins *loginbudget.Budget
	// SecretTTL is how long an app's secret is believed before it is read again.
	SecretTTL time.Duration
	// MinTTL is what a token must have left to be handed out without asking Salesforce.
	MinTTL time.Duration
	// IntrospectInterval bounds how long a token is believed after Salesforce has confirmed it.
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

const (
	// DefaultTokenTTL is how long a token is believed that a login has just returned. The answer carries no expiry, and
	// Salesforce does not document whether a login begins a session or returns one that still lives, which another
	// process may have begun. A login uses its session, and use in the second half of the timeout extends it, so at
	// least half of the shortest timeout is left. Source: as above.
	DefaultTokenTTL = MinSessionTimeout / 2
	// unprovenTTL is how long a token is believed that a login has returned again, while introspection fails.
	unprovenTTL = time.Minute
	// flightTime bounds one round of work for an app: reading its secret, confirming its token, a login and the ladder.
	flightTime = 12 * time.Second
	// answerTime is kept free at the end of a caller's time, to write the answer and the log line: a Lambda that runs out of
	// time is killed and answers nothing.
	answerTime = 500 * time.Millisecond
	// flightMargin is how much earlier than its caller a flight gives up.
	flightMargin = 100 * time.Millisecond
	// secretTime bounds one read of Secrets Manager, with the SDK's retries.
	secretTime = 4 * time.Second
	// salesforceTime bounds one call to Salesforce.
	salesforceTime = 6 * time.Second
	// rejectedEvery is how often a caller's word that a token is dead is looked into, per app.
	rejectedEvery = 5 * time.Second
	// blindEvery is the same where introspection is refused or keeps failing, so that only a login can tell.
	blindEvery = time.Minute
	// blindFor is how long it is remembered that Salesforce refuses to introspect for an app.
	blindFor = 30 * time.Minute
	// maxRecent bounds the tokens of an app that are recognized when a login returns them again.
	maxRecent = 20
	// maxRevocations bounds the revocations of an app that wait to be tried again.
	maxRevocations = 100
	// revokeTime bounds the revocations that are tried again on the way to a token.
	revokeTime = 3 * time.Second
	// unknownFor is how long it is remembered that an app does not exist.
	unknownFor = 5 * time.Second
	// rereadEvery is how often the secret of a refused app is read again, in search of a new version.
	rereadEvery = time.Second
	// maxApps bounds the apps that are remembered; a real deployment has a few dozen.
	maxApps = 1000
)

// CacheStatus says where a token came from, as X-Token-Cache does.
type CacheStatus string

const (
	Hit       CacheStatus = "hit"       // it was there and believed
	Miss      CacheStatus = "miss"      // a login
	Confirmed CacheStatus = "confirmed" // it was there, and Salesforce has just said that it is active
	Stale     CacheStatus = "stale"     // it was there, could not be confirmed, and is still inside what Salesforce last said
)

// Request is one caller's wish.
type Request struct {
	App       string
	Principal string // the caller's ARN; see appsecret.Principals
	Rejected  string // id of the token that Salesforce refused, says the caller; empty: none

	ourselves bool // not a caller's wish: allowedPrincipals does not count
}

// Grant is a token handed out.
type Grant struct {
	Token       *sfoauth.Token
	TokenID     string // the first 16 hex digits of the token's SHA-256
	ExpiresIn   time.Duration
	CacheStatus CacheStatus
	VersionID   string // id of the secret's version that the token was made with
	RefreshErr  error  // why a Stale token was not renewed; nil for the others
}

// Vendor hands out tokens. It is safe for concurrent use.
type Vendor struct {
	Config
	mu   sync.Mutex
	apps map[string]*app
}

// New returns a Vendor.
func New(config Config) *Vendor {
	v := &Vendor{Config: config, apps: map[string]*app{}}
	for _, setting := range []struct {
		value     *time.Duration
		byDefault time.Duration
	}{{&v.SecretTTL, DefaultSecretTTL}, {&v.MinTTL, DefaultMinTTL}, {&v.IntrospectInterval, DefaultIntrospectInterval}} {
		if *setting.value == 0 {
			*setting.value = setting.byDefault
		}
	}
	if v.Logins == nil {
		v.Logins = loginbudget.New(0, 0)
	}
	if v.Jitter == nil {
		v.Jitter = rand.Float64
	}
	return v
}

// Vend returns a token for the caller, or an *Error. It returns when ctx ends; work that others wait for goes on. What it
// cost is added to cost, also where it fails; work that somebody else had under way costs nothing.
func (v *Vendor) Vend(ctx context.Context, req Request, cost *CallStats) (Grant, error) {
	a, err := v.app(req.App)
	if err != nil {
		return Grant{}, err
	}
	var grant Grant
	err = v.await(ctx, a, cost, func(made *session, now time.Time) (do work, err error) {
		grant, do, err = v.decide(a, req, made, now)
		return do, err
	})
	if err != nil {
		return Grant{}, err
	}
	return grant, nil
}

// await asks decide what to do until it asks for no more work. One piece of work is done at a time for an app, whoever
// asked for it; the others wait for it and decide anew. decide is called with a.mu held, and with the session that the
// work waited for has made.
func (v *Vendor) await(ctx context.Context, a *app, cost *CallStats, decide func(made *session, now time.Time) (work, error)) error {
	var made *session
	for {
		f, own, err := v.next(ctx, a, made, decide)
		if f == nil {
			return err
		}
		if err := f.wait(ctx); err != nil {
			return err
		}
		if own {
			cost.add(f.cost)
			if f.err != nil {
				return f.err
			}
		}
		if f.made != nil {
			made = f.made
		}
	}
}

// next asks decide, and starts the work that it asks for or joins the work under way. No flight: there is nothing more to do. The
// lock is freed even where decide panics, or the app would be locked for as long as the process lives.
func (v *Vendor) next(ctx context.Context, a *app, made *session, decide func(*session, time.Time) (work, error)) (f *flight, own bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do, err := decide(made, time.Now())
	if do == nil {
		return nil, false, err
	}
	if a.flight != nil {
		return a.flight, false, nil
	}
	return v.start(ctx, a, do), true, nil
}

// Prefetch makes sure that the app has a token, whoever may have it, for PREFETCH.
func (v *Vendor) Prefetch(ctx context.Context, name string, cost *CallStats) (Grant, error) {
	return v.Vend(ctx, Request{App: name, ourselves: true}, cost)
}

// app returns the state of an app, making room for it first if need be.
func (v *Vendor) app(name string) (*app, error) {
	if !appsecret.ValidName(name) {
		return nil, &Error{Code: InvalidRequest, Description: "the app's name must match " + appsecret.NamePattern}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.apps[name]
	if a == nil {
		if len(v.apps) >= maxApps {
			v.forgetEmpty()
		}
		a = &app{name: name}
		v.apps[name] = a
	}
	return a, nil
}

// forgetEmpty drops the apps of which nothing is known, which callers can make up as many of as they like.
func (v *Vendor) forgetEmpty() {
	for name, a := range v.apps {
		a.mu.Lock()
		if a.secret == nil && a.flight == nil && a.session == nil && len(a.revocations) == 0 {
			delete(v.apps, name)
		}
		a.mu.Unlock()
	}
}
