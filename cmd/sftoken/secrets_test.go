package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
)

// fakeSecrets is a Secrets Manager with the secret of crm. Only the test reacts to changes.
type fakeSecrets struct {
	*simtest.Harness
	rotate localaws.Invoker
}

// runSynctest runs the test in parallel with others, in a synctest bubble.
func runSynctest(t *testing.T, test func(v *fakeSecrets)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &fakeSecrets{}
		v.Harness = simtest.New(t, simtest.Options{NoSecret: true, AWS: localaws.SecretsManagerConfig{
			Functions: map[string]localaws.Invoker{rotateARN: func(ctx context.Context, b []byte) ([]byte, error) {
				return v.rotate(ctx, b)
			}},
			Background: func(rotation func(context.Context)) { go rotation(context.Background()) },
		}})
		v.CreateSecret(simtest.SecretName, credentialsOfName("first"))
		test(v)
	})
}

// credentialsOfName returns a secret's value. With the name "made", it has the IDs that rotation needs.
func credentialsOfName(name string) map[string]any {
	fields := map[string]any{"consumerKey": name, "consumerSecret": "of " + name,
		"baseUri": "https://acme.my.salesforce.com"}
	if name == "made" {
		fields["appId"], fields["consumerId"] = "0xI000000000001AAA", "888000000000001AAA"
	}
	return fields
}

func credentialsJSON(name string) string {
	value, _ := json.Marshal(credentialsOfName(name))
	return string(value)
}

func (v *fakeSecrets) put(name, label string) { v.T.Helper(); v.Store(credentialsOfName(name), label) }

// move moves a label to a version, or removes it if the version is empty.
func (v *fakeSecrets) move(label, to string) {
	v.T.Helper()
	s := v.Secret()
	if to == "" {
		v.Must(s.RemoveLabel(v.T.Context(), label, s.VersionWithLabel(label)))
	} else {
		v.Must(s.MoveLabel(v.T.Context(), label, to))
	}
}

// switchOnRotation switches rotation on, which starts one.
func (v *fakeSecrets) switchOnRotation() {
	v.T.Helper()
	_, err := v.Secrets.RotateSecret(v.T.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(prefix + "crm"), RotationLambdaARN: aws.String(rotateARN),
	})
	v.Must(err)
}

// store returns a store that reads typed from standard input.
func (v *fakeSecrets) store(ctx context.Context, label, typed string) *store {
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	cmd.SetIn(strings.NewReader(typed))
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	return &store{
		cmd: cmd, client: v.Secrets, app: "crm", name: prefix + "crm", label: label,
		noVerify: true, force: true, create: true,
	}
}

func (v *fakeSecrets) rotation() *rotation {
	secret := v.Secret()
	current := secret.VersionWithLabel("AWSCURRENT")
	return &rotation{client: v.Secrets, secret: secret, Before: current, Leaked: current, timeout: defaultWait,
		out: io.Discard, progress: io.Discard}
}

// The result of staged credentials while rotations and people change the secret.
func TestWaitForResult(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(v *fakeSecrets, version string)
		label   string
		says    string // empty if there is no error
	}{
		"accepted": {func(v *fakeSecrets, version string) { v.move("AWSCURRENT", version); v.move("CANDIDATE", "") },
			"AWSCURRENT", ""},
		"rejected": {func(v *fakeSecrets, version string) {
			v.move("REJECTED", version)
			v.move("CANDIDATE", "")
		}, "REJECTED", "the credentials are rejected by Salesforce"},
		"used by a rotation": {func(v *fakeSecrets, _ string) { v.put("staged", "AWSCURRENT"); v.move("CANDIDATE", "") },
			"AWSCURRENT", ""},
		"used by a rotation and rejected": {func(v *fakeSecrets, _ string) {
			v.put("staged", "REJECTED")
			v.move("CANDIDATE", "")
		}, "REJECTED", "the credentials are rejected by Salesforce"},
		"replaced": {func(v *fakeSecrets, _ string) { v.put("another", "CANDIDATE") }, "",
			"other credentials have been staged in place of these"},
		"never tried": {func(*fakeSecrets, string) {}, "", "stopped waiting, but the rotate function continues"},
		"accepted late": {func(v *fakeSecrets, version string) { time.Sleep(time.Minute); v.move("AWSCURRENT", version) },
			"AWSCURRENT", ""},
	} {
		t.Run(name, func(t *testing.T) {
			runSynctest(t, func(v *fakeSecrets) {
				s := v.store(v.T.Context(), appsecret.Candidate, credentialsJSON("staged"))
				version, err := s.store("")
				v.Must(err)
				go func() {
					time.Sleep(3 * time.Second)
					c.happens(v, version)
				}()
				begun := time.Now()
				label, err := s.waitForResult(version, defaultWait)
				if label != c.label || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
					v.T.Errorf("%q, %v", label, err)
				}
				if took := time.Since(begun); took > 2*time.Minute && name != "never tried" {
					v.T.Errorf("it took %v", took)
				}
				synctest.Wait()
			})
		})
	}
}

func TestWaitInterrupted(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		for _, at := range []time.Duration{time.Second, 3 * time.Second} { // between two requests; during one
			ctx, cancel := context.WithCancel(v.T.Context())
			s := v.store(ctx, appsecret.Candidate, credentialsJSON("staged"))
			version, err := s.store("")
			v.Must(err)
			if at > 2*time.Second {
				v.AWS.InjectFault("DescribeSecret", localaws.Fault{Delay: 10 * time.Second}, 0)
			}
			time.AfterFunc(at, cancel)
			if label, err := s.waitForResult(version, defaultWait); label != "" || err == nil ||
				!strings.Contains(err.Error(), "stopped waiting, but the rotate function continues") {
				v.T.Errorf("%q, %v", label, err)
			}
		}
	})
}

// changingReader calls change during the first read.
type changingReader struct {
	io.Reader
	change func()
}

func (c *changingReader) Read(b []byte) (int, error) {
	if c.change != nil {
		c.change()
		c.change = nil
	}
	return c.Reader.Read(b)
}

func TestPutKeepsCredentialsRotatedDuringInput(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		s := v.store(v.T.Context(), appsecret.Current, "")
		s.cmd.SetIn(&changingReader{strings.NewReader(`{"allowedPrincipals":["222222222222"]}`),
			func() { v.put("rotated", "AWSCURRENT") }})
		_, err := s.store("")
		v.Must(err)
		secret := v.Secret()
		current, err := secret.Read(v.T.Context(), secret.VersionWithLabel("AWSCURRENT"))
		v.Must(err)
		if current.ConsumerKey != "rotated" || current.AllowedPrincipals == nil {
			v.T.Errorf("the credentials %q are stored", current.ConsumerKey)
		}
	})
}

// A version that becomes current after the last load must not become AWSPREVIOUS unseen.
func TestPutNoticesAnotherVersion(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		s := v.store(v.T.Context(), appsecret.Current, credentialsJSON("mine"))
		v.AWS.InjectFault("DescribeSecret", localaws.Fault{Delay: time.Second}, 0) // twice to load, once to check
		time.AfterFunc(2500*time.Millisecond, func() { v.put("another", "AWSCURRENT") })
		_, err := s.store("")
		if err == nil || !strings.Contains(err.Error(), "another version has become AWSCURRENT in the meantime") {
			v.T.Error(err)
		}
	})
}

// Ctrl-C must interrupt the read of a silent pipe.
func TestInputInterrupted(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		ctx, cancel := context.WithCancel(v.T.Context())
		s := v.store(ctx, appsecret.Current, "")
		silent, end := io.Pipe()
		defer end.Close()
		s.cmd.SetIn(silent)
		time.AfterFunc(time.Second, cancel)
		before := v.Current()
		if _, err := s.store(""); err == nil || !strings.Contains(err.Error(), "nothing was stored: interrupted") {
			v.T.Error(err)
		}
		if after := v.Current(); after != before {
			v.T.Error("something is stored")
		}
	})
}

func TestRotateAbandonedForAPerson(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("staged", "CANDIDATE")
		v.rotate = func(context.Context, []byte) ([]byte, error) { // rejects a candidate as the rotate function does
			time.Sleep(5 * time.Second)
			if holder := v.VersionWithLabel("CANDIDATE"); holder != "" {
				v.move("REJECTED", holder)
				v.move("CANDIDATE", "")
				v.move("AWSPENDING", "")
			}
			return nil, errors.New("refused")
		}
		r := v.rotation()
		begun := time.Now()
		if err := r.rotate(v.T.Context()); err == nil ||
			!strings.Contains(userMessage(err, subject{}),
				"rotation is not switched on for the secret\nhint: set RotationSchedule") {
			v.T.Errorf("without a rotation: %v", err)
		}
		v.switchOnRotation()
		if err := r.rotate(v.T.Context()); err == nil || !strings.Contains(err.Error(), "the rotation was abandoned") ||
			!strings.Contains(err.Error(), "a person must make new credentials") {
			v.T.Errorf("after the refusal: %v", err)
		}
		if took := time.Since(begun); took > time.Minute {
			v.T.Errorf("it took %v", took)
		}
		synctest.Wait()
	})
}

// Changing allowedPrincipals during the rotation creates a version with the compromised credentials.
func TestRotateCompromisedInNewVersion(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.rotate = func(context.Context, []byte) ([]byte, error) { return nil, errors.New("down") }
		v.switchOnRotation()
		synctest.Wait()
		v.put("made", "AWSCURRENT")
		r := v.rotation()
		last := ""
		time.AfterFunc(3*time.Second, func() { v.put("made", "AWSCURRENT") })
		time.AfterFunc(9*time.Second, func() {
			v.put("new", "AWSCURRENT")
			last = v.Current()
		})
		err := r.rotateCompromised(v.T.Context())
		synctest.Wait() // for the stored version too
		if err != nil || r.Current != last {
			v.T.Errorf("%v; %q is AWSCURRENT, and not %q", err, r.Current, last)
		}
	})
}

// AWSPENDING on the current version means that the rotation was abandoned. It is started again.
func TestRotateRestartsAbandonedRotation(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("made", "AWSCURRENT")
		steps := 0
		v.rotate = func(context.Context, []byte) ([]byte, error) {
			if steps++; steps <= 2 {
				v.move("AWSPENDING", v.Current())
				return nil, errors.New("abandoned")
			}
			v.put("new", "AWSCURRENT")
			return nil, errors.New("a person was faster")
		}
		v.switchOnRotation()
		synctest.Wait()
		r := v.rotation()
		if err := r.rotate(v.T.Context()); err != nil || r.Current != v.Current() {
			v.T.Errorf("%v; %q is AWSCURRENT", err, r.Current)
		}
		synctest.Wait()
	})
}

// A rotation can use a candidate, but not after a leak: one that was staged before may have leaked as well.
func TestCheckRotatable(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		if err := checkRotatable(v.T.Context(), v.Secret(), false); err == nil ||
			!strings.Contains(userMessage(err, subject{}), "secret stage crm --wait") {
			v.T.Error(err)
		}
		v.put("staged", "CANDIDATE")
		if err := checkRotatable(v.T.Context(), v.Secret(), false); err != nil {
			v.T.Error(err)
		}
		if err := checkRotatable(v.T.Context(), v.Secret(), true); err == nil ||
			!strings.Contains(userMessage(err, subject{}), "sftoken revoke crm") {
			v.T.Errorf("compromised: %v", err)
		}
		v.put("made", "AWSCURRENT")
		if err := checkRotatable(v.T.Context(), v.Secret(), true); err != nil {
			v.T.Errorf("self-rotating: %v", err)
		}
	})
}

func TestPutFirstVersion(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		for _, label := range []string{appsecret.Candidate, appsecret.Current} {
			s := v.store(v.T.Context(), label, credentialsJSON("first"))
			s.app, s.name = "erp", prefix+"erp"
			_, err := s.store("")
			if label == appsecret.Candidate && (err == nil || !strings.Contains(userMessage(err, subject{}),
				"create it first with `sftoken secret put erp --create`")) || label == appsecret.Current && err != nil {
				v.T.Errorf("%s: %v", label, err)
			}
		}
		_, err := v.Secrets.CreateSecret(v.T.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(prefix + "empty")})
		v.Must(err)
		// A template may create a secret without a value.
		s := v.store(v.T.Context(), appsecret.Current, credentialsJSON("first"))
		s.app, s.name = "empty", prefix+"empty"
		if _, err := s.store(""); err != nil {
			v.T.Error(err)
		}
	})
}

// What put does about AWSPREVIOUS when Salesforce cannot be reached.
func TestProtectLastWorking(t *testing.T) {
	t.Parallel()
	pending := func(v *fakeSecrets, id string) { v.move("AWSPENDING", id) }
	rejected := func(v *fakeSecrets, id string) { v.move("REJECTED", id) }
	denied := func(v *fakeSecrets, _ string) {
		v.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: "AccessDeniedException"}, 0)
	}
	nothing := func(*fakeSecrets, string) {}
	for name, c := range map[string]struct {
		change   func(v *fakeSecrets, previous string)
		version  string // the credentials to store
		verified bool   // they have logged in
		keep     bool
		says     string // empty if there is no error
	}{
		"verified":                        {nothing, "mine", true, true, ""},
		"not verified":                    {nothing, "mine", false, false, "may be the last one that does"},
		"previous also AWSPENDING":        {pending, "mine", true, true, ""},
		"previous has a label that stays": {rejected, "mine", false, false, ""},
		"unreadable, verified":            {denied, "mine", true, true, ""},
		"unreadable, not verified":        {denied, "mine", false, false, "cannot find out whether AWSPREVIOUS works"},
		"the previous credentials":        {nothing, "first", true, false, ""},
		"the current credentials":         {nothing, "second", true, false, ""},
		"the current ones, not verified":  {nothing, "second", false, false, "may be the last one that does"},
	} {
		t.Run(name, func(t *testing.T) {
			runSynctest(t, func(v *fakeSecrets) {
				v.put("second", appsecret.Current)
				previous := v.VersionWithLabel(appsecret.Previous)
				c.change(v, previous)
				s := v.store(v.T.Context(), appsecret.Current, "")
				s.verified, s.login.httpClient = c.verified, &http.Client{Transport: noNetwork{}}
				var err error
				s.version, err = appsecret.Parse("", credentialsJSON(c.version))
				v.Must(err)
				keep, err := s.protectLastWorking(v.T.Context(), v.Secret())
				if c.keep != (keep == previous) || !c.keep && keep != "" {
					v.T.Errorf("keeps %q", keep)
				}
				if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
					v.T.Error(err)
				}
			})
		})
	}
}

type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no network")
}
