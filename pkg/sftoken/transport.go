package sftoken

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Transport is an http.RoundTripper that calls Salesforce with the token of a TokenSource. A request whose URL has no
// host goes to the token's instance. A request to any host but the token's own fails, so that the token is not sent
// there. The token goes over https only, or to localhost or a loopback address.
//
// If Salesforce responds that the session has ended (401 INVALID_SESSION_ID, 403 Bad_OAuth_Token, or 400
// InvalidSessionId of Bulk API 1.0), Transport replaces the token and repeats the request, provided that its body can
// be repeated (http.Request.GetBody). If the API finds the token active, Transport returns Salesforce's response, which
// may also mean a missing scope. Transport is safe for concurrent use.
type Transport struct {
	// Source provides the tokens. It must not be nil.
	Source *TokenSource
	// Base sends the requests. If nil, http.DefaultTransport is used.
	Base http.RoundTripper
}

// maxReplacements is how often a request is repeated with another token. Each instance of the API may hold a different
// token, and all of them end at once when an administrator ends the user's sessions.
const maxReplacements = 3

// RoundTrip implements http.RoundTripper. The error is an *Error if the API responded without a token.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.Source.Fetch(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, token)
	for range maxReplacements {
		if err != nil || !sessionEnded(req, resp) {
			break
		}
		// If the request cannot be repeated, the token is replaced for the requests that follow.
		next, failed := t.Source.Refresh(req.Context(), token.ID)
		if failed == nil && next.ID == token.ID {
			break
		}
		again := cloneForRetry(req)
		if again == nil {
			break
		}
		_ = resp.Body.Close()
		if failed != nil {
			closeBody(again)
			return nil, failed
		}
		token = next
		resp, err = t.send(again, token)
	}
	return resp, err
}

// send sends the request with the token.
func (t *Transport) send(req *http.Request, token *Token) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	out := req.Clone(req.Context())
	if err := rewriteURL(out, token); err != nil {
		closeBody(req)
		return nil, err
	}
	out.Header.Set("Authorization", "Bearer "+token.AccessToken.Reveal())
	if isBulk(out) {
		out.Header.Set("X-SFDC-Session", token.AccessToken.Reveal())
	}
	return base.RoundTrip(out)
}

// cloneForRetry returns the request with its body rewound, or nil if the body cannot be repeated.
func cloneForRetry(req *http.Request) *http.Request {
	again := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return again
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again.Body = body
	return again
}

// rewriteURL directs a request without a host to the token's instance, and checks the host of any other.
func rewriteURL(req *http.Request, token *Token) error {
	instance, err := url.Parse(token.InstanceURL)
	if err != nil || instance.Host == "" || !isHTTPSOrLoopback(instance) {
		return errors.New("sftoken: the token's instance_url is not an https URL")
	}
	if req.URL.Host == "" {
		req.URL.Scheme, req.URL.Host, req.Host = instance.Scheme, instance.Host, ""
		return nil
	}
	api, err := url.Parse(token.APIInstanceURL)
	if sameOrigin(req.URL, instance) || err == nil && isHTTPSOrLoopback(api) && sameOrigin(req.URL, api) {
		return nil
	}
	return fmt.Errorf("sftoken: a token of %s is not sent to %s", instance.Host, req.URL.Host)
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}

// isBulk reports whether the request is one of Bulk API 1.0, which takes the token in the header X-SFDC-Session.
// Source: Bulk API 2.0 and Bulk API Developer Guide, "Set a Session Header".
func isBulk(req *http.Request) bool { return strings.HasPrefix(req.URL.Path, "/services/async/") }

// sessionEnded reports whether Salesforce rejected the session. The response's body can be read again afterwards.
// Errors are JSON, or XML for a client that accepts only that; the identity endpoints respond with plain text.
// Sources: REST API Developer Guide, "Status Codes and Error Responses"; Bulk API 2.0 and Bulk API Developer Guide,
// "Errors".
func sessionEnded(req *http.Request, resp *http.Response) bool {
	var ended func(body []byte) bool
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		ended = func(body []byte) bool { return bytes.Contains(body, []byte("INVALID_SESSION_ID")) }
	case resp.StatusCode == http.StatusForbidden:
		ended = func(body []byte) bool { return bytes.Contains(body, []byte("Bad_OAuth_Token")) }
	case resp.StatusCode == http.StatusBadRequest && isBulk(req):
		ended = func(body []byte) bool { return bulkCode(body) == "InvalidSessionId" }
	default:
		return false
	}
	if req.Method == http.MethodHead {
		return resp.StatusCode == http.StatusUnauthorized // there is no body
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return err == nil && ended(gunzip(resp, head))
}

// bulkCode returns the exceptionCode of an error of Bulk API 1.0, in JSON or XML, or "" if there is none.
func bulkCode(body []byte) string {
	var e struct {
		Code string `json:"exceptionCode" xml:"exceptionCode"`
	}
	if json.Unmarshal(body, &e) != nil && xml.Unmarshal(body, &e) != nil {
		return ""
	}
	return e.Code
}

// gunzip decompresses the body of a response. net/http leaves that to a caller who asks for compression.
func gunzip(resp *http.Response, body []byte) []byte {
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return body
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(r, maxBody))
	return text
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
