package rotateapi

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestNobodyNotices(t *testing.T) {
	o := options{adminApp: true, propagation: 5 * time.Minute, org: sfoauthtest.Config{PropagationDelay: 2 * time.Minute, SessionTimeout: 15 * time.Minute, LoginsPerHour: 100_000}}
	inBubble(t, o, func(t *testing.T, w *world) {
		crowd := w.gather(50)
		for range 20 {
			w.must(w.rotate(""))
			w.deliver()
			time.Sleep(7 * time.Minute)
		}
		for range 5 { // a pair made in Setup kills the one before; the callers live on their token until the new one works
			key, secret := w.app.Regenerate()
			w.store(key, secret, "CANDIDATE")
			w.deliver()
			time.Sleep(7 * time.Minute)
		}
		for range 3 {
			w.store("3MVG9wrong", "wrong", "AWSCURRENT")
			w.deliver()
			time.Sleep(7 * time.Minute)
		}
		crowd.emergency.Store(true)
		key, secret := w.app.Credentials()
		w.compromise()
		w.must(w.rotate(""))
		w.deliver()
		time.Sleep(vending.DefaultSecretTTL + time.Second)
		crowd.emergency.Store(false)
		if w.org.CanLogin(key, secret) {
			t.Error("the leaked pair still logs in")
		}
		time.Sleep(7 * time.Minute)
		crowd.leave()
		if crowd.failed.Load() > 0 || crowd.dead.Load() > 0 || crowd.vends.Load() < 100_000 {
			t.Errorf("%d vends: %d failed, %d tokens were dead when they were handed out", crowd.vends.Load(), crowd.failed.Load(), crowd.dead.Load())
		}
		if w.process.Load() == nil || w.logsIn("REJECTED") || !w.logsIn("AWSCURRENT") {
			t.Error("the labels are wrong")
		}
		t.Logf("%d vends, %d tokens dead when handed out, %d failed", crowd.vends.Load(), crowd.dead.Load(), crowd.failed.Load())
	})
}

// crowd are callers who ask for tokens without a pause.
type crowd struct {
	vends, failed, dead atomic.Int64
	emergency           atomic.Bool
	done                chan struct{}
	wg                  sync.WaitGroup
}

func (c *crowd) leave() {
	close(c.done)
	c.wg.Wait()
}

// gather starts n callers of the token function's core.
func (w *world) gather(n int) *crowd {
	transport := w.network.Transport()
	w.t.Cleanup(transport.CloseIdleConnections)
	vendor := vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: w.sdk(w.network.Client()), Prefix: "sftoken/"}, Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: &http.Client{Transport: transport},
	})
	c := &crowd{done: make(chan struct{})}
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
				grant, err := vendor.Vend(w.t.Context(), vending.Request{App: "crm", Principal: "arn:aws:iam::222222222222:user/x"}, &vending.CallStats{})
				switch {
				case err != nil:
					c.failed.Add(1)
					w.t.Logf("a caller failed: %v", err)
				case !w.org.TokenActive(grant.Token.AccessToken.Reveal()) && !c.emergency.Load():
					c.dead.Add(1)
				}
			}
		})
	}
	return c
}
