package tokenapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/sftoken/sftoken/internal/vending"
)

// event holds what this function reads of an API Gateway proxy event, payload version 1.0.
type event struct {
	method, path, app, body, requestID, stage string
	isBase64                                  bool
	rejected                                  []string
	caller                                    caller
}

// caller is who sent the request, as IAM has authenticated it. Source: API Gateway Developer Guide, "Input format of a
// Lambda function for proxy integration", requestContext.identity.
type caller struct {
	arn, account, sourceIP string
	userAgent              string // the caller's choice, not authenticated; empty: it sent none
}

// testStage is the stage in events of the API Gateway console's "Test" button, for which no IAM policy was evaluated.
// Source: API Gateway Developer Guide, "Use the API Gateway console to test a REST API method".
const testStage = "test-invoke-stage"

// maxForm bounds the body of a POST, in bytes. A client credentials request has about 200.
const maxForm = 8 << 10

// maxBrackets is the number of brackets up to which gjson validates an event. Its validation is recursive, and a
// process does not survive a stack overflow. An event of API Gateway has about a dozen brackets, in addition to those
// in its strings, of which a caller may send millions.
const maxBrackets = 100_000

// parseEvent reads an event. It fails only if the API is deployed incorrectly; a caller cannot make it fail. A field of
// an unexpected type counts as empty.
//
// It uses gjson since most of an event is headers, which this function does not read: encoding/json takes longer for
// them than for everything else that a cached vend does.
func parseEvent(payload []byte) (event, *vending.Error) {
	if !utf8.Valid(payload) || !isJSON(payload) {
		return event{}, errNotAnEvent
	}
	var e event
	var single, all gjson.Result // rejected
	gjson.ParseBytes(payload).ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "httpMethod":
			e.method = value.Str
		case "path":
			e.path = value.Str
		case "pathParameters":
			e.app = value.Get("app").Str
		case "queryStringParameters":
			single = value.Get("rejected")
		case "multiValueQueryStringParameters":
			all = value.Get("rejected")
		case "body":
			e.body = value.Str
		case "isBase64Encoded":
			e.isBase64 = value.Type == gjson.True
		case "requestContext":
			e.requestID, e.stage = value.Get("requestId").Str, value.Get("stage").Str
			e.caller.parse(value.Get("identity"))
		}
		return true
	})
	if e.method == "" {
		return event{}, errNotAnEvent
	}
	if all.IsArray() {
		for _, one := range all.Array() {
			e.rejected = append(e.rejected, one.Str)
		}
	} else if single.Exists() {
		e.rejected = []string{single.Str}
	}
	return e, nil
}

// isJSON reports whether the payload is JSON. With many brackets it uses encoding/json, which limits the nesting.
func isJSON(payload []byte) bool {
	if bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) > maxBrackets {
		return json.Valid(payload)
	}
	return gjson.ValidBytes(payload)
}

func (c *caller) parse(identity gjson.Result) {
	identity.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "userArn":
			c.arn = value.Str
		case "accountId":
			c.account = value.Str
		case "sourceIp":
			c.sourceIP = value.Str
		case "userAgent":
			c.userAgent = value.Str
		}
		return true
	})
}

var errNotAnEvent = invalid("this is not an API Gateway proxy event of payload version 1.0")

// request validates the event's parameters and body.
func (e *event) request() (vending.Request, *vending.Error) {
	// IAM authorized the path as it was written. An app in another spelling was not authorized.
	if e.app == "" || !strings.HasSuffix(e.path, "/tokens/"+e.app) {
		return vending.Request{}, invalid("the path must be /tokens/{app}, without escapes")
	}
	req := vending.Request{App: e.app, Principal: e.caller.arn}
	if len(e.rejected) > 1 || len(e.rejected) == 1 && !isTokenID(e.rejected[0]) {
		return vending.Request{}, invalid("rejected must be one token_id of an earlier response: 16 hex digits")
	}
	if len(e.rejected) == 1 {
		req.Rejected = e.rejected[0]
	}
	if e.method == http.MethodPost {
		if err := e.checkForm(); err != nil {
			return vending.Request{}, err
		}
	}
	return req, nil
}

// checkForm accepts an empty body or a client credentials request (RFC 6749 section 4.4.2), and uses neither.
func (e *event) checkForm() *vending.Error {
	if len(e.body) > maxForm {
		return invalid("the body is too long for a token request")
	}
	body := e.body
	if e.isBase64 {
		decoded, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return invalid("the body is not base64, although the event declares it as base64")
		}
		body = string(decoded)
	}
	if body = strings.TrimSpace(body); body == "" {
		return nil
	}
	form, err := url.ParseQuery(body)
	if err != nil || len(form["grant_type"]) != 1 {
		return invalid("the body must be empty, or a form with grant_type=client_credentials")
	}
	if form.Get("grant_type") != "client_credentials" {
		return &vending.Error{Code: unsupportedGrantType, Description: "the grant_type must be client_credentials"}
	}
	return nil
}

func isTokenID(text string) bool {
	return len(text) == 16 && strings.Trim(text, "0123456789abcdef") == ""
}

func invalid(description string) *vending.Error {
	return &vending.Error{Code: vending.InvalidRequest, Description: description}
}
