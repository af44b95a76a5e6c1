package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// FirstVersion is the version of each secret that Start stores, so that events/ can name it.
const FirstVersion = "00000000-0000-4000-8000-000000000001"

// RotationDays is the rotation interval of the simulated org's app.
const RotationDays = 30

// ReadSecrets reads a file that maps apps to secret values.
func ReadSecrets(path string) (map[string]json.RawMessage, error) {
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	var secrets map[string]json.RawMessage
	if err := json.Unmarshal(text, &secrets); err != nil || len(secrets) == 0 {
		return nil, fmt.Errorf(`%s: want a JSON object that maps apps to secret values, like {"crm": {"consumerKey": …}}`,
			path)
	}
	for app := range secrets {
		if !appsecret.ValidName(app) {
			return nil, fmt.Errorf("%s: %q is not a valid app name", path, app)
		}
	}
	return secrets, nil
}

// seed stores the secrets: those given, or that of the simulated org's app. Only the latter is rotated. New credentials
// of a real org would exist in this process's memory alone, and would be lost with it.
func (s *Stack) seed(ctx context.Context, secrets map[string]json.RawMessage) error {
	if secrets == nil {
		value, err := s.simulatedSecret()
		if err != nil {
			return err
		}
		secrets = map[string]json.RawMessage{"crm": value}
	}
	s.Apps = slices.Sorted(maps.Keys(secrets))
	for _, app := range s.Apps {
		if err := s.create(ctx, app, string(secrets[app])); err != nil {
			return fmt.Errorf("the secret of app %s: %w", app, err)
		}
	}
	if s.Org == nil || s.Rotate == nil {
		return nil
	}
	_, err := s.Secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
		SecretId: aws.String(Prefix + "crm"), RotationLambdaARN: aws.String(RotateARN), RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(RotationDays)},
	})
	return err
}

func (s *Stack) create(ctx context.Context, app, value string) error {
	version, err := appsecret.Parse("local", value)
	if err != nil {
		return err
	}
	if version.PrincipalsErr != nil {
		return version.PrincipalsErr
	}
	_, err = s.Secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(Prefix + app), SecretString: &value, ClientRequestToken: aws.String(FirstVersion),
	})
	return err
}

func (s *Stack) simulatedSecret() (json.RawMessage, error) {
	key, secret := s.App.Credentials()
	return json.Marshal(map[string]any{
		"consumerKey": key, "consumerSecret": secret, "baseUri": s.OrgURL,
		"appId": s.App.ID, "consumerId": s.App.ConsumerID, "orgId": s.Org.ID(),
		"allowedPrincipals": []string{Account, s.Keys.Billing.Account},
	})
}

// Secret returns the labels of the simulated org's app, as they are now.
func (s *Stack) Secret(ctx context.Context) (*appsecret.Secret, error) {
	return appsecret.Open(ctx, s.Secrets, Prefix, Prefix+"crm")
}
