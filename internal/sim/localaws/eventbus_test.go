package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// labelEvent is an event as EventBridge delivers it.
type labelEvent struct {
	Version, ID, Source, Account, Region string
	DetailType                           string `json:"detail-type"`
	Time                                 time.Time
	Resources                            []string
	Detail                               struct{ Name, LabelUpdated, VersionId string }
}

// TestLabelEvents changes labels with the SDK and checks the events.
func TestLabelEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events []labelEvent
		bus := &EventBus{Function: func(_ context.Context, payload []byte) ([]byte, error) {
			var e labelEvent
			err := json.Unmarshal(payload, &e)
			events = append(events, e)
			return nil, err
		}}
		_, s := inMemory(t, SecretsManagerConfig{LabelMoved: bus.LabelMoved})
		moved := func(want ...string) {
			t.Helper()
			events = nil
			if n, err := bus.Deliver(t.Context()); err != nil || n != len(want) || bus.Waiting() != 0 {
				t.Errorf("%d events, %d left: %v", n, bus.Waiting(), err)
			}
			var got []string
			for _, e := range events {
				got = append(got, e.Detail.LabelUpdated+" "+e.Detail.VersionId)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		s.create("one", token1)
		moved("AWSCURRENT " + token1)
		e := events[0]
		if e.ID == "" || e.Version != "0" || e.Source != "aws.secretsmanager" || e.DetailType != "Secret Label Updated" ||
			e.Account != "111111111111" ||
			e.Region != "us-east-1" || !e.Time.Equal(time.Now()) || len(e.Resources) != 1 || e.Detail.Name != "crm" {
			t.Errorf("event %+v", e)
		}
		s.name = &e.Resources[0] // the ARN
		s.put("two", token2, "AWSPENDING")
		moved()
		s.put("three", token3, "CANDIDATE", "MINE")
		moved("CANDIDATE "+token3, "MINE "+token3)
		s.put("three", token3, "CANDIDATE")
		moved() // nothing has moved
		s.ok(s.move("AWSCURRENT", token2, token1))
		moved("AWSCURRENT " + token2) // and nothing of AWSPREVIOUS
		s.ok(s.move("MINE", "", token3))
		moved() // taken off
		s.fails("InvalidParameterException", s.move("AWSCURRENT", token3, ""))
		moved()
	})
}

func TestEventAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start, failing := time.Now(), 3
		var at []time.Duration
		bus := &EventBus{Labels: []string{"AWSCURRENT"}, Pause: time.Minute,
			Function: func(context.Context, []byte) ([]byte, error) {
				at = append(at, time.Since(start))
				if failing--; failing >= 0 {
					return nil, errors.New("injected")
				}
				return nil, nil
			}}
		bus.LabelMoved(LabelMoved{Label: "OTHER"}) // the rule does not match it
		bus.LabelMoved(LabelMoved{Label: "AWSCURRENT"})
		if n, err := bus.Deliver(t.Context()); n != 1 || err != nil || len(bus.DeadLetters()) != 1 ||
			len(bus.DeadLetters()) != 0 {
			t.Errorf("%d events: %v", n, err)
		}
		if want := []time.Duration{0, time.Minute, 3 * time.Minute}; !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
		failing = 2
		bus.LabelMoved(LabelMoved{Label: "AWSCURRENT"})
		if _, err := bus.Deliver(t.Context()); err != nil || len(at) != 6 || len(bus.DeadLetters()) != 0 {
			t.Errorf("tried %d times: %v", len(at), err)
		}
	})
}

func TestEventDuplicatesAndOrder(t *testing.T) {
	t.Parallel()
	var got []string
	bus := &EventBus{
		Copies:  2,
		Shuffle: func(n int, swap func(i, j int)) { swap(0, n-1) },
		Function: func(_ context.Context, payload []byte) ([]byte, error) {
			var e labelEvent
			err := json.Unmarshal(payload, &e)
			got = append(got, e.Detail.VersionId)
			return nil, err
		},
	}
	for i := range 3 {
		bus.LabelMoved(LabelMoved{Label: "AWSCURRENT", Version: strconv.Itoa(i)})
	}
	if n, err := bus.Deliver(t.Context()); err != nil || n != 6 || slices.IsSorted(got) {
		t.Errorf("%d events in the order %v: %v", n, got, err)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"0", "0", "1", "1", "2", "2"}) {
		t.Errorf("delivered %v", got)
	}
}

// TestEventInterrupted stops the delivery while an event waits for its second attempt.
func TestEventInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls, arrived := 0, 0
		bus := &EventBus{
			Pause: time.Hour, Arrived: func() { arrived++ },
			Function: func(context.Context, []byte) ([]byte, error) {
				if calls++; calls == 1 {
					return nil, errors.New("injected")
				}
				return nil, nil
			},
		}
		bus.LabelMoved(LabelMoved{Label: "AWSCURRENT"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if n, err := bus.Deliver(ctx); n != 0 || !errors.Is(err, context.DeadlineExceeded) || bus.Waiting() != 1 ||
			len(bus.DeadLetters()) != 0 {
			t.Errorf("%d events, %d wait: %v", n, bus.Waiting(), err)
		}
		if n, err := bus.Deliver(t.Context()); n != 1 || err != nil || calls != 2 || arrived != 1 || bus.Waiting() != 0 {
			t.Errorf("%d events in %d calls: %v", n, calls, err)
		}
	})
}
