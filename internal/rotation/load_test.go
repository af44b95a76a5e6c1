package rotation_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestRotationUnderLoad checks that callers notice neither rotations nor a person's changes. With -short there are
// fewer callers and changes.
func TestRotationUnderLoad(t *testing.T) {
	callers, rotations, changes, atLeast := 50, 20, 5, int64(100_000)
	if testing.Short() {
		callers, rotations, changes, atLeast = 10, 4, 2, 5_000
	}
	o := options{adminApp: true, propagation: 5 * time.Minute, org: sfoauthtest.Config{
		PropagationDelay: 2 * time.Minute, SessionTimeout: 15 * time.Minute, LoginsPerHour: 100_000,
	}}
	run(t, o, func(t *testing.T, h *harness) {
		pool := h.gather(callers)
		settle := func() {
			h.deliver()
			time.Sleep(7 * time.Minute)
		}
		for range rotations {
			h.rotate()
			settle()
		}
		for range changes { // Setup ends the old credentials at once; callers use their token until the new ones work
			h.storeNew("CANDIDATE")
			settle()
		}
		for range min(3, changes) {
			h.storeWrong("AWSCURRENT")
			settle()
		}
		pool.emergency.Store(true)
		key, secret := h.App.Credentials()
		h.compromise()
		h.rotateAndDeliver()
		time.Sleep(vending.DefaultSecretTTL + time.Second)
		pool.emergency.Store(false)
		h.checkEnded(key, secret)
		time.Sleep(7 * time.Minute)
		pool.leave()
		vends, dead, failed := pool.vends.Load(), pool.dead.Load(), pool.failed.Load()
		if failed > 0 || dead > 0 || vends < atLeast {
			t.Errorf("%d vends: %d failed, %d tokens were dead when they were handed out", vends, failed, dead)
		}
		if h.logsIn("REJECTED") || !h.logsIn("AWSCURRENT") {
			t.Error("the labels are wrong")
		}
		t.Logf("%d vends, %d tokens dead when handed out, %d failed", vends, dead, failed)
	})
}

// callerPool is a number of callers that request tokens every two seconds.
type callerPool struct {
	vends, failed, dead atomic.Int64
	emergency           atomic.Bool
	done                chan struct{}
	wg                  sync.WaitGroup
}

func (c *callerPool) leave() {
	close(c.done)
	c.wg.Wait()
}

// gather starts n callers of the token function's core.
func (h *harness) gather(n int) *callerPool {
	vendor := vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: h.SDK(h.HTTPClient()), Prefix: simtest.Prefix},
		Hosts:   sfoauth.AllowedHosts{simtest.OrgHost}, HTTPClient: h.HTTPClient(),
	})
	c := &callerPool{done: make(chan struct{})}
	request := vending.Request{App: simtest.AppName, Principal: "arn:aws:iam::222222222222:user/x"}
	for i := range n {
		c.wg.Go(func() {
			time.Sleep(time.Duration(i) * 37 * time.Millisecond)
			for {
				select {
				case <-c.done:
					return
				case <-time.After(2 * time.Second):
				}
				c.vends.Add(1)
				grant, err := vendor.Vend(h.T.Context(), request, &vending.CallStats{})
				switch {
				case err != nil:
					c.failed.Add(1)
					h.T.Logf("a caller failed: %v", err)
				case !h.Org.TokenActive(grant.Token.AccessToken.Reveal()) && !c.emergency.Load():
					c.dead.Add(1)
				}
			}
		})
	}
	return c
}
