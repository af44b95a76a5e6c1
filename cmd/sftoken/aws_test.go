package main

import (
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Whoever has a deleted secret before them must see that it is, and that it can be had back.
func TestASecretThatIsToBeDeleted(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, ownerKey)
	if stdout, stderr, code := command(t, "", "secret", "status", "crm"); code != 0 || strings.Contains(stdout, "deleted") {
		t.Errorf("status before: exit %d: %s%s", code, stdout, stderr)
	}
	if _, err := s.Secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(prefix + "crm")}); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := command(t, "", "secret", "status", "crm"); code != 0 || !strings.Contains(stdout, "to be deleted  ") || !strings.Contains(stdout, "restore-secret") {
		t.Errorf("status: exit %d: %s%s", code, stdout, stderr)
	}
	for _, args := range [][]string{{"rotate", "crm"}, {"secret", "put", "crm"}} {
		if _, stderr, code := command(t, `{"consumerSecret":"x"}`, args...); code != exitFailed || !strings.Contains(stderr, "restore-secret") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
}
