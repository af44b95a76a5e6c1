package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// secretText is in everything secret that the servers of these tests receive or return.
const secretText = "secrettext"

// roleProfile serves STS, and configures a profile "role" that assumes a role.
func roleProfile(t *testing.T) {
	t.Helper()
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Requestid", "sts-1")
		fmt.Fprint(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
			`<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>`+secretText+`</SecretAccessKey><SessionToken>`+secretText+
			`</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>`+
			`</AssumeRoleResponse>`)
	}))
	t.Cleanup(sts.Close)
	file := filepath.Join(t.TempDir(), "config")
	config := "[profile role]\nregion = eu-west-1\nrole_arn = arn:aws:iam::222222222222:role/billing\n" +
		"source_profile = base\n[profile base]\naws_access_key_id = AKIA\naws_secret_access_key = " + secretText + "\n"
	must(t, os.WriteFile(file, []byte(config), 0o600))
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	t.Setenv("AWS_REGION", "")
}

// debugLines checks that the lines of a debug log match the patterns, and that none has anything secret.
func debugLines(t *testing.T, stderr string, patterns ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	for i, pattern := range patterns {
		full := regexp.MustCompile(`^debug: \d+\.\d{3}s ` + pattern + `$`)
		if i >= len(lines) || !full.MatchString(lines[i]) {
			t.Errorf("line %d does not match %s:\n%s", i+1, pattern, stderr)
			return
		}
	}
	if strings.Contains(stderr, secretText) {
		t.Errorf("something secret is in\n%s", stderr)
	}
}

// A profile's role is assumed, and the API retried: each attempt has a line, also those that get credentials.
func TestDebugShowsEachAttempt(t *testing.T) {
	var calls atomic.Int32
	var region atomic.Value
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		region.Store(strings.Split(scope, "/")[2])
		w.Header().Set("X-Amzn-Requestid", fmt.Sprintf("api-%d", calls.Add(1)))
		if calls.Load() == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, strings.Replace(tokenResponse, `"t"`, `"`+secretText+`"`, 1))
	})
	roleProfile(t)
	_, stderr, code := command(t, "", "get", "crm", "-o", "none", "--debug", "--profile", "role", "--rejected",
		"0123456789abcdef")
	if code != 0 || region.Load() != "eu-west-1" {
		t.Errorf("exit %d, region %v", code, region.Load())
	}
	debugLines(t, stderr,
		`POST http://127\.0\.0\.1:\d+/ STS\.AssumeRole 200 in \d+m?s, request sts-1`,
		`GET http://127\.0\.0\.1:\d+/v1/tokens/crm\?rejected=0123456789abcdef 503 in \d+m?s, request api-1`,
		`GET http://127\.0\.0\.1:\d+/v1/tokens/crm\?rejected=0123456789abcdef 200 in \d+m?s, request api-2`)
	_, stderr, code = command(t, "", "get", "crm", "-o", "none", "--profile", "role", "--region", "us-west-2")
	if code != 0 || region.Load() != "us-west-2" || stderr != "" {
		t.Errorf("--region: exit %d, region %v: %s", code, region.Load(), stderr)
	}
}

func TestDebugShowsTransportErrors(t *testing.T) {
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			fmt.Fprint(conn, "Authorization: "+secretText+"\r\n\r\n")
			_ = conn.Close()
		}
	})
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	_, stderr, _ := command(t, "", "get", "crm", "--debug", "--timeout", "400ms")
	const failed = ` failed after \d+m?s: net/http: HTTP/1\.x transport connection broken`
	debugLines(t, stderr, `GET http://127\.0\.0\.1:\d+/v1/tokens/crm`+failed)
	_, stderr, _ = command(t, "", "secret", "status", "crm", "--debug")
	stderr, _, _ = strings.Cut(stderr, "error: ") // quotes the response, as the SDK does
	debugLines(t, stderr, `POST http://127\.0\.0\.1:\d+/ SecretsManager\.DescribeSecret`+failed,
		`POST http://127\.0\.0\.1:\d+/ SecretsManager\.DescribeSecret`+failed)
	_, stderr, _ = command(t, "", "get", "crm", "--debug", "--timeout", "400ms", "--url", "http://127.0.0.1:1/v1")
	debugLines(t, stderr, `GET http://127\.0\.0\.1:1/v1/tokens/crm failed after \d+m?s: dial tcp .*: connection refused`)
}

// The path of a container's credentials gives access to them.
func TestDebugHidesPathOfContainerCredentials(t *testing.T) {
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			fmt.Fprintf(w, `{"AccessKeyId":"ASIA","SecretAccessKey":%q,"Token":%q,"Expiration":"2100-01-01T00:00:00Z"}`,
				secretText, secretText)
			return
		}
		fmt.Fprint(w, tokenResponse)
	})
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", os.Getenv("AWS_ENDPOINT_URL")+"/v2/credentials/"+secretText)
	_, stderr, code := command(t, "", "get", "crm", "-o", "none", "--debug")
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	debugLines(t, stderr, `GET http://127\.0\.0\.1:\d+/… 200 in \d+m?s`,
		`GET http://127\.0\.0\.1:\d+/v1/tokens/crm 200 in \d+m?s`)
}

// The SDK quotes the output of a credential process that it cannot parse.
func TestErrorsHideOutputOfCredentialProcess(t *testing.T) {
	serveAPI(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, tokenResponse) })
	file := filepath.Join(t.TempDir(), "config")
	config := "[profile p]\nregion = eu-west-1\ncredential_process = echo {" + secretText + "\n"
	must(t, os.WriteFile(file, []byte(config), 0o600))
	t.Setenv("AWS_CONFIG_FILE", file)
	for _, words := range []string{
		"get crm", "exec crm -- true", "probe crm --denied-app erp", "list", "secret status crm", "rotate crm", "doctor crm",
	} {
		args := append([]string{"--profile", "p", "--debug"}, strings.Fields(words)...)
		stdout, stderr, code := command(t, "", args...)
		if text := stdout + stderr; code == 0 || !strings.Contains(strings.Join(strings.Fields(text), " "),
			"parse failed of process") || strings.Contains(text, secretText) {
			t.Errorf("%s: exit %d\n%s", words, code, text)
		}
	}
}

func TestShownURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"https://anna:secret@example.com/a%2Fb?q=secret#secret": "https://example.com/a%2Fb",
		"https://example.com/tokens/crm?rejected=0123456789abcdef&x": "https://example.com/tokens/crm" +
			"?rejected=0123456789abcdef",
		"https://example.com/tokens/crm?rejected=00Dxx!AQ.token": "https://example.com/tokens/crm",
	} {
		u, err := url.Parse(given)
		must(t, err)
		if got := shownURL(u); got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}

// A server's ID is shown only up to the length that IDs have.
func TestRequestIDIsBounded(t *testing.T) {
	t.Parallel()
	for _, length := range []int{100, 101} {
		id := strings.Repeat("x", length)
		header := http.Header{"X-Amzn-Requestid": {id}}
		if got := requestID(header); (got == id) != (length <= 100) {
			t.Errorf("%d bytes: %q", length, got)
		}
	}
}
