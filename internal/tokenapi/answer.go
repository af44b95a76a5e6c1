package tokenapi

import (
	"math"
	"net/http"
	"strconv"

	"github.com/sftoken/sftoken/internal/jsontext"
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

// answer writes what API Gateway turns into HTTP. Source: API Gateway Developer Guide, "Output format of a Lambda function for
// proxy integration". Apart from the request to Salesforce this is the only place where a token is revealed.
func (e *entry) answer() []byte {
	failed := e.failure()
	code, contentType, body := http.StatusNoContent, "", make(jsontext.Object, 0, 2048) // on the stack, unless a token is long
	switch {
	case failed != nil:
		code, contentType, body = status(failed.Code), "application/json", e.errorBody(append(body, '{'), failed)
	case e.grant.Token != nil:
		code, contentType, body = http.StatusOK, "application/json", e.tokenBody(append(body, '{'))
	}
	answer := append(make(jsontext.Object, 0, len(body)+len(body)/4+256), '{').Int("statusCode", int64(code)).Open("headers").
		Optional("Content-Type", contentType).String("Cache-Control", "no-store").Optional("X-Token-Cache", string(e.grant.CacheStatus))
	if failed != nil && failed.RetryAfter > 0 {
		answer = answer.String("Retry-After", strconv.Itoa(int(math.Ceil(failed.RetryAfter.Seconds()))))
	}
	if failed != nil && failed.Code == methodNotAllowed {
		answer = answer.String("Allow", allow)
	}
	return jsontext.AppendString(answer.Close().Name("body"), body).Close()
}

// tokenBody is Salesforce's own answer, and what it leaves out. Its signature is not passed on: a caller cannot check
// it without the consumer secret, and could try out secrets with it.
func (e *entry) tokenBody(body jsontext.Object) jsontext.Object {
	t := e.grant.Token
	return body.String("access_token", t.AccessToken.Reveal()).String("token_type", t.TokenType).
		Int("expires_in", int64(e.grant.ExpiresIn.Seconds())).String("token_id", e.grant.TokenID).
		String("instance_url", t.InstanceURL).Optional("api_instance_url", t.APIInstanceURL).String("id", t.ID).
		Optional("scope", t.Scope).Optional("issued_at", t.IssuedAt).Close()
}

func (e *entry) errorBody(body jsontext.Object, failed *vending.Error) jsontext.Object {
	return body.String("error", string(failed.Code)).String("error_description", failed.Description).
		Optional("salesforce_error", failed.SalesforceError).String("request_id", e.requestID).Close()
}
