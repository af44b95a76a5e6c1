package main

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestEventsThatOverlap delivers each event twice at the same time, as "at least once" allows: nobody is woken by that.
func TestEventsThatOverlap(t *testing.T) {
	for name, scenario := range map[string]func(w *world) (current string){
		"a candidate that works": func(w *world) string {
			key, secret := w.app.Regenerate()
			return w.store(key, secret, "CANDIDATE")
		},
		"a candidate that is refused": func(w *world) string {
			w.store("3MVG9wrong", "wrong", "CANDIDATE")
			return w.describe().Holder("AWSCURRENT")
		},
		"a current pair that is refused": func(w *world) string {
			before := w.describe().Holder("AWSCURRENT")
			w.store("3MVG9wrong", "wrong", "AWSCURRENT")
			return before
		},
		"a leaked pair that a person replaces": func(w *world) string {
			w.leak()
			pairs := w.pairs()
			staged, err := pairs.Stage(w.t.Context())
			w.must(err)
			w.must(pairs.Rotate(w.t.Context(), staged.ID))
			return w.store(staged.ConsumerKey, staged.ConsumerSecret.Reveal(), "AWSCURRENT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				key, secret := w.app.Pair()
				w.bus.Copies = 2
				for _, slow := range []sfoauthtest.Endpoint{sfoauthtest.Token, sfoauthtest.Delete} {
					w.org.Fail(slow, sfoauthtest.Latency(time.Second), 0)
				}
				current := scenario(w)
				var both sync.WaitGroup
				for range 2 {
					both.Go(w.deliver)
				}
				both.Wait()
				s := w.describe()
				if !s.Has(current, "AWSCURRENT") || s.Holder("CANDIDATE") != "" || !w.logsIn("AWSCURRENT") {
					t.Errorf("labels %v", s.Labels)
				}
				if strings.Contains(name, "leaked") && w.org.LogsIn(key, secret) {
					t.Error("the leaked pair logs in")
				}
				if log := w.log.String(); strings.Contains(log, "RotationFailures") {
					t.Errorf("an alarm rings:\n%s", log)
				}
			})
		})
	}
}
