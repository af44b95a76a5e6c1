package printable

import (
	"errors"
	"net/url"
	"strings"
)

// TransportError describes why an HTTP request has no response. It leaves out what net/http quotes of the request or
// the response, which may be secret.
func TransportError(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	text, _, _ := strings.Cut(err.Error(), `"`)
	text, _, _ = strings.Cut(text, "malformed")
	return strings.TrimRight(text, " :")
}
