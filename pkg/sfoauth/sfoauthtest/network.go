package sfoauthtest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Network is an in-memory network of several hosts without latency. A goroutine that waits for it is durably blocked
// in the sense of testing/synctest, so that servers and clients run inside a bubble with its clock. Create the
// network, its listeners and clients inside the bubble, and stop them before the bubble ends. The zero value is ready
// to use. All methods are safe for concurrent use.
//
// The network has no TLS. Transport sends https as it sends http, and an Org that listens on port 443 takes requests
// for https.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
}

// Listen listens at addr, host:port. Only that exact name reaches it.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string]*listener{}
	}
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, addr: address(addr), accepted: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Serve serves h at addr, host:port, until stop is called. stop closes all connections.
func (n *Network) Serve(addr string, h http.Handler) (stop func(), err error) {
	l, err := n.Listen(addr)
	if err != nil {
		return nil, err
	}
	return serve(l, h), nil
}

// serve serves h until stop is called. stop returns when the listener is closed.
func serve(l net.Listener, h http.Handler) (stop func()) {
	silent := log.New(io.Discard, "", 0) // injected faults would fill the log
	server := &http.Server{Handler: h, ErrorLog: silent, ReadHeaderTimeout: time.Minute}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) }) // returns when closed
	return func() {
		_ = server.Close()
		done.Wait()
	}
}

// Server serves an org over TCP.
type Server struct {
	URL  string // http://host:port
	stop func()
}

// Start serves the org over TCP at addr until Server.Close. The address 127.0.0.1:0 is a free port of this machine. The
// error is that of net.Listen.
func (o *Org) Start(addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Server{URL: "http://" + l.Addr().String(), stop: serve(l, o)}, nil
}

// Close closes all connections, including those that hang, and frees the port.
func (s *Server) Close() { s.stop() }

// DialContext connects to a listener. It reports unknown hosts and closed ports with the errors of package net.
func (n *Network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	l, err := n.find(addr)
	if err != nil {
		return nil, err
	}
	clientEnd, serverEnd := net.Pipe()
	client := &conn{Conn: clientEnd, local: "client:1", remote: l.addr}
	server := &conn{Conn: serverEnd, local: l.addr, remote: "client:1"}
	client.peer, server.peer = server, client
	select {
	case l.accepted <- server:
		return client, nil
	case <-l.closed:
		return nil, connectionRefused(addr)
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: ctx.Err()}
	}
}

func (n *Network) find(addr string) (*listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.listeners[addr]; l != nil {
		return l, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	for other := range n.listeners {
		if strings.HasPrefix(other, host+":") {
			return nil, connectionRefused(addr)
		}
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
}

func connectionRefused(addr string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: syscall.ECONNREFUSED}
}

// Transport returns a new transport whose connections go over this network. Other transports do so if their DialContext
// and DialTLSContext are n.DialContext.
func (n *Network) Transport() *http.Transport {
	return &http.Transport{DialContext: n.DialContext, DialTLSContext: n.DialContext}
}

// Client returns a client with a new Transport. Call its CloseIdleConnections before a bubble ends.
func (n *Network) Client() *http.Client { return &http.Client{Transport: n.Transport()} }

type listener struct {
	network  *Network
	addr     address
	accepted chan net.Conn
	once     sync.Once
	closed   chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		delete(l.network.listeners, string(l.addr))
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// conn is one end of a connection. Like TCP it can be reset.
type conn struct {
	net.Conn
	local, remote address
	peer          *conn
	resetOnClose  atomic.Bool // Close resets the connection
	peerReset     atomic.Bool // the peer has reset the connection
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetLinger with zero makes Close reset the connection, as in net.TCPConn.
func (c *conn) SetLinger(seconds int) error {
	c.resetOnClose.Store(seconds == 0)
	return nil
}

func (c *conn) Close() error {
	if c.resetOnClose.Load() {
		c.peer.peerReset.Store(true)
	}
	return c.Conn.Close()
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.mapError("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.mapError("write", err)
}

// mapError returns the error of TCP for a connection that the peer has reset.
func (c *conn) mapError(op string, err error) error {
	if c.peerReset.Load() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)) {
		return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: syscall.ECONNRESET}
	}
	return err
}
