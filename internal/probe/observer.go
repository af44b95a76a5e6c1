package probe

import (
	"net/http"
	"sync/atomic"
)

// observer sends the requests of one call. It notes what a TokenSource does not return: the status of a response that
// is no error, even if the response was incomplete and the request was sent again.
type observer struct {
	base      http.RoundTripper
	unsigned  bool         // remove the signature
	succeeded atomic.Int64 // the status of a response that was no error; zero: there was none
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.unsigned {
		r = r.Clone(r.Context())
		for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
			r.Header.Del(name)
		}
	}
	resp, err := o.base.RoundTrip(r)
	if err == nil && resp.StatusCode/100 == 2 {
		o.succeeded.Store(int64(resp.StatusCode))
	}
	return resp, err
}
