package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// hostile must not reach a terminal: it clears the screen, sets the title, and has a C1 control and bidirectional text.
const hostile = "\x1b[2J\x1b]0;owned\x07 \u009b31m \u202egnorw"

// isPrintable reports whether text contains nothing that a terminal interprets.
func isPrintable(text string) bool { return printable.Safe(text) == text }

func TestUntrustedTextIsPrintable(t *testing.T) {
	answer := func(w http.ResponseWriter, status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	for name, handler := range map[string]http.HandlerFunc{
		"an error of the function": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 502, map[string]string{"error": "app_misconfigured", "error_description": "x" + hostile,
				"salesforce_error": hostile, "request_id": hostile})
		},
		"an error of API Gateway": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 403, map[string]string{"message": "No" + hostile})
		},
		"a web page": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, hostile, 500) },
		"an error of AWS": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
			answer(w, 400, map[string]string{"__type": "AccessDeniedException", "message": "No" + hostile})
		},
		"a token": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, map[string]any{"access_token": "t" + hostile, "token_id": "0123456789abcdef" + hostile,
				"instance_url": "https://x" + hostile, "expires_in": 600})
		},
		"an instance_url": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, map[string]any{"access_token": "t", "token_id": "0123456789abcdef",
				"instance_url": "https://x" + hostile, "expires_in": 600})
		},
	} {
		t.Run(name, func(t *testing.T) {
			serveAPI(t, handler)
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			for _, args := range [][]string{
				{"get", "crm", "--timeout", "1s"}, {"get", "crm", "-o", "token", "--timeout", "1s"},
				{"get", "crm", "-o", "env", "--timeout", "1s"}, {"get", "crm", "-o", "header", "--timeout", "1s"},
				{"revoke", "crm", "--timeout", "1s"}, {"secret", "status", "crm"}, {"secret", "put", "crm"}, {"rotate", "crm"},
				{"doctor", "crm", "--timeout", "1s"}, {"doctor", "crm", "--json", "--timeout", "1s"},
			} {
				stdout, stderr, _ := command(t, `{"note":"x"}`, args...)
				if !isPrintable(stdout) || !isPrintable(stderr) || stdout+stderr == "" {
					t.Errorf("%q: %q %q", args, stdout, stderr)
				}
			}
		})
	}
}

// Any tool may have stored the fields whose names a warning lists.
func TestDroppedFieldIsPrintable(t *testing.T) {
	s := newStackWithoutFunctions(t)
	value := s.value(t)
	given, err := json.Marshal(value)
	must(t, err)
	value["note"+hostile] = "x"
	stored, err := json.Marshal(value)
	must(t, err)
	s.overwrite(t, &secretsmanager.PutSecretValueInput{SecretString: aws.String(string(stored))})
	stdout, stderr, code := command(t, string(given), "secret", "put", "crm", "--replace", "--json")
	if code != 0 || !strings.Contains(stderr, "--replace drops stored fields: note") || !isPrintable(stderr) {
		t.Errorf("exit %d: %q", code, stderr)
	}
	if !isPrintable(stdout) || !strings.Contains(stdout, `"note\u001b[2J`) || !json.Valid([]byte(stdout)) {
		t.Errorf("the result is %q", stdout)
	}
}

// A token with white space could add another header.
func TestGetHeaderIsOneHeader(t *testing.T) {
	for _, text := range []string{"a b", "a\r\nX-Evil: 1", "a\nb", "tab\tbed", "é", "a\u2028b"} {
		serveAPI(t, func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"access_token": text, "token_id": "0123456789abcdef", "instance_url": "https://x", "expires_in": 600,
			})
		})
		if stdout, stderr, code := command(t, "", "get", "crm", "-o", "header"); code != exitFailed || stdout != "" ||
			!strings.Contains(stderr, "unprintable characters") || strings.Contains(stderr, text) {
			t.Errorf("%q: exit %d: %q %s", text, code, stdout, stderr)
		}
		var out strings.Builder // in case the library accepts it
		if err := printToken(&out, &sftoken.Token{AccessToken: sfoauth.NewSecret(text)}, "header"); err == nil ||
			out.Len() > 0 {
			t.Errorf("%q: %v: %q", text, err, out.String())
		}
	}
	oddAPI(t, "00D!AQ.x_y-z=")
	if stdout, _, code := command(t, "", "get", "crm", "-o", "header"); code != 0 ||
		stdout != "Authorization: Bearer 00D!AQ.x_y-z=\n" {
		t.Errorf("exit %d: %q", code, stdout)
	}
}
