package tokenapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sftoken/sftoken/internal/jsontext"
	"github.com/sftoken/sftoken/internal/vending"
)

// event is what this function needs of an API Gateway proxy event, payload version 1.0.
type event struct {
	method, path, app, body, requestID string
	isBase64                           bool
	isTest                             bool // of the API Gateway console
	rejected                           []string
	caller                             caller
}

// caller is who IAM says is asking.
type caller struct {
	arn, account, sourceIP string
}

// testStage is the stage, as JSON, in the events of the API Gateway console's "Test" button, for which no IAM policy of
// the API was asked. Source: API Gateway Developer Guide, "Use the API Gateway console to test a REST API method".
const testStage = `"test-invoke-stage"`

// maxForm bounds the form of a POST, in bytes. A client credentials request has about 200.
const maxForm = 8 << 10

// parseEvent reads an event. One that is none is a defect of the deployment, not of a caller.
func parseEvent(payload []byte) (event, *vending.Error) {
	var e event
	var single *string
	err := jsontext.Members(payload, func(name, value []byte) (err error) {
		switch string(name) {
		case "httpMethod":
			e.method, err = jsontext.Text(value)
		case "path":
			e.path, err = jsontext.Text(value)
		case "body":
			e.body, err = jsontext.Text(value)
		case "isBase64Encoded":
			e.isBase64 = string(value) == "true"
		case "pathParameters":
			err = jsontext.Members(value, func(name, value []byte) (err error) {
				if string(name) == "app" {
					e.app, err = jsontext.Text(value)
				}
				return err
			})
		case "queryStringParameters":
			err = jsontext.Members(value, func(name, value []byte) (err error) {
				if string(name) == "rejected" {
					single = new(string)
					*single, err = jsontext.Text(value)
				}
				return err
			})
		case "multiValueQueryStringParameters":
			err = jsontext.Members(value, func(name, value []byte) error {
				if string(name) == "rejected" {
					return json.Unmarshal(value, &e.rejected)
				}
				return nil
			})
		case "requestContext":
			err = jsontext.Members(value, e.parseContext)
		}
		return err
	})
	if err != nil || e.method == "" {
		return event{}, invalid("this is not an API Gateway proxy event of payload version 1.0")
	}
	if e.rejected == nil && single != nil {
		e.rejected = []string{*single}
	}
	return e, nil
}

func (e *event) parseContext(name, value []byte) (err error) {
	switch string(name) {
	case "requestId":
		e.requestID, err = jsontext.Text(value)
	case "stage":
		e.isTest = string(value) == testStage
	case "identity":
		err = jsontext.Members(value, e.caller.parse)
	}
	return err
}

// request checks what the caller wants.
func (e *event) request() (vending.Request, *vending.Error) {
	// IAM has decided by the path as it was written. An app that was reached by another spelling was not decided on.
	if e.app == "" || !strings.HasSuffix(e.path, "/tokens/"+e.app) {
		return vending.Request{}, invalid("the path must be /tokens/{app}, without escapes")
	}
	req := vending.Request{App: e.app, Principal: e.caller.arn}
	if len(e.rejected) > 1 || len(e.rejected) == 1 && !isTokenID(e.rejected[0]) {
		return vending.Request{}, invalid("rejected must be one token_id: 16 hex digits, as an earlier answer gave it")
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

// checkForm accepts no body, or a client credentials request (RFC 6749 section 4.4.2), of which it needs nothing.
func (e *event) checkForm() *vending.Error {
	if len(e.body) > maxForm {
		return invalid("the body is too long for a token request")
	}
	body := e.body
	if e.isBase64 {
		decoded, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return invalid("the body is not base64, though the event says so")
		}
		body = string(decoded)
	}
	if strings.TrimSpace(body) == "" {
		return nil
	}
	form, err := url.ParseQuery(strings.TrimSpace(body))
	if err != nil || len(form["grant_type"]) != 1 {
		return invalid("the body must be empty, or a form with grant_type=client_credentials")
	}
	if !slices.Equal(form["grant_type"], []string{"client_credentials"}) {
		return &vending.Error{Code: unsupportedGrantType, Description: "the grant_type must be client_credentials"}
	}
	return nil
}

func (c *caller) parse(name, value []byte) (err error) {
	switch string(name) {
	case "userArn":
		c.arn, err = jsontext.Text(value)
	case "accountId":
		c.account, err = jsontext.Text(value)
	case "sourceIp":
		c.sourceIP, err = jsontext.Text(value)
	}
	return err
}

func isTokenID(text string) bool {
	return len(text) == 16 && strings.Trim(text, "0123456789abcdef") == ""
}

func invalid(description string) *vending.Error {
	return &vending.Error{Code: vending.InvalidRequest, Description: description}
}
