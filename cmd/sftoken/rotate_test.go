package main

import (
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// Credentials that were staged before may be compromised too.
func TestRotateCompromisedDropsStagedCredentials(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=1s")
	leakedKey, leakedSecret := s.App.Credentials()
	s.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 2) // Secrets Manager tries it twice
	if _, stderr, code := s.command(t, ownerKey, "", "rotate", "crm"); code != 0 || len(s.App.Staged()) != 1 {
		t.Fatalf("an unfinished rotation: exit %d: %s", code, stderr)
	}
	s.Org.ClearFaults()
	staged := s.App.Staged()[0]
	if stdout, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes"); code != 0 ||
		!strings.Contains(stdout, "AWSCURRENT") {
		t.Fatalf("rotate --compromised: exit %d: %s%s", code, stdout, stderr)
	}
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, secret := s.App.Credentials()
	if key == leakedKey || s.Org.CanLogin(leakedKey, leakedSecret) || key == staged.Key ||
		s.Org.CanLogin(staged.Key, staged.Secret) || !s.Org.CanLogin(key, secret) {
		t.Errorf("the compromised credentials log in: %t; those staged before: %t", s.Org.CanLogin(leakedKey, leakedSecret),
			s.Org.CanLogin(staged.Key, staged.Secret))
	}
	if _, stderr, code := s.command(t, ownerKey, "", "get", "crm", "-o", "none"); code != 0 {
		t.Errorf("afterwards: exit %d: %s", code, stderr)
	}
}

func TestRotateNeedsAppID(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard)
	value, err := s.Secrets.GetSecretValue(t.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String(prefix + "crm")})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(*value.SecretString), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "appId")
	text, _ := json.Marshal(fields)
	if _, err = s.Secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(prefix +
		"crm"), SecretString: aws.String(string(text))}); err != nil {
		t.Fatal(err)
	}
	for args, says := range map[string]string{"": "sftoken secret stage crm --wait",
		"--wait": "sftoken secret stage crm --wait", "--compromised --yes": "sftoken secret put crm"} {
		_, stderr, code := s.command(t, ownerKey, "", strings.Fields("rotate crm "+args)...)
		if code != exitFailed || !strings.Contains(stderr, says) {
			t.Errorf("rotate %s: exit %d: %s", args, code, stderr)
		}
	}
	status, _, _ := s.command(t, ownerKey, "", "secret", "status", "crm")
	if strings.Contains(status, "AWSPENDING") || strings.Contains(status, "COMPROMISED") {
		t.Errorf("a rotation was started: %s", status)
	}
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
			if err != nil {
				t.Fatal(err)
			}
			key, pair := s.App.Credentials()
			version, err := secret.Read(t.Context(), secret.VersionWithLabel("AWSCURRENT"))
			if err == nil && key != oldKey && version.ConsumerKey == key && s.Org.CanLogin(key, pair) {
				break
			}
			if try == 3 {
				t.Fatalf("killed at %s: the rotation does not complete: %v", at, err)
			}
			_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm")
		}
	}
}
