package vending

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestFleetRandom plays random requests, changes, failures of Salesforce and restarts of processes. No revocation may
// be lost, and in the end there is one token.
func TestFleetRandom(t *testing.T) {
	t.Parallel()
	seeds := uint64(40)
	if simtest.Sampled() {
		seeds = 5
	}
	for seed := range seeds {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, shared sessions %t", seed, shared), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { randomFleet(t, seed, shared) })
			})
		}
	}
}

func randomFleet(t *testing.T, seed uint64, shared bool) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	o := options{
		table: true, burst: 1000, org: sfoauthtest.Config{SharedSessions: shared}, config: Config{SecretTTL: time.Minute},
	}
	f := newFleet(t, 3, o, nil)
	h := f[0]
	var log []string
	note := func(format string, args ...any) {
		log = append(log, fmt.Sprintf("%s ", time.Now().Format("15:04:05"))+fmt.Sprintf(format, args...))
	}
	defer func() {
		if t.Failed() {
			for _, l := range log {
				t.Log(l)
			}
		}
	}()
	tokens := map[string]string{} // by id
	mustDie := map[string]string{}
	latest := ""
	see := func(i int, what string, r result) {
		h.wantOnTime(r)
		if r.err != nil && r.err.Code == ServerError {
			t.Errorf("server error: %v", r.err)
		}
		if r.token() != "" {
			tokens[r.id()] = r.token()
			if r.String() == "miss" {
				latest = r.id()
			}
		}
		note("p%d %s: %s id=%s v=%s notes=%q err=%v", i, what, r, r.id()+r.revokedID, r.grant.VersionID,
			r.stats.Notes, r.stats.Err)
	}
	vend := func() { i := rnd.IntN(len(f)); see(i, "vend", f[i].vend()) }
	vend()
	for range 25 {
		i := rnd.IntN(len(f))
		switch rnd.IntN(16) {
		case 0, 1:
			vend()
		case 2:
			see(i, "reject", f[i].reject(latest))
		case 3:
			f[i].vend() // so that it knows of the latest token, and a failed revocation is one of that
			cached := f[i].vendor.app(simtest.AppName).state.cached
			r := f[i].revoke()
			see(i, "revoke", r)
			if cached != nil {
				tokens[cached.id] = cached.token.AccessToken.Reveal()
				mustDie[cached.id] = "DELETE"
			}
			if r.revokedID != "" && h.Org.TokenActive(tokens[r.revokedID]) {
				t.Errorf("revoked %s is active", r.revokedID)
			}
		case 4:
			note("store")
			h.StoreWith("allowedPrincipals", []string{"222222222222", fmt.Sprintf("%012d", rnd.IntN(1000))})
			time.Sleep(time.Minute)
			h.Org.ClearFaults()
			vend()
			vend()
		case 5:
			f[i].vend()
			current := h.Current()
			for _, p := range f[i : i+1] {
				c := p.vendor.app(simtest.AppName).state.cached
				if c != nil && c.versionID == current && h.Org.TokenActive(c.token.AccessToken.Reveal()) {
					tokens[c.id] = c.token.AccessToken.Reveal()
					mustDie[c.id] = "compromised"
				}
			}
			note("compromise")
			h.Compromise()
			if rnd.IntN(2) == 0 {
				note("token fault")
				fault := sfoauthtest.Unavailable()
				if rnd.IntN(2) == 0 {
					fault = sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials")
				}
				h.Org.InjectFault(sfoauthtest.Token, fault, 1+rnd.IntN(5))
			}
			if rnd.IntN(2) == 0 {
				note("revoke fault")
				h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1+rnd.IntN(3))
			}
			if rnd.IntN(2) == 0 {
				note("restart all")
				for j := range f {
					f[j].vendor = h.newVendor(o)
				}
			}
			time.Sleep(time.Duration(rnd.IntN(70)) * time.Second)
			vend()
			time.Sleep(time.Minute)
			vend()
			if rnd.IntN(2) == 0 {
				note("restart %d", i)
				f[i].vendor = h.newVendor(o)
			}
			time.Sleep(time.Minute)
			vend()
		case 6:
			note("restart %d", i)
			f[i].vendor = h.newVendor(o)
		case 7:
			note("fault revoke")
			h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1+rnd.IntN(4))
		case 8:
			note("fault token")
			h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Unavailable(), 1+rnd.IntN(3))
		case 9:
			note("clear")
			h.Org.ClearFaults()
		case 10:
			note("fault refused")
			fault := sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials")
			h.Org.InjectFault(sfoauthtest.Token, fault, 1+rnd.IntN(5))
		case 11:
			note("fault introspect")
			h.Org.InjectFault(sfoauthtest.Introspect, sfoauthtest.Unavailable(), 1+rnd.IntN(3))
		case 12:
			note("all")
			h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(time.Duration(rnd.IntN(5000))*time.Millisecond), 1)
			f.vendEach(see)
		case 13:
			note("kill")
			h.Org.KillSession(tokens[latest])
			time.Sleep(5 * time.Second)
			see(i, "reject", f[i].reject(latest))
			see(i, "vend", f[i].vend())
		default:
			time.Sleep(time.Duration(rnd.IntN(400)) * time.Second)
		}
	}
	h.Org.ClearFaults()
	time.Sleep(15 * time.Minute)
	for range 3 {
		for i := range f {
			see(i, "vend", f[i].vend())
		}
		time.Sleep(4 * time.Minute)
	}
	ids := map[string]bool{}
	for i := range f {
		r := f[i].vend()
		see(i, "vend", r)
		h.wantSound(r)
		if r.err != nil {
			t.Errorf("process %d: %v", i, r.err)
		}
		ids[r.id()] = true
	}
	if len(ids) != 1 {
		t.Errorf("%d tokens", len(ids))
	}
	for id, why := range mustDie {
		if h.Org.TokenActive(tokens[id]) {
			t.Errorf("token %s (%s) is active", id, why)
		}
	}
}

func (f fleet) vendEach(see func(i int, what string, r result)) {
	results := make([]result, len(f))
	var wg sync.WaitGroup
	for i, h := range f {
		wg.Go(func() { results[i] = h.vend() })
	}
	wg.Wait()
	for i, r := range results {
		see(i, "vend all", r)
	}
}
