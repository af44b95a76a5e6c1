package localaws

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// EventBus delivers "Secret Label Updated" events to a function as EventBridge and Lambda's asynchronous invocation
// do: at least once, late, in any order, with three attempts, then to a dead-letter queue. Only Deliver delivers
// events, so that a test controls when. It is safe for concurrent use.
//
// Source: Secrets Manager User Guide, "Secret Label Updated"; Lambda Developer Guide, "Error handling for
// asynchronous invocation".
type EventBus struct {
	// Function receives the events.
	Function Invoker
	// Labels are the staging labels that the rule matches. Nil: all.
	Labels []string
	// Copies is how often each event is delivered. Zero: once.
	Copies int
	// Shuffle changes the order of waiting events, as rand.Shuffle does. Nil: they are delivered in order of arrival.
	Shuffle func(n int, swap func(i, j int))
	// Pause is the delay before the second attempt. The third waits twice as long. Lambda: a minute. Zero: none.
	Pause time.Duration
	// Arrived is called for each new event, and must not block. Nil: no call.
	Arrived func()

	mu          sync.Mutex
	waiting     [][]byte
	inFlight    int
	deadLetters [][]byte
}

// maxAttempts is the number of attempts of an asynchronous invocation.
const maxAttempts = 3

// LabelMoved queues an event. It is meant for SecretsManagerConfig.LabelMoved.
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

// Deliver delivers the waiting events, and those that arrive meanwhile, until none is left. It returns the number of
// events that it has delivered or given up, and ctx's error; an event that ctx interrupts waits again.
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

// Waiting returns the number of events that are waiting or being delivered.
func (b *EventBus) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting) + b.inFlight
}

// DeadLetters returns the events whose attempts have all failed, and removes them from the queue.
func (b *EventBus) DeadLetters() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	dead := b.deadLetters
	b.deadLetters = nil
	return dead
}
