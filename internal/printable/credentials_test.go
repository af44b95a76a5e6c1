package printable

import (
	"errors"
	"testing"
)

func TestCredentialsError(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{
			"failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, exceeded",
			"no EC2 IMDS role found",
		},
		{
			"process provider error: parse failed of process output: {\"SecretAccessKey\": \"s\"\n, error: EOF",
			"process provider error: parse failed of process output",
		},
		{
			"StatusCode: 403, SignatureDoesNotMatch\n\nThe Canonical String for this request should have been",
			"StatusCode: 403, SignatureDoesNotMatch",
		},
	} {
		if got := CredentialsError(errors.New(tt.text)); got != tt.want {
			t.Errorf("CredentialsError(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}
