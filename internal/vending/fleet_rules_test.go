package vending

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// runFleet runs a test of n processes with a token table in a synctest bubble, in parallel with others.
func runFleet(t *testing.T, n int, o options, test func(t *testing.T, f fleet)) {
	t.Helper()
	t.Parallel()
	o.table = true
	synctest.Test(t, func(t *testing.T) { test(t, newFleet(t, n, o, nil)) })
}

func (f fleet) reject(id string) map[string]int {
	f[0].T.Helper()
	return f.all(func(h *harness) result { return h.reject(id) })
}

func TestFleetColdStart(t *testing.T) {
	t.Parallel()
	for name, app := range map[string]sfoauthtest.AppOptions{
		"opaque token": {}, "JWT": {JWT: true, ExtraFields: true}, "no introspection": {NoIntrospection: true},
	} {
		t.Run(name, func(t *testing.T) {
			runFleet(t, 10, options{app: app}, func(t *testing.T, f fleet) {
				h := f[0]
				f.want(f.vend(), "hit:9 miss:1")
				h.wantLogins(1)
				first := f[1].vend()
				for _, process := range f {
					r := process.vend()
					h.want(r, "hit")
					if r.id() != first.id() || r.grant.VersionID != h.Current() {
						t.Errorf("token %s of version %s", r.id(), r.grant.VersionID)
					}
					h.wantTrueExpiry(r)
				}
			})
		})
	}
}

// TestFleetReadsInParallel: with a filled table, a cold process needs the time of one read.
func TestFleetReadsInParallel(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		f[0].vend()
		f[0].AWS.InjectFault("GetSecretValue", localaws.Fault{Delay: 50 * time.Millisecond}, 0)
		f[0].Tables.SetLatency(40 * time.Millisecond)
		r := f[1].vend()
		f[1].want(r, "hit")
		if r.took != 50*time.Millisecond || !r.stats.Adopted || r.stats.Table != 40*time.Millisecond {
			t.Errorf("it took %s, %s of them for the table; adopted: %t", r.took, r.stats.Table, r.stats.Adopted)
		}
		calls := f[0].Tables.Calls()["GetItem"]
		f.want(f.vend(), "hit:2")
		if f[0].Tables.Calls()["GetItem"] != calls {
			t.Error("a token from memory reads the table")
		}
	})
}

// TestFleetRenewal: while one process renews the token, the others return it.
func TestFleetRenewal(t *testing.T) {
	runFleet(t, 10, options{}, func(t *testing.T, f fleet) {
		f.vend()
		time.Sleep(4 * time.Minute)
		f[0].Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Latency(2*time.Second), 1)
		f.want(f.vend(), "confirmed:1 hit:9")
		f.want(f.vend(), "hit:10")
		if n := f[0].Introspections(); n != 1 {
			t.Errorf("%d introspections", n)
		}
	})
}

func TestFleetAllowedPrincipals(t *testing.T) {
	o := options{secret: map[string]any{"allowedPrincipals": []string{"222222222222"}}}
	runFleet(t, 2, o, func(t *testing.T, f fleet) {
		f[0].want(f[0].vend(), "miss")
		f[1].want(f[1].vendAs("arn:aws:iam::333333333333:role/stranger"), "access_denied")
		f[1].want(f[1].vend(), "hit")
	})
}

func TestFleetRejectedToken(t *testing.T) {
	runFleet(t, 10, options{}, func(t *testing.T, f fleet) {
		f.vend()
		h, first := f[0], f[0].vend()
		f.want(f.reject(first.id()), "confirmed:1 hit:9")
		time.Sleep(4 * time.Second)
		f.reject(first.id())
		if n := h.Introspections(); n != 1 {
			t.Errorf("%d introspections within 5 seconds", n)
		}
		time.Sleep(time.Second)
		h.Org.KillSession(first.token())
		f.want(f.reject(first.id()), "hit:9 miss:1")
		if n := h.Introspections(); n != 2 {
			t.Errorf("%d introspections of 2 checks", n)
		}
		h.wantLogins(2)
	})
}

func TestFleetFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		want  string
		again time.Duration // until when no process asks Salesforce
	}{
		"refused": {
			sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials"), "app_misconfigured",
			30 * time.Second,
		},
		"limited": {sfoauthtest.TooManyRequests(time.Minute, false), "temporarily_unavailable", time.Minute},
		"down":    {sfoauthtest.Unavailable(), "temporarily_unavailable", 500 * time.Millisecond},
		"no response, which may be the process's fault": {
			sfoauthtest.Reset(), "temporarily_unavailable", 500 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			runFleet(t, 10, options{}, func(t *testing.T, f fleet) {
				h := f[0]
				h.Org.InjectFault(sfoauthtest.Token, c.fault, 0)
				again := time.Now().Add(c.again)
				f.want(f.vend(), c.want+":10")
				tried := h.Logins()
				time.Sleep(time.Until(again) - time.Millisecond)
				f.want(f.vend(), c.want+":10")
				h.wantLogins(tried)
				h.Org.ClearFaults()
				if c.want == "app_misconfigured" { // a new version clears the failure
					h.Store(h.Value(h.App.Regenerate()))
					time.Sleep(rereadInterval)
				} else {
					time.Sleep(2 * time.Millisecond)
				}
				f.want(f.vend(), "hit:9 miss:1")
			})
		})
	}
}

// TestFleetErrorsAreTheSame: what a process says of a failure does not depend on which one has met it.
func TestFleetErrorsAreTheSame(t *testing.T) {
	t.Parallel()
	for _, fault := range []sfoauthtest.Fault{
		sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"), sfoauthtest.OtherOrg(), sfoauthtest.Unavailable(),
		sfoauthtest.TooManyRequests(time.Minute, false), sfoauthtest.WrongSignature(), sfoauthtest.Reset(),
	} {
		t.Run(fault.String(), func(t *testing.T) {
			o := options{secret: map[string]any{"orgId": "00Dxx0000000001AAA"}}
			runFleet(t, 2, o, func(t *testing.T, f fleet) {
				f[0].Org.InjectFault(sfoauthtest.Token, fault, 0)
				a, b := f[0].vend(), f[1].vend()
				f[0].wantLogins(1)
				a.err.RetryAfter, b.err.RetryAfter = 0, 0
				x, y := fmt.Sprintf("%s %+v", a.err, *a.err), fmt.Sprintf("%s %+v", b.err, *b.err)
				x, y = strings.Split(x, " Err:")[0], strings.Split(y, " Err:")[0]
				if x != y {
					t.Errorf("got\n%s\n%s", x, y)
				}
			})
		})
	}
}

func TestFleetFallback(t *testing.T) {
	runFleet(t, 5, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		key, _ := h.App.Credentials()
		h.Store(h.Value(key, "wrong"))
		f.want(f.vend(), "hit:4 miss:1")
		h.wantLogins(2)
		if r := f[4].vend(); r.grant.VersionID != h.VersionWithLabel(appsecret.Previous) {
			t.Errorf("token of version %s", r.grant.VersionID)
		}
	})
}

func TestFleetLoginBudget(t *testing.T) {
	runFleet(t, 5, options{burst: 3, hourly: 10}, func(t *testing.T, f fleet) {
		h := f[0]
		for range 3 {
			f.want(f.vend(), "hit:4 miss:1")
			h.Org.RevokeAll()
			time.Sleep(DefaultIntrospectInterval)
			h.Org.RevokeAll()
		}
		// In 45 minutes at 10 an hour there were 7 more, but never more than 3 at once.
		h.wantLogins(3)
		for i := range 5 {
			r := f[i].reject(f[i].vend().id())
			h.Org.KillSession(r.token())
			time.Sleep(rejectedCheckInterval)
			f[i].reject(r.id())
		}
		if n := h.Logins(); n > 6 {
			t.Errorf("%d logins of the fleet", n-3)
		}
		if r := f[4].vend(); r.err == nil || !r.budgetExhausted() {
			t.Errorf("got %s, although the fleet's budget is exhausted", r)
		}
	})
}

// TestFleetProcessThatIsBehind: a process that still has the old version of the secret reads the new one before it
// replaces an entry for it.
func TestFleetProcessThatIsBehind(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h, behind := f[0], f[1]
		behind.vend()
		time.Sleep(2 * time.Minute)
		h.Store(h.Value(h.App.Regenerate()))
		h.want(h.vend(), "miss") // a cold process
		time.Sleep(2 * time.Minute)
		r := behind.vend() // its token is due, and its secret is not
		h.want(r, "hit")
		if r.grant.VersionID != h.Current() {
			t.Error("it has not read the new version")
		}
		h.wantLogins(2)
	})
}
