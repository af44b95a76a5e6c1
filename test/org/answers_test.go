package org

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// accepted reports whether the REST API accepts the token. Introspection could also depend on who asks.
func (f *flow) accepted(token *sfoauth.Token) bool {
	f.Helper()
	err := f.client(f.current).Ping(f.Context(), token)
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok && refused.Status == http.StatusUnauthorized {
		return false
	}
	f.must("calling the REST API", err)
	return true
}

// signer tells which secret has signed the token response: that of v, which is called name, or the primary one.
func (f *flow) signer(token *sfoauth.Token, name string, v, primary *appsecret.Version) string {
	switch {
	case token.Signature.IsZero():
		return "none: the response has no signature"
	case f.client(v).VerifySignature(token) == nil:
		return name
	case f.client(primary).VerifySignature(token) == nil:
		return "the primary secret"
	default:
		return "another one"
	}
}

// format returns the token's format. Source: Salesforce Help, "JWT-Based Access Tokens".
func format(token *sfoauth.Token) string {
	head, _, _ := strings.Cut(token.AccessToken.Reveal(), ".")
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(head, "="))
	var header struct{ Alg string }
	if token.Expiry.IsZero() || err != nil || json.Unmarshal(raw, &header) != nil {
		return "opaque"
	}
	return fmt.Sprintf("JWT, alg %.16q", header.Alg)
}

func yes(b bool) string { return map[bool]string{true: "yes", false: "no"}[b] }

// yesOrRefusal returns an answer for a call that Salesforce may refuse. It fails the test if it has not answered.
func (f *flow) yesOrRefusal(err error) string {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	switch {
	case err == nil:
		return "yes"
	case ok && refused.Code != "":
		return fmt.Sprintf("no: %v", err)
	}
	f.Errorf("no answer: %v", err)
	return "no answer"
}

// recorder keeps the last response, since the answers are about more of it than package sfoauth returns.
type recorder struct {
	status int
	body   []byte
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	r.status, r.body = response.StatusCode, body
	return response, nil
}

// summary describes the response without its values: they may be secrets.
func (r *recorder) summary() string {
	var oauth struct{ Error string }
	var rest []struct{ ErrorCode string }
	var fields map[string]json.RawMessage
	text := fmt.Sprintf("HTTP %d", r.status)
	switch {
	case len(r.body) == 0:
	case json.Unmarshal(r.body, &oauth) == nil && oauth.Error != "":
		text += fmt.Sprintf(" %.64q", oauth.Error)
	case json.Unmarshal(r.body, &rest) == nil && len(rest) > 0:
		text += fmt.Sprintf(" %.64q", rest[0].ErrorCode)
	case json.Unmarshal(r.body, &fields) == nil:
		text += " with an object"
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			text += fmt.Sprintf(" %.64q", name)
			if string(fields[name]) == "[]" {
				text += "=[]"
			}
		}
	default:
		text += fmt.Sprintf(" with %d bytes that are no JSON object", len(r.body))
	}
	return text
}
