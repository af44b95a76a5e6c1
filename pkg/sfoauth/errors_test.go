package sfoauth_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// answering is a Salesforce that gives one answer to everything.
func answering(status int, contentType, body string, headers ...string) *sfoauth.Client {
	return &sfoauth.Client{
		BaseURL: "https://acme.my.salesforce.com", ConsumerKey: "key", ConsumerSecret: sfoauth.NewSecret("top-secret"),
		HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			header := http.Header{"Content-Type": {contentType}}
			for i := 0; i < len(headers); i += 2 {
				header.Set(headers[i], headers[i+1])
			}
			return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
		})},
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestErrorsAreClassified(t *testing.T) {
	const (
		final, passing, limiting, untrusted = sfoauth.Final, sfoauth.Passing, sfoauth.Limiting, sfoauth.Untrusted
	)
	for _, c := range []struct {
		status      int
		code, text  string
		kind        sfoauth.Kind
		advises     string
		refusesPair bool
	}{
		{400, "invalid_client_id", "client identifier invalid", final, "consumerKey", true},
		{400, "invalid_client", "invalid client credentials", final, "consumerSecret", true},
		{400, "invalid_grant", "no client credentials user enabled", final, "run-as user", false},
		{400, "invalid_grant", "request not supported on this domain", final, "My Domain", false},
		{400, "invalid_grant", "no valid scopes defined", final, "api scope", false},
		{400, "invalid_grant", "user hasn't approved this consumer", final, "pre-authorize", false},
		{400, "invalid_grant", "authentication failure", final, "run-as user", false},
		{400, "invalid_grant", "inactive user", final, "activate", false},
		{400, "invalid_grant", "ip restricted", final, "IP policy", false},
		{400, "invalid_grant", "token request is already being processed", passing, "", false},
		{400, "invalid_grant", "login rate exceeded", limiting, "3,600", false},
		{400, "invalid_app_access", "user is not admin approved to access this app", final, "pre-authorize", false},
		{400, "app_not_found", "", final, "install", false},
		{400, "unsupported_grant_type", "grant type not supported", final, "client credentials flow", false},
		{400, "inactive_user", "user is inactive", final, "activate", false},
		{400, "inactive_org", "org is inactive", final, "Salesforce", false},
		{400, "invalid_request", "scope parameter not supported", final, "My Domain", false},
		{400, "rate_limit_exceeded", "", limiting, "limits", false},
		{400, "something_new", "never seen", final, "My Domain", false},
		{429, "something_new", "never seen", limiting, "", false},
		{408, "something_new", "never seen", passing, "", false},
		{500, "something_new", "never seen", passing, "", false},
		{503, "something_new", "never seen", passing, "", false},
		{400, "unknown_error", "retry your request", passing, "", false},
		{202, "", "", untrusted, "", false},
		{302, "", "", final, "My Domain", false},
		{404, "", "", final, "My Domain", false},
		{503, "", "", passing, "", false},
	} {
		body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, c.code, c.text)
		if c.code == "" {
			body = "<html>sorry</html>"
		}
		_, err := answering(c.status, "application/json", body).Token(t.Context())
		got, ok := errors.AsType[*sfoauth.Error](err)
		if !ok {
			t.Errorf("%d %s: error of type %T", c.status, c.code, err)
			continue
		}
		if got.Kind != c.kind || got.Status != c.status || got.Code != c.code || got.Description != c.text || got.RefusesCredentials() != c.refusesPair {
			t.Errorf("%d %s %q: got %+v", c.status, c.code, c.text, *got)
		}
		if !strings.Contains(got.Advice(), c.advises) || c.kind == passing && got.Advice() != "" {
			t.Errorf("%d %s %q advises %q, want %q in it", c.status, c.code, c.text, got.Advice(), c.advises)
		}
		if c.code != "" && !strings.Contains(err.Error(), c.code) || !strings.Contains(err.Error(), "acme.my.salesforce.com") {
			t.Errorf("%d %s: the error says %q", c.status, c.code, err)
		}
	}
}

func TestRESTErrorsAreClassified(t *testing.T) {
	for body, want := range map[string]sfoauth.Kind{
		`[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`: sfoauth.Limiting,
		`[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`:        sfoauth.Final,
		`[{"message":"no","errorCode":"INSUFFICIENT_ACCESS"}]`:                               sfoauth.Final,
		"Bad_OAuth_Token": sfoauth.Final,
	} {
		_, err := answering(403, "text/plain", body).UserInfo(t.Context(), &sfoauth.Token{AccessToken: sfoauth.NewSecret("t")})
		if got, ok := errors.AsType[*sfoauth.Error](err); !ok || got.Kind != want || got.Code == "" {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "junk": 0, "999999": time.Hour, "1e9": 0, "1.5": 1500 * time.Millisecond,
		time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat): 30 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
	} {
		_, err := answering(503, "text/html", "", "Retry-After", value).Token(t.Context())
		got, _ := errors.AsType[*sfoauth.Error](err)
		if got == nil || (got.RetryAfter-want).Abs() > 2*time.Second {
			t.Errorf("Retry-After %q: %v, want %v", value, got.RetryAfter, want)
		}
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!token+text")}
	for _, echo := range []string{
		`{"error":"top-secret","error_description":"you sent top-secret and 00Dxx!token+text and 00Dxx%21token%2Btext"}`,
		`[{"errorCode":"top-secret","message":"you sent top-secret and 00Dxx!token+text"}]`,
		`top-secret 00Dxx!token+text`, `{"error": top-secret`, `{"active": "top-secret"}`, `{"active":"00Dxx!token+text"}`,
	} {
		for _, status := range []int{200, 302, 400, 503} {
			c := answering(status, "application/json", echo)
			_, login := c.Token(t.Context())
			_, introspect := c.Introspect(t.Context(), token)
			_, userInfo := c.UserInfo(t.Context(), token)
			for _, err := range []error{login, introspect, userInfo} {
				text := fmt.Sprintf("%v %+v %#v", err, err, err)
				// A login has sent no token, so that it cannot know one.
				if strings.Contains(text, "top-secret") {
					t.Errorf("status %d, body %s: the error holds the consumer secret", status, echo)
				}
				for _, secret := range []string{"00Dxx!token", "00Dxx%21token"} {
					if err != login && strings.Contains(text, secret) {
						t.Errorf("status %d, body %s: the error holds the token", status, echo)
					}
				}
			}
		}
	}
}
