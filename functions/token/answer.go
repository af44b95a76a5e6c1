package main

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"github.com/sftoken/sftoken/internal/vending"
)

// Codes that only the API itself answers, beside vending's.
const (
	unsupportedGrantType vending.Code = "unsupported_grant_type"
	methodNotAllowed     vending.Code = "method_not_allowed"
)

const allow = "GET, POST, DELETE"

// status is the HTTP status of each error code.
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

// response is what API Gateway turns into HTTP. Source: API Gateway Developer Guide, "Output format of a Lambda function
// for proxy integration".
type response struct {
	StatusCode int     `json:"statusCode"`
	Headers    headers `json:"headers"`
	Body       string  `json:"body"`
}

type headers struct {
	ContentType  string        `json:"Content-Type,omitempty"`
	CacheControl string        `json:"Cache-Control"`
	Cache        vending.Cache `json:"X-Token-Cache,omitempty"`
	RetryAfter   string        `json:"Retry-After,omitempty"`
	Allow        string        `json:"Allow,omitempty"`
}

// tokenBody is Salesforce's own answer, and what it leaves out.
type tokenBody struct {
	AccessToken    string `json:"access_token"`
	TokenType      string `json:"token_type"`
	ExpiresIn      int64  `json:"expires_in"` // seconds
	TokenID        string `json:"token_id"`
	InstanceURL    string `json:"instance_url"`
	APIInstanceURL string `json:"api_instance_url,omitempty"`
	ID             string `json:"id"`
	Scope          string `json:"scope,omitempty"`
	IssuedAt       string `json:"issued_at,omitempty"`
	Signature      string `json:"signature,omitempty"`
}

type errorBody struct {
	Error           vending.Code `json:"error"`
	Description     string       `json:"error_description"`
	SalesforceError string       `json:"salesforce_error,omitempty"`
	RequestID       string       `json:"request_id"`
}

// answer writes the response. Apart from the request to Salesforce this is the only place where a token is revealed.
func (e *entry) answer() ([]byte, error) {
	r := response{Headers: headers{ContentType: "application/json", CacheControl: "no-store", Cache: e.grant.Cache}}
	failed := e.failure()
	switch {
	case failed != nil:
		r.StatusCode = status(failed.Code)
		r.Body = encode(errorBody{failed.Code, failed.Description, failed.SalesforceError, e.requestID})
		if failed.RetryAfter > 0 {
			r.Headers.RetryAfter = strconv.Itoa(int(math.Ceil(failed.RetryAfter.Seconds())))
		}
		if failed.Code == methodNotAllowed {
			r.Headers.Allow = allow
		}
	case e.grant.Token == nil:
		r.StatusCode, r.Headers.ContentType = http.StatusNoContent, ""
	default:
		t := e.grant.Token
		r.StatusCode = http.StatusOK
		r.Body = encode(tokenBody{
			AccessToken: t.AccessToken.Reveal(), TokenType: t.TokenType, ExpiresIn: int64(e.grant.ExpiresIn.Seconds()),
			TokenID: e.grant.ID, InstanceURL: t.InstanceURL, APIInstanceURL: t.APIInstanceURL, ID: t.ID, Scope: t.Scope,
			IssuedAt: t.IssuedAt, Signature: t.Signature.Reveal(),
		})
	}
	return json.Marshal(r)
}

func encode(body any) string {
	text, _ := json.Marshal(body) // strings and numbers always can be
	return string(text)
}
