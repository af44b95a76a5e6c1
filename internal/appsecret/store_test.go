package appsecret_test

import (
	"context"
	"testing"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// response is a Secrets Manager client that returns the same version for every read.
type response sm.GetSecretValueOutput

func (r *response) GetSecretValue(
	context.Context, *sm.GetSecretValueInput, ...func(*sm.Options),
) (*sm.GetSecretValueOutput, error) {
	return (*sm.GetSecretValueOutput)(r), nil
}

func TestReadWithoutAString(t *testing.T) {
	for _, tt := range []struct {
		name string
		with *response
		want appsecret.ErrorKind
	}{
		{"binary", &response{SecretBinary: []byte("{}")}, appsecret.Malformed},
		{"no value yet", &response{}, appsecret.NotFound},
	} {
		_, err := appsecret.Reader{Client: tt.with, Prefix: "sftoken/"}.Read(t.Context(), "crm", appsecret.Current)
		if !appsecret.IsKind(err, tt.want) {
			t.Errorf("%s: got %v, want kind %d", tt.name, err, tt.want)
		}
	}
}
