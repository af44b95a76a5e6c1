package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// odd are texts that need quoting in a shell.
var odd = []string{`plain`, `two words`, `'single'`, `"double"`, "back`tick`", `$HOME $(id) ${x}`, `a\b\\c`,
	`;rm -rf /; #`, `!bang *?[a] ~`, `-n`, "tab\tand é", `''`, `=`}

// visible returns the characters of text that a token may have.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
}

// oddAPI serves a token and a URL that contain an odd text.
func oddAPI(t *testing.T, text string) {
	t.Helper()
	serveAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": visible(text), "token_id": "0123456789abcdef", "instance_url": "https://" + text, "expires_in": 600,
		})
	})
}

func TestGetEnvIsQuoted(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("skipped: no sh on the PATH")
	}
	for _, text := range odd {
		oddAPI(t, text)
		stdout, stderr, code := command(t, "", "get", "crm", "-o", "env")
		if code != 0 {
			t.Fatalf("%q: exit %d: %s", text, code, stderr)
		}
		// As in the help, with env as the program.
		got, err := exec.CommandContext(t.Context(), sh, "-c", `eval "$1"; env`, "sh", stdout).Output()
		if err != nil || !strings.Contains(string(got), "SF_ACCESS_TOKEN="+visible(text)+"\n") ||
			!strings.Contains(string(got), "SF_INSTANCE_URL=https://"+text+"\n") {
			t.Errorf("%q: %v: %s", text, err, stdout)
		}
		stdout, stderr, code = command(t, "", "exec", "crm", "--", sh, "-c", `printf %s "$SF_ACCESS_TOKEN"`)
		if code != 0 || stdout != visible(text) {
			t.Errorf("exec: %q: exit %d: %s%s", text, code, stdout, stderr)
		}
	}
}

// startReady starts a program and waits for its first word. It returns the rest of standard output.
func startReady(t *testing.T, cmd *exec.Cmd) (stdout io.Reader) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var ready string
	if _, err := fmt.Fscan(stdout, &ready); err != nil {
		t.Fatal(err)
	}
	return stdout
}

// Every user of a machine can read the command lines of all processes.
func TestExecKeepsTokenOutOfCommandLines(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("skipped: no /proc on this system")
	}
	const token = "00D000000000001!secret-of-this-test"
	oddAPI(t, token)
	var stderr localaws.SyncBuffer
	cmd := exec.CommandContext(t.Context(), "sftoken", "exec", "crm", "--", "sh", "-c",
		`echo $$; read line; echo "$line"; exit 3`)
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var child int
	if _, err := fmt.Fscan(stdout, &child); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	read := func(pid int, name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	for _, pid := range []int{cmd.Process.Pid, child} {
		if line := read(pid, "cmdline"); line == "" || strings.Contains(line, "secret-of-this-test") {
			t.Errorf("the command line of process %d: %q", pid, line)
		}
	}
	if !strings.Contains(read(child, "environ"), "SF_ACCESS_TOKEN="+token) {
		t.Error("the token is not in the environment of the command")
	}
	if strings.Contains(read(cmd.Process.Pid, "environ"), token) {
		t.Error("the token is in the environment of sftoken itself")
	}
	_, _ = io.WriteString(stdin, "on\n")
	if rest, err := io.ReadAll(stdout); err != nil || strings.TrimSpace(string(rest)) != "on" {
		t.Errorf("standard input and output are not the command's: %q, %v", rest, err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("exit: %v: %s", err, stderr.String())
	}
}

// A process manager signals sftoken by its process ID. The command must get the signal.
func TestExecForwardsSignals(t *testing.T) {
	oddAPI(t, "token")
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		cmd := exec.CommandContext(t.Context(), "sftoken", "exec", "crm", "--", "sh", "-c",
			`trap 'echo caught; exit 5' TERM INT HUP; echo ready; while sleep 0.05; do :; done`)
		stdout := startReady(t, cmd)
		_ = cmd.Process.Signal(signal)
		rest, _ := io.ReadAll(stdout)
		_ = cmd.Wait()
		if strings.TrimSpace(string(rest)) != "caught" || cmd.ProcessState.ExitCode() != 5 {
			t.Errorf("%v: %q, exit %d", signal, rest, cmd.ProcessState.ExitCode())
		}
	}
}

// The private agent's requests bypass a proxy, and no others do that did not before.
func TestNoProxy(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		want        string
	}{
		"no proxy":            {nil, ""},
		"a proxy of https":    {map[string]string{"https_proxy": "http://proxy:3128", "NO_PROXY": "x"}, ""},
		"http_proxy":          {map[string]string{"http_proxy": "http://proxy:3128"}, "127.0.0.1"},
		"ALL_PROXY":           {map[string]string{"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "a,b"}, "a,b,127.0.0.1"},
		"lower case wins":     {map[string]string{"HTTP_PROXY": "http://p", "no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1"},
		"none for any host":   {map[string]string{"all_proxy": "http://proxy:3128", "no_proxy": "*"}, "*"},
		"none for any, upper": {map[string]string{"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "*"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"http_proxy", "https_proxy", "all_proxy", "no_proxy"} {
				t.Setenv(variable, c.environment[variable])
				t.Setenv(strings.ToUpper(variable), c.environment[strings.ToUpper(variable)])
			}
			want := []string{"no_proxy=" + c.want, "NO_PROXY=" + c.want}
			if c.want == "" {
				want = nil
			}
			if got := noProxy(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
