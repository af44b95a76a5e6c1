package localaws

import (
	"net"
	"net/http"
	"strings"
)

// LoopbackOnly passes on requests whose Host header names this machine's loopback: localhost, or an address of it. To
// a web page whose name was made to lead here (DNS rebinding), and to any client that reaches this machine by another name,
// it answers 421.
func LoopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			http.Error(w, "only requests to localhost are answered", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// isLoopback reports whether a Host header, with a port or without, names the loopback.
func isLoopback(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ""
	}
	if strings.Trim(port, "0123456789") != "" {
		return false
	}
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}
