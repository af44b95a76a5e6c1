package vending

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/sim/simtest"
)

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

// TestFleetLostLeaseNoLogin: a process that finds its lease lost before it has a result does not log in.
func TestFleetLostLeaseNoLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frozen := &brokenProcess{after: true, pause: leaseTime + time.Second, left: 1 << 30}
		f := newFleet(t, 2, options{table: true}, func(i int, c *Config) {
			if i == 0 {
				frozen.install(c)
			}
		})
		h := f[0]
		h.want(h.vend(), "miss")
		h.want(f[1].vend(), "hit")
		h.Org.RevokeAll()
		time.Sleep(20 * time.Minute) // the token has expired
		h.vendor.app(simtest.AppName).state.readAt = time.Now()
		frozen.start(2) // when it takes the lease
		late := make(chan result)
		go func() { late <- h.vend() }()
		time.Sleep(time.Millisecond)
		h.want(f[1].vend(), "miss")
		r := <-late
		if h.wantSound(r); r.err != nil || len(r.stats.Logins) != 0 {
			t.Errorf("got %s with %d logins", r, len(r.stats.Logins))
		}
		h.wantLogins(2)
	})
}
