package vending

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
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

// TestFleetLeaseLost: a process that has frozen for longer than its lease keeps the token that it has got, and leaves
// the table to the process that has taken over.
func TestFleetLeaseLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frozen := &brokenProcess{after: true, pause: leaseTime + time.Second, left: 5} // at its login
		f := newFleet(t, 3, options{table: true}, func(i int, c *Config) {
			if i == 0 {
				frozen.install(c)
			}
		})
		late := make(chan result)
		go func() { late <- f[0].vend() }()
		time.Sleep(time.Millisecond)
		other := f[1].vend()
		f[1].want(other, "miss")
		if other.took < leaseTime || other.took > leaseTime+maxPoll {
			t.Errorf("the other process has waited for %s", other.took)
		}
		own := <-late
		f[0].want(own, "miss")
		if own.stats.LeasesLost != 1 || own.id() == other.id() {
			t.Errorf("%d leases lost", own.stats.LeasesLost)
		}
		if r := f[0].vend(); r.id() != own.id() {
			t.Error("the process does not keep its token")
		}
		if r := f[2].vend(); r.id() != other.id() {
			t.Error("the process has overwritten the entry")
		}
	})
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

func TestFleetRevocation(t *testing.T) {
	runFleet(t, 4, options{}, func(t *testing.T, f fleet) {
		first := f[0].vend()
		f[1].vend()
		r := f[2].revoke() // of a process that knows of no token
		f[2].want(r, "revoked")
		f[0].wantDead(first)
		if r.revokedID != first.id() {
			t.Errorf("revoked token %s", r.revokedID)
		}
		f[3].want(f[3].vend(), "miss") // a cold process
		second := f[1].reject(first.id())
		f[1].want(second, "hit")
		f[0].wantLogins(2)
		if n := f[0].Introspections(); n != 0 {
			t.Errorf("%d introspections of a token that is known to be revoked", n)
		}
	})
}

// TestFleetRevocationIsTakenOver: a revocation that has failed is made by the next process that logs in.
func TestFleetRevocationIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]bool{"same version": false, "next version": true} {
		t.Run(name, func(t *testing.T) {
			runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
				h, first := f[0], f[0].vend()
				h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
				h.want(h.revoke(), "temporarily_unavailable")
				h.Org.ClearFaults()
				if rotate {
					h.StoreWith("allowedPrincipals", []string{"222222222222"})
				}
				h.want(f[1].vend(), "miss")
				h.wantDead(first)
			})
		})
	}
}

func TestFleetCompromisedToken(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared sessions %t", shared), func(t *testing.T) {
			o := options{org: sfoauthtest.Config{SharedSessions: shared}, config: Config{SecretTTL: time.Minute}}
			runFleet(t, 3, o, func(t *testing.T, f fleet) {
				h, first := f[0], f[0].vend()
				h.Compromise()
				h.want(f[1].vend(), "miss") // the process that obtained the token does nothing any more
				h.wantDead(first)
				time.Sleep(time.Minute)
				revocations := h.Org.Stats().Calls[sfoauthtest.Revoke]
				f[0:2].want(f[0:2].vend(), "hit:2")
				if n := h.Org.Stats().Calls[sfoauthtest.Revoke]; n != revocations {
					t.Error("the token was revoked again")
				}
				h.want(f[2].vend(), "hit")
			})
		})
	}
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

func TestFleetTableFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]localaws.TableFault{
		"throttled":      {Code: "ProvisionedThroughputExceededException"},
		"denied":         {Code: "AccessDeniedException"},
		"gone":           {Code: "ResourceNotFoundException"},
		"failing":        {Code: "InternalServerError", Status: 500},
		"reset":          {Reset: true},
		"answer lost":    {ResetAfterCommit: true},
		"hanging":        {Hang: true},
		"slow":           {Delay: tokenstore.Timeout - 10*time.Millisecond},
		"too slow":       {Delay: tokenstore.Timeout + 10*time.Millisecond},
		"stale":          {Stale: true},
		"stale and lost": {Stale: true, ResetAfterCommit: true},
	} {
		for _, operation := range []string{"", "GetItem", "UpdateItem"} {
			for at := range 5 {
				t.Run(fmt.Sprintf("%s, %s, after %d calls", name, operation, at), func(t *testing.T) {
					runFleet(t, 3, options{}, func(t *testing.T, f fleet) {
						h := f[0]
						h.Tables.InjectFault(operation, localaws.TableFault{}, at+1)
						h.Tables.InjectFault(operation, fault, 0)
						for range 2 {
							f.vend()
							time.Sleep(4 * time.Minute)
							f.vend()
							f.reject(f[1].vend().id())
							h.want(f[2].revoke(), "revoked")
							time.Sleep(rejectedCheckInterval)
							for _, process := range f { // those that have not seen the revocation return the token until then
								h.wantSound(process.reject(process.vend().id()))
								time.Sleep(rejectedCheckInterval)
							}
							h.Store(h.Value(h.App.Regenerate()))
							time.Sleep(DefaultIntrospectInterval)
						}
						for i, process := range f {
							if r := process.vend(); r.err != nil {
								t.Errorf("process %d got %s", i, r)
							}
						}
						if n := h.Logins(); n > 5*len(f) {
							t.Errorf("%d logins", n)
						}
						h.Tables.ClearFaults()
						time.Sleep(tokenstore.BypassDuration)
						h.Store(h.Value(h.App.Regenerate()))
						time.Sleep(DefaultSecretTTL)
						f.vend()
						time.Sleep(DefaultIntrospectInterval)
						before := h.Logins() + h.Introspections()
						f.vend()
						if n := h.Logins() + h.Introspections() - before; n != 1 {
							t.Errorf("%d calls to Salesforce, although the table is back", n)
						}
					})
				})
			}
		}
	}
}

func TestFleetTamperedEntries(t *testing.T) {
	t.Parallel()
	type item = map[string]types.AttributeValue
	number := func(n int64) types.AttributeValue { return &types.AttributeValueMemberN{Value: fmt.Sprint(n)} }
	for name, c := range map[string]struct {
		tamper func(item)
		errors int // of the table, noticed by each cold process
	}{
		"changed ciphertext": {func(i item) { i["sealed"].(*types.AttributeValueMemberB).Value[20] ^= 1 }, 1},
		"no ciphertext":      {func(i item) { i["sealed"].(*types.AttributeValueMemberB).Value = []byte{0} }, 1},
		"another counter":    {func(i item) { i["entry_counter"] = number(7) }, 1},
		"another expiry":     {func(i item) { i["expires"] = number(time.Now().Add(time.Hour).Unix()) }, 1},
		"another version":    {func(i item) { i["version"] = &types.AttributeValueMemberS{Value: "other"} }, 0},
		"a lease for a year": {func(i item) { i["lease_until"] = number(time.Now().AddDate(1, 0, 0).UnixMilli()) }, 0},
		"a huge counter":     {func(i item) { i["counter"] = number(1<<62 + 1) }, 0},
		"no counter":         {func(i item) { delete(i, "counter") }, 1},
		"a counter of text":  {func(i item) { i["counter"] = &types.AttributeValueMemberS{Value: "x"} }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			runFleet(t, 3, options{}, func(t *testing.T, f fleet) {
				h := f[0]
				h.want(h.vend(), "miss")
				tampered := h.Tables.Item(simtest.AppName)
				c.tamper(tampered)
				h.Tables.PutItem(tampered)
				r := f[1].vend()
				if h.wantSound(r); r.err != nil || r.took > leaseTime+maxPoll || r.stats.TableErrors != c.errors {
					t.Errorf("a cold process got %s after %s, with %d errors of the table", r, r.took, r.stats.TableErrors)
				}
				h.want(f[1].vend(), "hit")
				if r := f[2].vend(); r.err != nil {
					t.Errorf("the next process got %s", r)
				}
			})
		})
	}
}

// TestFleetForeignEntry: an entry of another app, of the same credentials even, is not used.
func TestFleetForeignEntry(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.CreateSecret(simtest.Prefix+"billing", h.Value(h.App.Credentials()))
		h.want(h.request(Request{App: "billing", Principal: billing}), "miss")
		foreign := h.Tables.Item("billing")
		foreign["app"] = &types.AttributeValueMemberS{Value: simtest.AppName}
		foreign["version"] = &types.AttributeValueMemberS{Value: h.Current()}
		h.Tables.PutItem(foreign)
		r := f[1].vend()
		h.want(r, "miss")
		if r.stats.TableErrors != 1 {
			t.Errorf("%d errors of the table", r.stats.TableErrors)
		}
	})
}

// TestFleetReplayedEntry: an old entry lives no longer than its token was trusted, and brings no token back that this
// process knows to be dead.
func TestFleetReplayedEntry(t *testing.T) {
	runFleet(t, 3, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		first := h.vend()
		old := h.Tables.Item(simtest.AppName)
		h.want(h.revoke(), "revoked")
		h.Tables.PutItem(old)
		second := h.vend()
		h.want(second, "miss")
		h.Tables.PutItem(old)
		time.Sleep(DefaultTokenTTL)
		r := f[1].vend()
		if h.wantSound(r); r.id() == first.id() {
			t.Error("got the revoked token")
		}
	})
}

// skewedClock is the table as a process sees it whose clock is ahead by offset.
type skewedClock struct {
	tokenstore.Store
	offset time.Duration
}

func (s skewedClock) Get(ctx context.Context, app string) (tokenstore.Item, error) {
	item, err := s.Store.Get(ctx, app)
	return s.read(item), err
}

func (s skewedClock) Peek(ctx context.Context, app string) (tokenstore.Item, error) {
	item, err := s.Store.Peek(ctx, app)
	return s.read(item), err
}

func (s skewedClock) CompareAndSwap(
	ctx context.Context, app string, seen int64, next tokenstore.Item,
) (tokenstore.Item, bool, error) {
	if !next.LeaseUntil.IsZero() {
		next.LeaseUntil = next.LeaseUntil.Add(s.offset)
	}
	current, swapped, err := s.Store.CompareAndSwap(ctx, app, seen, next)
	return s.read(current), swapped, err
}

func (s skewedClock) read(item tokenstore.Item) tokenstore.Item {
	if !item.LeaseUntil.IsZero() {
		item.LeaseUntil = item.LeaseUntil.Add(-s.offset)
	}
	return item
}

// TestFleetWrongClock: a process whose clock is a minute off costs one more login at most.
func TestFleetWrongClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{-time.Minute, time.Minute} {
		for wrong := range 3 {
			t.Run(fmt.Sprintf("process %d, %s", wrong, offset), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(t, 5, options{table: true}, func(i int, c *Config) {
						if i == wrong {
							c.Table = skewedClock{c.Table, offset}
						}
					})
					f[0].Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 0)
					go f[0].vend()
					time.Sleep(time.Second)
					f.vend()
					if n := f[0].Logins(); n > 2 {
						t.Errorf("%d logins", n)
					}
					time.Sleep(5 * time.Second)
					f.want(f.vend(), "hit:5")
				})
			})
		}
	}
}
