package rotation_test

import (
	"fmt"
	"testing"
	"time"
)

// A person promotes the standby although the primary region works, and both rotate: the promoted region makes a whole
// rotation before a call of the other's. Both keep credentials that log in: what a rotation ends is older.
func TestBothRegionsRotateAtOnce(t *testing.T) {
	t.Parallel()
	for call := 1; call <= 24; call++ {
		t.Run(fmt.Sprint("call ", call), func(t *testing.T) {
			s := &standby{}
			run(t, options{standby: s}, func(t *testing.T, h *harness) {
				h.deliver()
				h.Promote()
				key, made := h.key(), 0
				h.watch(func(arrived, _ bool, _ string) {
					if !arrived {
						return
					}
					if made++; made == call {
						if err := s.rotate(); err != nil {
							t.Error(err)
						}
					}
				})
				_ = h.tryRotate()
				h.onOrg, h.onAWS = nil, nil
				if made < call {
					t.Fatalf("a rotation takes %d calls", made)
				}
				h.deliver()
				s.deliver()
				h.checkBothWork()
				time.Sleep(time.Hour)
				if text(h.at("AWSCURRENT"), "consumerKey") == key {
					h.retry() // as Secrets Manager does after a failure
					h.deliver()
				}
				h.checkBothWork()
				s.recover("none")
				h.checkBothWork()
			})
		})
	}
}

func (h *harness) checkBothWork() {
	h.T.Helper()
	h.checkCurrentWorks()
	h.options.standby.as(h.checkCurrentWorks)
}
