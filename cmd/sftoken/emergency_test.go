package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestInAnEmergencyAPairThatWasStagedBeforeIsNotUsed(t *testing.T) {
	s := newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=1s")
	s.useKey(t, ownerKey)
	leakedKey, leakedSecret := s.App.Credentials()
	s.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 2) // Secrets Manager tries it twice
	if _, stderr, code := command(t, "", "rotate", "crm"); code != 0 || len(s.App.Staged()) != 1 {
		t.Fatalf("an unfinished rotation: exit %d: %s", code, stderr)
	}
	s.Org.ClearFaults()
	staged := s.App.Staged()[0]
	if stdout, stderr, code := command(t, "", "rotate", "crm", "--compromised", "--yes"); code != 0 || !strings.Contains(stdout, "AWSCURRENT") {
		t.Fatalf("rotate --compromised: exit %d: %s%s", code, stdout, stderr)
	}
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, secret := s.App.Credentials()
	if key == leakedKey || s.Org.CanLogin(leakedKey, leakedSecret) || key == staged.Key || s.Org.CanLogin(staged.Key, staged.Secret) || !s.Org.CanLogin(key, secret) {
		t.Errorf("the leaked pair logs in: %t; the one that was staged: %t", s.Org.CanLogin(leakedKey, leakedSecret), s.Org.CanLogin(staged.Key, staged.Secret))
	}
	if _, stderr, code := command(t, "", "get", "crm", "-o", "none"); code != 0 {
		t.Errorf("afterwards: exit %d: %s", code, stderr)
	}
}

func TestAnAppThatCannotRotateItselfIsSaidAtOnce(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	value, err := s.Secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(prefix + "crm")})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(*value.SecretString), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "appId")
	text, _ := json.Marshal(fields)
	if _, err = s.Secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(prefix + "crm"), SecretString: aws.String(string(text))}); err != nil {
		t.Fatal(err)
	}
	for args, says := range map[string]string{"": "sftoken secret stage crm --wait", "--wait": "sftoken secret stage crm --wait", "--compromised --yes": "sftoken secret put crm"} {
		_, stderr, code := command(t, "", strings.Fields("rotate crm "+args)...)
		if code != exitFailed || !strings.Contains(stderr, says) {
			t.Errorf("rotate %s: exit %d: %s", args, code, stderr)
		}
	}
	status, _, _ := command(t, "", "secret", "status", "crm")
	if strings.Contains(status, "AWSPENDING") || strings.Contains(status, "COMPROMISED") {
		t.Error(fmt.Sprint("something was begun: ", status))
	}
}
