package sfoauth_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// respondingClient returns a client of a server that sends the same response to every request.
func respondingClient(status int, contentType, body string, headers ...string) *sfoauth.Client {
	return &sfoauth.Client{
		BaseURL: "https://acme.my.salesforce.com", ConsumerKey: "key", ConsumerSecret: sfoauth.NewSecret("top-secret"),
		HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
			header := http.Header{"Content-Type": {contentType}}
			for i := 0; i < len(headers); i += 2 {
				header.Set(headers[i], headers[i+1])
			}
			return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
		})},
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestErrorKinds(t *testing.T) {
	t.Parallel()
	const (
		permanent, temporary = sfoauth.Permanent, sfoauth.Temporary
		limited, invalid     = sfoauth.RateLimited, sfoauth.InvalidResponse
	)
	for _, c := range []struct {
		status        int
		code, text    string
		kind          sfoauth.Kind
		hint          string
		invalidClient bool
	}{
		{400, "invalid_client_id", "client identifier invalid", permanent, "consumerKey", true},
		{400, "invalid_client", "invalid client credentials", permanent, "consumerSecret", true},
		{400, "invalid_grant", "no client credentials user enabled", permanent, "run-as user", false},
		{400, "invalid_grant", "request not supported on this domain", permanent, "My Domain", false},
		{400, "invalid_grant", "no valid scopes defined", permanent, "api scope", false},
		{400, "invalid_grant", "user hasn't approved this consumer", permanent, "pre-authorize", false},
		{400, "invalid_grant", "authentication failure", permanent, "run-as user", false},
		{400, "invalid_grant", "inactive user", permanent, "activate", false},
		{400, "invalid_grant", "ip restricted", permanent, "IP policy", false},
		{400, "invalid_grant", "ip restricted or invalid login hours", permanent, "login hours", false},
		{400, "invalid_grant", "ip restricted or invalid login hours", permanent, "login IP ranges", false},
		{400, "invalid_grant", "inactive organization", permanent, "the org at acme.my.salesforce.com", false},
		{400, "invalid_grant", "token request is already being processed", temporary, "", false},
		{400, "invalid_grant", "login rate exceeded", limited, "3,600", false},
		{400, "invalid_app_access", "user is not admin approved to access this app", permanent, "pre-authorize", false},
		{400, "app_not_found", "", permanent, "install", false},
		{400, "unsupported_grant_type", "grant type not supported", permanent, "client credentials flow", false},
		{400, "inactive_user", "user is inactive", permanent, "activate", false},
		{400, "inactive_org", "org is inactive", permanent, "Salesforce", false},
		{400, "invalid_request", "scope parameter not supported", permanent, "My Domain", false},
		{400, "rate_limit_exceeded", "", limited, "limits", false},
		{400, "something_new", "never seen", permanent, "My Domain", false},
		{429, "something_new", "never seen", limited, "", false},
		{408, "something_new", "never seen", temporary, "", false},
		{500, "something_new", "never seen", temporary, "", false},
		{503, "something_new", "never seen", temporary, "", false},
		{400, "unknown_error", "retry your request", temporary, "", false},
		{202, "", "", invalid, "", false},
		{302, "", "", permanent, "My Domain", false},
		{503, "", "", temporary, "", false},
		{400, "", "", temporary, "", false},
		{401, "", "", temporary, "", false},
		{403, "", "", temporary, "", false},
		{404, "", "", temporary, "", false},
		{420, "", "", temporary, "", false},
		{420, "something_new", "never seen", temporary, "", false},
		{421, "", "", temporary, "", false},
		{429, "", "", limited, "", false},
		{403, "Forbidden by policy", "a proxy's own", temporary, "", false},
	} {
		body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, c.code, c.text)
		if c.code == "" {
			body = "<html>sorry</html>"
		}
		_, err := respondingClient(c.status, "application/json", body).Token(t.Context())
		got, ok := errors.AsType[*sfoauth.Error](err)
		if !ok {
			t.Errorf("%d %s: error of type %T", c.status, c.code, err)
			continue
		}
		if got.Kind != c.kind || got.Status != c.status || got.Code != c.code || got.Description != c.text ||
			got.IsInvalidClient() != c.invalidClient {
			t.Errorf("%d %s %q: got %+v", c.status, c.code, c.text, *got)
		}
		if want := strings.Contains(c.text, "already being processed"); got.IsBusy() != want {
			t.Errorf("%d %s %q: busy: %t", c.status, c.code, c.text, !want)
		}
		if !strings.Contains(got.Hint(), c.hint) || c.kind == temporary && got.Hint() != "" {
			t.Errorf("%d %s %q hint %q, want %q in it", c.status, c.code, c.text, got.Hint(), c.hint)
		}
		if c.code != "" && !strings.Contains(err.Error(), c.code) ||
			!strings.Contains(err.Error(), "acme.my.salesforce.com") {
			t.Errorf("%d %s: the error says %q", c.status, c.code, err)
		}
	}
}

// Only a redirect of the token endpoint means that baseUri is wrong. Other endpoints may redirect during maintenance.
func TestRedirectKinds(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!dead")}
	for _, status := range []int{301, 302, 303, 307, 308} {
		const location = "https://acme.my.salesforce.com/maintenance?id=1"
		c := respondingClient(status, "text/html", "<html>moved</html>", "Location", location)
		_, login := c.Token(t.Context())
		_, introspect := c.Introspect(t.Context(), token)
		_, userInfo := c.UserInfo(t.Context(), token)
		_, staged := c.StagedCredentials(token, "0xIxx0000000001", "888xx0000000001").ListStaged(t.Context())
		revoke, ping := c.Revoke(t.Context(), token), c.Ping(t.Context(), token)
		for i, err := range []error{login, introspect, userInfo, staged, revoke, ping} {
			want := sfoauth.Temporary
			if i == 0 {
				want = sfoauth.Permanent
			}
			if got, ok := errors.AsType[*sfoauth.Error](err); !ok || got.Kind != want ||
				got.Location != "https://acme.my.salesforce.com" {
				t.Errorf("%d: %v, want %v", status, err, want)
			}
		}
	}
}

func TestRedirectLocation(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"https://new.my.salesforce.com/services/oauth2/token?x=1#y": "https://new.my.salesforce.com",
		"https://new.my.salesforce.com:8443/":                       "https://new.my.salesforce.com:8443",
		"https://user:top-secret@new.my.salesforce.com/":            "https://new.my.salesforce.com",
		"/services/oauth2/token":                                    "https://acme.my.salesforce.com",
		"//other.example/path":                                      "https://other.example",
		"http://other.example":                                      "http://other.example",
		"https://top-secret.example":                                "https://[redacted].example",
		"javascript:alert(1)":                                       "",
		"https://a\u202eb.example/":                                 "https://a?b.example",
		"":                                                          "",
	} {
		_, err := respondingClient(301, "text/html", "", "Location", location).Token(t.Context())
		got, ok := errors.AsType[*sfoauth.Error](err)
		if !ok || got.Location != want || got.Kind != sfoauth.Permanent || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", location, err, want)
		}
	}
}

// A frozen user and a session that is locked to another address get the same response.
func TestIsSessionBlocked(t *testing.T) {
	t.Parallel()
	const blocked = `[{"message":"This session is not valid for use with the REST API","errorCode":"INVALID_SESSION_ID"}]`
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!dead")}
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{401, blocked, true},
		{403, blocked, false},
		{401, `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`, false},
		{401, "<html>This session is not valid for use with the REST API</html>", false},
	} {
		err := respondingClient(c.status, "application/json", c.body).Ping(t.Context(), token)
		if got, ok := errors.AsType[*sfoauth.Error](err); !ok || got.IsSessionBlocked() != c.want {
			t.Errorf("%d %s: %v, want blocked: %t", c.status, c.body, err, c.want)
		}
	}
	got, _ := errors.AsType[*sfoauth.Error](respondingClient(401, "application/json", blocked).Ping(t.Context(), token))
	for _, cause := range []string{
		"frozen", "Lock sessions to the IP address from which they originated", "Enforce login IP ranges on every request",
	} {
		if !strings.Contains(got.Hint(), cause) {
			t.Errorf("the hint does not name %q: %s", cause, got.Hint())
		}
	}
}

func TestIsNotFound(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!dead")}
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{404, `[{"message":"The requested resource does not exist","errorCode":"NOT_FOUND"}]`, true},
		{404, "<html>URL No Longer Exists</html>", false},
		{404, `{"error":"Not Found","path":"/services"}`, false},
		{403, `[{"message":"no","errorCode":"INSUFFICIENT_ACCESS"}]`, false},
	} {
		client := respondingClient(c.status, "text/html", c.body)
		_, err := client.StagedCredentials(token, "0xIxx0000000001", "888xx0000000001").ListStaged(t.Context())
		if got, ok := errors.AsType[*sfoauth.Error](err); !ok || got.IsNotFound() != c.want {
			t.Errorf("%d %s: %v, want not found: %t", c.status, c.body, err, c.want)
		}
	}
}

func TestRevokeResponses(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!dead")}
	for _, c := range []struct {
		status int
		body   string
		dead   bool
	}{
		{200, "", true},
		{400, `{"error":"invalid_token","error_description":"invalid token"}`, true},
		{400, `{"error":"unsupported_token_type","error_description":"this token type is not supported"}`, false},
		{400, `{"error":"invalid_request","error_description":"token is required"}`, false},
		{400, "<html>Bad Request</html>", false},
		{404, "<html>invalid_token</html>", false},
		{503, `{"error":"invalid_token"}`, false},
		{204, "", false},
	} {
		if err := respondingClient(c.status, "application/json", c.body).Revoke(t.Context(), token); (err == nil) != c.dead {
			t.Errorf("%d %s: %v, want success: %t", c.status, c.body, err, c.dead)
		}
	}
}

func TestRESTErrorKinds(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!dead")}
	for body, want := range map[string]sfoauth.Kind{
		`[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`: sfoauth.RateLimited,
		`[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`:        sfoauth.Permanent,
		`[{"message":"no","errorCode":"INSUFFICIENT_ACCESS"}]`:                               sfoauth.Permanent,
		"Bad_OAuth_Token": sfoauth.Permanent,
	} {
		_, err := respondingClient(403, "text/plain", body).UserInfo(t.Context(), token)
		if got, ok := errors.AsType[*sfoauth.Error](err); !ok || got.Kind != want || got.Code == "" {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "junk": 0, "999999": time.Hour, "1e9": 0, "1.5": 1500 * time.Millisecond,
		time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat): 30 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
	} {
		_, err := respondingClient(503, "text/html", "", "Retry-After", value).Token(t.Context())
		got, _ := errors.AsType[*sfoauth.Error](err)
		if got == nil || (got.RetryAfter-want).Abs() > 2*time.Second {
			t.Errorf("Retry-After %q: %v, want %v", value, got.RetryAfter, want)
		}
	}
}

// A wrong certificate needs a person. Other network errors are temporary.
func TestNetworkErrorKinds(t *testing.T) {
	t.Parallel()
	otherHost := x509.HostnameError{Certificate: &x509.Certificate{}, Host: "acme.my.salesforce.com"}
	for cause, want := range map[error]sfoauth.Kind{
		&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}:                       sfoauth.InvalidResponse,
		&tls.CertificateVerificationError{Err: otherHost}:                                          sfoauth.InvalidResponse,
		&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}: sfoauth.InvalidResponse,
		syscall.ECONNREFUSED: sfoauth.Temporary, io.ErrUnexpectedEOF: sfoauth.Temporary,
	} {
		client := &sfoauth.Client{
			BaseURL: "https://acme.my.salesforce.com",
			HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
				return nil, cause
			})},
		}
		_, err := client.Token(t.Context())
		if got, ok := errors.AsType[*sfoauth.Error](err); !ok || got.Kind != want || got.Status != 0 {
			t.Errorf("%v: %v", cause, err)
		}
	}
}

func TestErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!token+text")}
	for _, echo := range []string{
		`{"error":"top-secret","error_description":"you sent top-secret and 00Dxx!token+text and 00Dxx%21token%2Btext"}`,
		`[{"errorCode":"top-secret","message":"you sent top-secret and 00Dxx!token+text"}]`,
		`top-secret 00Dxx!token+text`, `{"error": top-secret`, `{"active": "top-secret"}`, `{"active":"00Dxx!token+text"}`,
	} {
		for _, status := range []int{200, 302, 400, 503} {
			c := respondingClient(status, "application/json", echo)
			_, login := c.Token(t.Context())
			_, introspect := c.Introspect(t.Context(), token)
			_, userInfo := c.UserInfo(t.Context(), token)
			for i, err := range []error{login, introspect, userInfo} {
				text := fmt.Sprintf("%v %+v %#v", err, err, err)
				// A login has sent no token, so that it cannot know one.
				if strings.Contains(text, "top-secret") {
					t.Errorf("status %d, body %s: the error holds the consumer secret", status, echo)
				}
				for _, secret := range []string{"00Dxx!token", "00Dxx%21token"} {
					if i > 0 && strings.Contains(text, secret) {
						t.Errorf("status %d, body %s: the error holds the token", status, echo)
					}
				}
			}
		}
	}
}
