package rotation_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// outages are what Salesforce may do for a while.
var outages = []sfoauthtest.Fault{
	sfoauthtest.Maintenance(), sfoauthtest.Reset(), sfoauthtest.ResetAfterCommit(), sfoauthtest.Truncate(),
	sfoauthtest.TooManyRequests(time.Minute, false), sfoauthtest.Redirect(302, ""),
}

// actions are what can happen to a secret. Each takes a number for its choices.
var actions = map[string]func(m *model, n int){
	"scheduled rotation": func(m *model, _ int) { _ = m.tryRotate() },
	"retry of a step":    func(m *model, _ int) { m.retry() },
	"a good candidate":   func(m *model, _ int) { m.storeNew("CANDIDATE") },
	"a bad candidate":    func(m *model, n int) { m.store(fmt.Sprint("3MVG9wrong", n), "wrong", "CANDIDATE") },
	"a good overwrite":   func(m *model, _ int) { m.storeNew("AWSCURRENT") },
	"a bad overwrite": func(m *model, n int) {
		if n%2 == 0 {
			m.StoreText("not JSON", "AWSCURRENT")
		} else {
			m.store(fmt.Sprint("3MVG9wrong", n), "wrong", "AWSCURRENT")
		}
	},
	"new credentials in Setup, not stored": func(m *model, _ int) { m.App.Regenerate() },
	"emergency":                            func(m *model, _ int) { m.compromise(); _ = m.tryRotate() },
	"compromised, without a rotation":      func(m *model, _ int) { m.compromise() },
	"outage": func(m *model, n int) {
		m.Org.InjectFault(sfoauthtest.AllEndpoints, outages[n%len(outages)], 1+n%7)
	},
	"crash":         func(m *model, n int) { m.crashIn = 1 + n%15 },
	"events":        func(m *model, _ int) { m.deliver() },
	"events, twice": func(m *model, n int) { m.bus.Copies = 1 + n%3 },
	"events, shuffled": func(m *model, n int) {
		m.bus.Shuffle = func(k int, swap func(i, j int)) { swap(0, n%k) }
	},
	"time passes":              func(m *model, n int) { time.Sleep(time.Duration(n%40) * 24 * time.Hour) },
	"the rotation is given up": func(m *model, _ int) { m.abandon(); m.enable(crm) },
}

// model is a harness that checks, at each change that the function makes, what must always hold.
type model struct {
	*harness
	violations []string
	crashIn    int  // calls until the function is killed; zero: never
	worked     bool // AWSCURRENT logged in before the call under way

	compromisedKey, compromisedSecret string // of the version that was labelled last
}

func (m *model) compromise() {
	m.harness.compromise()
	fields := m.at("COMPROMISED")
	m.compromisedKey, m.compromisedSecret = text(fields, "consumerKey"), text(fields, "consumerSecret")
}

// observe is called before and after each call. Those of the function must leave credentials that work in place.
func (m *model) observe(before, changes bool, what string) {
	if m.running.Load() == 0 {
		return
	}
	switch {
	case !changes:
	case before:
		m.worked = m.logsIn("AWSCURRENT")
	case m.worked && !m.logsIn("AWSCURRENT"):
		m.violations = append(m.violations, what+" replaced credentials that work by others that do not")
	}
	if m.crashIn == 0 {
		return
	}
	if m.crashIn--; m.crashIn == 0 {
		m.process.Load().kill()
		panic(http.ErrAbortHandler)
	}
}

// TestRotationModel lets random actions happen, and checks that no working credentials are lost and everything
// recovers. With -short it tries few.
func TestRotationModel(t *testing.T) {
	t.Parallel()
	type action struct {
		name string
		n    int
	}
	if simtest.Sampled() {
		_ = flag.Set("rapid.checks", "40") // of which rapid then makes a fifth
	}
	names := slices.Sorted(maps.Keys(actions))
	o := options{
		adminApp: true, propagation: 2 * time.Minute, org: sfoauthtest.Config{PropagationDelay: time.Minute},
	}
	rapid.Check(t, func(rt *rapid.T) {
		story := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) action {
			return action{rapid.SampledFrom(names).Draw(rt, "what"), rapid.IntRange(0, 1000).Draw(rt, "n")}
		}), 1, 14).Draw(rt, "story")
		var violations []string
		log := ""
		synctest.Test(t, func(t *testing.T) {
			m := &model{harness: newHarness(t, o)}
			m.watch(m.observe)
			for _, a := range story {
				actions[a.name](m, a.n)
				time.Sleep(2 * time.Minute) // new credentials take one to work
				if m.logsIn("REJECTED") {
					m.violations = append(m.violations, "credentials that work are labelled REJECTED, after "+a.name)
				}
			}
			m.recover()
			violations, log = m.violations, m.log.String()
		})
		if len(violations) > 0 {
			rt.Fatalf("%s\nafter %v\n%s", strings.Join(violations, "\n"), story, log)
		}
	})
}

// recover ends the outages and crashes, and checks that everything recovers: by itself, if the current version still
// logs in and names its app, and otherwise when a person stores the credentials that Setup shows.
func (m *model) recover() {
	m.crashIn, m.bus.Copies, m.bus.Shuffle = 0, 1, nil
	m.Org.ClearFaults()
	m.deliver()
	m.bus.DeadLetters()
	if text(m.at("AWSCURRENT"), "appId") == "" || !m.logsIn("AWSCURRENT") {
		m.storeSame("AWSCURRENT")
	}
	var err error
	for range 4 {
		time.Sleep(24 * time.Hour)
		m.retry()
		_ = m.tryRotate()
		m.deliver()
		if err = m.rotated("none"); err == nil {
			break
		}
	}
	if err != nil {
		m.violations = append(m.violations, "it does not recover: "+err.Error())
	}
	if m.Org.CanLogin(m.compromisedKey, m.compromisedSecret) {
		m.violations = append(m.violations, "the compromised credentials still log in")
	}
}
