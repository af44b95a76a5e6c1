package sfoauth

import (
	"net/http"
	"strings"
)

// knownError is a documented error of Salesforce.
type knownError struct {
	code     string
	contains string // in the description, in lower case; empty: any description
	kind     Kind
	hint     string // <host> stands for Error.Host
}

// Hints that belong to several errors.
const (
	hintPreAuthorize = "let an administrator pre-authorize the app for the run-as user's profile or permission set " +
		"(setup step 2)"
	hintScope = "give the app the api scope (setup step 1)"
	hintUser  = "activate the run-as user, or choose another (setup step 2)"
	hintFlow  = "switch on the client credentials flow in the app's OAuth settings (setup step 1)"
	hintOrg   = "the org at <host> is locked, closed or suspended: ask Salesforce; if it is not the right org, " +
		"correct baseUri (setup step 3)"
	hintAPIEnabled = "give the run-as user the permission API Enabled; without it in the org's edition, ask Salesforce " +
		"(setup step 2)"
	hintToken = "the token has expired or was revoked, or its app lacks the api scope"
)

// knownErrors is searched in order. Sources: Salesforce Help, "OAuth Authorization Errors" and "OAuth 2.0 Client
// Credentials Flow for Server-to-Server Integration"; REST API Developer Guide, "Status Codes and Error Responses". The
// meaning of INVALID_TYPE is from reports, such as issue 2141 of github.com/RoseSilverSoftware/IlluminatedCloud.
var knownErrors = []knownError{
	{"invalid_client_id", "", Permanent, "check consumerKey; a new key takes 2 to 10 minutes to work everywhere"},
	{"invalid_client", "", Permanent,
		"check consumerSecret: it does not belong to consumerKey, or was regenerated in Setup"},
	{"invalid_grant", "no client credentials user", Permanent,
		"set the run-as user in the app's client credentials flow policy (setup step 2)"},
	{"invalid_grant", "not supported on this domain", Permanent,
		"set baseUri to the org's My Domain, https://<MyDomain>.my.salesforce.com (setup step 3)"},
	{"invalid_grant", "no valid scopes", Permanent, hintScope},
	{"invalid_grant", "hasn't approved", Permanent, hintPreAuthorize},
	{"invalid_grant", "invalid login hours", Permanent, "one of two causes: the function's address is outside " +
		"the run-as user's login IP ranges, or the time is outside its profile's login hours (setup step 2)"},
	{"invalid_grant", "ip restricted", Permanent,
		"relax the app's IP policy, or add the function's addresses to the run-as user's login IP ranges (setup step 2)"},
	{"invalid_grant", "inactive user", Permanent, hintUser},
	{"invalid_grant", "inactive organization", Permanent, hintOrg},
	{"invalid_grant", "already being processed", Temporary, ""},
	{"invalid_grant", "login rate", RateLimited,
		"the run-as user has spent its 3,600 logins an hour: find who else logs in as this user"},
	{"invalid_grant", "", Permanent, "check the run-as user: active, API enabled, allowed to use the app (setup step 2)"},
	{"invalid_app_access", "", Permanent, hintPreAuthorize},
	{"app_not_found", "", Permanent,
		"install the app in this org, or unblock it under Connected Apps OAuth Usage (setup step 1)"},
	{"OAUTH_APP_BLOCKED", "", Permanent, "unblock the app under Connected Apps OAuth Usage in Setup (setup step 1)"},
	{"unsupported_grant_type", "", Permanent, hintFlow},
	{"unauthorized_client", "", Permanent, hintFlow},
	{"inactive_user", "", Permanent, hintUser},
	{"inactive_org", "", Permanent, hintOrg},
	{"invalid_request", "", Permanent,
		"the token endpoint did not accept the request: check that baseUri is the org's My Domain"},
	{"invalid_scope", "", Permanent, hintScope},
	{"rate_limit_exceeded", "", RateLimited, "the org limits its token requests: find who else logs in with this app"},
	{"REQUEST_LIMIT_EXCEEDED", "", RateLimited,
		"the org has spent its API requests for the day: see Company Information in Setup"},
	{"API_DISABLED_FOR_ORG", "", Permanent, hintAPIEnabled},
	{"API_CURRENTLY_DISABLED", "", Permanent, hintAPIEnabled},
	{"INSUFFICIENT_ACCESS", "", Permanent, "give the token's user the permission that the request needs"},
	{"INVALID_TYPE", "", Permanent, "the token's user may not read the object that the query names"},
	{"INVALID_SESSION_ID", sessionBlockedText, Permanent, "the run-as user is frozen, or the org binds sessions to " +
		"addresses: unfreeze the user, and in Session Settings switch off " +
		`"Lock sessions to the IP address from which they originated" and "Enforce login IP ranges on every request"; ` +
		"or the app lacks the api scope (setup steps 1 and 2)"},
	{"INVALID_SESSION_ID", "", Permanent, hintToken},
	{"Bad_OAuth_Token", "", Permanent, hintToken},
	{"server_error", "", Temporary, ""},
	{"temporarily_unavailable", "", Temporary, ""},
	{"unknown_error", "", Temporary, ""},
	{"UNKNOWN_EXCEPTION", "", Temporary, ""},
	{"SERVER_UNAVAILABLE", "", Temporary, ""},
}

// findKnownError returns the first match in knownErrors, or nil.
func findKnownError(code, description string) *knownError {
	description = strings.ToLower(description)
	for i := range knownErrors {
		if known := &knownErrors[i]; known.code == code && strings.Contains(description, known.contains) {
			return known
		}
	}
	return nil
}

// classify uses the known errors first, then the HTTP status. A response without a code of Salesforce's own comes from
// its edge or from a proxy and is temporary: a web page with 400, 403, 404 or 421, or a 420. The exception is a
// redirect of the token endpoint, which means that the org has another My Domain.
func classify(op string, status int, code, description string) Kind {
	known := findKnownError(code, description)
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

// statusEnhanceYourCalm is the status of Salesforce's edge when it is busy.
const statusEnhanceYourCalm = 420

// isCode reports whether code has the form of Salesforce's own codes: words of one case, joined by underscores. A
// proxy's {"error": "Not Found"} has another form.
func isCode(code string) bool {
	lower, upper := strings.ToLower(code), strings.ToUpper(code)
	return code != "" && strings.Trim(code, alphanumeric+"_") == "" && (code == lower || code == upper)
}
