package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// command runs one command and returns what it wrote and its exit code.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

func TestCommands(t *testing.T) {
	log := &localaws.SyncBuffer{}
	s := newTestStack(t, log, "SECRET_TTL=1s", "PROPAGATION=1s")
	key, _ := s.App.Credentials()
	s.useKey(t, billingKey)

	stdout, _, code := command(t, "", "get", "crm")
	var token map[string]any
	if err := json.Unmarshal([]byte(stdout), &token); err != nil || code != 0 || !s.Org.TokenActive(fmt.Sprint(token["access_token"])) {
		t.Fatalf("get: exit %d, %v", code, err)
	}
	text := fmt.Sprint(token["access_token"])
	for format, want := range map[string]string{
		"token": text + "\n", "header": "Authorization: Bearer " + text + "\n",
		"env": "export SF_ACCESS_TOKEN='" + text + "'\nexport SF_INSTANCE_URL='" + s.OrgURL + "'\n",
	} {
		if stdout, stderr, code := command(t, "", "get", "crm", "-o", format); stdout != want || code != 0 {
			t.Errorf("get -o %s: exit %d, %s", format, code, stderr)
		}
	}
	if stdout, _, code := command(t, "", "exec", "crm", "--", "sh", "-c", `test -n "$SF_ACCESS_TOKEN" && echo "$SF_INSTANCE_URL"; exit 7`); stdout != s.OrgURL+"\n" || code != 7 {
		t.Errorf("exec: exit %d, %q", code, stdout)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no app", []string{"get"}, exitUsage, "the app's name"},
		{"two apps", []string{"get", "a", "b"}, exitUsage, "the app's name"},
		{"an unknown flag", []string{"get", "crm", "--nonsense"}, exitUsage, "nonsense"},
		{"an unknown format", []string{"get", "crm", "-o", "xml"}, exitUsage, "json, token, header, env or none"},
		{"no API", []string{"get", "crm", "--url", " "}, exitUsage, "must be a URL"},
		{"an unknown app", []string{"get", "nosuch"}, exitDenied, "unknown_app"},
		{"a bad name", []string{"get", "CRM"}, exitUsage, "lower-case letters"},
		{"an address without the stage", []string{"get", "crm", "--url", strings.TrimSuffix(s.URL, "/v1")}, exitDenied, "`sftoken doctor APP` says"},
		{"an address where nothing listens", []string{"get", "crm", "--url", "http://127.0.0.1:1/v1", "--timeout", "1s"}, exitFailed, "no response from the API: dial tcp"},
		{"a secret that the caller may not see", []string{"secret", "status", "crm"}, exitFailed, "sftoken: secret sftoken/crm: DescribeSecret: AccessDeniedException: User: "},
		{"an unknown command of secret", []string{"secret", "statu"}, exitUsage, "do you mean status?"},
		{"what IAM does not allow", []string{"revoke", "crm"}, exitDenied, "not authorized"},
		{"exec without a command", []string{"exec", "crm"}, exitUsage, "COMMAND"},
		{"exec without a dash", []string{"exec", "crm", "true"}, exitUsage, "COMMAND"},
		{"a token that is not dead", []string{"get", "crm", "--rejected", fmt.Sprint(token["token_id"]), "-o", "token"}, 0, ""},
	} {
		if _, stderr, code := command(t, "", c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit %d: %s", c.name, code, stderr)
		}
	}

	s.useKey(t, ownerKey)
	if stdout, stderr, code := command(t, "", "secret", "status", "crm"); code != 0 || !strings.Contains(stdout, "AWSCURRENT") || !strings.Contains(stdout, "rotation") {
		t.Errorf("secret status: exit %d: %s%s", code, stdout, stderr)
	}
	if stdout, stderr, code := command(t, "", "rotate", "crm", "--wait"); code != 0 || !strings.Contains(stdout, "is AWSCURRENT") {
		t.Errorf("rotate: exit %d: %s%s", code, stdout, stderr)
	}
	if newKey, _ := s.App.Credentials(); newKey == key {
		t.Error("rotate has not rotated")
	}
	key, secret := s.App.Regenerate()
	pair := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, secret)
	if stdout, stderr, code := command(t, pair, "secret", "stage", "crm", "--wait"); code != 0 || !strings.Contains(stdout, "it works") {
		t.Errorf("secret stage: exit %d: %s%s", code, stdout, stderr)
	}
	if _, stderr, code := command(t, `{"consumerKey":"3MVG9wrong","consumerSecret":"wrong"}`, "secret", "stage", "crm", "--wait"); code != exitFailed || !strings.Contains(stderr, "REJECTED") {
		t.Errorf("secret stage of a wrong pair: exit %d: %s", code, stderr)
	}
	file := filepath.Join(t.TempDir(), "pair.json")
	if err := os.WriteFile(file, []byte(pair), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := command(t, "", "secret", "put", "crm", "--file", file); code != 0 || !strings.Contains(stdout, "as AWSCURRENT") {
		t.Errorf("secret put: exit %d: %s%s", code, stdout, stderr)
	}
	for stdin, says := range map[string]string{"": "standard input is empty", "{}": "no field is given", "[]": "JSON object", `{"consumerKey":"","consumerSecret":""}`: "consumerKey is missing", `{"consumerKey":"x","consumerSecret":"replace-me"}`: "placeholder"} {
		if _, stderr, code := command(t, stdin, "secret", "put", "crm"); code != exitFailed || !strings.Contains(stderr, says) {
			t.Errorf("secret put of %q: exit %d: %s", stdin, code, stderr)
		}
	}
	if _, stderr, code := command(t, `{"remark":"x","note":"kept"}`, "secret", "put", "crm"); code != 0 ||
		!strings.Contains(stderr, `warning: "remark" is no field that sftoken reads`) || strings.Count(stderr, "warning: ") != 2 {
		t.Errorf("secret put of unknown fields: exit %d: %s", code, stderr)
	}
	s.useKey(t, billingKey)
	leaked, _, _ := command(t, "", "get", "crm", "-o", "token")
	s.useKey(t, ownerKey)
	if stdout, stderr, code := command(t, "", "rotate", "crm", "--compromised", "--yes"); code != 0 || !strings.Contains(stdout, "COMPROMISED") || !strings.Contains(stdout, "revoked") {
		t.Errorf("rotate --compromised: exit %d: %s%s", code, stdout, stderr)
	}
	if s.Org.TokenActive(strings.TrimSpace(leaked)) {
		t.Error("the token made with the leaked pair lives on")
	}
	// The rotate function deletes the pair right after AWSCURRENT has moved, which is all that the command waits for.
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Org.CanLogin(key, secret) {
		t.Error("the leaked pair lives on")
	}
	if _, stderr, code := command(t, "", "get", "crm", "-o", "token"); code != 0 {
		t.Errorf("afterwards: exit %d: %s", code, stderr)
	}
	// Last: the request goes on without its caller, so that the function may start a second instance, with a token of its own.
	if _, stderr, code := command(t, "", "get", "crm", "--timeout", "1ns"); code != exitFailed || !strings.Contains(stderr, "no answer in time") {
		t.Errorf("no time: exit %d: %s", code, stderr)
	}
	if stdout, _, code := command(t, "", "version"); code != 0 || stdout != version+"\n" {
		t.Errorf("version: %q", stdout)
	}
}

func TestCommandsForMachines(t *testing.T) {
	s := newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=0s")
	s.useKey(t, ownerKey)
	ask := func(stdin string, want int, args ...string) map[string]any {
		t.Helper()
		stdout, stderr, code := command(t, stdin, append(args, "--json")...)
		var got map[string]any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != want {
			t.Fatalf("%q: exit %d, want %d: %v: %s%s", args, code, want, err, stdout, stderr)
		}
		return got
	}
	same := func(got map[string]any, want map[string]any) {
		t.Helper()
		for name, value := range want {
			if fmt.Sprint(got[name]) != fmt.Sprint(value) {
				t.Errorf("%s is %v, want %v", name, got[name], value)
			}
		}
	}
	same(ask("", 0, "version"), map[string]any{"version": version, "os": runtime.GOOS})
	status := ask("", 0, "secret", "status", "crm")
	same(status, map[string]any{"app": "crm", "secret": "sftoken/crm", "rotation": true, "schedule": "rate(30 days)", "overdue": false})
	if _, there := status["lastRotated"]; there || len(status["versions"].(map[string]any)) != 1 {
		t.Errorf("status: %v", status)
	}
	key, secret := s.App.Credentials()
	pair := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, secret)
	first := ask(pair, 0, "secret", "put", "crm")
	same(first, map[string]any{"secret": "sftoken/crm", "label": "AWSCURRENT"})
	same(ask("", 0, "rotate", "crm", "--wait"), map[string]any{"secret": "sftoken/crm", "before": first["version"], "compromised": false, "revoked": false})
	if newKey, _ := s.App.Credentials(); newKey == key {
		t.Error("rotate has not rotated")
	}
	key, secret = s.App.Regenerate()
	staged := ask(fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, secret), 0, "secret", "stage", "crm", "--wait")
	same(staged, map[string]any{"label": "AWSCURRENT"})
	same(ask(`{"consumerKey":"3MVG9wrong","consumerSecret":"wrong"}`, exitFailed, "secret", "stage", "crm", "--wait"), map[string]any{"label": "REJECTED"})
	leak := ask("", 0, "rotate", "crm", "--compromised", "--yes")
	same(leak, map[string]any{"before": staged["version"], "compromised": true, "revoked": true})
	if leak["current"] == staged["version"] || leak["current"] == nil {
		t.Errorf("rotate --compromised: %v", leak)
	}
	// The pair is changed, and the API does not answer: a machine must hear of both.
	half := ask("", exitFailed, "rotate", "crm", "--compromised", "--yes", "--timeout", "10s", "--url", "http://127.0.0.1:1/v1")
	same(half, map[string]any{"compromised": true, "revoked": false})
	for _, status := range []int{403, 503} { // not as get exits: the pair is changed all the same
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, stderr, code := command(t, "", "rotate", "crm", "--compromised", "--yes", "--timeout", "5s", "--url", api.URL+"/v1")
		api.Close()
		if code != exitFailed || !strings.Contains(stderr, "try `sftoken revoke crm`") {
			t.Errorf("the API answers %d: exit %d: %s", status, code, stderr)
		}
	}
}

// AWS answers a wrong signature with all that was to be signed, the caller's session token included.
func TestComplaintsHoldNoSessionToken(t *testing.T) {
	err := errors.New("operation error STS: GetCallerIdentity, api error SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided." +
		"\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:the-token\n'")
	if text := userMessage(err); strings.Contains(text, "the-token") || !strings.HasSuffix(text, "you provided.") {
		t.Errorf("%q", text)
	}
}

// The words of API Gateway do not say what to do; those of the function do.
func TestComplaintsLeadToTheDoctor(t *testing.T) {
	for _, c := range []struct {
		err sftoken.Error
		led bool
	}{
		{sftoken.Error{Status: 403, Description: "Forbidden"}, true},
		{sftoken.Error{Status: 502, Description: "Internal server error"}, true},
		{sftoken.Error{Status: 429, Description: "Too Many Requests"}, false},
		{sftoken.Error{Status: 404, Code: "unknown_app", Description: "there is no app"}, false},
	} {
		if text := userMessage(fmt.Errorf("a token: %w", &c.err)); strings.Contains(text, "sftoken doctor") != c.led {
			t.Errorf("%q", text)
		}
	}
}

func TestLocalAsTheReadmeTellsIt(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("skipped: no curl on the PATH")
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); _ = out.Close(); wg.Wait() })
	var stderr localaws.SyncBuffer
	wg.Go(func() {
		code := run(ctx, []string{"local", "--listen", "127.0.0.1:0", "--secrets-manager-listen", "127.0.0.1:0", "--org-listen", "127.0.0.1:0"}, strings.NewReader(""), in, &stderr)
		_ = in.CloseWithError(fmt.Errorf("exit %d: %s", code, stderr.String()))
	})
	line := ""
	for lines := bufio.NewScanner(out); !strings.HasPrefix(line, "curl ") && lines.Scan(); {
		line = strings.TrimSpace(lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if !strings.HasPrefix(line, "curl ") {
		t.Fatalf("no curl line: %s", stderr.String())
	}
	answer, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(line, "curl ", curl+" -sS ", 1)).CombinedOutput()
	if err != nil || !strings.Contains(string(answer), `"access_token"`) {
		t.Errorf("%s: %v: %d bytes", line, err, len(answer))
	}
}

func TestVendingFromARealOrgWithNoAWS(t *testing.T) {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	key, secret := org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	file := filepath.Join(t.TempDir(), "secrets.json")
	text := fmt.Sprintf(`{"erp":{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q}}`, key, secret, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets, err := stack.ReadSecrets(file)
	if err != nil {
		t.Fatal(err)
	}
	s := startStack(t, stack.Config{Secrets: secrets, Env: []string{"SALESFORCE_HOSTS=" + strings.TrimPrefix(server.URL, "http://")}})
	s.useKey(t, s.Keys.Billing)
	if stdout, stderr, code := command(t, "", "get", "erp", "-o", "token"); code != 0 || !org.TokenActive(strings.TrimSpace(stdout)) {
		t.Errorf("get: exit %d: %s", code, stderr)
	}
	for _, bad := range []string{"", "[]", "{}", `{"ERP":{}}`} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := stack.ReadSecrets(file); err == nil {
			t.Errorf("a file with %q is accepted", bad)
		}
	}
}

// TestNothingSecretIsWritten takes real processes through every fault and collects everything that they, the commands and
// the API write.
func TestNothingSecretIsWritten(t *testing.T) {
	var written localaws.SyncBuffer
	s := newTestStack(t, &written, "SECRET_TTL=1s", "PROPAGATION=0s", "LOG_LEVEL=debug")
	key, secret := s.App.Credentials()
	for _, fault := range sfoauthtest.AllFaults() {
		for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Token, sfoauthtest.Introspect, sfoauthtest.PrimaryCredentials} {
			// A rotation that hangs takes minutes, and says no more than one that is cut off.
			if !fault.AppliesTo(at) || at == sfoauthtest.PrimaryCredentials && slow(fault) {
				continue
			}
			s.Org.InjectFault(at, fault, 0)
			switch at {
			case sfoauthtest.Token:
				s.Token.Kill() // a cold start
				s.tell(t, &written, billingKey, "get", "crm", "-o", "none")
			case sfoauthtest.Introspect:
				s.Org.ClearFaults(sfoauthtest.Token)
				id := s.tokenID(t)
				s.tell(t, &written, billingKey, "get", "crm", "-o", "none", "--rejected", id)
				s.tell(t, &written, ownerKey, "revoke", "crm")
			default:
				s.tell(t, &written, ownerKey, "rotate", "crm")
			}
			s.Org.ClearFaults()
		}
	}
	s.tell(t, &written, ownerKey, "secret", "status", "crm")
	s.tell(t, &written, ownerKey, "secret", "status", "crm", "--json")
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"secret", "put", "crm"}, strings.NewReader(fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, secret)), &written, io.MultiWriter(&written, &errs)); code != 0 {
		t.Errorf("secret put: exit %d: %s", code, errs.String())
	}
	text := written.String()
	if len(text) < 50_000 {
		t.Errorf("only %d bytes were written", len(text))
	}
	found := 0
	for _, secret := range append(s.Org.Secrets(), functionKey.SecretAccessKey, functionKey.SessionToken, ownerKey.SecretAccessKey, billingKey.SecretAccessKey) {
		if len(secret) >= 8 && strings.Contains(text, secret) {
			found++
		}
	}
	if found > 0 {
		t.Errorf("%d of %d secrets, tokens and signatures are in what was written", found, len(s.Org.Secrets()))
	}
	if improper := s.Org.Violations(); len(improper) > 0 {
		t.Errorf("sent to Salesforce: %q", improper)
	}
}

func slow(fault sfoauthtest.Fault) bool {
	for _, name := range []string{"hang", "latency", "trickling"} {
		if strings.HasPrefix(fault.String(), name) {
			return true
		}
	}
	return false
}

// tell runs a command as somebody and keeps what it writes.
func (s *testStack) tell(t *testing.T, to io.Writer, p localaws.Principal, args ...string) {
	t.Helper()
	s.useKey(t, p)
	if args[0] == "get" || args[0] == "revoke" {
		args = append(args, "--timeout", "1s") // a 503 is not tried again
	}
	_ = run(t.Context(), args, strings.NewReader(""), to, to)
}

func (s *testStack) tokenID(t *testing.T) string {
	t.Helper()
	token, err := s.SourceFor(billingKey).Fetch(t.Context())
	if err != nil {
		return "0123456789abcdef"
	}
	return token.ID
}

// TestARotationWhoseProcessIsKilled kills the real rotate function while Salesforce works on one of its calls. That it recovers from
// every call is shown in functions/rotate.
func TestARotationWhoseProcessIsKilled(t *testing.T) {
	s := newTestStack(t, io.Discard, "PROPAGATION=1s")
	s.useKey(t, ownerKey)
	for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Token} {
		oldKey, _ := s.App.Credentials()
		before := s.Org.Stats().Calls[at]
		s.Org.InjectFault(at, sfoauthtest.Latency(time.Second), 1)
		var killer sync.WaitGroup
		killer.Go(func() {
			for s.Org.Stats().Calls[at] == before {
				time.Sleep(5 * time.Millisecond)
			}
			s.Rotate.Kill()
		})
		_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm") // Secrets Manager tries it twice
		killer.Wait()
		s.Org.ClearFaults()
		for try := 0; ; try++ {
			secret, err := s.Secret(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			key, pair := s.App.Credentials()
			version, err := secret.Read(t.Context(), secret.VersionWithLabel("AWSCURRENT"))
			if err == nil && key != oldKey && version.ConsumerKey == key && s.Org.CanLogin(key, pair) {
				break
			}
			if try == 3 {
				t.Fatalf("killed at %s: the rotation does not complete: %v", at, err)
			}
			_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm")
		}
	}
}
