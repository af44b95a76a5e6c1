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
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// fakeSecrets is a Secrets Manager with the secret of crm, and nobody who reacts to what happens there but the test.
type fakeSecrets struct {
	t *testing.T
	*secretsmanager.Client
	aws    *localaws.SecretsManager
	rotate localaws.Invoker
}

func runSynctest(t *testing.T, test func(v *fakeSecrets)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := &fakeSecrets{t: t}
		v.aws = localaws.NewSecretsManager(localaws.SecretsManagerConfig{
			Account: owner, Region: region,
			Functions:  map[string]localaws.Invoker{rotateARN: func(ctx context.Context, payload []byte) ([]byte, error) { return v.rotate(ctx, payload) }},
			Background: func(rotation func(context.Context)) { go rotation(context.Background()) },
		})
		var network sfoauthtest.Network
		stop, err := network.Serve("127.0.0.1:4566", v.aws)
		v.must(err)
		t.Cleanup(stop)
		client := network.Client()
		t.Cleanup(client.CloseIdleConnections)
		v.Client = secretsmanager.New(secretsmanager.Options{
			Region: region, BaseEndpoint: aws.String("http://127.0.0.1:4566"), HTTPClient: client, Credentials: credentialsOf(ownerKey),
		})
		_, err = v.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(prefix + "crm"), SecretString: aws.String(credentialsJSON("first"))})
		v.must(err)
		test(v)
	})
}

func (v *fakeSecrets) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// credentialsJSON is a secret's value. Where the name is that of a pair that Salesforce makes, it has ids.
func credentialsJSON(name string) string {
	fields := map[string]string{"consumerKey": name, "consumerSecret": "of " + name, "baseUri": "https://acme.my.salesforce.com"}
	if name == "made" {
		fields["appId"], fields["consumerId"] = "0xI000000000001AAA", "888000000000001AAA"
	}
	value, _ := json.Marshal(fields)
	return string(value)
}

func (v *fakeSecrets) put(pair, label string) {
	v.t.Helper()
	_, err := v.PutSecretValue(v.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(prefix + "crm"), SecretString: aws.String(credentialsJSON(pair)), VersionStages: []string{label}})
	v.must(err)
}

func (v *fakeSecrets) secret() *appsecret.Secret {
	v.t.Helper()
	secret, err := appsecret.Open(v.t.Context(), v.Client, prefix, prefix+"crm")
	v.must(err)
	return secret
}

// move moves a label from the one who has it to the version; empty: it takes it off.
func (v *fakeSecrets) move(label, to string) {
	v.t.Helper()
	s := v.secret()
	if to == "" {
		v.must(s.RemoveLabel(v.t.Context(), label, s.VersionWithLabel(label)))
	} else {
		v.must(s.MoveLabel(v.t.Context(), label, to))
	}
}

// command is a command that is run with what is typed.
func (v *fakeSecrets) command(ctx context.Context, typed string) (*cobra.Command, *bytes.Buffer) {
	cmd, said := &cobra.Command{}, &bytes.Buffer{}
	cmd.SetContext(ctx)
	cmd.SetIn(strings.NewReader(typed))
	cmd.SetOut(said)
	cmd.SetErr(said)
	return cmd, said
}

func (v *fakeSecrets) store(ctx context.Context, label, typed string) *store {
	cmd, _ := v.command(ctx, typed)
	return &store{cmd: cmd, client: v.Client, app: "crm", name: prefix + "crm", label: label, noVerify: true, force: true, create: true}
}

func (v *fakeSecrets) rotation() *rotation {
	secret := v.secret()
	current := secret.VersionWithLabel("AWSCURRENT")
	return &rotation{client: v.Client, secret: secret, Before: current, Leaked: current, timeout: defaultWait, out: io.Discard, progress: io.Discard}
}

// What becomes of a staged pair while others write the secret too: rotations, and people.
func TestTheVerdictOnACandidate(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(v *fakeSecrets, version string)
		label   string
		says    string // empty: no error
	}{
		"it works": {func(v *fakeSecrets, version string) { v.move("AWSCURRENT", version); v.move("CANDIDATE", "") }, "AWSCURRENT", ""},
		"it is refused": {func(v *fakeSecrets, version string) {
			v.move("REJECTED", version)
			v.move("CANDIDATE", "")
		}, "REJECTED", "refused by Salesforce"},
		"a rotation takes it": {func(v *fakeSecrets, _ string) { v.put("staged", "AWSCURRENT"); v.move("CANDIDATE", "") }, "AWSCURRENT", ""},
		"a rotation takes it, and it is refused": {func(v *fakeSecrets, _ string) {
			v.put("staged", "REJECTED")
			v.move("CANDIDATE", "")
		}, "REJECTED", "refused by Salesforce"},
		"another one is staged":     {func(v *fakeSecrets, _ string) { v.put("another", "CANDIDATE") }, "", "another pair has been stored in place of this one"},
		"nobody tries it":           {func(*fakeSecrets, string) {}, "", "stopped waiting, and it goes on"},
		"it is not to be seen soon": {func(v *fakeSecrets, version string) { time.Sleep(time.Minute); v.move("AWSCURRENT", version) }, "AWSCURRENT", ""},
	} {
		t.Run(name, func(t *testing.T) {
			runSynctest(t, func(v *fakeSecrets) {
				s := v.store(v.t.Context(), appsecret.Candidate, credentialsJSON("staged"))
				version, err := s.store("")
				v.must(err)
				go func() {
					time.Sleep(3 * time.Second)
					c.happens(v, version)
				}()
				begun := time.Now()
				label, err := s.waitForResult(version, defaultWait)
				if label != c.label || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
					v.t.Errorf("%q, %v", label, err)
				}
				if took := time.Since(begun); took > 2*time.Minute && name != "nobody tries it" {
					v.t.Errorf("it took %v", took)
				}
				synctest.Wait()
			})
		})
	}
}

func TestAWaitThatIsInterruptedSaysThatItGoesOn(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		for _, at := range []time.Duration{time.Second, 3 * time.Second} { // between two looks; in the midst of one
			ctx, cancel := context.WithCancel(v.t.Context())
			s := v.store(ctx, appsecret.Candidate, credentialsJSON("staged"))
			version, err := s.store("")
			v.must(err)
			if at > 2*time.Second {
				v.aws.InjectFault("DescribeSecret", localaws.Fault{Delay: 10 * time.Second}, 0)
			}
			time.AfterFunc(at, cancel)
			if label, err := s.waitForResult(version, defaultWait); label != "" || err == nil || !strings.Contains(err.Error(), "stopped waiting, and it goes on") {
				v.t.Errorf("%q, %v", label, err)
			}
		}
	})
}

// changingReader is somebody who types while the secret is changed.
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

func TestAPairThatIsRotatedWhileSomebodyTypesIsKept(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		s := v.store(v.t.Context(), appsecret.Current, "")
		s.cmd.SetIn(&changingReader{strings.NewReader(`{"allowedPrincipals":["222222222222"]}`), func() { v.put("rotated", "AWSCURRENT") }})
		_, err := s.store("")
		v.must(err)
		secret := v.secret()
		current, err := secret.Read(v.t.Context(), secret.VersionWithLabel("AWSCURRENT"))
		v.must(err)
		if current.ConsumerKey != "rotated" || current.AllowedPrincipals == nil {
			v.t.Errorf("the pair of %q is stored", current.ConsumerKey)
		}
	})
}

// A pipe that nobody writes to ends no read when Ctrl-C comes.
func TestAReadThatIsInterrupted(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		ctx, cancel := context.WithCancel(v.t.Context())
		s := v.store(ctx, appsecret.Current, "")
		silent, end := io.Pipe()
		defer end.Close()
		s.cmd.SetIn(silent)
		time.AfterFunc(time.Second, cancel)
		before := v.secret().VersionWithLabel("AWSCURRENT")
		if _, err := s.store(""); err == nil || !strings.Contains(err.Error(), "nothing was stored: interrupted") {
			v.t.Error(err)
		}
		if after := v.secret().VersionWithLabel("AWSCURRENT"); after != before {
			v.t.Error("something is stored")
		}
	})
}

func TestARotationThatOnlyAPersonCanGoOnWith(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("staged", "CANDIDATE")
		v.rotate = func(context.Context, []byte) ([]byte, error) { // as the rotate function refuses a candidate
			time.Sleep(5 * time.Second)
			s := v.secret()
			if holder := s.VersionWithLabel("CANDIDATE"); holder != "" {
				v.move("REJECTED", holder)
				v.move("CANDIDATE", "")
				v.move("AWSPENDING", "")
			}
			return nil, errors.New("refused")
		}
		r := v.rotation()
		begun := time.Now()
		if err := r.rotate(v.t.Context()); err == nil || !strings.Contains(err.Error(), "not switched on: set RotationSchedule") {
			v.t.Errorf("without a rotation: %v", err)
		}
		_, err := v.RotateSecret(v.t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(prefix + "crm"), RotationLambdaARN: aws.String(rotateARN)})
		v.must(err)
		if err := r.rotate(v.t.Context()); err == nil || !strings.Contains(err.Error(), "the rotation was given up") || !strings.Contains(err.Error(), "a person must make its new pair") {
			v.t.Errorf("after the refusal: %v", err)
		}
		if took := time.Since(begun); took > time.Minute {
			v.t.Errorf("it took %v", took)
		}
		synctest.Wait()
	})
}

// Somebody changes who may have tokens while a leak is handled: the version is another, and the pair has leaked all the same.
func TestALeakedPairInANewVersionIsWaitedFor(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.rotate = func(context.Context, []byte) ([]byte, error) { return nil, errors.New("down") }
		_, err := v.RotateSecret(v.t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(prefix + "crm"), RotationLambdaARN: aws.String(rotateARN)})
		v.must(err)
		synctest.Wait()
		v.put("made", "AWSCURRENT")
		r := v.rotation()
		last := ""
		time.AfterFunc(3*time.Second, func() { v.put("made", "AWSCURRENT") })
		time.AfterFunc(9*time.Second, func() {
			v.put("new", "AWSCURRENT")
			last = v.secret().VersionWithLabel("AWSCURRENT")
		})
		err = r.rotateCompromised(v.t.Context())
		synctest.Wait() // for what was to be stored, too
		if err != nil || r.Current != last {
			v.t.Errorf("%v; %q is AWSCURRENT, and not %q", err, r.Current, last)
		}
	})
}

// AWSPENDING on the version that was current is what the rotation before has left: this one has been given up, and begins again.
func TestARotationThatIsGivenUpBeginsAgain(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		v.put("made", "AWSCURRENT")
		steps := 0
		v.rotate = func(context.Context, []byte) ([]byte, error) {
			if steps++; steps <= 2 {
				v.move("AWSPENDING", v.secret().VersionWithLabel("AWSCURRENT"))
				return nil, errors.New("given up")
			}
			v.put("new", "AWSCURRENT")
			return nil, errors.New("a person was faster")
		}
		_, err := v.RotateSecret(v.t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: aws.String(prefix + "crm"), RotationLambdaARN: aws.String(rotateARN), RotateImmediately: aws.Bool(true),
		})
		v.must(err)
		synctest.Wait()
		r := v.rotation()
		if err := r.rotate(v.t.Context()); err != nil || r.Current != v.secret().VersionWithLabel("AWSCURRENT") {
			v.t.Errorf("%v; %q is AWSCURRENT", err, r.Current)
		}
		synctest.Wait()
	})
}

// A candidate is what a rotation can take; one that was staged before the leak was known may have leaked with it.
func TestWhatOnlyAPersonCanDoIsSaidAtOnce(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		r := v.rotation()
		if err := r.checkRotatable(v.t.Context(), false); err == nil || !strings.Contains(err.Error(), "secret stage crm --wait") {
			v.t.Error(err)
		}
		v.put("staged", "CANDIDATE")
		r.secret = v.secret()
		if err := r.checkRotatable(v.t.Context(), false); err != nil {
			v.t.Error(err)
		}
		if err := r.checkRotatable(v.t.Context(), true); err == nil || !strings.Contains(err.Error(), "sftoken revoke crm") {
			v.t.Errorf("of a leak: %v", err)
		}
		v.put("made", "AWSCURRENT")
		r.secret = v.secret()
		if err := r.checkRotatable(v.t.Context(), true); err != nil {
			v.t.Errorf("where Salesforce makes the pair: %v", err)
		}
	})
}

func TestAFirstPair(t *testing.T) {
	runSynctest(t, func(v *fakeSecrets) {
		for _, label := range []string{appsecret.Candidate, appsecret.Current} {
			s := v.store(v.t.Context(), label, credentialsJSON("first"))
			s.app, s.name = "erp", prefix+"erp"
			_, err := s.store("")
			if label == appsecret.Candidate && (err == nil || !strings.Contains(err.Error(), "begin with `sftoken secret put erp --create`")) || label == appsecret.Current && err != nil {
				v.t.Errorf("%s: %v", label, err)
			}
		}
		_, err := v.CreateSecret(v.t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(prefix + "empty")})
		v.must(err)
		s := v.store(v.t.Context(), appsecret.Current, credentialsJSON("first")) // into a secret that a template has made without a value
		s.app, s.name = "empty", prefix+"empty"
		if _, err := s.store(""); err != nil {
			v.t.Error(err)
		}
	})
}
