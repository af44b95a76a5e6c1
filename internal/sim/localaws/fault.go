package localaws

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"
)

// faultQueues hold the faults F that requests are to meet, by operation.
type faultQueues[F any] map[string][]pendingFault[F]

type pendingFault[F any] struct {
	fault F
	left  int // how many more requests meet it; zero: any number
}

func (q faultQueues[F]) inject(operation string, f F, n int) {
	q[operation] = append(q[operation], pendingFault[F]{f, n})
}

// next returns the first fault of the operation that applies to a request, or else the first of all operations.
func (q faultQueues[F]) next(operation string, applies func(F) bool) (f F) {
	for _, name := range []string{operation, ""} {
		queue := q[name]
		i := slices.IndexFunc(queue, func(p pendingFault[F]) bool { return applies(p.fault) })
		if i < 0 {
			continue
		}
		f = queue[i].fault
		switch queue[i].left {
		case 0:
		case 1:
			q[name] = slices.Delete(queue, i, i+1)
		default:
			queue[i].left--
		}
		return f
	}
	return f
}

// sleep waits for d. It reports false if ctx ends first.
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

// reset closes the connection, over TCP so that the client sees a reset.
func reset(w http.ResponseWriter) {
	conn := hijack(w)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// hijack takes the connection from the server, or aborts the request if it cannot.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}
