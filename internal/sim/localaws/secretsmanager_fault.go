package localaws

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Fault is a way in which Secrets Manager fails.
type Fault struct {
	Secret           string        // name or ARN; empty: any secret
	Delay            time.Duration // before anything else
	Code             string        // return this error, such as ThrottlingException, and do nothing
	Status           int           // of that error; zero: 400
	Reset            bool          // reset the connection, and do nothing
	ResetAfterCommit bool          // process the request, and close the connection without a response
	BodyOnly         bool          // process the request, and send the body without an HTTP header
	Hang             bool          // do nothing, and send nothing until the client gives up
}

// InjectFault makes the next n requests of the operation fail with f. An empty operation means all operations; n of
// zero means until ClearFaults. Faults of one operation apply one after another, before those of all operations.
func (m *SecretsManager) InjectFault(operation string, f Fault, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.inject(operation, f, n)
}

// ClearFaults removes all faults. Requests that hang do so until their client gives up.
func (m *SecretsManager) ClearFaults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.faults)
}

// nextFault counts the request, and returns its fault.
func (m *SecretsManager) nextFault(operation string, body []byte) Fault {
	var in struct{ SecretId, Name string }
	_ = json.Unmarshal(body, &in) // a malformed body names no secret
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[operation]++
	return m.faults.next(operation, func(f Fault) bool {
		return f.Secret == "" || f.Secret == in.Name || m.sameSecret(f.Secret, in.SecretId)
	})
}

// sameSecret reports whether two names or ARNs identify the same secret, which need not exist.
func (m *SecretsManager) sameSecret(a, b string) bool {
	s := m.lookup(a)
	return a == b || s != nil && s == m.lookup(b)
}

// apply waits as the fault demands. It reports whether the client is still connected.
func (f Fault) apply(ctx context.Context) bool {
	if f.Hang {
		<-ctx.Done()
		return false
	}
	return sleep(ctx, f.Delay)
}

// writeBodyOnly sends the response without a status line and headers.
func writeBodyOnly(w http.ResponseWriter, result any) {
	conn := hijack(w)
	_ = json.NewEncoder(conn).Encode(result)
	_ = conn.Close()
}
