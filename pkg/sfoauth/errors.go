package sfoauth

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind classifies an Error by what a caller should do.
type Kind int

const (
	// Temporary errors go away by themselves: Salesforce is down, slow or busy. Try again later.
	Temporary Kind = iota
	// Permanent errors last until a person changes something; see Error.Hint.
	Permanent
	// RateLimited errors are caused by too many requests. Try again after Error.RetryAfter, or after a minute if it is
	// zero.
	RateLimited
	// InvalidResponse errors mean that the response is malformed, wrongly signed, or names a foreign host. Use nothing
	// from it.
	InvalidResponse
)

// String returns the kind in words, such as "rate limited".
func (k Kind) String() string {
	switch k {
	case Temporary:
		return "temporary"
	case Permanent:
		return "permanent"
	case RateLimited:
		return "rate limited"
	case InvalidResponse:
		return "invalid response"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// Error is the error type of all methods of Client that call Salesforce. It never contains a secret or a token: text
// from Salesforce is cut to at most 400 printable characters, and the request's own secrets are redacted.
type Error struct {
	Op          string        // the operation: "token", "introspect", "revoke", "userinfo", …
	Host        string        // the host that was called; empty if its address was refused
	Status      int           // HTTP status; zero if there was no response
	Code        string        // Salesforce's "error" (RFC 6749 section 5.2) or REST "errorCode"; may be empty
	Location    string        // scheme and host that a redirect points to; empty if there is none
	Description string        // Salesforce's "error_description" or REST "message"; may be empty
	RetryAfter  time.Duration // from the Retry-After header, at most an hour; zero if there is none
	Kind        Kind          // what to do
	Err         error         // the local cause: a context's error, a network error or a failed check; may be nil
}

// Error returns the operation, the host, and Salesforce's error or the local cause on one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "salesforce %s", e.Op)
	if e.Host != "" {
		fmt.Fprintf(&b, " at %s", e.Host)
	}
	switch {
	case e.Code != "":
		fmt.Fprintf(&b, ": %s", e.Code)
		if e.Description != "" {
			fmt.Fprintf(&b, ": %s", e.Description)
		}
	case e.Err == nil:
		fmt.Fprintf(&b, ": HTTP %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// IsInvalidClient reports whether Salesforce rejected the consumer key or secret. Other credentials of the same app may
// still work: the app may be between two rotations, and new credentials take 2 to 10 minutes to reach every server.
func (e *Error) IsInvalidClient() bool {
	return e.Kind == Permanent && (e.Code == "invalid_client" || e.Code == "invalid_client_id")
}

// IsBusy reports whether Salesforce is still processing another token request of the app: try again after a second.
func (e *Error) IsBusy() bool {
	return e.Kind == Temporary && e.Code == "invalid_grant" // the only temporary one
}

// IsSessionBlocked reports whether the REST API rejected a session that exists: the user is frozen, or the org accepts
// sessions from certain addresses only. Introspection reports such a session as active. A token without the api scope
// is rejected with the same error, so check Token.Scope first.
func (e *Error) IsSessionBlocked() bool {
	return e.Status == http.StatusUnauthorized && e.Code == "INVALID_SESSION_ID" &&
		strings.Contains(strings.ToLower(e.Description), sessionBlockedText)
}

const sessionBlockedText = "not valid for use with the rest api"

// IsNotFound reports whether Salesforce says that the resource does not exist or that the user may not see it. It is
// false for a 404 with a web page, which comes from an edge server.
func (e *Error) IsNotFound() bool { return e.Kind == Permanent && e.Status == http.StatusNotFound }

// Hint returns what a person should check, such as the step of the app's setup that is missing or wrong. It is empty if
// waiting is all there is to do.
func (e *Error) Hint() string {
	known := findKnownError(e.Code, e.Description)
	switch {
	case known != nil:
		return strings.ReplaceAll(known.hint, "<host>", e.Host)
	case e.Kind == Permanent && isMyDomain(e.Location):
		return "the org's My Domain may have been renamed: if " + e.Location +
			" is the org's, set baseUri to it (setup step 3)"
	case e.Kind == Permanent:
		return "check that baseUri is the org's My Domain and that the app's consumer key, flow and run-as user are set up"
	default:
		return ""
	}
}
