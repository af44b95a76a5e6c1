package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// hostile is what must not reach a terminal: a sequence that clears it, one that sets its title, a C1 control, and text that is turned.
const hostile = "\x1b[2J\x1b]0;owned\x07 \u009b31m \u202egnorw"

// clean reports whether a terminal shows text as it is.
func clean(text string) bool { return printable.Safe(text) == text }

func TestOutsideTextReachesATerminalClean(t *testing.T) {
	answer := func(w http.ResponseWriter, status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	for name, handler := range map[string]http.HandlerFunc{
		"an error of the function": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 502, map[string]string{"error": "app_misconfigured", "error_description": "x" + hostile, "salesforce_error": hostile, "request_id": hostile})
		},
		"an error of API Gateway": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 403, map[string]string{"message": "No" + hostile})
		},
		"a page": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, hostile, 500) },
		"an error of AWS": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
			answer(w, 400, map[string]string{"__type": "AccessDeniedException", "message": "No" + hostile})
		},
		"a token": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, map[string]any{"access_token": "t" + hostile, "token_id": "0123456789abcdef" + hostile, "instance_url": "https://x" + hostile, "expires_in": 600})
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewServer(handler)
			defer api.Close()
			s := &testStack{&stack.Stack{URL: api.URL + "/v1", AWSURL: api.URL}}
			s.useKey(t, billingKey)
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			for _, args := range [][]string{
				{"get", "crm", "--timeout", "2s"}, {"get", "crm", "-o", "token", "--timeout", "2s"}, {"get", "crm", "-o", "env", "--timeout", "2s"}, {"get", "crm", "-o", "header", "--timeout", "2s"},
				{"revoke", "crm", "--timeout", "2s"}, {"secret", "status", "crm"}, {"secret", "put", "crm"}, {"rotate", "crm"}, {"doctor", "crm"}, {"doctor", "crm", "--json"},
			} {
				stdout, stderr, _ := command(t, `{"note":"x"}`, args...)
				if !clean(stdout) || !clean(stderr) || stdout+stderr == "" {
					t.Errorf("%q: %q %q", args, stdout, stderr)
				}
			}
		})
	}
}

// Whatever -o header prints is one header, and no more.
func TestAHeaderIsOneHeader(t *testing.T) {
	for _, text := range []string{"a b", "a\r\nX-Evil: 1", "a\nb", "tab\tbed", "é", "a\u2028b"} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": text, "token_id": "0123456789abcdef", "instance_url": "https://x", "expires_in": 600})
		}))
		s := &testStack{&stack.Stack{URL: api.URL + "/v1", AWSURL: api.URL}}
		s.useKey(t, billingKey)
		if stdout, stderr, code := command(t, "", "get", "crm", "-o", "header"); code != exitFailed || stdout != "" || !strings.Contains(stderr, "characters that do not print") || strings.Contains(stderr, text) {
			t.Errorf("%q: exit %d: %q %s", text, code, stdout, stderr)
		}
		api.Close()
		var out strings.Builder // where the library lets it through
		if err := printToken(&out, &sftoken.Token{AccessToken: sfoauth.NewSecret(text)}, "header"); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v: %q", text, err, out.String())
		}
	}
	oddAPI(t, "00D!AQ.x_y-z=")
	if stdout, _, code := command(t, "", "get", "crm", "-o", "header"); code != 0 || stdout != "Authorization: Bearer 00D!AQ.x_y-z=\n" {
		t.Errorf("exit %d: %q", code, stdout)
	}
}

func TestUsageErrorsExitWith2(t *testing.T) {
	s := &testStack{&stack.Stack{URL: "http://127.0.0.1:1/v1", AWSURL: "http://127.0.0.1:1"}}
	s.useKey(t, ownerKey)
	for _, args := range [][]string{
		{"get", "crm", "--url", "foo"}, {"revoke", "crm", "--url", "foo"}, {"exec", "crm", "--url", "foo", "--", "true"}, {"rotate", "crm", "--compromised", "--yes", "--url", "foo"},
		{"get", "crm", "--timeout", "-1s"}, {"get", "crm", "--timeout", "0s"}, {"exec", "crm", "--timeout", "-1s", "--", "true"}, {"revoke", "crm", "--timeout", "-1s"}, {"doctor", "crm", "--timeout", "-1s"},
		{"rotate", "crm", "--timeout", "-1s"}, {"secret", "stage", "crm", "--wait", "--timeout", "-1s"},
	} {
		if _, stderr, code := command(t, "", args...); code != exitUsage {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for _, args := range [][]string{{"get", "crm"}, {"revoke", "crm"}, {"secret", "status", "crm"}, {"secret", "put", "crm"}, {"secret", "stage", "crm"}, {"rotate", "crm"}} {
		if _, stderr, code := command(t, "{}", args...); code != exitUsage || !strings.Contains(stderr, "no region") {
			t.Errorf("no region: %q: exit %d: %s", args, code, stderr)
		}
	}
	t.Setenv("AWS_REGION", region)
	t.Setenv("SALESFORCE_HOSTS", "https://x/y")
	if _, stderr, code := command(t, "{}", "secret", "put", "crm"); code != exitUsage || !strings.Contains(stderr, "SALESFORCE_HOSTS") {
		t.Errorf("a host that is none: exit %d: %s", code, stderr)
	}
}

// With the secret of a real org behind them, no other user of this machine may know the keys, and a web page whose name leads
// here must get no answer.
func TestLocalWithARealOrgIsForItsUserAlone(t *testing.T) {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	key, secret := org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	file := filepath.Join(t.TempDir(), "secrets.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"erp":{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q}}`, key, secret, server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets, err := stack.ReadSecrets(file)
	if err != nil {
		t.Fatal(err)
	}
	start := func() *testStack {
		return startStack(t, stack.Config{Secrets: secrets, Env: []string{"SALESFORCE_HOSTS=" + strings.TrimPrefix(server.URL, "http://")}})
	}
	s := start()
	for _, p := range []stack.Keys{stack.SimulatedKeys(), stack.RandomKeys()} {
		s.useKey(t, p.Owner)
		if _, stderr, code := command(t, "", "secret", "status", "erp"); code == 0 || !strings.Contains(stderr, "UnrecognizedClient") {
			t.Errorf("with other keys: exit %d: %s", code, stderr)
		}
		s.useKey(t, p.Function) // that of the functions may read the secret
		if _, _, code := command(t, "", "secret", "status", "erp"); code == 0 {
			t.Error("with another key of the functions the secret is shown")
		}
		s.useKey(t, p.Billing)
		if _, _, code := command(t, "", "get", "erp"); code != exitDenied {
			t.Errorf("with other keys, of the API: exit %d", code)
		}
	}
	s.useKey(t, s.Keys.Billing)
	if _, stderr, code := command(t, "", "get", "erp", "-o", "none"); code != 0 {
		t.Errorf("with its own: exit %d: %s", code, stderr)
	}
	for _, url := range []string{s.URL + "/tokens/erp", s.AWSURL} {
		for host, want := range map[string]bool{"": true, "localhost": true, "evil.example": false, "169.254.169.254": false} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := resp.StatusCode != http.StatusMisdirectedRequest; got != want {
				t.Errorf("%s with Host %q: HTTP %d", url, host, resp.StatusCode)
			}
		}
	}
}
