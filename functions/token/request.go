package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sftoken/sftoken/internal/vending"
)

// event is what this function needs of an API Gateway proxy event, payload version 1.0. Decoding the whole of it would
// take longer than everything else that a cached answer needs.
type event struct {
	Method         string `json:"httpMethod"`
	Path           string `json:"path"`
	PathParameters struct {
		App string `json:"app"`
	} `json:"pathParameters"`
	Query struct {
		Rejected *string `json:"rejected"`
	} `json:"queryStringParameters"`
	MultiValueQuery struct {
		Rejected []string `json:"rejected"`
	} `json:"multiValueQueryStringParameters"`
	Body     string `json:"body"`
	IsBase64 bool   `json:"isBase64Encoded"`
	Context  struct {
		RequestID string `json:"requestId"`
		Identity  struct {
			UserARN   string `json:"userArn"`
			AccountID string `json:"accountId"`
			SourceIP  string `json:"sourceIp"`
		} `json:"identity"`
	} `json:"requestContext"`
}

// maxForm bounds the form of a POST, in bytes. A client credentials request has about 200.
const maxForm = 8 << 10

var tokenID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// parseEvent reads an event. One that is none is a defect of the deployment, not of a caller.
func parseEvent(payload []byte) (event, *vending.Error) {
	var e event
	if err := json.Unmarshal(payload, &e); err != nil || e.Method == "" {
		return event{}, invalid("this is not an API Gateway proxy event of payload version 1.0")
	}
	return e, nil
}

// request checks what the caller wants.
func (e *event) request() (vending.Request, *vending.Error) {
	app := e.PathParameters.App
	// IAM has decided by the path as it was written. An app that was reached by another spelling was not decided on.
	if app == "" || !strings.HasSuffix(e.Path, "/tokens/"+app) {
		return vending.Request{}, invalid("the path must be /tokens/{app}, without escapes")
	}
	req := vending.Request{App: app, Principal: e.Context.Identity.UserARN}
	rejected := e.MultiValueQuery.Rejected
	if rejected == nil && e.Query.Rejected != nil {
		rejected = []string{*e.Query.Rejected}
	}
	if len(rejected) > 1 || len(rejected) == 1 && !tokenID.MatchString(rejected[0]) {
		return vending.Request{}, invalid("rejected must be one token_id: 16 hex digits, as an earlier answer gave it")
	}
	if len(rejected) == 1 {
		req.Rejected = rejected[0]
	}
	if e.Method == http.MethodPost {
		if err := e.checkForm(); err != nil {
			return vending.Request{}, err
		}
	}
	return req, nil
}

// checkForm accepts no body, or a client credentials request (RFC 6749 section 4.4.2), of which it needs nothing.
func (e *event) checkForm() *vending.Error {
	if len(e.Body) > maxForm {
		return invalid("the body is too long for a token request")
	}
	body := e.Body
	if e.IsBase64 {
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

func invalid(description string) *vending.Error {
	return &vending.Error{Code: vending.InvalidRequest, Description: description}
}
