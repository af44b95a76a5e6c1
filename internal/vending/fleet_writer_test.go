package vending

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

// TestFleetLeaseKeptAlive: a writer of the table that keeps a lease alive blocks logins for as long as it writes.
// Tokens in memory stay in use meanwhile, and one lease after its last write there are logins again.
func TestFleetLeaseKeptAlive(t *testing.T) {
	runFleet(t, 2, options{}, func(t *testing.T, f fleet) {
		h, cold := f[0], f[1]
		h.want(h.vend(), "miss")
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			number := func(n int64) types.AttributeValue { return &types.AttributeValueMemberN{Value: fmt.Sprint(n)} }
			for counter := int64(1000); ; counter++ {
				h.Tables.PutItem(map[string]types.AttributeValue{
					tokenstore.Key: &types.AttributeValueMemberS{Value: simtest.AppName},
					"counter":      number(counter), "lease_until": number(time.Now().Add(time.Hour).UnixMilli()),
				})
				select {
				case <-stop:
					return
				case <-time.After(leaseTime - time.Second):
				}
			}
		}()
		time.Sleep(DefaultTokenTTL - DefaultMinTTL + time.Second) // the token is due for an introspection
		h.want(h.vend(), "hit")
		h.want(cold.vend(), "temporarily_unavailable")
		h.wantLogins(1)
		close(stop)
		<-stopped
		time.Sleep(leaseTime)
		h.want(cold.vend(), "miss")
	})
}
