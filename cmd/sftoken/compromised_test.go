package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestRotateCompromisedNeedsConfirmation(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	before := s.current(t)
	if _, stderr, code := s.command(t, ownerKey, "yes\n", "rotate", "crm", "--compromised"); code != exitUsage ||
		!strings.Contains(stderr, "--yes") || !strings.Contains(stderr, "sftoken/crm in account 111111111111") {
		t.Errorf("no terminal: exit %d: %s", code, stderr)
	}
	if status, _, _ := s.command(t, ownerKey, "", "secret", "status", "crm"); strings.Contains(status, "COMPROMISED") ||
		s.current(t) != before {
		t.Errorf("something was done: %s", status)
	}
	for _, args := range [][]string{{"--label", "AWSPREVIOUS"}, {"--version-id", before},
		{"--compromised", "--label", "AWSCURRENT", "--version-id", before}} {
		if _, stderr, code := s.command(t, ownerKey, "",
			append([]string{"rotate", "crm", "--yes"}, args...)...); code != exitUsage {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
	for _, args := range [][]string{{"--label", "NOSUCH"}, {"--version-id", "00000000-0000-4000-8000-00000000000f"},
		{"--label", "AWSPREVIOUS"}} {
		if _, stderr, code := s.command(t, ownerKey, "", append([]string{"rotate", "crm", "--yes", "--compromised"},
			args...)...); code != exitFailed || !strings.Contains(stderr, "sftoken secret status crm") {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
	if s.current(t) != before {
		t.Error("something was rotated")
	}
}

// Compromised previous credentials that still work are deleted, and the current ones stay.
func TestRotateCompromisedPreviousVersion(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	oldKey, oldSecret := s.App.Credentials()
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--wait"); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	current := s.current(t)
	stdout, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes", "--label",
		"AWSPREVIOUS", "--json")
	var got rotation
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || !got.Compromised ||
		got.Leaked == current || got.Current != "" || !got.Revoked {
		t.Errorf("exit %d: %v: %s%s", code, err, stdout, stderr)
	}
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Org.CanLogin(oldKey, oldSecret) || s.current(t) != current {
		t.Errorf("the compromised credentials log in: %t; current is %s, want %s", s.Org.CanLogin(oldKey, oldSecret),
			s.current(t), current)
	}
	oldKey, oldSecret = s.App.Credentials() // by the id: the current version
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes", "--version-id",
		current); code != 0 || s.current(t) == current {
		t.Errorf("--version-id: exit %d: %s", code, stderr)
	}
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Org.CanLogin(oldKey, oldSecret) {
		t.Error("the compromised credentials log in")
	}
}

// A forgotten label would delete credentials later on.
func TestRotateCompromisedRemovesLabelOnFailure(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	before := s.current(t)
	s.Org.InjectFault(sfoauthtest.Stage, sfoauthtest.ErrorResponse(403, "INSUFFICIENT_ACCESS", "no"), 0)
	begun := time.Now()
	stdout, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes", "--json")
	if code != exitFailed || !strings.Contains(stderr, "the rotate function failed: createSecret: ") ||
		!strings.Contains(stderr, "INSUFFICIENT_ACCESS") || !strings.Contains(stderr, "is no longer labelled COMPROMISED") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if status, _, _ := s.command(t, ownerKey, "", "secret", "status", "crm"); strings.Contains(status, "COMPROMISED") ||
		s.current(t) != before {
		t.Errorf("the label is still there: %s", status)
	}
	s.Org.ClearFaults()
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes"); code != 0 {
		t.Errorf("again: exit %d: %s", code, stderr)
	}
	// An earlier version has the label now, and must get it back.
	marked := s.labelled(t, "COMPROMISED")
	s.Org.InjectFault(sfoauthtest.Stage, sfoauthtest.ErrorResponse(403, "INSUFFICIENT_ACCESS", "no"), 0)
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes"); code != exitFailed ||
		s.labelled(t, "COMPROMISED") != marked {
		t.Errorf("the label is on another version than before: exit %d: %s", code, stderr)
	}
	// If new credentials exist, the label must stay.
	s.Org.ClearFaults()
	s.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.ErrorResponse(403, "INSUFFICIENT_ACCESS", "no"), 0)
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes"); code != exitFailed ||
		s.labelled(t, "COMPROMISED") != s.current(t) || !strings.Contains(stderr, "stays labelled COMPROMISED") {
		t.Errorf("half-way: exit %d: %s", code, stderr)
	}
}

func (s *testStack) labelled(t *testing.T, label string) string {
	t.Helper()
	secret, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return secret.VersionWithLabel(label)
}

// rotating switches rotation on, with step as the rotate function.
func (v *fakeSecrets) rotating(step func(context.Context) error) {
	v.t.Helper()
	v.rotate = func(context.Context, []byte) ([]byte, error) { return nil, errors.New("not yet") }
	_, err := v.RotateSecret(v.t.Context(),
		&secretsmanager.RotateSecretInput{SecretId: aws.String(prefix + "crm"), RotationLambdaARN: aws.String(rotateARN)})
	v.must(err)
	synctest.Wait()
	v.move("AWSPENDING", "")
	v.rotate = func(ctx context.Context, _ []byte) ([]byte, error) { return nil, step(ctx) }
}

func TestRotateCompromisedInterrupted(t *testing.T) {
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
					v.aws.InjectFault(c.slow, localaws.Fault{Delay: 20 * time.Second}, 1)
				}
				ctx, interrupt := context.WithCancel(v.t.Context())
				time.AfterFunc(c.after, interrupt)
				begun, r := time.Now(), v.rotation()
				err := r.rotateCompromised(ctx)
				if took := time.Since(begun); took > c.after+cleanupTimeout {
					v.t.Errorf("it took %v", took)
				}
				marked := v.secret().VersionWithLabel("COMPROMISED")
				if err == nil || c.makes != (marked == r.Leaked) || !c.makes && marked != "" || r.Compromised != c.makes {
					v.t.Errorf("%v; COMPROMISED is on %q", err, marked)
				}
				time.Sleep(10 * time.Minute) // until all is at rest
				synctest.Wait()
			})
		})
	}
}

func TestRotateReportsFailure(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	s.Org.InjectFault(sfoauthtest.PrimaryCredentials, sfoauthtest.ErrorResponse(403, "INSUFFICIENT_ACCESS", "no"), 0)
	begun := time.Now()
	for range 2 { // a new one; one that is continued
		if stdout, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--wait"); code != exitFailed ||
			!strings.Contains(stderr, "the rotate function failed: createSecret: ") ||
			!strings.Contains(stderr, "INSUFFICIENT_ACCESS") {
			t.Errorf("exit %d: %s%s", code, stdout, stderr)
		}
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm"); code != 0 ||
		!strings.Contains(stderr, "warning: the rotate function failed") {
		t.Errorf("without --wait: exit %d: %s", code, stderr)
	}
	s.Org.ClearFaults()
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--wait"); code != 0 {
		t.Errorf("afterwards: exit %d: %s", code, stderr)
	}
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
		err := r.rotate(v.t.Context())
		if took := time.Since(begun); took < 5*time.Minute || took > 5*time.Minute+time.Second || err == nil ||
			!strings.Contains(err.Error(), "no result after 5m0s") {
			v.t.Errorf("after %v: %v", took, err)
		}
		text := strings.Join(strings.Fields(stderr.String()), " ")
		if strings.Count(text, "Nothing has changed for a minute") != 1 ||
			!strings.Contains(text, "has made no new credentials") || !strings.Contains(text, "log of sftoken-rotate") ||
			!strings.Contains(text, "`sftoken doctor crm`") {
			v.t.Errorf("stderr: %q", text)
		}
		synctest.Wait()
	})
}

func TestWaitTimeout(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		s := v.store(v.t.Context(), "CANDIDATE", credentialsJSON("staged"))
		version, err := s.store("")
		v.must(err)
		begun := time.Now()
		if _, err := s.waitForResult(version, 90*time.Second); err == nil ||
			!strings.Contains(err.Error(), "no result after 1m30s") || time.Since(begun) != 90*time.Second {
			v.t.Errorf("after %v: %v", time.Since(begun), err)
		}
		v.put("made", "AWSCURRENT")
		v.rotating(func(context.Context) error { return nil })
		v.aws.InjectFault("RotateSecret", localaws.Fault{Delay: time.Hour}, 0)
		r := v.rotation()
		r.timeout = time.Minute
		begun = time.Now()
		if err := r.rotate(v.t.Context()); err == nil ||
			!strings.Contains(err.Error(), "no response from Secrets Manager within 1m0s") || time.Since(begun) != time.Minute {
			v.t.Errorf("after %v: %v", time.Since(begun), err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
	})
}
