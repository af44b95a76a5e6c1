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

// Error is an error response of the API, or of API Gateway in front of it.
type Error struct {
	Status          int           // HTTP status
	Code            string        // "error", listed in docs/openapi.yaml; empty if API Gateway itself responded
	Description     string        // "error_description", or API Gateway's message
	SalesforceError string        // Salesforce's error, if there was one
	RequestID       string        // identifies the request in the function's log
	RetryAfter      time.Duration // how long to wait before the next attempt; zero if the API does not say
}

// Error returns all fields but RetryAfter on one line.
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

// maxRetryAfter bounds a Retry-After, in seconds: one wrong response must not keep callers from the API for days.
const maxRetryAfter = 60 * 60

// apiError decodes an error of the API, or of API Gateway, which writes "message" or "Message".
func apiError(resp *response) *Error {
	var fields struct {
		Error           string `json:"error"`
		Description     string `json:"error_description"`
		SalesforceError string `json:"salesforce_error"`
		RequestID       string `json:"request_id"`
		Message         string `json:"message"`
	}
	_ = json.Unmarshal(resp.body, &fields) // a body that is not JSON has no fields
	e := &Error{
		Status: resp.status, Code: fields.Error, Description: fields.Description,
		SalesforceError: fields.SalesforceError, RequestID: fields.RequestID,
	}
	if e.Code == "" {
		// For a wrong signature API Gateway echoes the string to sign, which contains the caller's session token.
		e.Description, _, _ = strings.Cut(fields.Message, "\n")
		e.RequestID = resp.header.Get("X-Amzn-Requestid")
	}
	if e.Description == "" && resp.status/100 == 3 {
		e.Description = "a redirect, which is not followed: is this the address of the sftoken API?"
	}
	if seconds, err := strconv.Atoi(resp.header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(min(seconds, maxRetryAfter)) * time.Second
	}
	return e
}

// transportError is the error of a request without a complete response.
type transportError struct {
	text string
	err  error
}

// newTransportError describes err without the method and URL that net/http adds, and without what net/http quotes of a
// response that is not HTTP, which may be the token.
func newTransportError(doing string, err error) *transportError {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	text, _, _ := strings.Cut(err.Error(), `"`)
	return &transportError{"sftoken: " + doing + ": " + strings.TrimRight(text, " :"), err}
}

func (e *transportError) Error() string { return e.text }

func (e *transportError) Unwrap() error { return e.err }

// CredentialsError means that there are no AWS credentials for a request. It wraps the AWS SDK's error, and its text
// leaves out what may be secret: the SDK quotes the output of a credential process, and STS the signed request, with
// its session token, on the lines after its message.
type CredentialsError struct{ err error }

// Error implements error.
func (e *CredentialsError) Error() string {
	text, _, _ := strings.Cut(e.err.Error(), "\n")
	text, _, _ = strings.Cut(text, " output: ")
	return "sftoken: AWS credentials: " + text
}

// Unwrap returns the AWS SDK's error.
func (e *CredentialsError) Unwrap() error { return e.err }

// defaultAttempts is how often a request is attempted if its error is temporary and the API does not say when to retry.
const defaultAttempts = 4

// IsTemporary reports whether a request that failed with err may succeed later without a change of anything but the
// API: it is what TokenSource retries. It is false for nil.
func IsTemporary(err error) bool { return maxAttempts(err) > 1 }

// maxAttempts reports how often a request that failed with err is attempted.
func maxAttempts(err error) int {
	if failed, ok := errors.AsType[*Error](err); ok {
		switch {
		case failed.Status == http.StatusServiceUnavailable, failed.Status == http.StatusTooManyRequests:
			return math.MaxInt
		case failed.Code == "" && failed.Status >= 500: // API Gateway has no response of the function
			return defaultAttempts
		}
		return 1
	}
	if _, ok := errors.AsType[*transportError](err); !ok {
		return 1
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok || isDNS && dns.IsNotFound {
		return 1
	}
	return defaultAttempts
}

// backoff keeps all callers from the API for a while after a failed request. The zero value keeps none.
type backoff struct {
	err      error
	until    time.Time
	failures int // in a row
}

// after returns the error for a caller that does not wait until the backoff ends, in left. Its RetryAfter is no longer
// than that.
func (b backoff) after(left time.Duration) error { return limitRetryAfter(b.err, left) }

// retryAfterOf returns the RetryAfter of an error, or zero if it has none.
func retryAfterOf(err error) time.Duration {
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed.RetryAfter
	}
	return 0
}

// limitRetryAfter returns err with a RetryAfter of limit at most.
func limitRetryAfter(err error, limit time.Duration) error {
	failed, ok := errors.AsType[*Error](err)
	if !ok || failed.RetryAfter <= limit {
		return err
	}
	sooner := *failed
	sooner.RetryAfter = limit
	if all, ok := errors.AsType[*failoverError](err); ok {
		return &failoverError{&sooner, all.text}
	}
	return &sooner
}

const (
	minDelay = 250 * time.Millisecond // doubles with each failure in a row
	maxDelay = 8 * time.Second
)

// next returns the backoff after one more failure. The delay is the API's Retry-After, or grows exponentially. Up to a
// quarter is added at random, so that callers do not return at the same moment.
func (b backoff) next(err error) backoff {
	delay := min(minDelay<<min(b.failures, 8), maxDelay)
	if retryAfter := retryAfterOf(err); retryAfter > 0 {
		delay = retryAfter
	}
	return backoff{err: err, until: time.Now().Add(delay + rand.N(delay/4)), failures: b.failures + 1}
}
