package localaws

import (
	"net"
	"net/http"
	"strings"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// LoopbackOnly passes requests whose Host header is localhost or a loopback address to h. All others get 421, such as
// those of a web page whose name was made to resolve to this machine (DNS rebinding).
func LoopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			http.Error(w, "only requests to localhost are allowed", http.StatusMisdirectedRequest)
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
	return sfoauth.IsLoopback(name)
}
