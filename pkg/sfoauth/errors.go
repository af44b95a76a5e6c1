package sfoauth

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Kind says what a caller should do about an Error.
type Kind int

const (
	// Temporary: Salesforce is down, slow or busy. Try again later.
	Temporary Kind = iota
	// Permanent: the same request fails until a person changes something; see Error.Advice.
	Permanent
	// RateLimited: too many requests. Try again after Error.RetryAfter, or a minute where that is zero.
	RateLimited
	// InvalidResponse: the answer is not one that Salesforce gives: malformed, wrongly signed, or naming a foreign host.
	// Nothing of it may be used.
	InvalidResponse
)

func (k Kind) String() string {
	switch k {
	case Temporary:
		return "passing"
	case Permanent:
		return "final"
	case RateLimited:
		return "limiting"
	case InvalidResponse:
		return "untrusted"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// Error is what every method of Client returns when it fails. It never holds a secret or a token: text that came from
// the other side is cut to 400 printable characters at the most, and the request's own secrets are removed from it.
type Error struct {
	Op          string        // what was being done: "token", "introspect", "revoke", "userinfo", …
	Host        string        // who was asked; empty where the address itself was refused
	Status      int           // HTTP status; zero where no answer came
	Code        string        // Salesforce's "error" (RFC 6749 section 5.2) or REST "errorCode"; empty where it sent none
	Location    string        // where a redirect points: scheme and host alone; empty where there is none
	Description string        // Salesforce's "error_description" or REST "message"
	RetryAfter  time.Duration // what Retry-After asked for; zero where it did not
	Kind        Kind          // what to do
	Err         error         // the cause, where it lies on this side: a context's error, a network error, a failed check
}

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

func (e *Error) Unwrap() error { return e.Err }

// IsInvalidClient says whether Salesforce refused the consumer key or secret themselves. Another version of the pair
// may still work: the pair is being rotated, or the new one has not reached every server yet, which takes 2 to 10
// minutes.
func (e *Error) IsInvalidClient() bool {
	return e.Kind == Permanent && (e.Code == "invalid_client" || e.Code == "invalid_client_id")
}

// IsSessionBlocked reports whether the REST API refused a session that Salesforce itself has just issued: the user is
// frozen, or the org accepts a session only from certain addresses. Introspection says of such a session that it is
// active. A token without the api scope is refused in the same words, so look at Token.Scope first.
func (e *Error) IsSessionBlocked() bool {
	return e.Status == http.StatusUnauthorized && e.Code == "INVALID_SESSION_ID" &&
		strings.Contains(strings.ToLower(e.Description), blockedSession)
}

const blockedSession = "not valid for use with the rest api"

// IsNotFound reports whether Salesforce itself said that what was asked for does not exist, or that the user may not
// see it. A web page with 404 says neither.
func (e *Error) IsNotFound() bool { return e.Kind == Permanent && e.Status == http.StatusNotFound }

// Hint says what a person should check, as the step of the app's setup that is missing or wrong. It is empty where
// waiting is all there is to do.
func (e *Error) Hint() string {
	known := lookUp(e.Code, e.Description)
	switch {
	case known != nil:
		return strings.ReplaceAll(known.advice, "<host>", e.Host)
	case e.Kind == Permanent && namesMyDomain(e.Location):
		return "the org's My Domain may have been renamed: if " + e.Location + " is the org's, set baseUri to it (setup step 3)"
	case e.Kind == Permanent:
		return "check that baseUri is the org's My Domain and that the app's consumer key, flow and run-as user are set up"
	default:
		return ""
	}
}

// knownError is one error that Salesforce is known to answer. It matches the code, and the description where says is
// not empty. In advice, <host> stands for the host that answered.
type knownError struct {
	code, says string
	kind       Kind
	advice     string
}

// The first match counts. Source: Salesforce Help, "OAuth Authorization Errors" and "OAuth 2.0 Client Credentials Flow
// for Server-to-Server Integration"; REST API Developer Guide, "Status Codes and Error Responses".
var knownErrors = []knownError{
	{"invalid_client_id", "", Permanent, "check consumerKey; a new key takes 2 to 10 minutes to work everywhere"},
	{"invalid_client", "", Permanent, "check consumerSecret: it does not belong to consumerKey, or was regenerated in Setup"},
	{"invalid_grant", "no client credentials user", Permanent, "set the run-as user in the app's client credentials flow policy (setup step 2)"},
	{"invalid_grant", "not supported on this domain", Permanent, "set baseUri to the org's My Domain, https://<MyDomain>.my.salesforce.com (setup step 3)"},
	{"invalid_grant", "no valid scopes", Permanent, "give the app the api scope (setup step 1)"},
	{"invalid_grant", "hasn't approved", Permanent, "let an administrator pre-authorize the app for the run-as user's profile or permission set (setup step 2)"},
	{"invalid_grant", "invalid login hours", Permanent, "one of two causes: the function's address is outside " +
		"the run-as user's login IP ranges, or the time is outside its profile's login hours (setup step 2)"},
	{"invalid_grant", "ip restricted", Permanent, "relax the app's IP policy, or add the function's addresses to the run-as user's login IP ranges (setup step 2)"},
	{"invalid_grant", "inactive user", Permanent, "activate the run-as user, or choose another (setup step 2)"},
	{"invalid_grant", "inactive organization", Permanent, "the org at <host> is locked, closed or suspended: ask Salesforce; if it is not the right org, correct baseUri (setup step 3)"},
	{"invalid_grant", "already being processed", Temporary, ""},
	{"invalid_grant", "login rate", RateLimited, "the run-as user has spent its 3,600 logins an hour: find who else logs in as this user"},
	{"invalid_grant", "", Permanent, "check the run-as user: active, API enabled, allowed to use the app (setup step 2)"},
	{"invalid_app_access", "", Permanent, "let an administrator pre-authorize the app for the run-as user's profile or permission set (setup step 2)"},
	{"app_not_found", "", Permanent, "install the app in this org, or unblock it under Connected Apps OAuth Usage (setup step 1)"},
	{"OAUTH_APP_BLOCKED", "", Permanent, "unblock the app under Connected Apps OAuth Usage in Setup (setup step 1)"},
	{"unsupported_grant_type", "", Permanent, "switch on the client credentials flow in the app's OAuth settings (setup step 1)"},
	{"unauthorized_client", "", Permanent, "switch on the client credentials flow in the app's OAuth settings (setup step 1)"},
	{"inactive_user", "", Permanent, "activate the run-as user, or choose another (setup step 2)"},
	{"inactive_org", "", Permanent, "the org at <host> is locked, closed or suspended: ask Salesforce; if it is not the right org, correct baseUri (setup step 3)"},
	{"invalid_request", "", Permanent, "the token endpoint did not accept the request: check that baseUri is the org's My Domain"},
	{"invalid_scope", "", Permanent, "give the app the api scope (setup step 1)"},
	{"rate_limit_exceeded", "", RateLimited, "the org limits its token requests: find who else logs in with this app"},
	{"REQUEST_LIMIT_EXCEEDED", "", RateLimited, "the org has spent its API requests for the day: see Company Information in Setup"},
	{"API_DISABLED_FOR_ORG", "", Permanent, "give the run-as user the permission API Enabled; without it in the org's edition, ask Salesforce (setup step 2)"},
	{"API_CURRENTLY_DISABLED", "", Permanent, "give the run-as user the permission API Enabled; without it in the org's edition, ask Salesforce (setup step 2)"},
	{"INSUFFICIENT_ACCESS", "", Permanent, "give the API's user the permission that the request needs"},
	{"INVALID_SESSION_ID", blockedSession, Permanent, "the run-as user is frozen, or the org binds sessions to addresses: " +
		"unfreeze the user, and in Session Settings switch off " +
		`"Lock sessions to the IP address from which they originated" and "Enforce login IP ranges on every request"; ` +
		"or the app lacks the api scope (setup steps 1 and 2)"},
	{"INVALID_SESSION_ID", "", Permanent, "the token is dead, or its app lacks the api scope"},
	{"Bad_OAuth_Token", "", Permanent, "the token is dead, or its app lacks the api scope"},
	{"server_error", "", Temporary, ""},
	{"temporarily_unavailable", "", Temporary, ""},
	{"unknown_error", "", Temporary, ""},
	{"UNKNOWN_EXCEPTION", "", Temporary, ""},
	{"SERVER_UNAVAILABLE", "", Temporary, ""},
}

func lookUp(code, description string) *knownError {
	description = strings.ToLower(description)
	for i := range knownErrors {
		if known := &knownErrors[i]; known.code == code && strings.Contains(description, known.says) {
			return known
		}
	}
	return nil
}

// classify decides by the known errors, and for the others by HTTP status. What has no code of Salesforce's own comes
// from its edge or from a proxy, and says nothing of the app: a web page with 400, 403, 404 or 421, or a 420. A
// redirect of the token endpoint is the exception: the org's My Domain is another.
func classify(op string, status int, code, description string) Kind {
	known := lookUp(code, description)
	switch {
	case known != nil:
		return known.kind
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status < 300:
		return InvalidResponse
	case op == opToken && status < 400:
		return Permanent
	case status == http.StatusRequestTimeout || status == statusEnhanceYourCalm || status >= 500:
		return Temporary
	case isCode(code):
		return Permanent
	default:
		return Temporary
	}
}

// statusEnhanceYourCalm is what Salesforce's edge answers when it is busy.
const statusEnhanceYourCalm = 420

// isCode reports whether code has the form of Salesforce's own: words of one case, joined by underscores. A proxy
// that answers {"error": "Not Found"} has another.
func isCode(code string) bool {
	lower, upper := strings.ToLower(code), strings.ToUpper(code)
	return code != "" && strings.Trim(code, alphanumeric+"_") == "" && (code == lower || code == upper)
}

// location returns the scheme and host that a redirect points to, fit to be logged, or nothing where it does not.
func location(resp *http.Response, base *url.URL, own []Secret) string {
	target := resp.Header.Get("Location")
	if resp.StatusCode/100 != 3 || target == "" {
		return ""
	}
	u, err := base.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return clean(u.Scheme+"://"+u.Host, 300, own)
}

// namesMyDomain reports whether address is the origin of a My Domain.
func namesMyDomain(address string) bool {
	_, err := AllowedHosts(nil).MyDomain(address)
	return err == nil
}

// clean makes text from the other side fit to be logged: secrets removed, characters outside RFC 6749 section 5.2
// replaced, length bounded.
func clean(text string, limit int, secrets []Secret) string {
	for _, s := range secrets {
		if !s.IsZero() {
			text = strings.NewReplacer(s.Reveal(), redacted, url.QueryEscape(s.Reveal()), redacted).Replace(text)
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return strings.TrimSpace(text[:min(len(text), limit)])
}

// retryAfter reads the header in either of its forms (RFC 9110 section 10.2.3). A value that makes no sense counts as
// none, and one of more than an hour as an hour.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := cmp.Or(header.Get("Retry-After"), "0")
	wait, err := time.ParseDuration(value + "s")
	if err != nil {
		at, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		wait = at.Sub(now)
	}
	return min(max(wait, 0), time.Hour)
}
