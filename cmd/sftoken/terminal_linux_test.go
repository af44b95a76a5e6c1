package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// pty is a pseudo-terminal. A command uses side; screen has what the command writes.
type pty struct {
	side   *os.File
	master *os.File
	screen *localaws.SyncBuffer
}

// newPTY opens a pseudo-terminal with this many columns. Source: pty(7), ioctl_tty(2).
func newPTY(t *testing.T, columns uint16) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("skipped: no pseudo-terminals here: %v", err)
	}
	var number uint32
	var unlocked int32
	size := [4]uint16{60, columns}
	for _, call := range []struct {
		request uintptr
		value   unsafe.Pointer
	}{{syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked)}, {syscall.TIOCGPTN, unsafe.Pointer(&number)},
		{syscall.TIOCSWINSZ, unsafe.Pointer(&size)}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), call.request, uintptr(call.value)); errno != 0 {
			t.Fatal(errno)
		}
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	term := &pty{side: side, master: master, screen: &localaws.SyncBuffer{}}
	done := make(chan struct{})
	go func() { _, _ = io.Copy(term.screen, master); close(done) }()
	t.Cleanup(func() {
		_ = side.Close()
		_ = master.Close()
		<-done
	})
	return term
}

// run runs a command at the terminal and returns the contents of the screen once it shows the text last.
func (term *pty) run(t *testing.T, last string, args ...string) (shown string, code int) {
	t.Helper()
	code = run(t.Context(), args, term.side, term.side, term.side)
	term.await(t, last)
	return term.screen.String(), code
}

// await waits until the screen shows a text.
func (term *pty) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(term.screen.String(),
		text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the screen does not show %q: %q", text, term.screen.String())
		}
	}
}

// reply types text once the screen shows the prompt.
func (term *pty) reply(t *testing.T, prompt, text string) {
	t.Helper()
	term.await(t, prompt)
	_, _ = io.WriteString(term.master, text)
}

// start starts the program at the terminal, in a session of its own, so that the terminal turns Ctrl-C into a signal.
func (term *pty) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sftoken", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.side, term.side, term.side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	return cmd
}

// interrupt types Ctrl-C and waits until the program has exited.
func (term *pty) interrupt(cmd *exec.Cmd) {
	_, _ = io.WriteString(term.master, "\x03")
	giveUp := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	_ = cmd.Wait()
}

// awaitSecretPrompt waits for the prompt for the secret and then for the terminal to stop echoing.
func (term *pty) awaitSecretPrompt(t *testing.T) {
	t.Helper()
	term.await(t, "Consumer secret (not shown): ")
	for deadline := time.Now().Add(30 * time.Second); echoes(t, term.side) &&
		time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
	}
}

func TestDoctorAtTerminal(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, billingKey)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	for _, c := range []struct {
		name    string
		columns uint16
		set     []string
		colors  bool
	}{
		{"80 columns", 80, nil, true}, {"a wide terminal", 200, nil, true}, {"a narrow terminal", 50, nil, true},
		{"NO_COLOR", 80, []string{"NO_COLOR", "1"}, false}, {"TERM=dumb", 80, []string{"TERM", "dumb"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.set != nil {
				t.Setenv(c.set[0], c.set[1])
			}
			shown, code := newPTY(t, c.columns).run(t, "Salesforce.\r\n", "doctor", "crm")
			if code != 0 {
				t.Fatalf("exit %d: %s", code, shown)
			}
			if got := strings.Contains(shown, "\x1b[32mok"); got != c.colors {
				t.Errorf("colors: %v", got)
			}
			if !c.colors && strings.Contains(shown, "\x1b[3") {
				t.Error("there are colors")
			}
			most := 0
			for line := range strings.SplitSeq(shown, "\r\n") {
				if !strings.Contains(line, "arn:") { // longer than a line
					most = max(most, displayWidth(line))
				}
			}
			if want := min(int(c.columns), 80); most > want || c.columns >= 80 && most < 60 {
				t.Errorf("%d columns on a terminal of %d:\n%s", most, c.columns, shown)
			}
		})
	}
}

func TestPromptHidesSecret(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	key, secret := s.App.Credentials()
	term := newPTY(t, 80)
	type ended struct {
		shown string
		code  int
	}
	done := make(chan ended, 1)
	go func() {
		shown, code := term.run(t, "stored version", "secret", "put", "crm")
		done <- ended{shown, code}
	}()
	term.reply(t, "Consumer key: ", key+"\n")
	term.awaitSecretPrompt(t)
	_, _ = io.WriteString(term.master, secret+"\n")
	end := <-done
	if end.code != 0 || !strings.Contains(end.shown, key) || strings.Contains(end.shown, secret) {
		t.Errorf("exit %d; the key is shown: %v, the secret: %v", end.code, strings.Contains(end.shown, key),
			strings.Contains(end.shown, secret))
	}
	if strings.Contains(end.shown, "My Domain") {
		t.Error("prompted for a stored field")
	}
	if !echoes(t, term.side) {
		t.Error("the terminal is left without an echo")
	}
	if stdout, stderr, code := command(t, "", "get", "crm", "-o", "token"); code != 0 ||
		!s.Org.TokenActive(strings.TrimSpace(stdout)) {
		t.Errorf("get: exit %d: %s", code, stderr)
	}
}

// Ctrl-C ends a prompt and restores the echo.
func TestPromptInterrupted(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	if _, err := s.Secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{ // as a deployment makes it
		Name: aws.String(prefix + "fresh"),
		SecretString: aws.String(`{"consumerKey":"replace-me","consumerSecret":"replace-me",` +
			`"baseUri":"https://replace-me.my.salesforce.com"}`),
	}); err != nil {
		t.Fatal(err)
	}
	term := newPTY(t, 80)
	cmd := term.start(t, "secret", "put", "fresh")
	term.reply(t, "My Domain, https://<MyDomain>.my.salesforce.com: ", "https://acme.my.salesforce.com\n")
	term.reply(t, "Consumer key: ", "3MVG9key\n")
	term.awaitSecretPrompt(t)
	term.interrupt(cmd)
	term.await(t, "nothing was stored: interrupted")
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !echoes(t, term.side) {
		t.Errorf("exit %d; the terminal echoes: %t", code, echoes(t, term.side))
	}
}

func TestPromptEndOfInput(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	term := newPTY(t, 80)
	go term.reply(t, "Consumer key: ", "\x04") // Ctrl-D
	if shown, code := term.run(t, "end of input", "secret", "put", "crm"); code != exitFailed ||
		!strings.Contains(shown, "\r\nerror: nothing was stored: end of input") {
		t.Errorf("exit %d: %q", code, shown)
	}
}

// Anything but "yes" means no, and so does Ctrl-C.
func TestConfirmAtTerminal(t *testing.T) {
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	s.useKey(t, ownerKey)
	before := s.current(t)
	for _, typed := range []string{"y\n", "\n", "\x04"} {
		term := newPTY(t, 80)
		go term.reply(t, "Type yes: ", typed)
		if shown, code := term.run(t, "nothing was done", "rotate", "crm", "--compromised"); code != exitFailed ||
			!strings.Contains(shown, before) || s.current(t) != before || s.labelled(t, "COMPROMISED") != "" {
			t.Errorf("%q: exit %d: %q", typed, code, shown)
		}
	}
	term := newPTY(t, 80)
	cmd := term.start(t, "rotate", "crm", "--compromised")
	term.await(t, "Type yes: ")
	term.interrupt(cmd)
	term.await(t, "nothing was done: interrupted")
	if s.labelled(t, "COMPROMISED") != "" {
		t.Error("Ctrl-C has not interrupted the command")
	}
	term = newPTY(t, 80)
	go term.reply(t, "Type yes: ", "yes\n")
	if shown, code := term.run(t, "is revoked", "rotate", "crm", "--compromised"); code != 0 || s.current(t) == before {
		t.Errorf("confirmed: exit %d: %q", code, shown)
	}
}

func TestMFAAtTerminal(t *testing.T) {
	code := mfaProfile(t)
	term := newPTY(t, 80)
	go term.reply(t, "MFA code of arn:aws:iam::222222222222:mfa/anna: ", "123456\n")
	if shown, exit := term.run(t, "SF_INSTANCE_URL", "get", "crm", "-o", "env"); exit != 0 || *code != "123456" {
		t.Errorf("exit %d, code %q: %q", exit, *code, shown)
	}
}

// The terminal sends Ctrl-C to the command as well, even if its input is a pipe, so sftoken must not forward it.
func TestExecLeavesCtrlCToTerminal(t *testing.T) {
	oddAPI(t, "token")
	cmd := exec.CommandContext(t.Context(), "sftoken", "exec", "crm", "--", "sh", "-c",
		`trap 'echo interrupted' INT; trap 'echo ended; exit 5' TERM; echo ready;
		while sleep 0.05; do :; done`)
	cmd.Stdin, cmd.Stderr = strings.NewReader("data"), newPTY(t, 80).side
	stdout := startReady(t, cmd)
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	rest, _ := io.ReadAll(stdout)
	if _ = cmd.Wait(); strings.TrimSpace(string(rest)) != "ended" || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("%q, exit %d", rest, cmd.ProcessState.ExitCode())
	}
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	var state syscall.Termios
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TCGETS,
		uintptr(unsafe.Pointer(&state))); errno != 0 {
		t.Fatal(errno)
	}
	return state.Lflag&syscall.ECHO != 0
}

// Progress is shown after a second, and removed afterwards.
func TestProgressAtTerminal(t *testing.T) {
	respond := make(chan struct{})
	serveAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		<-respond
		fmt.Fprint(w, tokenResponse)
	})
	term := newPTY(t, 80)
	go func() {
		term.await(t, "… waiting for the API")
		close(respond)
	}()
	shown, code := term.run(t, "SF_INSTANCE_URL", "get", "crm", "-o", "env")
	if code != 0 || !strings.Contains(shown, "… waiting for the API\r\x1b[Kexport SF_ACCESS_TOKEN=") {
		t.Errorf("exit %d: %q", code, shown)
	}
	if !utf8.ValidString(shown) {
		t.Error("invalid UTF-8")
	}
}
