package agent_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestListenAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"0.0.0.0:0", ":0", "[::]:0", "10.0.0.1:0", "example.com:0", "localhost.example.com:0", "127.0.0.1", "", "127.0.0.1:x",
	} {
		if listener, err := agent.ListenTCP(address); err == nil {
			_ = listener.Close()
			t.Errorf("it listens on %s", address)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		listener, err := agent.ListenTCP(address)
		if err != nil {
			t.Fatal(err)
		}
		if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
			t.Errorf("%s is %s", address, ip)
		}
		_ = listener.Close()
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// shortDir returns a directory whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // T.TempDir has the test's name, which may be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestSocketMode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: no Unix sockets for one user")
	}
	dir := shortDir(t)
	path := filepath.Join(dir, "agent.sock")
	listener, err := agent.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if m := mode(t, path); m != fs.ModeSocket|0o600 {
		t.Errorf("mode %s", m)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files beside the socket", len(entries)-1)
	}
	if _, err := agent.ListenUnix(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a second agent: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket was not removed")
	}
}

// A socket that a killed agent has left is replaced. No other file is, and a newer agent's socket is not removed.
func TestSocketReplacement(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: no Unix sockets for one user")
	}
	dir := shortDir(t)
	path := filepath.Join(dir, "agent.sock")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close()
	first, err := agent.ListenUnix(path)
	if err != nil {
		t.Fatalf("a socket that was left: %v", err)
	}
	_ = os.Remove(path)
	second, err := agent.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error("the socket of the second agent was removed by the first")
	}
	_ = second.Close()
	for name, create := range map[string]func(string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink("/nowhere", path) },
	} {
		path := filepath.Join(dir, name)
		if err := create(path); err != nil {
			t.Fatal(err)
		}
		before := mode(t, path)
		if _, err := agent.ListenUnix(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if mode(t, path) != before {
			t.Errorf("the %s was replaced", name)
		}
	}
	for _, path := range []string{filepath.Join(dir, "missing", "s"), filepath.Join(dir, strings.Repeat("x", 200))} {
		if _, err := agent.ListenUnix(path); err == nil {
			t.Errorf("it listens at %s", path)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("%d files are left", len(entries))
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "token"), filepath.Join(dir, "victim")
	for _, err := range []error{
		os.WriteFile(victim, []byte("precious"), 0o644), os.Symlink(victim, path),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	token := sfoauth.NewSecret(agentToken)
	remove, err := agent.WriteToken(path, token)
	if err != nil {
		t.Fatal(err)
	}
	if m := mode(t, path); m != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %s", m)
	}
	if text, _ := os.ReadFile(victim); string(text) != "precious" {
		t.Error("it followed a symbolic link")
	}
	if text, _ := os.ReadFile(path); strings.TrimSpace(string(text)) != agentToken {
		t.Errorf("the file has %d bytes", len(text))
	}
	removeSecond, err := agent.WriteToken(path, agent.NewToken())
	if err != nil {
		t.Fatal(err)
	}
	remove()
	if _, err := os.Lstat(path); err != nil {
		t.Error("the token of a second agent was removed")
	}
	removeSecond()
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing", "token")} {
		if _, err := agent.WriteToken(path, token); err == nil || strings.Contains(err.Error(), agentToken) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if agent.NewToken().Equal(agent.NewToken()) || len(agent.NewToken().Reveal()) < 26 {
		t.Error("tokens are not random")
	}
}
