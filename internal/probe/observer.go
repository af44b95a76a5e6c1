package probe

import (
	"net/http"
	"sync/atomic"
)

// observer sends the requests of one call. It notes the status of the last response: a TokenSource does not return that
// of a 200 without a token.
type observer struct {
	base     http.RoundTripper
	unsigned bool // remove the signature
	status   atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.unsigned {
		r = r.Clone(r.Context())
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
