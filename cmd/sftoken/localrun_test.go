package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// The curl command of the banner works.
func TestLocalBannerCurl(t *testing.T) {
	t.Parallel()
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
		code := run(ctx, localArgs(), strings.NewReader(""), in, &stderr)
		_ = in.CloseWithError(fmt.Errorf("exit %d: %s", code, stderr.String()))
	})
	line := ""
	for lines := bufio.NewScanner(out); !strings.HasPrefix(line, "curl ") && lines.Scan(); {
		line = strings.TrimSpace(lines.Text())
		for strings.HasSuffix(line, "\\") && lines.Scan() {
			line = strings.TrimSuffix(line, "\\") + lines.Text()
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if !strings.HasPrefix(line, "curl ") {
		t.Fatalf("no curl line: %s", stderr.String())
	}
	output, err := exec.CommandContext(t.Context(), "sh", "-c",
		strings.Replace(line, "curl ", curl+" -sS ", 1)).CombinedOutput()
	if err != nil || !strings.Contains(string(output), `"access_token"`) {
		t.Errorf("%s: %v: %d bytes", line, err, len(output))
	}
}

// realOrg is an org as `sftoken local --secrets` uses it, with one app, erp, that could rotate its credentials.
type realOrg struct {
	*sfoauthtest.Org
	app     *sfoauthtest.App
	file    string // for --secrets, which other users can read
	setting string // that allows its address
}

func newRealOrg(t *testing.T) realOrg {
	t.Helper()
	o := realOrg{Org: sfoauthtest.New(sfoauthtest.Config{}), file: filepath.Join(t.TempDir(), "secrets.json")}
	server, err := o.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(server.Close)
	o.app = o.AddApp(sfoauthtest.AppOptions{})
	o.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	key, secret := o.app.Credentials()
	text := fmt.Appendf(nil, `{"erp":{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q,"appId":%q,"consumerId":%q}}`,
		key, secret, server.URL, o.app.ID, o.app.ConsumerID)
	must(t, os.WriteFile(o.file, text, 0o644))
	o.setting = "SALESFORCE_HOSTS=" + strings.TrimPrefix(server.URL, "http://")
	return o
}

// start starts a stack as `sftoken local --secrets` does.
func (o realOrg) start(t *testing.T) *testStack {
	t.Helper()
	secrets, err := stack.ReadSecrets(o.file)
	must(t, err)
	return startStack(t, stack.Config{Secrets: secrets, Env: []string{o.setting}})
}

// With the secrets of a real org, no other user of this machine may know the keys, and a web page whose host name
// resolves to this machine must be rejected.
func TestLocalWithRealOrgIsPrivate(t *testing.T) {
	t.Parallel()
	org := newRealOrg(t)
	s := org.start(t)
	for _, p := range []stack.Keys{stack.SimulatedKeys(), stack.RandomKeys()} {
		_, stderr, code := s.command(t, p.Owner, "", "secret", "status", "erp")
		if code == 0 || !strings.Contains(stderr, "UnrecognizedClient") {
			t.Errorf("with other keys: exit %d: %s", code, stderr)
		}
		// The functions' key may read the secret.
		if _, _, code := s.command(t, p.Function, "", "secret", "status", "erp"); code == 0 {
			t.Error("with another key of the functions the secret is shown")
		}
		if _, _, code := s.command(t, p.Billing, "", "get", "erp"); code != exitDenied {
			t.Errorf("with other keys, of the API: exit %d", code)
		}
	}
	stdout, stderr, code := s.command(t, s.Keys.Billing, "", "get", "erp", "-o", "token")
	if code != 0 || !org.TokenActive(strings.TrimSpace(stdout)) {
		t.Errorf("with its own keys: exit %d: %s", code, stderr)
	}
	for _, url := range []string{s.URL + "/tokens/erp", s.AWSURL} {
		for host, want := range map[string]bool{"": true, "localhost": true, "evil.example": false,
			"169.254.169.254": false} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			must(t, err)
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			must(t, err)
			_ = resp.Body.Close()
			if got := resp.StatusCode != http.StatusMisdirectedRequest; got != want {
				t.Errorf("%s with Host %q: HTTP %d", url, host, resp.StatusCode)
			}
		}
	}
}

func TestReadSecretsRejectsInvalidFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets.json")
	for _, text := range []string{"", "[]", "{}", `{"ERP":{}}`} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := stack.ReadSecrets(file); err == nil {
			t.Errorf("a file with %q is accepted", text)
		}
	}
}
