package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	"github.com/sftoken/sftoken/internal/sim/stack"
)

// pty is a pseudo-terminal: what a command run at side writes is in screen, and what is typed reaches it.
type pty struct {
	side   *os.File
	master *os.File
	screen *localaws.SyncBuffer
}

// newPTY opens one that is so many columns wide. Source: pty(7), ioctl_tty(2).
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
	}{{syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked)}, {syscall.TIOCGPTN, unsafe.Pointer(&number)}, {syscall.TIOCSWINSZ, unsafe.Pointer(&size)}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), call.request, uintptr(call.value)); errno != 0 {
			t.Fatal(errno)
		}
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
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

// run runs a command at the terminal and returns all that the screen has shown, once it shows the text that must come last.
func (term *pty) run(t *testing.T, last string, args ...string) (shown string, code int) {
	t.Helper()
	code = run(t.Context(), args, term.side, term.side, term.side)
	term.await(t, last)
	return term.screen.String(), code
}

// await waits until the screen shows a text.
func (term *pty) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(term.screen.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the screen does not show %q: %q", text, term.screen.String())
		}
	}
}

// awaitSecretQuestion waits until the secret is asked for and the terminal has stopped to echo, which it does after the question.
func (term *pty) awaitSecretQuestion(t *testing.T) {
	t.Helper()
	term.await(t, "Consumer secret (not shown): ")
	for deadline := time.Now().Add(30 * time.Second); echoes(t, term.side) && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
	}
}

func TestDoctorAtATerminal(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, billingKey)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	for _, c := range []struct {
		name    string
		columns uint16
		set     []string
		colours bool
	}{
		{"80 columns", 80, nil, true}, {"a wide one", 200, nil, true}, {"a narrow one", 50, nil, true},
		{"NO_COLOR", 80, []string{"NO_COLOR", "1"}, false}, {"a terminal without colours", 80, []string{"TERM", "dumb"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.set != nil {
				t.Setenv(c.set[0], c.set[1])
			}
			shown, code := newPTY(t, c.columns).run(t, "Salesforce.\r\n", "doctor", "crm")
			if code != 0 {
				t.Fatalf("exit %d: %s", code, shown)
			}
			if got := strings.Contains(shown, "\x1b[32mok"); got != c.colours {
				t.Errorf("colours: %v", got)
			}
			if !c.colours && strings.Contains(shown, "\x1b[3") {
				t.Error("there are colours")
			}
			most := 0
			for line := range strings.SplitSeq(shown, "\r\n") {
				if !strings.Contains(line, "arn:") { // a word that is longer than the line
					most = max(most, displayWidth(line))
				}
			}
			if want := min(int(c.columns), 80); most > want || c.columns >= 80 && most < 60 {
				t.Errorf("%d columns on a terminal of %d:\n%s", most, c.columns, shown)
			}
		})
	}
}

func TestSecretsAreTypedUnseen(t *testing.T) {
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
	term.await(t, "Consumer key: ")
	_, _ = io.WriteString(term.master, key+"\n")
	term.awaitSecretQuestion(t)
	_, _ = io.WriteString(term.master, secret+"\n")
	end := <-done
	if end.code != 0 || !strings.Contains(end.shown, key) || strings.Contains(end.shown, secret) {
		t.Errorf("exit %d; the key is shown: %v, the secret: %v", end.code, strings.Contains(end.shown, key), strings.Contains(end.shown, secret))
	}
	if strings.Contains(end.shown, "My Domain") {
		t.Error("what is stored is asked for again")
	}
	if !echoes(t, term.side) {
		t.Error("the terminal is left without an echo")
	}
	if stdout, stderr, code := command(t, "", "get", "crm", "-o", "token"); code != 0 || !s.Org.TokenActive(strings.TrimSpace(stdout)) {
		t.Errorf("get: exit %d: %s", code, stderr)
	}
}

// Ctrl-C ends a question, and leaves a terminal that shows what is typed.
func TestAQuestionThatIsInterrupted(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	if _, err := s.Secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{ // as a deployment makes it
		Name: aws.String(prefix + "fresh"), SecretString: aws.String(`{"consumerKey":"replace-me","consumerSecret":"replace-me","baseUri":"https://replace-me.my.salesforce.com"}`),
	}); err != nil {
		t.Fatal(err)
	}
	term := newPTY(t, 80)
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "secret", "put", "fresh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.side, term.side, term.side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // so that the terminal makes a signal of Ctrl-C
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term.await(t, "My Domain, https://<MyDomain>.my.salesforce.com: ")
	_, _ = io.WriteString(term.master, "https://acme.my.salesforce.com\n")
	term.await(t, "Consumer key: ")
	_, _ = io.WriteString(term.master, "3MVG9key\n")
	term.awaitSecretQuestion(t)
	_, _ = io.WriteString(term.master, "\x03") // Ctrl-C
	giveUp := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	_ = cmd.Wait()
	term.await(t, "nothing was stored: interrupted")
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !echoes(t, term.side) {
		t.Errorf("exit %d; the terminal echoes: %t", code, echoes(t, term.side))
	}
}

func TestAQuestionThatGetsNoAnswer(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	term := newPTY(t, 80)
	go func() {
		term.await(t, "Consumer key: ")
		_, _ = io.WriteString(term.master, "\x04") // Ctrl-D
	}()
	if shown, code := term.run(t, "the input has ended", "secret", "put", "crm"); code != exitFailed || !strings.Contains(shown, "\r\nsftoken: nothing was stored: the input has ended") {
		t.Errorf("exit %d: %q", code, shown)
	}
}

// What cannot be undone is confirmed at a terminal, where Ctrl-C and other words mean no.
func TestAnEmergencyAtATerminal(t *testing.T) {
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	s.useKey(t, ownerKey)
	before := s.current(t)
	for _, typed := range []string{"y\n", "\n", "\x04"} {
		term := newPTY(t, 80)
		go func() {
			term.await(t, "Type yes: ")
			_, _ = io.WriteString(term.master, typed)
		}()
		if shown, code := term.run(t, "nothing was done", "rotate", "crm", "--compromised"); code != exitFailed || !strings.Contains(shown, before) || s.current(t) != before || s.labelled(t, "COMPROMISED") != "" {
			t.Errorf("%q: exit %d: %q", typed, code, shown)
		}
	}
	term := newPTY(t, 80)
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "rotate", "crm", "--compromised")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.side, term.side, term.side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term.await(t, "Type yes: ")
	_, _ = io.WriteString(term.master, "\x03") // Ctrl-C
	giveUp := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	_ = cmd.Wait()
	term.await(t, "nothing was done: interrupted")
	if s.labelled(t, "COMPROMISED") != "" {
		t.Error("Ctrl-C has not ended it")
	}
	term = newPTY(t, 80)
	go func() {
		term.await(t, "Type yes: ")
		_, _ = io.WriteString(term.master, "yes\n")
	}()
	if shown, code := term.run(t, "is revoked", "rotate", "crm", "--compromised"); code != 0 || s.current(t) == before {
		t.Errorf("confirmed: exit %d: %q", code, shown)
	}
}

func TestAnMFAProfileAtATerminal(t *testing.T) {
	code := mfaProfile(t)
	term := newPTY(t, 80)
	go func() {
		term.await(t, "MFA code of arn:aws:iam::222222222222:mfa/anna: ")
		_, _ = io.WriteString(term.master, "123456\n")
	}()
	if shown, exit := term.run(t, "SF_INSTANCE_URL", "get", "crm", "-o", "env"); exit != 0 || *code != "123456" {
		t.Errorf("exit %d, code %q: %q", exit, *code, shown)
	}
}

// It is sent what sftoken itself gets of a Ctrl-C, while its input is a pipe: the terminal sends the command another.
func TestExecLeavesCtrlCToTheTerminal(t *testing.T) {
	oddAPI(t, "token")
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "exec", "crm", "--", "sh", "-c",
		`trap 'echo interrupted' INT; trap 'echo ended; exit 5' TERM; echo ready; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1; done`)
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
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TCGETS, uintptr(unsafe.Pointer(&state))); errno != 0 {
		t.Fatal(errno)
	}
	return state.Lflag&syscall.ECHO != 0
}

// What takes longer than a second is said at a terminal, and taken off the screen again.
func TestPatienceAtATerminal(t *testing.T) {
	answer := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-answer
		fmt.Fprint(w, `{"access_token":"t","token_id":"e3b98a4da31a127d","instance_url":"https://acme.my.salesforce.com","expires_in":600}`)
	}))
	defer api.Close()
	s := &testStack{&stack.Stack{URL: api.URL + "/v1", AWSURL: api.URL}}
	s.useKey(t, billingKey)
	term := newPTY(t, 80)
	go func() {
		term.await(t, "… waiting for the API")
		close(answer)
	}()
	shown, code := term.run(t, "SF_INSTANCE_URL", "get", "crm", "-o", "env")
	if code != 0 || !strings.Contains(shown, "… waiting for the API\r\x1b[Kexport SF_ACCESS_TOKEN=") {
		t.Errorf("exit %d: %q", code, shown)
	}
	if !utf8.ValidString(shown) {
		t.Error("a character is broken")
	}
}
