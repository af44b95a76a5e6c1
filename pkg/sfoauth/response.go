package sfoauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// responseError completes failed from a response that is not a success: an error of the OAuth endpoints or the REST
// API, plain text, a web page, or nothing.
func responseError(failed *Error, resp *http.Response, base *url.URL, body []byte, redact []Secret) error {
	var oauth struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	var rest []struct{ ErrorCode, Message string }
	switch {
	case json.Unmarshal(body, &oauth) == nil && oauth.Error != "":
		failed.Code, failed.Description = oauth.Error, oauth.Description
	case json.Unmarshal(body, &rest) == nil && len(rest) > 0:
		failed.Code, failed.Description = rest[0].ErrorCode, rest[0].Message
	case bytes.Equal(bytes.TrimSpace(body), []byte("Bad_OAuth_Token")): // userinfo's response to an invalid token
		failed.Code = "Bad_OAuth_Token"
	}
	failed.Code = sanitize(failed.Code, 64, redact)
	failed.Description = sanitize(failed.Description, 200, redact)
	failed.RetryAfter = retryAfter(resp.Header, time.Now())
	failed.Kind = classify(failed.Op, resp.StatusCode, failed.Code, failed.Description)
	failed.Location = redirectOrigin(resp, base, redact)
	switch mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case resp.StatusCode/100 == 3:
		failed.Err = redirectError(failed)
	case failed.Code != "":
	case failed.Kind == InvalidResponse:
		failed.Err = fmt.Errorf("unexpected HTTP %d", resp.StatusCode)
	case mediaType == "text/html":
		failed.Err = fmt.Errorf("HTTP %d with a web page, as during maintenance", resp.StatusCode)
	}
	return failed
}

// redirectError returns the cause of an error that is a redirect.
func redirectError(e *Error) error {
	to := ""
	if e.Location != "" {
		to = " to " + e.Location
	}
	if e.Kind == Permanent {
		return fmt.Errorf("HTTP %d redirects%s: baseUri must be the org's current My Domain", e.Status, to)
	}
	return fmt.Errorf("HTTP %d redirects%s, which is not followed", e.Status, to)
}

// redirectOrigin returns the scheme and host that a redirect points to, fit to be logged, or "" if there is none.
func redirectOrigin(resp *http.Response, base *url.URL, redact []Secret) string {
	target := resp.Header.Get("Location")
	if resp.StatusCode/100 != 3 || target == "" {
		return ""
	}
	u, err := base.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return sanitize(u.Scheme+"://"+u.Host, 300, redact)
}

// networkError removes the method and URL that net/http puts around a cause, and anything that it quotes of a response
// that is not HTTP, which may be a token.
func networkError(ctx context.Context, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("no complete response in time: %w", cause)
	}
	if text, _, quotes := strings.Cut(err.Error(), `"`); quotes {
		return &unquotedError{strings.TrimRight(text, " :"), err}
	}
	return err
}

// unquotedError hides the text that err quotes. It is used as a pointer so that no fmt verb prints err.
type unquotedError struct {
	text string
	err  error
}

func (u *unquotedError) Error() string { return u.text }

func (u *unquotedError) Unwrap() error { return u.err }

// networkErrorKind separates certificate errors, which a person must fix, from network failures.
func networkErrorKind(err error) Kind {
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &host) || errors.As(err, &authority) || errors.As(err, &invalid) {
		return InvalidResponse
	}
	return Temporary
}

// sanitize makes text from Salesforce fit to be logged: it redacts secrets, replaces characters outside RFC 6749
// section 5.2, and cuts the text to limit bytes.
func sanitize(text string, limit int, secrets []Secret) string {
	for _, s := range secrets {
		if !s.IsZero() {
			text = strings.NewReplacer(s.Reveal(), redacted, url.QueryEscape(s.Reveal()), redacted).Replace(text)
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return strings.TrimSpace(text[:min(len(text), limit)])
}

// retryAfter reads the header in either of its forms (RFC 9110 section 10.2.3). It returns zero for an invalid value
// and an hour for a longer one.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := cmp.Or(header.Get("Retry-After"), "0")
	wait, err := time.ParseDuration(value + "s")
	if err != nil {
		at, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		wait = at.Sub(now)
	}
	return min(max(wait, 0), time.Hour)
}
