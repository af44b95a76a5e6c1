package vending

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

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
				if simtest.Sampled() && at%3 != 0 {
					continue
				}
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

// TestFleetDeletedItem: the item's counter begins anew when the item has been deleted.
func TestFleetDeletedItem(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.want(h.vend(), "miss")
		h.Org.RevokeAll()
		h.Tables.DeleteItem(simtest.AppName)
		h.want(f[1].vend(), "miss")
		time.Sleep(4 * time.Minute)
		h.want(h.vend(), "confirmed") // the token of the other process
		h.wantLogins(2)
	})
}

// TestFleetPlaceholder: nothing is sealed with the placeholder's consumer secret, which everyone knows.
func TestFleetPlaceholder(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h := f[0]
		h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		h.want(h.revoke(), "temporarily_unavailable") // the token is pending
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(time.Second), 0)
		go func() {
			time.Sleep(500 * time.Millisecond)
			h.Store(h.Value(appsecret.Placeholder, appsecret.Placeholder))
		}()
		h.App.Regenerate() // the credentials are refused
		h.want(h.vend(), "app_misconfigured")
		item, err := h.TokenStore().Get(t.Context(), simtest.AppName)
		h.Must(err)
		if _, err := tokenstore.Open(sfoauth.NewSecret(appsecret.Placeholder), simtest.AppName, item.Entry); err == nil {
			t.Error("the entry is sealed with the placeholder")
		}
	})
}
