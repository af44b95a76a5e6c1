package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// agentProcess is a process of "sftoken serve".
type agentProcess struct {
	cmd     *exec.Cmd
	address string // SFTOKEN_URL of its clients
	log     localaws.SyncBuffer
}

// startServe starts an agent, which ends with the test.
func (s *testStack) startServe(t *testing.T, args ...string) *agentProcess {
	t.Helper()
	p := &agentProcess{cmd: exec.CommandContext(t.Context(), "sftoken", append([]string{"serve"}, args...)...)}
	p.cmd.Env = s.environ(billingKey)
	stderr, err := p.cmd.StderrPipe()
	must(t, err)
	must(t, p.cmd.Start())
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	must(t, err)
	var serving struct{ Address string }
	if json.Unmarshal([]byte(first), &serving) != nil || serving.Address == "" {
		t.Fatalf("its first line is %q", first)
	}
	p.address = serving.Address
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(&p.log, lines)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
		<-copied
		_ = p.cmd.Wait()
	})
	return p
}

func TestServeTokenFile(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard)
	file := filepath.Join(t.TempDir(), "token")
	p := s.startServe(t, "--token-file", file, "--listen", "127.0.0.1:0")
	info, err := os.Stat(file)
	must(t, err)
	if mode := info.Mode(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %s", mode)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	token := strings.TrimSpace(string(text))
	get := func(header string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.address+"/tokens/crm", nil)
		must(t, err)
		req.Header.Set("Authorization", header)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if with, without := get("Bearer "+token), get("Bearer x"); with != 200 || without != 401 {
		t.Errorf("HTTP %d with the token, %d without", with, without)
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the token file was not removed")
	}
	if cmdline := strings.Join(p.cmd.Args, " ") + p.log.String(); strings.Contains(cmdline, token) {
		t.Error("the agent token is in its arguments or its log")
	}
}

// Another user of the machine can open neither the socket nor the token file, and get no token without it.
func TestServeRefusesOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("skipped: only root can act as another user")
	}
	for _, program := range []string{"setpriv", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("skipped: no %s on the PATH", program)
		}
	}
	s := newTestStack(t, io.Discard)
	dir, err := os.MkdirTemp("", "sftoken") //nolint:usetesting // T.TempDir has the test's name, which may be long
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755)) // the directory must not be what keeps others away
	socket, file := filepath.Join(dir, "agent.sock"), filepath.Join(dir, "token")
	s.startServe(t, "--socket", socket)
	tcp := s.startServe(t, "--token-file", file, "--listen", "127.0.0.1:0")
	for name, try := range map[string]string{
		"socket":     "curl -sS --fail --unix-socket " + socket + " http://localhost/v1/tokens/crm",
		"token file": "cat " + file,
		"no token":   "curl -sS --fail " + tcp.address + "/tokens/crm",
	} {
		run := func(command ...string) error {
			return exec.CommandContext(t.Context(), command[0], append(command[1:], "sh", "-c", try+" >/dev/null")...).Run()
		}
		if err := run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"); err == nil {
			t.Errorf("%s: another user can use the agent", name)
		}
		if err := run("env"); err != nil && name != "no token" {
			t.Errorf("%s: its own user cannot use the agent: %v", name, err)
		}
	}
}

// A job that runs for longer than its token is valid gets another one from its private agent, which uses another agent
// here: neither has AWS credentials.
func TestExecKeepsTokenFresh(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("skipped: no curl on the PATH")
	}
	s := newTestStack(t, io.Discard)
	file := filepath.Join(t.TempDir(), "token")
	outer := s.startServe(t, "--token-file", file, "--listen", "127.0.0.1:0")
	const job = `echo "$SF_ACCESS_TOKEN"
read revoked
sftoken get crm --rejected "$(sftoken get crm -o json | grep -o '"token_id": "[0-9a-f]*"' | cut -d '"' -f 4)" -o token
curl -sS --fail -u "job:$SFTOKEN_AGENT_TOKEN" -d grant_type=client_credentials "$SFTOKEN_URL/tokens/crm" |
  grep -o '"access_token":"[^"]*"' | cut -d '"' -f 4
printf '%s\n' "${SFTOKEN_AGENT_TOKEN_FILE-unset}"`
	cmd := exec.CommandContext(t.Context(), "sftoken", "exec", "crm", "--", "sh", "-ec", job)
	cmd.Env = append(s.environ(localaws.Principal{}), "SFTOKEN_URL="+outer.address, "SFTOKEN_AGENT_TOKEN_FILE="+file)
	var stderr localaws.SyncBuffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var first, second, third, inherited string
	_, err = fmt.Fscan(stdout, &first)
	must(t, err)
	s.Org.RevokeAll()
	_, _ = io.WriteString(stdin, "revoked\n")
	if _, err := fmt.Fscan(stdout, &second, &third, &inherited); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if second == first || !s.Org.TokenActive(second) || third != second || inherited != "unset" {
		t.Errorf("replaced: %t, active: %t, the same for an OAuth client: %t; token file %s",
			second != first, s.Org.TokenActive(second), third == second, inherited)
	}
}
