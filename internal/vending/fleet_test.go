package vending

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// fleet is several processes of one deployment.
type fleet []*harness

// newFleet returns n processes. change, which may be nil, configures the i-th.
func newFleet(t *testing.T, n int, o options, change func(i int, c *Config)) fleet {
	t.Helper()
	h := newHarness(t, o)
	f := fleet{}
	for i := range n {
		process := *h
		process.vendor = h.newVendor(o)
		if change != nil {
			change(i, &process.vendor.Config)
		}
		f = append(f, &process)
	}
	return f
}

// all makes a request of each process at the same time, and returns how many had which result.
func (f fleet) all(request func(h *harness) result) map[string]int {
	f[0].T.Helper()
	results := make([]result, len(f))
	var wg sync.WaitGroup
	for i, h := range f {
		wg.Go(func() { results[i] = request(h) })
	}
	wg.Wait()
	counts := map[string]int{}
	for _, r := range results {
		f[0].wantSound(r)
		f[0].wantOnTime(r)
		counts[r.String()]++
	}
	return counts
}

func (f fleet) vend() map[string]int { f[0].T.Helper(); return f.all((*harness).vend) }

// want checks how many results there are of each kind, as in "hit:9 miss:1".
func (f fleet) want(got map[string]int, want string) {
	f[0].T.Helper()
	if text := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(got), "map["), "]"); text != want {
		f[0].T.Fatalf("got %s, want %s", text, want)
	}
}

// fleetCosts are the calls to Salesforce of a fleet with one app.
type fleetCosts struct {
	cold           int // logins after a deployment
	introspections int // in the hour after that
	rotated        int // logins after a change of the secret
	limited        int // logins in an hour in which Salesforce limits them for 10 minutes at a time
	refused        int // logins in an hour in which Salesforce refuses the credentials
}

// measureFleet plays a fleet whose processes each get a request every four minutes or, while they get no token, every
// five.
func measureFleet(t *testing.T, n int, o options) (costs fleetCosts) {
	f := newFleet(t, n, o, nil)
	h := f[0]
	vend := func() { // without a look for secrets in each result, which takes too long for so many
		f.all(func(h *harness) result { return h.do(t.Context(), 15*time.Second, Request{Principal: billing}) })
	}
	hour := func(interval time.Duration) {
		for passed := interval; passed <= time.Hour; passed += interval {
			time.Sleep(interval)
			vend()
		}
	}
	logins := func(do func()) int { before := h.Logins(); do(); return h.Logins() - before }
	// endSessions waits until no process trusts its token any more.
	endSessions := func() { h.Org.RevokeAll(); time.Sleep(DefaultIntrospectInterval + time.Minute) }

	costs.cold = logins(vend)
	before := h.Introspections()
	if extra := logins(func() { hour(4 * time.Minute) }); extra != 0 {
		t.Errorf("%d logins in an hour in which every token lives", extra)
	}
	costs.introspections = h.Introspections() - before
	h.Store(h.Value(h.App.Regenerate()))
	costs.rotated = logins(func() { time.Sleep(DefaultSecretTTL + time.Second); vend() })
	endSessions()
	h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.TooManyRequests(10*time.Minute, false), 0)
	costs.limited = logins(func() { hour(5 * time.Minute) })
	h.Org.ClearFaults()
	time.Sleep(time.Hour)
	vend()
	h.App.Regenerate() // in Salesforce alone
	endSessions()
	costs.refused = logins(func() { hour(5 * time.Minute) })
	return costs
}

// wantDocumented compares the costs of a fleet with docs/explanation/scale.md.
func wantDocumented(t *testing.T, n int, without, with fleetCosts) {
	t.Helper()
	want := []string{
		fmt.Sprint(n), fmt.Sprint(without.cold, " / ", with.cold),
		fmt.Sprint(without.introspections, " / ", with.introspections), fmt.Sprint(without.rotated, " / ", with.rotated),
		fmt.Sprint(without.limited, " / ", with.limited), fmt.Sprint(without.refused, " / ", with.refused),
	}
	rows := mdtest.Read(t, "../../docs/explanation/scale.md").TablesUnder(t, "Logins against environments")[0]
	if !slices.ContainsFunc(rows, func(row []string) bool {
		return strings.ReplaceAll(strings.Join(row, "|"), ",", "") == strings.Join(want, "|")
	}) {
		t.Errorf("docs/explanation/scale.md does not have the row %q", want)
	}
}

// TestFleetLogins shows what a token table saves: with it, a fleet of any size costs Salesforce what one process does.
func TestFleetLogins(t *testing.T) { //nolint:tparallel // what the subtests measure is compared after them
	t.Parallel()
	for _, shared := range []bool{false, true} {
		sizes := []int{1, 10, 100, 1000}
		switch {
		case simtest.Sampled():
			sizes = sizes[:2]
		case shared: // a thousand processes take a minute of two processors
			sizes = sizes[:3]
		}
		var mu sync.Mutex
		without, with := map[int]fleetCosts{}, map[int]fleetCosts{}
		o := options{org: sfoauthtest.Config{SharedSessions: shared, LoginsPerHour: 1_000_000}}
		t.Run(fmt.Sprintf("shared sessions %t", shared), func(t *testing.T) {
			for _, n := range sizes {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					t.Parallel()
					inBothModes(t, o, func(t *testing.T, o options) {
						costs := measureFleet(t, n, o)
						mu.Lock()
						defer mu.Unlock()
						if o.table {
							with[n] = costs
						} else {
							without[n] = costs
						}
					})
				})
			}
		})
		alone := without[1]
		t.Logf("shared sessions %t", shared)
		for _, n := range sizes {
			t.Logf("%4d processes: without a table %+v, with a table %+v", n, without[n], with[n])
			wantDocumented(t, n, without[n], with[n])
			if with[n] != alone {
				t.Errorf("%d processes with a table cost more than one process does", n)
			}
			if w := without[n]; w.cold != n*alone.cold || w.refused != n*alone.refused {
				t.Errorf("%d processes without a table do not cost %d times as much as one", n, n)
			}
		}
	}
}
