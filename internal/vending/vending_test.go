package vending

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// What a Vendor does for callers is tried in functions/token. Here is what cannot be seen from there.

// stored is a Secrets Manager with one secret that never changes.
type stored string

func (s stored) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(string(s)), VersionId: aws.String("1")}, nil
}

func newVendor(t *testing.T, config sfoauthtest.Config) (*Vendor, *sfoauthtest.Org) {
	t.Helper()
	const host = "127.0.0.1:8443"
	network := &sfoauthtest.Network{}
	config.BaseURL = "http://" + host
	org := sfoauthtest.New(config)
	stop, err := network.Serve(host, org)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	client := network.Client()
	t.Cleanup(client.CloseIdleConnections)
	key, secret := org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	value := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q,"baseUri":"http://%s"}`, key, secret, host)
	return New(Config{Secrets: appsecret.Reader{Client: stored(value)}, Hosts: sfoauth.AllowedHosts{host}, HTTPClient: client}), org
}

func (v *Vendor) vend(t *testing.T) Grant {
	t.Helper()
	grant, err := v.Vend(t.Context(), Request{App: "crm"}, &CallStats{})
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// frozen returns the time at as a process sees it that has been frozen for so long since, while its monotonic clock stood still:
// by the clock on the wall it is further back. Package time offers no way to make one.
func frozen(t *testing.T, at time.Time, since time.Duration) time.Time {
	t.Helper()
	seen := at.Add(-since)
	(*struct {
		wall      uint64
		monotonic int64
		_         *time.Location
	})(unsafe.Pointer(&seen)).monotonic += int64(since)
	if seen.Sub(at) != 0 || at.Round(0).Sub(seen.Round(0)) != since {
		t.Fatalf("package time has changed: the monotonic clock differs by %s, that on the wall by %s", at.Sub(seen), at.Round(0).Sub(seen.Round(0)))
	}
	return seen
}

// These run outside a synctest bubble, where time has no monotonic part.
func TestTimeGoesOnWhileTheProcessIsFrozen(t *testing.T) {
	v, org := newVendor(t, sfoauthtest.Config{})
	first := v.vend(t)
	a := v.apps["crm"]
	before := *a.session
	before.horizon, before.alive = frozen(t, before.horizon, time.Hour), frozen(t, before.alive, time.Hour)
	a.session = &before
	if next := v.vend(t); next.CacheStatus != Confirmed || next.TokenID != first.TokenID {
		t.Errorf("after an hour the token is a %s: nobody has asked Salesforce about it", next.CacheStatus)
	}
	if n := org.Stats().Logins.Succeeded; n != 1 {
		t.Errorf("%d logins", n)
	}
	now := time.Now()
	a.readAt, a.lookedAt = frozen(t, now, time.Hour), frozen(t, now, time.Hour)
	a.refused = trouble{told: &Error{Code: TemporarilyUnavailable}, until: frozen(t, now.Add(time.Minute), time.Hour)}
	if read, _ := v.ready(a, now); read == nil {
		t.Error("a secret that was read an hour ago is not read again")
	}
	if a.lookedRecently(now) {
		t.Error("what was looked into an hour ago counts as recent")
	}
	if a.refused.active(now) {
		t.Error("a failure is remembered for an hour, and not for a minute")
	}
}

func TestAClockThatIsSetBackMakesNoTokenLiveLonger(t *testing.T) {
	v, _ := newVendor(t, sfoauthtest.Config{})
	v.vend(t)
	a := v.apps["crm"]
	back := *a.session // its 15 minutes are over, but the clock on the wall has lost an hour
	back.horizon = frozen(t, time.Now().Add(-time.Second), -time.Hour)
	a.session = &back
	if next := v.vend(t); next.CacheStatus != Confirmed {
		t.Errorf("the token is a %s", next.CacheStatus)
	}
}

func TestAPanicLeavesTheAppUnlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _ := newVendor(t, sfoauthtest.Config{})
		v.vend(t)
		a := v.apps["crm"]
		whole := a.session
		a.session = &session{alive: time.Now().Add(time.Hour), madeFor: "1"} // without a client
		a.refused = trouble{told: &Error{Code: TemporarilyUnavailable}, until: time.Now().Add(time.Minute)}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			v.vend(t)
		}()
		if !a.mu.TryLock() {
			t.Fatal("the app is locked for ever")
		}
		a.session, a.refused = whole, trouble{}
		a.mu.Unlock()
		v.vend(t)
	})
}

// TestARevocationThatOutlivesItsCallerSharesNothingWithIt is for the race detector.
func TestARevocationThatOutlivesItsCallerSharesNothingWithIt(t *testing.T) {
	var giveUp context.CancelFunc
	v, org := newVendor(t, sfoauthtest.Config{OnCall: func(c sfoauthtest.Call) {
		if c.Endpoint == sfoauthtest.Revoke && c.Phase == sfoauthtest.Arrived {
			giveUp()
		}
	}})
	for range loginbudget.DefaultBurst {
		token := v.vend(t).Token.AccessToken.Reveal()
		ctx, cancel := context.WithCancel(t.Context())
		giveUp = cancel
		_, _ = v.Revoke(ctx, Request{App: "crm"}, &CallStats{})
		for a := v.apps["crm"]; ; {
			a.mu.Lock()
			f := a.flight
			a.mu.Unlock()
			if f == nil {
				break
			}
			<-f.done
		}
		if org.TokenActive(token) {
			t.Fatal("the token lives")
		}
	}
}

func TestNamesThatCallersMakeUpTakeNoMoreAndMoreMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _ := newVendor(t, sfoauthtest.Config{})
		v.vend(t)
		v.Secrets.Client = nothing{}
		for i := range 3 * maxApps {
			_, _ = v.Vend(t.Context(), Request{App: fmt.Sprint("made-up-", i)}, &CallStats{})
		}
		if len(v.apps) > maxApps {
			t.Errorf("%d apps are remembered", len(v.apps))
		}
		if v.vend(t).CacheStatus != Hit {
			t.Error("an app that is known was forgotten")
		}
	})
}

func TestAnAppOfWhichSomethingIsKnownIsNotForgotten(t *testing.T) {
	for name, a := range map[string]*app{
		"work under way": {flight: &flight{}}, "a token": {session: &session{}}, "a token to be revoked": {revocations: []revocation{{}}},
	} {
		v, _ := newVendor(t, sfoauthtest.Config{})
		v.apps["busy"] = a
		for i := range 2 * maxApps {
			_, _ = v.app(fmt.Sprint("made-up-", i))
		}
		if again, _ := v.app("busy"); again != a {
			t.Errorf("%s was forgotten", name)
		}
	}
}

// nothing is a Secrets Manager without secrets.
type nothing struct{}

func (nothing) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return nil, errors.New("down")
}
