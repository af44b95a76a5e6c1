package localaws

import (
	"context"
	"time"
)

// TableFault is a way in which DynamoDB fails.
type TableFault struct {
	Key              string        // of the item; empty: any
	Delay            time.Duration // before anything else
	Code             string        // return this error, such as ThrottlingException, and do nothing
	Status           int           // of that error; zero: 400
	Reset            bool          // reset the connection, and do nothing
	ResetAfterCommit bool          // process the request, and close the connection without a response
	Hang             bool          // do nothing, and send nothing until the client gives up
	// Stale makes an eventually consistent GetItem miss the last UpdateItem. No other request meets the fault.
	Stale bool
}

// InjectFault makes the next n requests of the operation fail with f. An empty operation means all operations; n of
// zero means until ClearFaults. Faults of one operation apply one after another, before those of all operations.
func (d *DynamoDB) InjectFault(operation string, f TableFault, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults.inject(operation, f, n)
}

// ClearFaults removes all faults, and ends the connections of the requests that hang.
func (d *DynamoDB) ClearFaults() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.faults)
	close(d.released)
	d.released = make(chan struct{})
}

// SetLatency sets how long each request takes, in addition to its fault.
func (d *DynamoDB) SetLatency(latency time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latency = latency
}

// nextFault counts the request, and returns its fault.
func (d *DynamoDB) nextFault(r tableRequest) TableFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[r.operation]++
	return d.faults.next(r.operation, func(f TableFault) bool {
		return (f.Key == "" || f.Key == r.Key[d.config.Key].S) &&
			(!f.Stale || r.operation == "GetItem" && !r.ConsistentRead)
	})
}

// wait waits as the fault demands. It reports whether the request goes on.
func (d *DynamoDB) wait(ctx context.Context, f TableFault) bool {
	d.mu.Lock()
	released, latency := d.released, d.latency
	d.mu.Unlock()
	if !f.Hang {
		return sleep(ctx, latency+f.Delay)
	}
	select {
	case <-ctx.Done():
	case <-released:
	}
	return false
}
