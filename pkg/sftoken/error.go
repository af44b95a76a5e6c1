package sftoken

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Error is what the API, or API Gateway in front of it, answered instead of a token.
type Error struct {
	Status          int
	Code            string        // error, as docs/openapi.yaml lists them; empty where API Gateway itself refused
	Description     string        // error_description, or API Gateway's message
	SalesforceError string        // what Salesforce said, where it did
	RequestID       string        // names the request in the function's log
	RetryAfter      time.Duration // when to try again; zero: the API did not say
}

func (e *Error) Error() string {
	text := fmt.Sprintf("sftoken: HTTP %d", e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Description != "" {
		text += ": " + e.Description
	}
	if e.SalesforceError != "" {
		text += " (Salesforce: " + e.SalesforceError + ")"
	}
	if e.RequestID != "" {
		text += " [request " + e.RequestID + "]"
	}
	return text
}

// apiError reads the API's own form of an error, and API Gateway's, which writes "message" or "Message".
func apiError(resp *http.Response, body []byte) *Error {
	var a struct {
		Error           string `json:"error"`
		Description     string `json:"error_description"`
		SalesforceError string `json:"salesforce_error"`
		RequestID       string `json:"request_id"`
		Message         string `json:"message"`
	}
	_ = json.Unmarshal(body, &a) // what is not JSON says nothing
	e := &Error{Status: resp.StatusCode, Code: a.Error, Description: a.Description, SalesforceError: a.SalesforceError, RequestID: a.RequestID}
	if e.Code == "" {
		// Of a wrong signature API Gateway echoes all that was to be signed, the caller's session token included.
		a.Message, _, _ = strings.Cut(a.Message, "\n")
		e.Description, e.RequestID = a.Message, resp.Header.Get("X-Amzn-Requestid")
	}
	if e.Description == "" && resp.StatusCode/100 == 3 {
		e.Description = "a redirect, which is not followed: is this the address of the sftoken API?"
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// transportError is a request that got no answer.
type transportError struct {
	text string
	err  error
}

// newTransportError says what was wrong, without the method and URL that net/http puts around it, and without what it quotes of an answer
// that is not HTTP, which may be the token.
func newTransportError(doing string, err error) *transportError {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	text, _, _ := strings.Cut(err.Error(), `"`)
	return &transportError{"sftoken: " + doing + strings.TrimRight(text, " :"), err}
}

func (e *transportError) Error() string { return e.text }

func (e *transportError) Unwrap() error { return e.err }

// defaultAttempts is how often a caller tries what may pass, where the API has not said that it will.
const defaultAttempts = 4

// maxAttempts says how many tries a caller makes in spite of the error.
func maxAttempts(err error) int {
	if failed, ok := errors.AsType[*Error](err); ok {
		switch {
		case failed.Status == http.StatusServiceUnavailable, failed.Status == http.StatusTooManyRequests:
			return math.MaxInt
		case failed.Code == "" && failed.Status >= 500: // API Gateway had no answer of the function
			return defaultAttempts
		}
		return 1
	}
	if _, ok := errors.AsType[*transportError](err); !ok {
		return 1
	}
	unknown, isName := errors.AsType[*net.DNSError](err)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok || isName && unknown.IsNotFound {
		return 1
	}
	return defaultAttempts
}

// backoff is a failure after which the API is left alone for a while, whoever wants a token.
type backoff struct {
	err      error
	until    time.Time
	failures int // in a row
}

const (
	minDelay = 250 * time.Millisecond // doubles with each failure in a row
	maxDelay = 8 * time.Second
)

// next returns the hold after one more failure: for as long as the API says, and a little more, so that not everybody comes
// back at the same moment.
func (h backoff) next(err error) backoff {
	pause := min(minDelay<<min(h.failures, 8), maxDelay)
	if failed, ok := errors.AsType[*Error](err); ok && failed.RetryAfter > 0 {
		pause = failed.RetryAfter
	}
	return backoff{err: err, until: time.Now().Add(pause + rand.N(pause/4)), failures: h.failures + 1}
}
