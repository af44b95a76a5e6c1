package simtest

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// OneAtATime returns a handler that passes requests on to the server at address, one after another. Where that does not
// respond, it ends the connection.
func OneAtATime(address string) http.Handler {
	var mu sync.Mutex
	target, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		proxy.ServeHTTP(w, r)
	})
}
