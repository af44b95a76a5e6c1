package localaws

import "net/http"

// authError is what a service answers to a request that Keys does not let in.
func authError(err error) error {
	return &apiError{http.StatusBadRequest, "UnrecognizedClientException", err.Error()}
}
