package sfoauthtest

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// faultResponse is a response that a fault sends.
type faultResponse struct {
	*response
	r       *http.Request
	cleared chan struct{} // closed by ClearFaults
}

// wait waits for d and reports whether it did. It returns early if the client gives up or ClearFaults is called.
func (s faultResponse) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.r.Context().Done():
	case <-s.cleared:
	}
	return false
}

// hang sends nothing and at last closes the connection.
func hang(_ http.ResponseWriter, s faultResponse) {
	select {
	case <-s.r.Context().Done():
	case <-s.cleared:
	}
	panic(http.ErrAbortHandler)
}

// reset resets the connection. Over TCP the client sees "connection reset by peer".
func reset(w http.ResponseWriter, _ faultResponse) {
	conn := hijack(w)
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

func truncateHeader(w http.ResponseWriter, s faultResponse) {
	conn := hijack(w)
	_, _ = io.WriteString(conn, "HTTP/1.1 "+strconv.Itoa(s.status)+" \r\nContent-Type: application/js")
	_ = conn.Close()
}

func notHTTP(w http.ResponseWriter, _ faultResponse) {
	conn := hijack(w)
	_, _ = io.WriteString(conn, "\x15\x03\x01\x00\x02\x02\x28 not HTTP\r\n\r\n")
	_ = conn.Close()
}

func bodyOnly(w http.ResponseWriter, s faultResponse) {
	conn := hijack(w)
	_, _ = conn.Write(append(s.bytes(), "\r\n\r\n"...))
	_ = conn.Close()
}

func bodyAsHeader(w http.ResponseWriter, s faultResponse) {
	conn := hijack(w)
	words := strings.NewReplacer(":", " ", ",", "\r\n", "{", "", "}", "", `"`, "").Replace(string(s.bytes()))
	_, _ = io.WriteString(conn, "HTTP/1.1 "+strconv.Itoa(s.status)+" \r\n"+words+"\r\n\r\n")
	_ = conn.Close()
}

// hijack takes the connection from the server. With HTTP/2, where that is not possible, it aborts the request.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}

func truncate(w http.ResponseWriter, s faultResponse) {
	text := s.start(w)
	w.Header().Set("Content-Length", strconv.Itoa(max(len(text), 2)))
	w.WriteHeader(s.status)
	_, _ = w.Write(text[:len(text)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func trickle(w http.ResponseWriter, s faultResponse, interval time.Duration) {
	text := s.start(w)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(s.status)
	for i := range text {
		if !s.wait(interval) {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(text[i : i+1])
		_ = http.NewResponseController(w).Flush()
	}
}

// pad prepends size bytes of white space to the body.
func (a *response) pad(size int) {
	a.body, a.fields = append(bytes.Repeat([]byte{' '}, size), a.bytes()...), nil
}

// compress encodes the body with gzip if the client accepts that.
func (a *response) compress(r *request) {
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return
	}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // a valid level
	_, _ = z.Write(a.bytes())                         // a bytes.Buffer never fails
	_ = z.Close()
	a.body, a.fields = out.Bytes(), nil
	a.setHeader("Content-Encoding", "gzip")
}

func (a *response) setHeader(name, value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
}
