package sfoauthtest

import "net"

// Server serves an org over TCP.
type Server struct {
	URL  string // http://host:port
	stop func()
}

// Start serves the org at addr, such as 127.0.0.1:0 for a free port of this machine.
func (o *Org) Start(addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Server{URL: "http://" + l.Addr().String(), stop: serve(l, o)}, nil
}

// Close breaks every connection, those that hang as well, and frees the port.
func (s *Server) Close() { s.stop() }
