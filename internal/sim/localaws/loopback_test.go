package localaws

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	guarded := LoopbackOnly(http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	for host, want := range map[string]int{
		"127.0.0.1:8080": http.StatusTeapot, "127.0.0.1": http.StatusTeapot, "127.1.2.3:1": http.StatusTeapot,
		"localhost:8080": http.StatusTeapot,
		"LOCALHOST":      http.StatusTeapot, "[::1]:8080": http.StatusTeapot, "[::1]": http.StatusTeapot,
		"": 421, "evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421,
		"127.0.0.1.evil.example:8080": 421, "x.localhost:8080": 421,
		"10.0.0.1:8080": 421, "0.0.0.0:8080": 421, "[::]:8080": 421, "127.0.0.1:8080@evil.example": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: HTTP %d, want %d", host, w.Code, want)
		}
	}
}
