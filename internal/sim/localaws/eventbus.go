package localaws

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// EventBus delivers "Secret Label Updated" events to a function as EventBridge and Lambda's asynchronous invocation do: at
// least once, late, in any order, three tries each, then to the dead letters. Nothing is delivered but by Deliver, so that a
// test decides when. It is safe for concurrent use.
//
// Source: Secrets Manager User Guide, "Secret Label Updated"; Lambda Developer Guide, "Error handling for asynchronous
// invocation".
type EventBus struct {
	// Function takes the events.
	Function Invoker
	// Labels are those that the rule matches. Nil: every label.
	Labels []string
	// Copies is how often each event is delivered. Zero: once.
	Copies int
	// Shuffle changes the order in which waiting events are delivered, as rand.Shuffle does. Nil: as they came.
	Shuffle func(n int, swap func(i, j int))
	// Pause is waited before a failed event is tried again, and twice as long the second time. Zero: not at all; Lambda: a minute.
	Pause time.Duration
	// Arrived is told that an event waits. Nil: nobody is. It must not block.
	Arrived func()

	mu          sync.Mutex
	waiting     [][]byte
	inFlight    int
	deadLetters [][]byte
}

// maxAttempts of an asynchronous invocation.
const maxAttempts = 3

// LabelMoved is for SecretsManagerConfig.
func (b *EventBus) LabelMoved(e LabelMoved) {
	if b.Labels != nil && !slices.Contains(b.Labels, e.Label) {
		return
	}
	event, _ := json.Marshal(map[string]any{
		"version": "0", "id": newUUID(), "detail-type": "Secret Label Updated", "source": "aws.secretsmanager",
		"account": e.Account, "time": e.Time.UTC().Format(time.RFC3339), "region": e.Region, "resources": []string{e.ARN},
		"detail": map[string]string{"name": e.Name, "labelUpdated": e.Label, "versionId": e.Version},
	})
	b.mu.Lock()
	for range max(b.Copies, 1) {
		b.waiting = append(b.waiting, event)
	}
	b.mu.Unlock()
	if b.Arrived != nil {
		b.Arrived()
	}
}

// Deliver delivers the waiting events, and those that come while it does, until there are none: then the bus is at rest, unless
// another Deliver is under way. It returns how many it has dealt with, or ctx's error; an event that ctx interrupts waits again.
func (b *EventBus) Deliver(ctx context.Context) (int, error) {
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		event := b.next()
		if event == nil {
			return n, nil
		}
		delivered := b.deliver(ctx, event)
		interrupted := !delivered && ctx.Err() != nil
		b.complete(event, delivered, interrupted)
		if interrupted {
			return n, ctx.Err()
		}
	}
}

func (b *EventBus) next() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		return nil
	}
	if b.Shuffle != nil {
		b.Shuffle(len(b.waiting), func(i, j int) { b.waiting[i], b.waiting[j] = b.waiting[j], b.waiting[i] })
	}
	event := b.waiting[0]
	b.waiting = b.waiting[1:]
	b.inFlight++
	return event
}

func (b *EventBus) complete(event []byte, delivered, interrupted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	switch {
	case delivered:
	case interrupted:
		b.waiting = append(b.waiting, event)
	default:
		b.deadLetters = append(b.deadLetters, event)
	}
}

func (b *EventBus) deliver(ctx context.Context, event []byte) bool {
	for try := range maxAttempts {
		if try > 0 && !sleep(ctx, b.Pause<<(try-1)) {
			return false
		}
		if _, err := b.Function(ctx, event); err == nil {
			return true
		}
	}
	return false
}

// Waiting returns how many events have not been dealt with, those under way included.
func (b *EventBus) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting) + b.inFlight
}

// DeadLetters returns the events that the function has failed three times, and empties the queue of them.
func (b *EventBus) DeadLetters() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	dead := b.deadLetters
	b.deadLetters = nil
	return dead
}
