package org

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// target is a simulated org, and the file of its owner.
type target struct {
	*testing.T
	org    *sfoauthtest.Org
	app    *sfoauthtest.App
	server *sfoauthtest.Server
	file   string

	mu     sync.Mutex
	kill   func(sfoauthtest.Call) bool // reports whether to kill the process at this call; nil: at none
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

type options struct {
	org       sfoauthtest.Config
	app       sfoauthtest.AppOptions
	adminApp  bool
	onPromote func(*target) // once the new credentials are the primary ones
	prepare   func(*target)
}

func newTarget(t *testing.T, o options) *target {
	t.Helper()
	s := &target{T: t, file: filepath.Join(t.TempDir(), "secrets.json")}
	o.org.OnCall = func(c sfoauthtest.Call) {
		if o.onPromote != nil && c.Endpoint == sfoauthtest.Promote && c.Phase == sfoauthtest.Done {
			o.onPromote(s)
		}
		s.observe(c)
	}
	s.org = sfoauthtest.New(o.org)
	s.app = s.org.AddApp(o.app)
	admin := s.app
	if o.adminApp {
		admin = s.org.AddApp(sfoauthtest.AppOptions{})
	}
	admin.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	var err error
	s.server, err = s.org.Start("127.0.0.1:0")
	s.must(err)
	t.Cleanup(s.server.Close)
	value := func(app *sfoauthtest.App) map[string]string {
		key, secret := app.Credentials()
		return map[string]string{"consumerKey": key, "consumerSecret": secret, "baseUri": s.server.URL}
	}
	secrets := map[string]map[string]string{appName: value(s.app)}
	secrets[appName]["appId"], secrets[appName]["consumerId"] = s.app.ID, s.app.ConsumerID
	if o.adminApp {
		secrets[adminName] = value(admin)
	}
	text, err := json.Marshal(secrets)
	s.must(err)
	s.must(os.WriteFile(s.file, text, 0o600))
	if o.prepare != nil {
		o.prepare(s)
	}
	return s
}

func (s *target) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// confirmation is what the owner of the org sets.
func (s *target) confirmation() string { return s.org.ID() + "/" + s.app.ID }

// run runs TestOrg in a process of its own, which may be killed, and returns its output.
func (s *target) run(confirmation string, kill func(sfoauthtest.Call) bool) (output string, err error) {
	s.Helper()
	var text bytes.Buffer
	cmd := exec.CommandContext(s.Context(), os.Args[0], "-test.run=^TestOrg$", "-test.v")
	cmd.Env = append(os.Environ(), fileVar+"="+s.file, confirmVar+"="+confirmation, propagationVar+"=0s",
		hostsVar+"="+strings.TrimPrefix(s.server.URL, "http://"))
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &text, &text, time.Minute
	s.mu.Lock()
	s.kill, s.cmd, s.exited = kill, cmd, make(chan struct{})
	err = cmd.Start()
	s.mu.Unlock()
	s.must(err)
	err = cmd.Wait()
	close(s.exited)
	for _, secret := range s.org.Secrets() {
		if strings.Contains(text.String(), secret) {
			s.Error("the output holds a secret")
		}
	}
	return text.String(), err
}

// observe kills the process at the call at which it is to die. The call gets no response.
func (s *target) observe(c sfoauthtest.Call) {
	s.mu.Lock()
	die := s.kill != nil && s.kill(c)
	if die {
		_ = s.cmd.Process.Kill()
	}
	exited := s.exited
	s.mu.Unlock()
	if die {
		<-exited
		panic(http.ErrAbortHandler)
	}
}

// complete runs TestOrg to the end, and checks that the file has the primary credentials and nothing else is left.
func (s *target) complete() string {
	s.Helper()
	output, err := s.run(s.confirmation(), nil)
	if err != nil {
		s.Fatalf("%v\n%s", err, output)
	}
	if names := s.holders(); len(names) != 1 || names[0] != appName {
		s.Errorf("the primary credentials are in the file as %q", names)
	}
	if f, err := openCredentials(s.file); err != nil || f.values[pendingName] != nil {
		s.Errorf("the file has %s (%v)", pendingName, err)
	}
	if staged := s.app.Staged(); len(staged) != 0 {
		s.Errorf("%d other credentials are left at Salesforce", len(staged))
	}
	return output
}

// holders returns the names under which the file has the app's primary credentials.
func (s *target) holders() (names []string) {
	s.Helper()
	file, err := openCredentials(s.file)
	s.must(err)
	key, secret := s.app.Credentials()
	for _, name := range []string{appName, pendingName} {
		v, err := file.version(name)
		s.must(err)
		if v != nil && v.ConsumerKey == key && v.ConsumerSecret.Reveal() == secret {
			names = append(names, name)
		}
	}
	return names
}
