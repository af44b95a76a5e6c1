package localaws

import (
	"context"
	"net/http"
)

// Lose makes the region unavailable until Return: every request fails, or with hang has no response, rotations do not
// start, and changes that have not arrived in other regions do not arrive.
func (m *SecretsManager) Lose(hang bool) {
	r := m.config.Replication
	r.settle()
	m.mu.Lock()
	m.lost, m.hangs = make(chan struct{}), hang
	m.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		if l.from == m.config.Region {
			l.waiting, l.sent = nil, nil
		}
	}
}

// Return makes the region available again. Its secrets are as they were.
func (m *SecretsManager) Return() {
	m.mu.Lock()
	close(m.lost)
	m.lost = nil
	m.replicate()
	m.mu.Unlock()
	m.config.Replication.settle()
}

// outage returns a channel that is closed when the region returns; nil: it is available.
func (m *SecretsManager) outage() (returned <-chan struct{}, hangs bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost, m.hangs
}

// failIfLost ends the connection without a response while the region is lost.
func (m *SecretsManager) failIfLost(ctx context.Context) {
	returned, hangs := m.outage()
	if returned == nil {
		return
	}
	if hangs {
		select {
		case <-ctx.Done():
		case <-returned:
		}
	}
	panic(http.ErrAbortHandler)
}
