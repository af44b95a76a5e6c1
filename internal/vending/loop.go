package vending

import (
	"context"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/telemetry"
)

const (
	// callTimeout bounds one call for an app: reading its secret, an introspection, a login and its fallbacks.
	callTimeout = 12 * time.Second
	// responseReserve is kept free at the end of a request, to write the response and the log line: a Lambda function that
	// runs out of time is killed without a response.
	responseReserve = 500 * time.Millisecond
	// callMargin is how much earlier than its request a call gives up.
	callMargin = 100 * time.Millisecond
	// maxApps bounds the apps that are remembered; a real deployment has a few dozen.
	maxApps = 1000
)

// app is the state of one app, and the call in progress.
type app struct {
	name string

	mu    sync.Mutex // guards what follows; never held during a call
	state state
	call  *call // nil: none
}

// call is one action in progress. Requests for the same app wait for it. Only the call changes the app's state, so it
// can work on a copy and publish that.
type call struct {
	*Config
	app *app
	in  input // of the request that started the call
	step
	rejectedCheck bool // the step checks a token that a caller reports as dead
	state
	done chan struct{} // closed when the fields below do not change any more

	stats     CallStats
	obtained  *cachedToken // that the call got or confirmed
	revokedID string       // see Vendor.Revoke
	err       *Error       // for the request that started the call, if the state does not hold it
	performed bool         // the step was performed, and not left to another call or process

	// Used by refresh:
	replaced   *cachedToken         // that was cached before
	tried      []*appsecret.Version // whose credentials were refused
	wasDoubted bool                 // an earlier introspection of the cached token failed as well

	// Of the token table:
	held      *heldLease // nil: none
	leaseLost bool       // to another process
}

// run performs the actions that decide asks for, until that is a response.
func (v *Vendor) run(ctx context.Context, req Request, stats *CallStats) (Grant, error) {
	if !appsecret.ValidName(req.App) {
		return Grant{}, &Error{Code: InvalidRequest, Description: "the app's name must match " + appsecret.NamePattern}
	}
	a, in := v.app(req.App), input{Request: req}
	for {
		c, own, act := v.next(ctx, a, in)
		stats.AllowedBy = act.allowedBy
		if c == nil {
			if act.err != nil {
				return Grant{}, act.err
			}
			return act.grant, nil
		}
		if err := c.wait(ctx); err != nil {
			return Grant{}, err
		}
		if own {
			stats.add(c.stats)
			if c.err != nil {
				return Grant{}, c.err
			}
			if c.step == revoke && c.performed {
				in.revoked, in.revokedID = true, c.revokedID
			}
		}
		if c.obtained != nil {
			in.obtained = c.obtained
		}
	}
}

// next asks decide, and starts the action that it returns or joins the call in progress. Without a call, the action
// is the response. The lock is released even if decide panics; otherwise the app would stay locked for the life of the
// process.
func (v *Vendor) next(ctx context.Context, a *app, in input) (c *call, own bool, act action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	in.busy = a.call != nil
	act = decide(&v.Config, &a.state, in, now)
	switch {
	case act.step == respond:
		return nil, false, act
	case a.call != nil:
		return a.call, false, act
	}
	a.call = &call{
		Config: &v.Config, app: a, in: in, step: act.step, rejectedCheck: act.rejectedCheck, state: a.state,
		done: make(chan struct{}),
	}
	go a.call.run(context.WithoutCancel(ctx), callDeadline(ctx, now))
	return a.call, true, act
}

// callDeadline returns when a call must end. It goes on if its request is cancelled, but ends a little before the
// request's deadline, so that the request can report what went wrong: a Lambda function is frozen between invocations,
// and a call that sleeps through that fails.
func callDeadline(ctx context.Context, now time.Time) time.Time {
	deadline := now.Add(callTimeout)
	if request, ok := ctx.Deadline(); ok {
		deadline = earlier(deadline, replyBy(request).Add(-callMargin))
	}
	return deadline
}

// replyBy returns when a request with this deadline must stop waiting.
func replyBy(deadline time.Time) time.Time {
	return deadline.Add(-min(responseReserve, time.Until(deadline)/4))
}

// run performs the action.
func (c *call) run(ctx context.Context, deadline time.Time) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			c.err = InternalError(telemetry.RecoveredError(cause))
		}
		c.app.mu.Lock()
		c.app.call = nil
		c.app.mu.Unlock()
		close(c.done)
	}()
	switch {
	case c.step == loadSecret:
		c.loadSecret(ctx)
	case c.shares():
		c.share(ctx)
	default:
		c.perform(ctx)
	}
	c.publish()
}

// perform performs a step that calls Salesforce.
func (c *call) perform(ctx context.Context) {
	c.performed = true
	if c.rejectedCheck {
		c.lastRejectedCheck = time.Now()
		c.publish()
	}
	switch c.step {
	case introspect:
		c.introspectOnly(ctx)
	case refresh, logIn:
		c.refresh(ctx)
	case revoke:
		c.revoke(ctx)
	}
}

// publish makes the call's state that of the app.
func (c *call) publish() {
	c.app.mu.Lock()
	defer c.app.mu.Unlock()
	c.app.state = c.state
}

// wait waits until the call ends, or the request has only the time left to respond.
func (c *call) wait(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, replyBy(deadline))
		defer cancel()
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return timeoutError(ctx)
	}
}

// app returns an app, and adds it if it is not known.
func (v *Vendor) app(name string) *app {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.apps[name]
	if a == nil {
		if len(v.apps) >= maxApps {
			v.evictUnknownApps()
		}
		a = &app{name: name}
		v.apps[name] = a
	}
	return a
}

// evictUnknownApps drops the apps of which nothing is known, since callers can make up any number of names.
func (v *Vendor) evictUnknownApps() {
	for name, a := range v.apps {
		a.mu.Lock()
		if a.state.secret == nil && a.call == nil && a.state.cached == nil && len(a.state.pending) == 0 {
			delete(v.apps, name)
		}
		a.mu.Unlock()
	}
}
