package sfoauthtest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// responding returns a fault that responds without handling the request.
func responding(name string, reply func(*Org, *request) *response) Fault {
	return Fault{name: name, replace: reply}
}

// Unavailable responds with 503 and a web page, as an overloaded or restarting server does.
func Unavailable() Fault {
	return responding("503 with a web page", func(*Org, *request) *response {
		const page = "<html><head><title>Server Unavailable</title></head><body>The server is busy.</body></html>\n"
		return htmlPage(http.StatusServiceUnavailable, page)
	})
}

// WebPage responds with a web page. Salesforce's edge does so with 400, 403, 404, 420 or 421 when it is busy or does
// not find the org, whatever the app's state. Source: public bug reports.
func WebPage(status int) Fault {
	return responding(fmt.Sprintf("web page with %d", status), func(*Org, *request) *response {
		const page = "<html><head><title>%d</title></head><body>Try again later.</body></html>\n"
		return htmlPage(status, fmt.Sprintf(page, status))
	})
}

// Maintenance responds with 503 and the page of an org under maintenance.
func Maintenance() Fault {
	return responding("maintenance", func(*Org, *request) *response {
		const page = "<!DOCTYPE html>\n<html><head><title>Scheduled Maintenance</title></head>" +
			"<body>We are down for maintenance.</body></html>\n"
		return htmlPage(http.StatusServiceUnavailable, page)
	})
}

// TooManyRequests responds with 429. Retry-After is a number of seconds, or a date if asDate is set.
func TooManyRequests(after time.Duration, asDate bool) Fault {
	name := fmt.Sprintf("429 with %v in seconds", after)
	if asDate {
		name = fmt.Sprintf("429 with %v as a date", after)
	}
	return responding(name, func(o *Org, r *request) *response {
		a := errorResponse(r, http.StatusTooManyRequests, "rate_limit_exceeded", "too many requests")
		value := strconv.Itoa(int(after / time.Second))
		if asDate {
			value = o.config.Now().Add(after).UTC().Format(http.TimeFormat)
		}
		a.setHeader("Retry-After", value)
		return a
	})
}

// ErrorResponse responds with the status and an error in the endpoint's format, OAuth's or the REST API's.
func ErrorResponse(status int, code, text string) Fault {
	return responding(fmt.Sprintf("%d %s %s", status, code, text), func(_ *Org, r *request) *response {
		return errorResponse(r, status, code, text)
	})
}

func errorResponse(r *request, status int, code, text string) *response {
	if !r.endpoint.oauth() {
		return restError(status, code, text)
	}
	a := oauthError(code, text)
	a.status = status
	return a
}

// Redirect responds with a redirect to another base URL, or to the org's own if to is empty. A request that follows it,
// to this Org or another, is recorded as a violation.
func Redirect(status int, to string) Fault {
	return responding(fmt.Sprintf("redirect with %d", status), func(_ *Org, r *request) *response {
		base := r.base
		if to != "" {
			base = to
		}
		return redirect(status, base+redirectPath)
	})
}

// OAuthErrors returns the errors that Salesforce documents for the client credentials flow, as faults of the token
// endpoint. Source: Salesforce Help, "OAuth 2.0 Authorization Errors".
func OAuthErrors() []Fault {
	var faults []Fault
	for _, e := range [][2]string{
		{"app_not_found", "External client app is not installed in this org"},
		{"inactive_org", "organization is locked, closed, or suspended"},
		{"inactive_user", "user is inactive"},
		{"invalid_app_access", "user is not admin approved to access this app"},
		{"invalid_client", "invalid client credentials"},
		{"invalid_client_id", "client identifier invalid"},
		{"invalid_grant", "authentication failure"},
		{"invalid_grant", "inactive organization"},
		{"invalid_grant", "inactive user"},
		{"invalid_grant", "ip restricted"},
		{"invalid_grant", "ip restricted or invalid login hours"},
		{"invalid_grant", "login rate exceeded"},
		{"invalid_grant", "no client credentials user enabled"},
		{"invalid_grant", "no valid scopes defined"},
		{"invalid_grant", "request not supported on this domain"},
		{"invalid_grant", "token request is already being processed"},
		{"invalid_grant", "user hasn't approved this consumer"},
		{"invalid_request", "scope parameter not supported"},
		{"OAUTH_APP_BLOCKED", "this app is blocked by admin"},
		{"rate_limit_exceeded", "rate limit exceeded"},
		{"unknown_error", "retry your request"},
		{"unsupported_grant_type", "grant type not supported"},
	} {
		f := ErrorResponse(http.StatusBadRequest, e[0], e[1])
		f.matches = func(at Endpoint) bool { return at == Token }
		faults = append(faults, f)
	}
	return faults
}

// RESTErrors returns the errors that any request to the REST API may get. Source: REST API Developer Guide, "Status
// Codes and Error Responses".
func RESTErrors() []Fault {
	faults := []Fault{
		ErrorResponse(http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid"),
		ErrorResponse(http.StatusUnauthorized, "INVALID_SESSION_ID", "This session is not valid for use with the REST API"),
		ErrorResponse(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
		ErrorResponse(http.StatusForbidden, "INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id"),
		ErrorResponse(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist"),
		ErrorResponse(http.StatusInternalServerError, "UNKNOWN_EXCEPTION", "An unexpected error occurred."),
		ErrorResponse(http.StatusServiceUnavailable, "SERVER_UNAVAILABLE", "Server is temporarily unavailable"),
	}
	for i := range faults {
		faults[i].matches = func(at Endpoint) bool { return !at.oauth() }
	}
	return faults
}

// AllFaults returns one fault of every kind, each with a unique name.
func AllFaults() []Fault {
	faults := []Fault{
		Latency(time.Second), Hang(), HangAfterCommit(), Reset(), ResetAfterCommit(), Truncate(), TruncateHeader(),
		NotHTTP(), BodyOnly(), BodyAsHeader(),
		Trickle(time.Second), OversizedBody(2 << 20), OversizedGzip(2 << 20), OversizedHeader(2 << 20),
		Unavailable(), Maintenance(), TooManyRequests(30*time.Second, false), TooManyRequests(time.Minute, true),
		ErrorResponse(http.StatusInternalServerError, "server_error", "an unexpected error occurred"),
		ErrorResponse(http.StatusBadGateway, "temporarily_unavailable", "upstream failed"),
		WebPage(400), WebPage(403), WebPage(404), WebPage(420), WebPage(421),
		Redirect(301, ""), Redirect(302, ""), Redirect(307, ""), Redirect(308, ""),
		Body("").named("empty body"), Body(`{"access_token":"x`).named("malformed JSON"), Body(`null`).named("JSON null"),
		Body(`"text"`).named("JSON string"), Body(`[1,2]`).named("JSON list"), Body(`{}`).named("JSON object without fields"),
		Body(strings.Repeat("[", 50_000)).named("deeply nested JSON"),
		Body("<html><body>Log in</body></html>").named("200 with a web page"),
		Body(`{"error":"invalid_grant","error_description":"authentication failure"}`).named("200 with an error"),
		Body(`{"access_token":1,"instance_url":[],"id":{},"active":"yes","user_id":7,"organization_id":null,"id":9}`).
			named("JSON fields of the wrong type"),
	}
	faults = append(faults, tokenFaults()...)
	faults = append(faults, OAuthErrors()...)
	return append(faults, RESTErrors()...)
}

func tokenFaults() []Fault {
	const idPath = "/id/00Dxx0000000001AAA/005xx0000000001AAA"
	return []Fault{
		WrongSignature(), OtherUser(), OtherOrg(),
		Field("signature", "not base64!").named("malformed signature"),
		Field("id", nil).named("no id"),
		Field("id", "https://login.salesforce.com/id/").named("malformed id"),
		Field("id", "https://login.attacker.example"+idPath).named("foreign id"),
		Field("id", "https://login.salesforce.com@attacker.example"+idPath).named("id with a user"),
		Field("id", "http://login.salesforce.com"+idPath).named("plain-http id"),
		Field("issued_at", "yesterday").named("malformed issued_at"),
		Field("token_type", "MAC").named("token_type MAC"),
		Field("token_type", nil).named("no token_type"),
		Field("access_token", nil).named("no access_token"),
		Field("access_token", "").named("empty access_token"),
		Field("access_token", "00Dfake 000000000000!space").named("access_token with a space"),
		Field("access_token", "00Dfake\r\nX-Injected: 1").named("access_token with a line break"),
		Field("access_token", "00Dfake\x00\x7f").named("access_token that does not print"),
		Field("access_token", "00Dfakeé").named("access_token outside ASCII"),
		Field("token_format", "jwt").named("opaque token called a JWT"),
		Field("instance_url", nil).named("no instance_url"),
		Field("instance_url", "https://salesforce.attacker.example").named("foreign instance_url"),
		Field("instance_url", "https://my.salesforce.com@attacker.example").named("instance_url with a user"),
		Field("instance_url", "https://attackersalesforce.com").named("instance_url with a like name"),
		Field("instance_url", "http://acme.my.salesforce.com").named("plain-http instance_url"),
		Field("instance_url", "file:///etc/hosts").named("instance_url that is a file"),
		Field("api_instance_url", "https://api.attacker.example").named("foreign api_instance_url"),
		Field("api_instance_url", "http://api.salesforce.com").named("plain-http api_instance_url"),
	}
}

func (f Fault) named(name string) Fault {
	f.name = name
	return f
}
