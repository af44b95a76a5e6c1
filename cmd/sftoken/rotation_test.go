package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func (s *testStack) labelled(t *testing.T, label string) string {
	t.Helper()
	return s.secret(t).VersionWithLabel(label)
}

// rotating switches rotation on, with step as the rotate function.
func (v *fakeSecrets) rotating(step func(context.Context) error) {
	v.T.Helper()
	v.rotate = func(context.Context, []byte) ([]byte, error) { return nil, errors.New("not yet") }
	v.switchOnRotation()
	synctest.Wait()
	v.move("AWSPENDING", "")
	v.rotate = func(ctx context.Context, _ []byte) ([]byte, error) { return nil, step(ctx) }
}

func TestRotateCompromisedInterrupted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		makes bool // new credentials before Ctrl-C comes
		after time.Duration
		slow  string // the operation that is slow
	}{
		"at once":                         {false, 5 * time.Second, ""},
		"while the label is moved":        {false, time.Second, "UpdateSecretVersionStage"},
		"while the rotation is started":   {false, time.Second, "RotateSecret"},
		"after new credentials were made": {true, 5 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			runSynctest(t, func(v *fakeSecrets) {
				v.put("made", "AWSCURRENT")
				v.rotating(func(context.Context) error {
					if c.makes {
						v.put("new", "AWSPENDING")
					}
					time.Sleep(time.Minute)
					return errors.New("out of time")
				})
				if c.slow != "" {
					v.AWS.InjectFault(c.slow, localaws.Fault{Delay: 20 * time.Second}, 1)
				}
				ctx, interrupt := context.WithCancel(v.T.Context())
				time.AfterFunc(c.after, interrupt)
				begun, r := time.Now(), v.rotation()
				err := r.rotateCompromised(ctx)
				if took := time.Since(begun); took > c.after+cleanupTimeout {
					v.T.Errorf("it took %v", took)
				}
				marked := v.VersionWithLabel("COMPROMISED")
				if err == nil || c.makes != (marked == r.Leaked) || !c.makes && marked != "" || r.Compromised != c.makes {
					v.T.Errorf("%v; COMPROMISED is on %q", err, marked)
				}
				time.Sleep(10 * time.Minute) // until all is at rest
				synctest.Wait()
			})
		})
	}
}

// A version that was labelled before the command keeps its label, and the error does not claim that it was removed.
func TestRotateCompromisedAgain(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("made", "AWSCURRENT")
		v.rotating(func(context.Context) error { return errors.New("down") })
		v.move("COMPROMISED", v.Current())
		r := v.rotation()
		r.timeout = 10 * time.Second
		err := r.rotateCompromised(v.T.Context())
		if err == nil || strings.Contains(err.Error(), "no longer labelled") || !r.Compromised ||
			!v.Secret().HasLabel(r.Leaked, "COMPROMISED") {
			v.T.Errorf("labelled: %t, %v", r.Compromised, err)
		}
		synctest.Wait()
	})
}

// Compromised credentials that may be current are rotated.
func TestCompromisedIsCurrent(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("made", "AWSCURRENT")
		r := v.rotation()
		r.Leaked = r.secret.VersionWithLabel("AWSPREVIOUS")
		if r.compromisedIsCurrent(v.T.Context()) {
			v.T.Error("other credentials are taken for the current ones")
		}
		v.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: "AccessDeniedException"}, 0)
		if !r.compromisedIsCurrent(v.T.Context()) {
			v.T.Error("unreadable credentials are taken for others")
		}
		v.AWS.ClearFaults()
		v.put("made", "AWSCURRENT")
		r.secret = v.Secret()
		r.Leaked = r.secret.VersionWithLabel("AWSPREVIOUS")
		if !r.compromisedIsCurrent(v.T.Context()) {
			v.T.Error("the current credentials in another version are taken for others")
		}
	})
}

// Secrets Manager does not report that a rotation has failed.
func TestRotateReportsStall(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("made", "AWSCURRENT")
		v.rotating(func(context.Context) error { return errors.New("known only to the log") })
		stderr := &bytes.Buffer{}
		r := v.rotation()
		r.timeout, r.progress = 5*time.Minute, stderr
		begun := time.Now()
		err := r.rotate(v.T.Context())
		if took := time.Since(begun); took < 5*time.Minute || took > 5*time.Minute+time.Second || err == nil ||
			!strings.Contains(err.Error(), "no result after 5m0s") {
			v.T.Errorf("after %v: %v", took, err)
		}
		text := strings.Join(strings.Fields(stderr.String()), " ")
		if strings.Count(text, "Nothing has changed for a minute") != 1 ||
			!strings.Contains(text, "has made no new credentials") || !strings.Contains(text, "log of sftoken-rotate") ||
			!strings.Contains(text, "`sftoken doctor crm`") {
			v.T.Errorf("stderr: %q", text)
		}
		synctest.Wait()
	})
}

func TestWaitTimeout(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		s := v.store(v.T.Context(), "CANDIDATE", credentialsJSON("staged"))
		version, err := s.store("")
		v.Must(err)
		begun := time.Now()
		if _, err := s.waitForResult(version, 90*time.Second); err == nil ||
			!strings.Contains(err.Error(), "no result after 1m30s") || time.Since(begun) != 90*time.Second {
			v.T.Errorf("after %v: %v", time.Since(begun), err)
		}
		v.put("made", "AWSCURRENT")
		v.rotating(func(context.Context) error { return nil })
		v.AWS.InjectFault("RotateSecret", localaws.Fault{Delay: time.Hour}, 0)
		r := v.rotation()
		r.timeout = time.Minute
		begun = time.Now()
		if err := r.rotate(v.T.Context()); err == nil ||
			!strings.Contains(err.Error(), "no response from Secrets Manager within 1m0s") || time.Since(begun) != time.Minute {
			v.T.Errorf("after %v: %v", time.Since(begun), err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
	})
}

// The rotate function is killed while Salesforce processes one of its calls. TestRotationCrashRecovery of
// internal/rotateapi covers every call.
func TestRotateFunctionKilled(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=1s")
	for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Token} {
		oldKey, _ := s.App.Credentials()
		before := s.Org.Stats().Calls[at]
		s.Org.InjectFault(at, sfoauthtest.Latency(time.Second), 1)
		var killer sync.WaitGroup
		killer.Go(func() {
			for s.Org.Stats().Calls[at] == before {
				time.Sleep(5 * time.Millisecond)
			}
			s.Rotate.Kill()
		})
		_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm") // Secrets Manager tries twice
		killer.Wait()
		s.Org.ClearFaults()
		for try := 0; ; try++ {
			secret, err := s.Secret(t.Context())
			must(t, err)
			key, secretText := s.App.Credentials()
			version, err := secret.Read(t.Context(), secret.VersionWithLabel("AWSCURRENT"))
			if err == nil && key != oldKey && version.ConsumerKey == key && s.Org.CanLogin(key, secretText) {
				break
			}
			if try == 3 {
				t.Fatalf("killed at %s: the rotation does not complete: %v", at, err)
			}
			_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm")
		}
	}
}
