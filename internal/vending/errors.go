package vending

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Code is an error code, of RFC 6749 section 5.2 or of this API.
type Code string

const (
	InvalidRequest         Code = "invalid_request"
	AccessDenied           Code = "access_denied"
	UnknownApp             Code = "unknown_app"
	AppMisconfigured       Code = "app_misconfigured"
	BadUpstreamResponse    Code = "bad_upstream_response"
	TemporarilyUnavailable Code = "temporarily_unavailable"
	ServerError            Code = "server_error"
)

// Error is why a caller gets no token. All fields but Err may be shown to the caller; Err is for the log. None holds a
// secret or a token.
type Error struct {
	Code            Code
	Description     string
	AppExists       bool          // the app's secret has been read
	SalesforceError string        // Salesforce's error and description; empty: it sent none
	RetryAfter      time.Duration // zero: a retry fails until something is changed
	Err             error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Description)
}

func (e *Error) Unwrap() error { return e.Err }

// isTemporary reports whether a later retry may succeed.
func (e *Error) isTemporary() bool {
	return e.Code == TemporarilyUnavailable || e.Code == BadUpstreamResponse
}

// setupError is a configuration problem that only a person can fix.
type setupError struct{ text string }

func (e *setupError) Error() string { return e.text }

// ErrPlaceholder is in the Err of an Error if the app's credentials have not been stored yet.
var ErrPlaceholder error = &setupError{
	"the secret still holds the placeholder: store the app's consumerKey, consumerSecret and baseUri (setup step 3)",
}

// transientError is a problem that may be gone at the next attempt.
type transientError struct{ text string }

func (e *transientError) Error() string { return e.text }

var (
	// errDoubted is why a token that a caller reports as dead is stale.
	errDoubted error = &transientError{"a caller reports the token as dead, and introspection failed"}
	// errLeaseLost is why a call to Salesforce is not made: another process has taken over.
	errLeaseLost error = &transientError{"another process of the token function has taken over"}
	// errDeadToken is why a token that a login has just returned is not used.
	errDeadToken error = &transientError{"Salesforce's login returned a token that its introspection reports as inactive"}
)

// ErrPrincipalsUnreadable is in the Err of an Error if every caller is denied because the app's allowedPrincipals
// cannot be read.
var ErrPrincipalsUnreadable = errors.New("allowedPrincipals cannot be read")

// loginError returns the error for callers if Salesforce issued no token.
func loginError(app string, err error) *Error {
	e := &Error{Code: TemporarilyUnavailable, AppExists: true, Err: err}
	if loginbudget.IsExhausted(err) {
		e.Description = fmt.Sprintf("the token function may not log in again for app %q yet (LOGIN_BURST, LOGINS_PER_HOUR): "+
			"try again later", app)
		return e
	}
	if _, ok := errors.AsType[*transientError](err); ok {
		e.Description = fmt.Sprintf("app %q has no usable token now: try again", app)
		return e
	}
	refused, ok := errors.AsType[*sfoauth.Error](err)
	if !ok {
		e.Code = AppMisconfigured
		e.Description = fmt.Sprintf("app %q cannot log in: %v", app, err)
		return e
	}
	if refused.Code != "" {
		e.SalesforceError = refused.Code
		if refused.Description != "" {
			e.SalesforceError += ": " + refused.Description
		}
	}
	switch refused.Kind {
	case sfoauth.Permanent:
		e.Code = AppMisconfigured
		e.Description = fmt.Sprintf("Salesforce refuses app %q: %s", app, refused.Hint())
		if refused.Status == 0 || refused.Code == "" && refused.Err != nil {
			e.Description = fmt.Sprintf("app %q cannot log in: %v", app, refused.Err)
		}
	case sfoauth.InvalidResponse:
		e.Code = BadUpstreamResponse
		e.Description = fmt.Sprintf("Salesforce's response for app %q cannot be trusted: %v", app, refused.Err)
	case sfoauth.RateLimited:
		e.Description = fmt.Sprintf("Salesforce limits the requests of app %q: %s", app, refused.Hint())
	default:
		e.Description = fmt.Sprintf("Salesforce cannot be asked for a token of app %q now: try again", app)
	}
	return e
}

// revocationError returns the error for callers if Salesforce did not revoke a token.
func revocationError(app string, err error) *Error {
	e := loginError(app, err)
	if e.isTemporary() {
		e.RetryAfter = time.Second
		if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
			e.RetryAfter = max(e.RetryAfter, refused.RetryAfter)
		}
	}
	return e
}

// secretError returns the error for callers if the app's secret cannot be read.
func secretError(app string, err error) *Error {
	e := &Error{Err: err}
	failed, _ := errors.AsType[*appsecret.Error](err)
	switch {
	case failed == nil || failed.Kind == appsecret.Unavailable:
		e.Code = TemporarilyUnavailable
		e.Description = fmt.Sprintf("Secrets Manager cannot be asked for the credentials of app %q now: try again", app)
	case failed.Kind == appsecret.Malformed:
		e.Code, e.AppExists = AppMisconfigured, true
		if appsecret.HidesRestriction(err, &appsecret.Version{}) {
			e.Err = fmt.Errorf("%w: %w", ErrPrincipalsUnreadable, err)
		}
		e.Description = fmt.Sprintf("the secret of app %q cannot be used: %v", app, failed.Err)
	default:
		e.Code = UnknownApp
		e.Description = fmt.Sprintf("there is no app %q, or its secret cannot be read by the token function", app)
	}
	return e
}

// accessDenied returns the error for a caller that allowedPrincipals does not allow. unreadable is why the list
// cannot be read; nil: it can.
func accessDenied(app, principal string, unreadable error) *Error {
	e := &Error{Code: AccessDenied, AppExists: true}
	if unreadable != nil {
		e.Err = fmt.Errorf("%w: %w", ErrPrincipalsUnreadable, unreadable)
		e.Description = fmt.Sprintf("the allowedPrincipals of app %q cannot be read, so every caller is denied: "+
			"the app's owner must fix the list in the secret (%v)", app, unreadable)
		return e
	}
	e.Description = fmt.Sprintf("%s is not among the allowedPrincipals of app %q: ask the app's owner to add %s",
		principal, app, entryFor(principal))
	return e
}

// entryFor names the entry of allowedPrincipals that would allow the principal: a session's role, or a user. Federated
// users, whose names their account chooses, and an account's root are allowed by their account.
func entryFor(principal string) string {
	// arn:partition:service:region:account:resource
	parts := strings.SplitN(principal, ":", 6)
	if len(parts) != 6 {
		return "it"
	}
	kind, name, _ := strings.Cut(parts[5], "/")
	switch kind {
	case "assumed-role":
		role, _, _ := strings.Cut(name, "/")
		return fmt.Sprintf("the role arn:%s:iam::%s:role/%s", parts[1], parts[4], role)
	case "user", "role":
		return fmt.Sprintf("the %s %s", kind, principal)
	}
	return "the account " + parts[4]
}

// timeoutError returns the error for a caller whose time is up.
func timeoutError(ctx context.Context) *Error {
	return &Error{
		Code: TemporarilyUnavailable, Description: "the token was not ready in time: try again",
		RetryAfter: time.Second, Err: context.Cause(ctx),
	}
}

// InternalError returns the error for a caller that met a defect in this program.
func InternalError(err error) *Error {
	return &Error{Code: ServerError, Description: "the token function failed: report this with its request_id", Err: err}
}

// isPermanent reports whether the call fails again until a person changes something.
func isPermanent(err error) bool {
	if _, ok := errors.AsType[*setupError](err); ok {
		return true
	}
	return isKind(err, sfoauth.Permanent)
}

func isKind(err error, kind sfoauth.Kind) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == kind
}

func isRateLimited(err error) bool { return isKind(err, sfoauth.RateLimited) }

// isInvalidClient reports whether Salesforce refused the credentials themselves.
func isInvalidClient(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsInvalidClient()
}

// isIntrospectionDenied reports whether Salesforce does not let the app introspect its tokens. Only an OAuth error
// means that: an error without a code comes from a server in front of Salesforce. Refused credentials do not mean it
// either.
func isIntrospectionDenied(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == sfoauth.Permanent && refused.Code != "" && !refused.IsInvalidClient()
}
