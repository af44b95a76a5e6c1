// Package sfoauth is a client for Salesforce's OAuth 2.0 endpoints, for an app that uses the client credentials flow: ask
// for a token, introspect it, revoke it, see who it is. It keeps no state between calls: caching tokens is left to
// others.
//
// Source of what Salesforce does: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server
// Integration", "OAuth 2.0 Token Introspection" and "Revoke OAuth Tokens".
package sfoauth

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client speaks for one app in one org. Its fields must not change once it is in use; its methods are safe for
// concurrent use. Every method that asks Salesforce returns an *Error when it fails, honours its context, and follows no
// redirect.
type Client struct {
	// BaseURL is the org's My Domain: https://<MyDomain>.my.salesforce.com.
	BaseURL string
	// ConsumerKey and ConsumerSecret are the app's pair.
	ConsumerKey    string
	ConsumerSecret Secret
	// AllowUnverifiedSignature lets Token return a token whose signature does not verify, with the reason in
	// Token.SignatureErr. It is for credentials that are staged or have been rotated out: Salesforce does not
	// document whether it signs with their secret or with that of the primary credentials. Of primary credentials
	// leave it false: a wrong signature is then an error.
	AllowUnverifiedSignature bool
	// AllowedHosts are allowed beside Salesforce's own. Nil: none.
	AllowedHosts AllowedHosts
	// HTTPClient sends the requests; its CheckRedirect is ignored. Nil: http.DefaultClient. In a process that is
	// frozen between requests, as on AWS Lambda, give it a NewTransport.
	HTTPClient *http.Client
	// Timeout bounds a call whose context ends later or never. Zero: 10 seconds.
	Timeout time.Duration
}

// maxBody bounds what is read of an answer, in bytes. The longest real one, a JWT-format token, has about 3,000.
const maxBody = 64 << 10

// NewTransport returns a transport for processes that may be frozen between requests: it drops connections that have
// been idle for 30 seconds by the wall clock, which the far side may have closed meanwhile.
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
	op     string
	method string
	base   string     // scheme and host
	path   string     // below base
	form   url.Values // sent as the body
	json   string     // sent as the body; with form empty too: no body
	rest   bool       // of the REST API, which answers with any 2xx; OAuth's endpoints answer 200
	bearer Secret     // sent as the Authorization header
	own    []Secret   // removed from whatever comes back as text
}

// post fills in what the calls have in common that identify the app by its pair in the form. Salesforce takes the pair
// in a Basic header as well; trying one and then the other would cost a login each.
func (c *Client) post(op, base, path string, form url.Values, own ...Secret) call {
	form.Set("client_id", c.ConsumerKey)
	form.Set("client_secret", c.ConsumerSecret.Reveal())
	return call{op: op, method: http.MethodPost, base: base, path: path, form: form, own: append(own, c.ConsumerSecret)}
}

// do sends the call and returns the body of a good answer.
func (c *Client) do(ctx context.Context, req call, allowed func(string) (*url.URL, error)) ([]byte, error) {
	base, err := allowed(req.base)
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
		failed.Err = networkError(ctx, err)
		failed.Kind = kindOf(err)
		return nil, failed
	}
	defer resp.Body.Close()
	failed.Status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		failed.Err = fmt.Errorf("the answer broke off: %w", networkError(ctx, err))
		return nil, failed
	case resp.StatusCode != http.StatusOK && !(req.rest && resp.StatusCode/100 == 2):
		return nil, c.refused(failed, resp, base, body, req.own)
	case len(body) > maxBody:
		failed.Kind, failed.Err = InvalidResponse, fmt.Errorf("the answer has more than %d bytes", maxBody)
		return nil, failed
	}
	return body, nil
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
		// An empty Idempotency-Key is not sent; it lets net/http repeat the POST when a kept-alive connection turns out
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
	unredirected := *client
	unredirected.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return unredirected.Do(r)
}

// refused turns an answer other than 200 into an error: OAuth's form, the REST API's form, plain text, or none.
func (c *Client) refused(failed *Error, resp *http.Response, base *url.URL, body []byte, own []Secret) error {
	var oauth struct{ Error, Error_description string }
	var rest []struct{ ErrorCode, Message string }
	switch {
	case json.Unmarshal(body, &oauth) == nil && oauth.Error != "":
		failed.Code, failed.Description = oauth.Error, oauth.Error_description
	case json.Unmarshal(body, &rest) == nil && len(rest) > 0:
		failed.Code, failed.Description = rest[0].ErrorCode, rest[0].Message
	case bytes.Equal(bytes.TrimSpace(body), []byte("Bad_OAuth_Token")): // userinfo's way to say that a token is dead
		failed.Code = "Bad_OAuth_Token"
	}
	failed.Code = clean(failed.Code, 64, own)
	failed.Description = clean(failed.Description, 200, own)
	failed.RetryAfter = retryAfter(resp.Header, time.Now())
	failed.Kind = classify(failed.Op, resp.StatusCode, failed.Code, failed.Description)
	failed.Location = location(resp, base, own)
	switch mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case resp.StatusCode/100 == 3:
		failed.Err = redirectError(failed)
	case failed.Code != "":
	case failed.Kind == InvalidResponse:
		failed.Err = fmt.Errorf("unexpected HTTP %d", resp.StatusCode)
	case mediaType == "text/html":
		failed.Err = fmt.Errorf("HTTP %d with a web page, as in maintenance", resp.StatusCode)
	}
	return failed
}

// redirectError says where a redirect points, which is not followed.
func redirectError(e *Error) error {
	to := ""
	if e.Location != "" {
		to = " to " + e.Location
	}
	if e.Kind == Permanent {
		return fmt.Errorf("HTTP %d redirects%s, which is not followed: baseUri must be the org's present My Domain", e.Status, to)
	}
	return fmt.Errorf("HTTP %d redirects%s, which is not followed", e.Status, to)
}

// networkError drops the method and URL that net/http puts around a cause, and whatever it quotes of an answer that is not HTTP,
// which may be a token. It says a time-out in plain words.
func networkError(ctx context.Context, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("no complete answer in time: %w", cause)
	}
	if text, _, quotes := strings.Cut(err.Error(), `"`); quotes {
		return &unquoted{strings.TrimRight(text, " :"), err}
	}
	return err
}

// unquoted is an error without what it quotes. It lies behind a pointer so that no fmt verb shows the rest.
type unquoted struct {
	text string
	err  error
}

func (u *unquoted) Error() string { return u.text }

func (u *unquoted) Unwrap() error { return u.err }

// kindOf tells the failures that a person must mend, a certificate for another host or by nobody trusted, from those of
// a network.
func kindOf(err error) Kind {
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &host) || errors.As(err, &authority) || errors.As(err, &invalid) {
		return InvalidResponse
	}
	return Temporary
}

// decode reads one JSON object and nothing after it.
func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("the answer is not the JSON object that it should be") // the parser's error may quote the answer
	}
	return nil
}
