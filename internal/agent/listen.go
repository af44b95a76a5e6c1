package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// AddressError means that an address is not a loopback address, HOST:PORT.
type AddressError struct{ text string }

// Error implements error.
func (e *AddressError) Error() string { return e.text }

// ListenTCP listens on a loopback address, HOST:PORT.
func ListenTCP(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &AddressError{fmt.Sprintf("address %s: want HOST:PORT, like 127.0.0.1:7373", address)}
	}
	if strings.EqualFold(host, "localhost") { // may have several addresses
		host = "127.0.0.1"
	}
	if !sfoauth.IsLoopback(host) {
		return nil, &AddressError{"address " + address + ": want a loopback address, like 127.0.0.1:7373 or [::1]:7373"}
	}
	return net.Listen("tcp", net.JoinHostPort(host, port))
}

// ListenUnix listens on a Unix socket that only the current user and root can open. It replaces a socket that no
// process listens on, and no other file. Closing the listener removes the socket.
func ListenUnix(path string) (net.Listener, error) {
	if runtime.GOOS == "windows" {
		return nil, errors.New("on Windows a Unix socket cannot be limited to one user")
	}
	if err := checkSocket(path); err != nil {
		return nil, err
	}
	// In a directory of its own the socket cannot be opened before it has its mode.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	private := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", private)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	owned := &unixListener{Listener: listener, path: path}
	if err := errors.Join(os.Chmod(private, 0o600), owned.moveTo(private, path)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return owned, nil
}

// maxSocketPath is the longest path of a Unix socket, in bytes, that a client can open on every system. Source:
// sun_path in unix(4) of macOS, which has 104 bytes with the final zero. maxSocketDir leaves room for the private
// directory.
const (
	maxSocketPath = 103
	maxSocketDir  = maxSocketPath - len("/.s4294967295/s")
)

// checkSocket returns an error if the path is taken or too long.
func checkSocket(path string) error {
	if len(path) > maxSocketPath || len(filepath.Dir(path)) > maxSocketDir {
		return fmt.Errorf("socket %s: the path is too long: at most %d bytes, and %d for the directory", path, maxSocketPath,
			maxSocketDir)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("socket %s: another process listens on it", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil // no process listens
	}
	return fmt.Errorf("socket %s: another process may listen on it: %w", path, errors.Unwrap(err))
}

// unixListener removes its socket when it is closed.
type unixListener struct {
	net.Listener
	path string
	info os.FileInfo // of the socket, which another agent may have replaced
}

func (l *unixListener) moveTo(from, to string) (err error) {
	if err = os.Rename(from, to); err == nil {
		l.info, err = os.Lstat(to)
	}
	return err
}

func (l *unixListener) Close() error {
	if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.info) {
		_ = os.Remove(l.path)
	}
	return l.Listener.Close()
}

// NewToken returns a random agent token of 128 bits.
func NewToken() sfoauth.Secret { return sfoauth.NewSecret(rand.Text()) }

// WriteToken writes the token to a file that only the current user and root can read. It replaces an existing file, and
// follows no symbolic link. The returned function removes the file unless another agent has replaced it.
func WriteToken(path string, token sfoauth.Secret) (remove func(), err error) {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("token file %s is a directory", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".sftoken-") // with mode 0600
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // fails once it has been renamed
	_, err = fmt.Fprintln(file, token.Reveal())
	info, statErr := file.Stat()
	if err := errors.Join(err, statErr, file.Close()); err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, info) {
			_ = os.Remove(path)
		}
	}, nil
}
