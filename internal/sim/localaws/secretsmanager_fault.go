package localaws

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"time"
)

// Fault is one way in which Secrets Manager fails.
type Fault struct {
	Secret           string        // name or ARN: only requests for this secret meet the fault; empty: those for any
	Delay            time.Duration // before anything else
	Code             string        // answer this error instead of doing what is asked: AccessDeniedException, ThrottlingException, …
	Status           int           // of that error; zero: 400
	Reset            bool          // break the connection instead of doing what is asked
	ResetAfterCommit bool          // do what is asked, and break the connection without an answer
	BodyOnly         bool          // do what is asked, and answer with the body alone, which is not HTTP
	Hang             bool          // neither do what is asked nor answer, until the client gives up
}

type pendingFault struct {
	Fault
	left int // how many more requests meet it; zero: until Heal
}

// InjectFault makes the next times requests of the operation ("": of any) meet the fault; zero: all of them, until Heal. Faults of
// one operation are met one after another, those of any operation after them.
func (m *SecretsManager) InjectFault(operation string, f Fault, times int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[operation] = append(m.faults[operation], pendingFault{f, times})
}

// ClearFaults clears all faults. Requests that hang go on hanging until their client gives up.
func (m *SecretsManager) ClearFaults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.faults)
}

// nextFault counts the request, and returns what it meets.
func (m *SecretsManager) nextFault(operation string, body []byte) Fault {
	var in struct{ SecretId, Name string }
	_ = json.Unmarshal(body, &in) // what is malformed names no secret
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[operation]++
	for _, name := range []string{operation, ""} {
		queue := m.faults[name]
		i := slices.IndexFunc(queue, func(f pendingFault) bool {
			return f.Secret == "" || f.Secret == in.Name || m.sameSecret(f.Secret, in.SecretId)
		})
		if i < 0 {
			continue
		}
		f := queue[i].Fault
		switch queue[i].left {
		case 0:
		case 1:
			m.faults[name] = slices.Delete(queue, i, i+1)
		default:
			queue[i].left--
		}
		return f
	}
	return Fault{}
}

// sameSecret says whether two names or ARNs are those of one secret, which need not exist.
func (m *SecretsManager) sameSecret(a, b string) bool {
	s := m.lookup(a)
	return a == b || s != nil && s == m.lookup(b)
}

// apply waits as the fault says. It returns false when the client has gone.
func (f Fault) apply(ctx context.Context) bool {
	if f.Hang {
		<-ctx.Done()
		return false
	}
	return sleep(ctx, f.Delay)
}

// sleep waits, and returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// writeBodyOnly sends the answer without a status line and a header.
func writeBodyOnly(w http.ResponseWriter, answer any) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(conn).Encode(answer)
	_ = conn.Close()
}

// reset breaks the connection; a TCP one so that the client sees a reset, where it can be taken over.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
