package agent_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sftoken/sftoken/internal/agent"
)

// A process that listens keeps its socket, even if it accepts no connection now: Linux refuses one with EAGAIN if too
// many wait, and with ECONNREFUSED only if no process listens.
func TestSocketOfBusyProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "agent.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer func() { _ = conn.Close() }()
	}
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := agent.ListenUnix(path)
	if err == nil {
		_ = listener.Close()
		t.Error("the socket of a busy process was replaced")
	} else if !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket is another one: %v", err)
	}
}

// A path that is not refused for its length can be opened.
func TestSocketPathLength(t *testing.T) {
	t.Parallel()
	parent := shortDir(t)
	for length := 80; length <= 103; length++ {
		dir := filepath.Join(parent, strings.Repeat("d", length-len(parent)-1))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"s", "agent.sock", "a-longer-name.sock"} {
			path := filepath.Join(dir, name)
			listener, err := agent.ListenUnix(path)
			if err != nil {
				if !strings.Contains(err.Error(), "too long") || length <= 88 && len(path) <= 103 {
					t.Errorf("%d bytes, in a directory of %d: %v", len(path), length, err)
				}
				continue
			}
			conn, err := net.Dial("unix", path)
			if err != nil || len(path) > 103 {
				t.Errorf("%d bytes, in a directory of %d: %v", len(path), length, err)
				continue
			}
			_ = conn.Close()
			_ = listener.Close()
		}
	}
}
