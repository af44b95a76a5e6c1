package sftoken

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Transport is an http.RoundTripper that calls Salesforce with the source's token. A request whose URL has no host goes to
// the token's instance; a request to any other host than the token's own is refused, so that the token is not sent there.
// When Salesforce answers 401 INVALID_SESSION_ID, the token is replaced and the request repeated once, if its body can be
// repeated (http.Request.GetBody). It is safe for concurrent use.
type Transport struct {
	Source *Source
	// Base sends the requests. Nil: http.DefaultTransport.
	Base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.Source.Get(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, token)
	if err != nil || !sessionEnded(resp) || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return resp, err
	}
	// The same answer is given for a scope that is missing, which no other token mends: the API knows.
	next, err := t.Source.Replace(req.Context(), token.ID)
	if err != nil || next.ID == token.ID {
		return resp, nil
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	_ = resp.Body.Close()
	return t.send(again, next)
}

func (t *Transport) send(req *http.Request, token *Token) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	out := req.Clone(req.Context())
	if err := direct(out, token); err != nil {
		closeBody(req)
		return nil, err
	}
	out.Header.Set("Authorization", "Bearer "+token.AccessToken.Reveal())
	return base.RoundTrip(out)
}

// direct points the request to the token's instance, or checks that it goes there.
func direct(req *http.Request, token *Token) error {
	instance, err := url.Parse(token.InstanceURL)
	if err != nil || instance.Host == "" {
		return fmt.Errorf("sftoken: the token's instance_url is not a URL")
	}
	if req.URL.Host == "" {
		req.URL.Scheme, req.URL.Host, req.Host = instance.Scheme, instance.Host, ""
		return nil
	}
	api, err := url.Parse(token.APIInstanceURL)
	if sameOrigin(req.URL, instance) || err == nil && sameOrigin(req.URL, api) {
		return nil
	}
	return fmt.Errorf("sftoken: the token belongs to %s and is not sent to %s", instance.Host, req.URL.Host)
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// sessionEnded says whether Salesforce refused the session, and leaves the answer's body to be read once more.
func sessionEnded(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	var answers []struct {
		ErrorCode string `json:"errorCode"`
	}
	return err == nil && json.Unmarshal(head, &answers) == nil && len(answers) > 0 && answers[0].ErrorCode == "INVALID_SESSION_ID"
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
