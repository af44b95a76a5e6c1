package appsecret_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// answer is a Secrets Manager that answers every read with the same version.
type answer secretsmanager.GetSecretValueOutput

func (a *answer) GetSecretValue(
	context.Context,
	*secretsmanager.GetSecretValueInput,
	...func(*secretsmanager.Options),
) (*secretsmanager.GetSecretValueOutput, error) {
	return (*secretsmanager.GetSecretValueOutput)(a), nil
}

func TestReadWithoutAString(t *testing.T) {
	for _, tt := range []struct {
		name string
		with *answer
		want appsecret.ErrorKind
	}{
		{"binary", &answer{SecretBinary: []byte("{}")}, appsecret.Malformed},
		{"no value yet", &answer{}, appsecret.NotFound},
	} {
		_, err := appsecret.Reader{Client: tt.with, Prefix: "sftoken/"}.Read(t.Context(), "crm", appsecret.Current)
		if !appsecret.IsKind(err, tt.want) {
			t.Errorf("%s: got %v, want problem %d", tt.name, err, tt.want)
		}
	}
}
