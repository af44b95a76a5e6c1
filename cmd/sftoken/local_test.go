package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// localArgs are the arguments of `sftoken local` on free ports.
func localArgs(args ...string) []string {
	const freePort = "127.0.0.1:0"
	return append([]string{"local", "--listen", freePort, "--secrets-manager-listen", freePort, "--org-listen", freePort},
		args...)
}

// runLocal runs `sftoken local` until its banner ends with last, stops it as Ctrl-C does, and returns its output.
func runLocal(t *testing.T, last string, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, errs := &localaws.SyncBuffer{To: cue{last, interrupt}}, &localaws.SyncBuffer{}
	if code := run(ctx, localArgs(args...), strings.NewReader(""), out, errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	return out.String(), errs.String()
}

// cue is a writer that calls then after a text that ends with last.
type cue struct {
	last string
	then func()
}

func (c cue) Write(p []byte) (int, error) {
	if strings.HasSuffix(strings.TrimSpace(string(p)), c.last) {
		c.then()
	}
	return len(p), nil
}

func TestLocalJSON(t *testing.T) {
	t.Parallel()
	stdout, _ := runLocal(t, "}", "--json")
	var got struct {
		URL, SecretsManager, Org, Region string
		Keys                             map[string]struct{ AccessKeyID, SecretAccessKey, ARN string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if !strings.HasSuffix(got.URL, "/v1") || got.SecretsManager == "" || got.Org == "" || got.Region != region {
		t.Errorf("got %+v", got)
	}
	for _, name := range []string{"owner", "billing", "stranger"} {
		if key := got.Keys[name]; key.AccessKeyID == "" || key.SecretAccessKey == "" || key.ARN == "" {
			t.Errorf("key %s: %+v", name, key)
		}
	}
}

// Credentials that the local rotate function created in a real org would be lost with this process.
func TestLocalNeverRotatesInRealOrg(t *testing.T) {
	t.Parallel()
	org := newRealOrg(t)
	key, _ := org.app.Credentials()
	stdout, stderr := runLocal(t, "follows.", "--secrets", org.file, "--env", org.setting)
	if !strings.Contains(stdout, "/tokens/erp\n") || strings.Contains(stdout, "crm") ||
		strings.Contains(stdout, "sftoken rotate") {
		t.Errorf("the banner does not fit the file:\n%s", stdout)
	}
	if !strings.Contains(stderr, "chmod 600") {
		t.Error("no warning that other users can read the file")
	}

	s := org.start(t)
	_, stderr, code := s.command(t, s.Keys.Owner, "", "rotate", "erp", "--wait")
	if code != exitFailed || !strings.Contains(stderr, "rotation is not switched on") {
		t.Errorf("rotate: exit %d: %s", code, stderr)
	}
	if now, _ := org.app.Credentials(); now != key || len(org.app.Staged()) > 0 {
		t.Error("the credentials of the real org were changed")
	}
}

func TestLocalListenErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	for _, tt := range []struct {
		address, hint string
		code          int
	}{
		{taken.Addr().String(), "choose another address with --listen", exitFailed},
		{"127.0.0.1", "HOST:PORT", exitUsage},
	} {
		_, stderr, code := command(t, "", localArgs("--listen", tt.address)...)
		if code != tt.code || !strings.Contains(stderr, tt.address) || !strings.Contains(stderr, tt.hint) {
			t.Errorf("%s: exit %d: %s", tt.address, code, stderr)
		}
	}
}

func TestLocalEnvNeedsValue(t *testing.T) {
	t.Parallel()
	_, stderr, code := command(t, "", "local", "--env", "SECRET_TTL")
	if code != exitUsage || !strings.Contains(stderr, "NAME=value") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestExitCodesOfFailures(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard)
	s.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
	_, stderr, code := s.command(t, billingKey, "", "get", "crm", "--timeout", "1s")
	if code != exitRetry || !strings.HasPrefix(stderr, "error: HTTP 503") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("Salesforce is down: exit %d: %s", code, stderr)
	}
	s.Org.ClearFaults()
	s.App.Change(func(o *sfoauthtest.AppOptions) { o.FlowOff = true })
	s.Token.Kill() // it remembers that Salesforce was down
	if _, stderr, code := s.command(t, billingKey, "", "get", "crm"); code != exitConfig {
		t.Errorf("the flow is off: exit %d: %s", code, stderr)
	}
}

// `sftoken local` needs no Go toolchain, no checkout, and no other program. With -short, this test binary is sftoken.
func TestLocalNeedsOnlyTheProgram(t *testing.T) {
	t.Parallel()
	binary, err := exec.LookPath("sftoken")
	must(t, err)
	if !testing.Short() {
		binary = filepath.Join(t.TempDir(), "sftoken")
		if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	sftoken := func(env []string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Dir = t.TempDir()
		cmd.Env = append([]string{"PATH=", "HOME=" + cmd.Dir}, env...)
		return cmd
	}
	local := sftoken(nil, localArgs("--json")...)
	stdout, err := local.StdoutPipe()
	must(t, err)
	must(t, local.Start())
	t.Cleanup(func() { _ = local.Process.Signal(os.Interrupt); _ = local.Wait() })
	var got struct {
		URL, SecretsManager string
		Keys                map[string]struct{ AccessKeyID, SecretAccessKey string }
	}
	must(t, json.NewDecoder(stdout).Decode(&got))
	env := []string{
		"SFTOKEN_URL=" + got.URL, "AWS_ENDPOINT_URL=" + got.SecretsManager, "AWS_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + got.Keys["owner"].AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + got.Keys["owner"].SecretAccessKey,
	}
	for _, args := range [][]string{{"get", "crm", "-o", "none"}, {"rotate", "crm", "--wait"}} {
		if text, err := sftoken(env, args...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", args, err, text)
		}
	}
	// In a real Lambda function, even with a stale variable of the simulator, it is the command-line tool.
	for _, left := range []string{"", "SFTOKEN_SIMULATED_FUNCTION=token@127.0.0.1:1"} {
		text, err := sftoken([]string{"AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001", left}, "version").CombinedOutput()
		if err != nil || string(text) != "devel\n" {
			t.Errorf("in a Lambda function, %q: %v: %s", left, err, text)
		}
	}
}
