package probe

import (
	"net/http"
	"sync/atomic"
)

// observer sends the requests of one call with the probe's user agent. It notes the status of the last response, since
// a TokenSource does not tell that of a response that is no error and has no token.
type observer struct {
	base      http.RoundTripper
	userAgent string
	unsigned  bool // remove the signature
	status    atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", o.userAgent) // which a signature does not cover
	if o.unsigned {
		for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
			r.Header.Del(name)
		}
	}
	o.status.Store(0)
	resp, err := o.base.RoundTrip(r)
	if err == nil {
		o.status.Store(int64(resp.StatusCode))
	}
	return resp, err
}
