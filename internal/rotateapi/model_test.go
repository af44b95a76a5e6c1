package rotateapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// happenings are what can happen to a secret. Each takes a number, for whatever it has to choose.
var happenings = map[string]func(m *model, n int){
	"scheduled rotation": func(m *model, _ int) { _ = m.rotate("") },
	"retry of a step":    func(m *model, _ int) { m.retry() },
	"a good candidate":   func(m *model, _ int) { key, secret := m.app.Regenerate(); m.store(key, secret, "CANDIDATE") },
	"a bad candidate":    func(m *model, n int) { m.store(fmt.Sprint("3MVG9wrong", n), "wrong", "CANDIDATE") },
	"a good overwrite":   func(m *model, _ int) { key, secret := m.app.Regenerate(); m.store(key, secret, "AWSCURRENT") },
	"a bad overwrite": func(m *model, n int) {
		if n%2 == 0 {
			m.storeText("not JSON", "AWSCURRENT")
		} else {
			m.store(fmt.Sprint("3MVG9wrong", n), "wrong", "AWSCURRENT")
		}
	},
	"a new pair in Setup, not stored": func(m *model, _ int) { m.app.Regenerate() },
	"emergency":                       func(m *model, _ int) { m.leak(); _ = m.rotate("") },
	"a leak, and nobody rotates":      func(m *model, _ int) { m.leak() },
	"outage": func(m *model, n int) {
		faults := []sfoauthtest.Fault{sfoauthtest.Maintenance(), sfoauthtest.Reset(), sfoauthtest.ResetAfterCommit(), sfoauthtest.Truncate(), sfoauthtest.TooManyRequests(time.Minute, false), sfoauthtest.Redirect(302, "")}
		m.org.InjectFault(sfoauthtest.AllEndpoints, faults[n%len(faults)], 1+n%7)
	},
	"crash":            func(m *model, n int) { m.crashIn = 1 + n%15 },
	"events":           func(m *model, _ int) { m.deliver() },
	"events, twice":    func(m *model, n int) { m.bus.Copies = 1 + n%3 },
	"events, shuffled": func(m *model, n int) { m.bus.Shuffle = func(k int, swap func(i, j int)) { swap(0, n%k) } },
	"time passes":      func(m *model, n int) { time.Sleep(time.Duration(n%40) * 24 * time.Hour) },
	"rotation is given up": func(m *model, _ int) {
		m.giveUpToken()
		m.enable()
	},
}

// model is a world that checks what must always hold, at each change that the function makes.
type model struct {
	*world
	broken  []string // what did not hold
	crashIn int      // calls until the function is killed; zero: never
	worked  bool     // AWSCURRENT logged in before the call under way

	leakedKey, leakedSecret string // the pair that was labelled last
}

func (m *model) leak() {
	m.compromise()
	fields := m.at("COMPROMISED")
	m.leakedKey, m.leakedSecret = text(fields, "consumerKey"), text(fields, "consumerSecret")
}

func (m *model) watch() {
	m.watchOrg = func(c sfoauthtest.Call) { m.look(c.Phase == sfoauthtest.Arrived, string(c.Endpoint)) }
	m.watchAWS = func(c localaws.Call) { m.look(c.Phase == localaws.Arrived, c.Operation) }
}

// look is called before and after each call. Those of the function must leave a pair that works in place.
func (m *model) look(before bool, operation string) {
	if m.running.Load() == 0 {
		return
	}
	if before {
		m.worked = m.logsIn("AWSCURRENT")
	} else if m.worked && !m.logsIn("AWSCURRENT") {
		m.broken = append(m.broken, operation+" replaced a pair that works by one that does not")
	}
	if m.crashIn == 0 {
		return
	}
	if m.crashIn--; m.crashIn == 0 {
		m.process.Load().kill()
		panic(http.ErrAbortHandler)
	}
}

func TestWhateverHappens(t *testing.T) {
	names := make([]string, 0, len(happenings))
	for name := range happenings {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(rt *rapid.T) {
		type happening struct {
			name string
			n    int
		}
		story := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) happening {
			return happening{rapid.SampledFrom(names).Draw(rt, "what"), rapid.IntRange(0, 1000).Draw(rt, "n")}
		}), 1, 14).Draw(rt, "story")
		var broken []string
		log := ""
		synctest.Test(t, func(t *testing.T) {
			m := &model{world: newWorld(t, options{adminApp: true, propagation: 2 * time.Minute, org: sfoauthtest.Config{PropagationDelay: time.Minute}})}
			m.watch()
			for _, h := range story {
				happenings[h.name](m, h.n)
				time.Sleep(2 * time.Minute) // a new pair takes one to work
				if m.logsIn("REJECTED") {
					m.broken = append(m.broken, "a pair that works is labelled REJECTED, after "+h.name)
				}
			}
			m.recover()
			broken, log = m.broken, m.log.String()
		})
		if len(broken) > 0 {
			rt.Fatalf("%s\nafter %v\n%s", strings.Join(broken, "\n"), story, log)
		}
	})
}

// recover ends the outages and crashes, and checks that everything recovers: by itself, where the current version still logs in and
// names its app, and otherwise when a person stores the credentials that Setup shows.
func (m *model) recover() {
	m.crashIn, m.bus.Copies, m.bus.Shuffle = 0, 1, nil
	m.org.ClearFaults()
	m.deliver()
	m.bus.DeadLetters()
	if text(m.at("AWSCURRENT"), "appId") == "" || !m.logsIn("AWSCURRENT") { // what was made in Setup is stored by a person
		key, secret := m.app.Credentials()
		m.store(key, secret, "AWSCURRENT")
	}
	var err error
	for range 4 {
		time.Sleep(24 * time.Hour)
		m.retry()
		_ = m.rotate("")
		m.deliver()
		if err = m.rotated("none"); err == nil {
			break
		}
	}
	if err != nil {
		m.broken = append(m.broken, "it does not heal: "+err.Error())
	}
	if m.org.CanLogin(m.leakedKey, m.leakedSecret) {
		m.broken = append(m.broken, "the leaked pair lives on")
	}
}
