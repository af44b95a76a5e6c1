package tokenapi

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"github.com/sftoken/sftoken/internal/vending"
)

// Error codes of the API itself, in addition to those of internal/vending.
const (
	unsupportedGrantType vending.Code = "unsupported_grant_type"
	methodNotAllowed     vending.Code = "method_not_allowed"
)

const allowedMethods = "GET, POST, DELETE"

// status returns the HTTP status of an error code.
func status(code vending.Code) int {
	switch code {
	case vending.InvalidRequest, unsupportedGrantType:
		return http.StatusBadRequest
	case vending.AccessDenied:
		return http.StatusForbidden
	case vending.UnknownApp:
		return http.StatusNotFound
	case methodNotAllowed:
		return http.StatusMethodNotAllowed
	case vending.AppMisconfigured, vending.BadUpstreamResponse:
		return http.StatusBadGateway
	case vending.TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// response is what API Gateway turns into an HTTP response. Source: API Gateway Developer Guide, "Output format of a
// Lambda function for proxy integration".
type response struct {
	StatusCode int     `json:"statusCode"`
	Headers    headers `json:"headers"`
	Body       string  `json:"body"`
}

type headers struct {
	ContentType  string              `json:"Content-Type,omitempty"`
	CacheControl string              `json:"Cache-Control"`
	TokenCache   vending.CacheStatus `json:"X-Token-Cache,omitempty"`
	RetryAfter   string              `json:"Retry-After,omitempty"`
	Allow        string              `json:"Allow,omitempty"`
}

// tokenBody has the fields of Salesforce's token response, and those that it lacks. Salesforce's signature is left out:
// a caller cannot check it without the consumer secret, and could use it to guess secrets.
type tokenBody struct {
	AccessToken    string `json:"access_token"`
	TokenType      string `json:"token_type"`
	ExpiresIn      int64  `json:"expires_in"` // in seconds
	TokenID        string `json:"token_id"`
	InstanceURL    string `json:"instance_url"`
	APIInstanceURL string `json:"api_instance_url,omitempty"`
	ID             string `json:"id"`
	Scope          string `json:"scope,omitempty"`
	IssuedAt       string `json:"issued_at,omitempty"`
}

type errorBody struct {
	Error           vending.Code `json:"error"`
	Description     string       `json:"error_description"`
	SalesforceError string       `json:"salesforce_error,omitempty"`
	RequestID       string       `json:"request_id"`
}

// encode returns the response as JSON.
func (r response) encode(body any) []byte {
	r.Headers.CacheControl = "no-store"
	if body != nil {
		text, _ := json.Marshal(body) // structs of strings and numbers always can be
		r.Body, r.Headers.ContentType = string(text), "application/json"
	}
	encoded, _ := json.Marshal(r)
	return encoded
}

// response returns the response to the request. Apart from requests to Salesforce this is the only place where a
// token is revealed.
func (e *auditEvent) response() []byte {
	if failed := e.callerError(); failed != nil {
		r := response{StatusCode: status(failed.Code)}
		if failed.RetryAfter > 0 {
			r.Headers.RetryAfter = strconv.Itoa(int(math.Ceil(failed.RetryAfter.Seconds())))
		}
		if failed.Code == methodNotAllowed {
			r.Headers.Allow = allowedMethods
		}
		return r.encode(errorBody{failed.Code, failed.Description, failed.SalesforceError, e.requestID})
	}
	t := e.grant.Token
	if t == nil {
		return response{StatusCode: http.StatusNoContent}.encode(nil)
	}
	r := response{StatusCode: http.StatusOK, Headers: headers{TokenCache: e.grant.CacheStatus}}
	return r.encode(tokenBody{
		AccessToken: t.AccessToken.Reveal(), TokenType: t.TokenType, ExpiresIn: int64(e.grant.ExpiresIn.Seconds()),
		TokenID: e.grant.TokenID, InstanceURL: t.InstanceURL, APIInstanceURL: t.APIInstanceURL, ID: t.ID,
		Scope: t.Scope, IssuedAt: t.IssuedAt,
	})
}
