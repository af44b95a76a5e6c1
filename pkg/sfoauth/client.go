// Package sfoauth is a client for Salesforce's OAuth 2.0 endpoints, for apps that use the client credentials flow. It
// requests, introspects and revokes tokens, and it stages and promotes an app's consumer credentials. It keeps no state
// between calls and caches nothing.
//
// Sources: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration", "OAuth 2.0 Token
// Introspection" and "Revoke OAuth Tokens".
package sfoauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client acts for one app in one org. Its methods are safe for concurrent use as long as its fields do not change.
// Every method that calls Salesforce honours its context, follows no redirect, and returns an *Error when it fails.
type Client struct {
	// BaseURL is the org's My Domain: https://<MyDomain>.my.salesforce.com.
	BaseURL string
	// ConsumerKey and ConsumerSecret are the app's credentials.
	ConsumerKey    string
	ConsumerSecret Secret
	// AllowUnverifiedSignature makes Token return a token whose signature does not verify, with the reason in
	// Token.SignatureErr. Set it for staged and rotated credentials only: Salesforce does not document whether it signs
	// with their secret or with that of the primary credentials. If false, a wrong signature is an error.
	AllowUnverifiedSignature bool
	// AllowedHosts are allowed in addition to Salesforce's own hosts.
	AllowedHosts AllowedHosts
	// HTTPClient sends the requests; its CheckRedirect is ignored. If nil, http.DefaultClient is used. A process that is
	// frozen between requests, as on AWS Lambda, should use the transport that NewTransport returns.
	HTTPClient *http.Client
	// Timeout bounds each call in addition to its context. If zero, it is 10 seconds.
	Timeout time.Duration
}

// maxBody is the largest response that is read, in bytes. A token response with a JWT has about 3,000.
const maxBody = 64 << 10

// NewTransport returns a transport for processes that may be frozen between requests. It closes connections that were
// idle for 30 seconds of wall-clock time, since the server may have closed them during the freeze. It uses the
// environment's proxy, and gives up connecting after 3 seconds. It is safe for concurrent use: create one for all.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSHandshakeTimeout:    3 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: maxBody,
		ForceAttemptHTTP2:      true,
	}
}

// call is one request to Salesforce.
type call struct {
	op     string // Error.Op
	method string
	base   string     // scheme and host
	path   string     // below base
	form   url.Values // sent as the body
	json   string     // sent as the body if form is nil; empty: no body
	rest   bool       // any 2xx is a success, as in the REST API; the OAuth endpoints respond with 200
	bearer Secret     // sent in the Authorization header
	redact []Secret   // removed from text that Salesforce returns
}

// post returns a call that authenticates with the app's credentials in the form. Salesforce also accepts a Basic
// header, but trying both would cost a login each.
func (c *Client) post(op, base, path string, form url.Values, redact ...Secret) call {
	form.Set("client_id", c.ConsumerKey)
	form.Set("client_secret", c.ConsumerSecret.Reveal())
	return call{
		op: op, method: http.MethodPost, base: base, path: path, form: form, redact: append(redact, c.ConsumerSecret),
	}
}

// withToken returns a call that authenticates with token, at the token's instance.
func (c *Client) withToken(op, method, path string, token *Token) call {
	return call{
		op: op, method: method, base: c.instanceURL(token), path: path,
		bearer: token.AccessToken, redact: []Secret{token.AccessToken, c.ConsumerSecret},
	}
}

func (c *Client) instanceURL(token *Token) string {
	if token.InstanceURL == "" {
		return c.BaseURL
	}
	return token.InstanceURL
}

// do sends the request to a host that check accepts and returns the body of a successful response.
func (c *Client) do(ctx context.Context, req call, check func(string) (*url.URL, error)) ([]byte, error) {
	base, err := check(req.base)
	if err != nil {
		return nil, &Error{Op: req.op, Kind: Permanent, Err: err}
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	failed := &Error{Op: req.op, Host: base.Host}
	resp, err := c.send(ctx, base, req)
	if err != nil {
		failed.Kind, failed.Err = networkErrorKind(err), networkError(ctx, err)
		return nil, failed
	}
	defer resp.Body.Close()
	failed.Status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		failed.Err = fmt.Errorf("incomplete response: %w", networkError(ctx, err))
		return nil, failed
	case resp.StatusCode != http.StatusOK && !(req.rest && resp.StatusCode/100 == 2):
		return nil, responseError(failed, resp, base, body, req.redact)
	case len(body) > maxBody:
		failed.Kind, failed.Err = InvalidResponse, fmt.Errorf("response has more than %d bytes", maxBody)
		return nil, failed
	}
	return body, nil
}

// doJSON sends the request to an instance and decodes the response into dst.
func (c *Client) doJSON(ctx context.Context, req call, dst any) error {
	body, err := c.do(ctx, req, c.AllowedHosts.Instance)
	if err != nil {
		return err
	}
	if err := decode(body, dst); err != nil {
		return c.invalidResponse(req, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, base *url.URL, req call) (*http.Response, error) {
	var body io.Reader
	switch {
	case req.form != nil:
		body = strings.NewReader(req.form.Encode())
	case req.json != "":
		body = strings.NewReader(req.json)
	}
	r, err := http.NewRequestWithContext(ctx, req.method, base.String()+req.path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "sfoauth")
	if req.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		// An empty Idempotency-Key is not sent. It lets net/http repeat the POST when a kept-alive connection turns out
		// to be closed, as it is after a freeze. At worst that costs one more login.
		r.Header["Idempotency-Key"] = []string{}
	}
	if req.json != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if !req.bearer.IsZero() {
		r.Header.Set("Authorization", "Bearer "+req.bearer.Reveal())
	}
	client := http.DefaultClient
	if c.HTTPClient != nil {
		client = c.HTTPClient
	}
	noRedirects := *client
	noRedirects.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return noRedirects.Do(r)
}

// decode reads one JSON value and nothing after it.
func decode(body []byte, dst any) error {
	if err := json.Unmarshal(body, dst); err != nil {
		return errors.New("invalid JSON in response") // err may quote the response
	}
	return nil
}

// invalidResponse returns the error for a response to req that failed a check.
func (c *Client) invalidResponse(req call, err error) error {
	host := ""
	if base, err := c.AllowedHosts.Instance(req.base); err == nil {
		host = base.Host
	}
	return &Error{Op: req.op, Host: host, Status: http.StatusOK, Kind: InvalidResponse, Err: err}
}
