package appsecret_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// newSecretsManager returns a client of a simulated Secrets Manager with these secrets.
func newSecretsManager(t *testing.T, names ...string) *sm.Client {
	t.Helper()
	server := httptest.NewServer(localaws.NewSecretsManager(
		localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"}))
	t.Cleanup(server.Close)
	client := sm.New(sm.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	for _, name := range names {
		if _, err := client.CreateSecret(t.Context(), &sm.CreateSecretInput{
			Name: &name, SecretString: aws.String("{}"), ClientRequestToken: aws.String(versionID),
		}); err != nil {
			t.Fatal(err)
		}
	}
	return client
}

const versionID = "00000000-0000-4000-8000-000000000001"

func TestList(t *testing.T) {
	t.Parallel()
	names := []string{"sftoken/Not-An-App", "sftoken/a/b", "sftoken/", "other/crm", "crm"}
	for i := range 120 { // more than a page
		names = append(names, fmt.Sprintf("sftoken/app-%03d", i))
	}
	client := newSecretsManager(t, names...)
	deleted := &sm.DeleteSecretInput{SecretId: aws.String("sftoken/app-007")}
	if _, err := client.DeleteSecret(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 7, 1, 5, 0, 0, 0, time.UTC)
	one, err := appsecret.Open(t.Context(), client, "sftoken/", "sftoken/app-001")
	if err == nil {
		err = one.TagChecked(t.Context(), at, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := appsecret.List(t.Context(), client, "sftoken/")
	if err != nil || len(secrets) != 120 {
		t.Fatalf("%d secrets: %v", len(secrets), err)
	}
	for i, s := range secrets {
		if s.App != fmt.Sprintf("app-%03d", i) || s.VersionWithLabel("AWSCURRENT") != versionID ||
			s.Deleted.IsZero() != (i != 7) {
			t.Errorf("secret %d: %s %v, deleted %s", i, s.App, s.Labels, s.Deleted)
		}
	}
	if checked, ok := secrets[1].Checked(); !checked.Equal(at) || !ok {
		t.Errorf("checked %s: %t", checked, ok)
	}
	if checked, ok := secrets[2].Checked(); !checked.IsZero() || ok {
		t.Errorf("checked %s without a tag: %t", checked, ok)
	}
	secrets, err = appsecret.List(t.Context(), client, "")
	if err != nil || len(secrets) != 1 || secrets[0].App != "crm" {
		t.Errorf("without a prefix: %d secrets: %v", len(secrets), err)
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	client := newSecretsManager(t, "sftoken/crm")
	before := time.Now().Add(-time.Minute)
	dates, err := appsecret.Dates(t.Context(), client, "sftoken/crm")
	if created := dates[versionID]; err != nil || len(dates) != 1 || created.Before(before) || created.After(time.Now()) {
		t.Errorf("%v: %v", dates, err)
	}
	if _, err := appsecret.Dates(t.Context(), client, "sftoken/erp"); err == nil {
		t.Error("the dates of a secret that does not exist")
	}
}

func TestCheckedMalformedTag(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", "ok", "2026-07-01 ok", "yesterday failed",
		"2026-07-01T05:00:00+24:00 ok", "9999-12-31T23:59:59-01:00 ok", // JSON cannot have these times, or not in UTC
	} {
		s := &appsecret.Secret{Tags: map[string]string{appsecret.CheckedTag: value}}
		if at, ok := s.Checked(); !at.IsZero() || ok {
			t.Errorf("%q: %s %t", value, at, ok)
		}
	}
}
