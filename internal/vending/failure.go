package vending

import (
	"cmp"
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

// Error is why a caller gets no token. Everything but Err is fit for the caller to read; Err is for the log. Neither holds
// a secret or a token.
type Error struct {
	Code            Code
	Description     string
	AppExists       bool          // the app exists: its secret has been read
	SalesforceError string        // Salesforce's own error and description; empty where it sent none
	RetryAfter      time.Duration // when to try again; zero: not before something has been changed
	Err             error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Description)
}

func (e *Error) Unwrap() error { return e.Err }

// setupError is something on this side that only a person can fix.
type setupError struct{ text string }

func (e *setupError) Error() string { return e.text }

// ErrPlaceholder is in the Err of an Error where nobody has stored the app's pair yet.
var ErrPlaceholder error = &setupError{"the secret still holds the placeholder: store the app's consumerKey, consumerSecret and baseUri (setup step 3)"}

// transientError is something that may be over when it is tried again.
type transientError struct{ text string }

func (e *transientError) Error() string { return e.text }

var (
	// errDoubted is why a token is stale that a caller reports as dead.
	errDoubted error = &transientError{"a caller reports the token as dead, and Salesforce could not be asked about it"}
	// errDeadToken is why a token is not used that a login has just returned.
	errDeadToken error = &transientError{"Salesforce's login returned a token that Salesforce says is not active"}
)

// ErrPrincipalsUnreadable is in the Err of an Error where no caller can get the app's tokens since its allowedPrincipals cannot be
// read.
var ErrPrincipalsUnreadable = errors.New("allowedPrincipals cannot be read")

// ungranted says what a caller is told when Salesforce gave no token.
func ungranted(app string, err error) *Error {
	told := &Error{AppExists: true, Err: err}
	if isExhausted(err) {
		told.Code = TemporarilyUnavailable
		told.Description = fmt.Sprintf("the token function may not log in again for app %q yet (LOGIN_BURST, LOGINS_PER_HOUR): "+
			"try again later", app)
		return told
	}
	if _, ok := errors.AsType[*transientError](err); ok {
		told.Code = TemporarilyUnavailable
		told.Description = fmt.Sprintf("there is no usable token of app %q now: try again", app)
		return told
	}
	refused, ok := errors.AsType[*sfoauth.Error](err)
	if !ok {
		told.Code = AppMisconfigured
		told.Description = fmt.Sprintf("app %q cannot log in: %v", app, err)
		return told
	}
	if refused.Code != "" {
		told.SalesforceError = refused.Code
		if refused.Description != "" {
			told.SalesforceError += ": " + refused.Description
		}
	}
	switch refused.Kind {
	case sfoauth.Permanent:
		told.Code = AppMisconfigured
		told.Description = fmt.Sprintf("Salesforce refuses app %q: %s", app, refused.Hint())
		if refused.Status == 0 || refused.Code == "" && refused.Err != nil {
			told.Description = fmt.Sprintf("app %q cannot log in: %v", app, refused.Err)
		}
	case sfoauth.InvalidResponse:
		told.Code = BadUpstreamResponse
		told.Description = fmt.Sprintf("Salesforce's answer for app %q cannot be trusted: %v", app, refused.Err)
	case sfoauth.RateLimited:
		told.Code = TemporarilyUnavailable
		told.Description = fmt.Sprintf("Salesforce limits the requests of app %q: %s", app, refused.Hint())
	default:
		told.Code = TemporarilyUnavailable
		told.Description = fmt.Sprintf("Salesforce cannot be asked for a token of app %q now: try again", app)
	}
	return told
}

// unrevoked says what a caller is told when Salesforce did not revoke a token.
func unrevoked(app string, err error) *Error {
	told := ungranted(app, err)
	if told.Code == TemporarilyUnavailable || told.Code == BadUpstreamResponse {
		told.RetryAfter = time.Second
		if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
			told.RetryAfter = max(told.RetryAfter, refused.RetryAfter)
		}
	}
	return told
}

// unreadable says what a caller is told when the app's secret cannot be read.
func unreadable(app string, err error) *Error {
	told := &Error{Err: err}
	failed, _ := errors.AsType[*appsecret.Error](err)
	switch {
	case failed == nil || failed.Kind == appsecret.Unavailable:
		told.Code = TemporarilyUnavailable
		told.Description = fmt.Sprintf("Secrets Manager cannot be asked for the credentials of app %q now: try again", app)
	case failed.Kind == appsecret.Malformed:
		told.Code, told.AppExists = AppMisconfigured, true
		if appsecret.HidesRestriction(err, &appsecret.Version{}) {
			told.Err = fmt.Errorf("%w: %w", ErrPrincipalsUnreadable, err)
		}
		told.Description = fmt.Sprintf("the secret of app %q cannot be used: %v", app, failed.Err)
	default:
		told.Code = UnknownApp
		told.Description = fmt.Sprintf("there is no app %q, or its secret cannot be read by the token function", app)
	}
	return told
}

// authorize returns why the caller may not have the app's tokens; nil: it may. a.mu is held.
func (a *app) authorize(req Request) error {
	if req.ourselves || a.secret.AllowedPrincipals.Allows(req.Principal) {
		return nil
	}
	return denied(a.name, req.Principal, a.secret.PrincipalsErr)
}

// denied says what a caller is told whom allowedPrincipals does not let in. unreadable is why that cannot be read; nil:
// it can.
func denied(app, principal string, unreadable error) *Error {
	told := &Error{Code: AccessDenied, AppExists: true}
	if unreadable != nil {
		told.Err = fmt.Errorf("%w: %w", ErrPrincipalsUnreadable, unreadable)
		told.Description = fmt.Sprintf("the allowedPrincipals of app %q cannot be read, so every caller is denied: "+
			"the app's owner must fix the list in the secret (%v)", app, unreadable)
		return told
	}
	told.Description = fmt.Sprintf("%s is not among the allowedPrincipals of app %q: ask the app's owner to add %s",
		principal, app, admitting(principal))
	return told
}

// admitting names the entry of allowedPrincipals that would let the principal in. A session is let in by its role; a
// federated user, whose name its account's owner gave, and the account's root by their account.
func admitting(principal string) string {
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

// outOfTime is what a caller is told who cannot wait any longer.
func outOfTime(ctx context.Context) *Error {
	return &Error{
		Code: TemporarilyUnavailable, Description: "the token was not ready in time: try again",
		RetryAfter: time.Second, Err: context.Cause(ctx),
	}
}

// InternalError is what a caller is told of a defect in this program.
func InternalError(err error) *Error {
	return &Error{Code: ServerError, Description: "the token function failed: report this with its request_id", Err: err}
}

// trouble is a failure that is remembered. The zero value is none.
type trouble struct {
	told    *Error
	until   time.Time     // nothing is tried again before
	delay   time.Duration // how long the last wait was, before jitter
	lasting bool          // until a person changes something
	tried   []*appsecret.Version
	// exhausted: the login budget has run out. tried are then the versions that Salesforce refused before.
	exhausted bool
}

func (t trouble) active(now time.Time) bool { return t.told != nil && left(t.until, now) > 0 }

// answer is what the failure means to a caller now.
func (t trouble) answer(now time.Time) *Error {
	told := *t.told
	if told.Code == TemporarilyUnavailable || told.Code == BadUpstreamResponse {
		told.RetryAfter = max(left(t.until, now), time.Second)
	}
	return &told
}

// after returns what is remembered when one more failure follows t.
func (t trouble) after(told *Error, err error, tried []*appsecret.Version, jitter func() float64, now time.Time) trouble {
	next := trouble{told: told, tried: tried}
	wait := func(first, most time.Duration) time.Duration {
		next.delay = first
		if t.told != nil && t.lasting == next.lasting {
			next.delay = min(max(2*t.delay, first), most)
		}
		return next.delay
	}
	refused, _ := errors.AsType[*sfoauth.Error](err)
	secret, _ := errors.AsType[*appsecret.Error](err)
	exhausted, _ := errors.AsType[*loginbudget.ExhaustedError](err)
	switch {
	case exhausted != nil:
		next.exhausted, next.delay = true, t.delay
		next.until = now.Add(max(exhausted.RetryAfter, time.Second))
		if t.told != nil { // Salesforce's last answer tells more than that the budget is exhausted
			told.SalesforceError = t.told.SalesforceError
		}
	case secret != nil && told.Code == UnknownApp:
		next.until = now.Add(unknownFor)
	case secret != nil && told.Code == AppMisconfigured:
		next.until = now.Add(rereadEvery)
	case told.Code == AppMisconfigured:
		next.lasting = true
		next.until = now.Add(wait(30*time.Second, 5*time.Minute))
	case refused != nil && refused.Kind == sfoauth.RateLimited:
		next.until = now.Add(limitOf(err))
	default:
		down := wait(time.Second, 30*time.Second)
		down = time.Duration(float64(down) * (1 + jitter()) / 2)
		if refused != nil {
			down = max(down, min(refused.RetryAfter, 5*time.Minute))
		}
		next.until = now.Add(down)
	}
	return next
}

func isFinal(err error) bool {
	if _, ok := errors.AsType[*setupError](err); ok {
		return true
	}
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == sfoauth.Permanent
}

func isExhausted(err error) bool {
	_, ok := errors.AsType[*loginbudget.ExhaustedError](err)
	return ok
}

// limitOf is how long nothing may be sent after Salesforce has limited the requests: a second at the least, since a
// date lies anywhere within one, and this request would ask again by itself.
func limitOf(err error) time.Duration {
	refused, _ := errors.AsType[*sfoauth.Error](err)
	return max(cmp.Or(refused.RetryAfter, time.Minute), time.Second)
}

func isLimiting(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == sfoauth.RateLimited
}

// refusesIntrospection reports whether Salesforce does not let the app introspect its tokens. Only an OAuth error says
// so: an answer without one comes from a server in front, and says nothing of the app. That the credentials are refused
// does not count either.
func refusesIntrospection(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.Kind == sfoauth.Permanent && refused.Code != "" && !refused.IsInvalidClient()
}

func refusesPair(err error) bool {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return ok && refused.IsInvalidClient()
}
