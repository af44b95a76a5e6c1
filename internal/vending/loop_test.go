package vending

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func (h *harness) appState() *app { return h.vendor.app(simtest.AppName) }

// The tests of clocks run outside a synctest bubble, where time has no monotonic part.

func TestFrozenProcess(t *testing.T) {
	t.Parallel()
	h := newHarness(t, options{})
	first := h.vend()
	s := &h.appState().state
	before := *s.cached
	before.trustedUntil = simtest.Frozen(t, before.trustedUntil, time.Hour)
	before.expiresAt = simtest.Frozen(t, before.expiresAt, time.Hour)
	s.cached = &before
	if next := h.vend(); next.String() != "confirmed" || next.id() != first.id() {
		t.Errorf("an hour later: %s, without asking Salesforce", next)
	}
	if n := h.Org.Stats().Logins.Succeeded; n != 1 {
		t.Errorf("%d logins", n)
	}
	now := time.Now()
	s.readAt, s.lastRejectedCheck = simtest.Frozen(t, now, time.Hour), simtest.Frozen(t, now, time.Hour)
	retryAt := simtest.Frozen(t, now.Add(time.Minute), time.Hour)
	s.loginErr = backoff{err: &Error{Code: TemporarilyUnavailable}, retryAt: retryAt}
	if _, ready := secretReady(&h.vendor.Config, s, now); ready {
		t.Error("a secret that was read an hour ago is not read again")
	}
	if !s.rejectedCheckDue(now) {
		t.Error("an hour after a check, the next one is not due")
	}
	if s.loginErr.blocked(now) {
		t.Error("a backoff of a minute lasts an hour")
	}
}

func TestWallClockSetBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t, options{})
	h.vend()
	s := &h.appState().state
	back := *s.cached // its time is over, but the wall clock has lost an hour
	back.trustedUntil = simtest.Frozen(t, time.Now().Add(-time.Second), -time.Hour)
	s.cached = &back
	h.want(h.vend(), "confirmed")
}

func TestPanicFreesTheLock(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		a := h.appState()
		good := a.state
		// Without a client, the token makes decide panic.
		a.state.cached = &cachedToken{expiresAt: time.Now().Add(time.Hour), currentVersionID: h.Current()}
		a.state.loginErr = backoff{err: &Error{Code: TemporarilyUnavailable}, retryAt: time.Now().Add(time.Minute)}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			h.vend()
		}()
		if !a.mu.TryLock() {
			t.Fatal("the app stays locked")
		}
		a.state = good
		a.mu.Unlock()
		h.want(h.vend(), "hit")
	})
}

// TestAbandonedRevocation is for the race detector: a revocation that outlives its request shares nothing with it.
func TestAbandonedRevocation(t *testing.T) {
	t.Parallel()
	var giveUp context.CancelFunc
	h := newHarness(t, options{org: sfoauthtest.Config{OnCall: func(c sfoauthtest.Call) {
		if c.Endpoint == sfoauthtest.Revoke && c.Phase == sfoauthtest.Arrived {
			giveUp()
		}
	}}})
	for range loginbudget.DefaultBurst {
		token := h.vend().token()
		ctx, cancel := context.WithCancel(t.Context())
		giveUp = cancel
		_, _ = h.vendor.Revoke(ctx, Request{App: simtest.AppName, Principal: billing}, &CallStats{})
		for a := h.appState(); ; {
			a.mu.Lock()
			c := a.call
			a.mu.Unlock()
			if c == nil {
				break
			}
			<-c.done
		}
		if h.Org.TokenActive(token) {
			t.Fatal("the token is active")
		}
	}
}

func TestUnknownAppsAreEvicted(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		h.vendor.Secrets.Client = unreachable{}
		for i := range 3 * maxApps {
			h.request(Request{App: fmt.Sprint("made-up-", i)})
		}
		if len(h.vendor.apps) > maxApps {
			t.Errorf("%d apps are remembered", len(h.vendor.apps))
		}
		h.want(h.vend(), "hit") // an app that is known is kept
	})
}

func TestKnownAppsAreKept(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]*app{
		"a call in progress": {call: &call{}}, "a token": {state: state{cached: &cachedToken{}}},
		"a pending revocation": {state: state{pending: []pendingRevocation{{}}}},
	} {
		v := New(Config{})
		v.apps["busy"] = a
		for i := range 2 * maxApps {
			v.app(fmt.Sprint("made-up-", i))
		}
		if v.app("busy") != a {
			t.Errorf("an app with %s was evicted", name)
		}
	}
}

// unreachable is a Secrets Manager that fails.
type unreachable struct{}

func (unreachable) GetSecretValue(
	context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options),
) (*secretsmanager.GetSecretValueOutput, error) {
	return nil, errors.New("down")
}
