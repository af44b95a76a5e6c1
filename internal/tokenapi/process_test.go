package tokenapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestMain lets the tests run this program as the token function.
func TestMain(m *testing.M) {
	localaws.RunFunction(map[string]func() error{
		"token": func() error { return Run(context.Background(), os.Getenv, "test") },
	})
	os.Exit(m.Run())
}

// running is the function in processes between servers on this machine's loopback.
type running struct {
	*localaws.Function
	config  localaws.FunctionConfig
	org     *sfoauthtest.Org
	orgURL  string
	app     *sfoauthtest.App
	secrets *secretsmanager.Client
	log     localaws.SyncBuffer
}

func start(t *testing.T, config localaws.FunctionConfig) *running {
	t.Helper()
	r := &running{org: sfoauthtest.New(sfoauthtest.Config{})}
	server := httptest.NewServer(r.org)
	t.Cleanup(server.Close)
	t.Cleanup(func() { r.org.ClearFaults() })
	r.orgURL, r.app = server.URL, r.org.AddApp(sfoauthtest.AppOptions{})
	secrets := httptest.NewServer(
		localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"}),
	)
	t.Cleanup(secrets.Close)
	r.secrets = secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: &secrets.URL,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	})
	if _, err := r.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String(simtest.SecretName), SecretString: r.value(),
	}); err != nil {
		t.Fatal(err)
	}
	config.Name, config.Account, config.Region, config.Main = "sftoken-token", "111111111111", "us-east-1", "token"
	env := map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.URL,
		"SALESFORCE_HOSTS":                 strings.TrimPrefix(server.URL, "http://"),
	}
	maps.Copy(env, config.Env)
	config.Env = env
	config.Stdout, config.Stderr, config.Timeout = &r.log, &r.log, 30*time.Second
	r.config = config
	r.Function = localaws.NewFunction(config)
	t.Cleanup(r.Close)
	return r
}

// value is a secret's value with the app's credentials.
func (r *running) value() *string {
	key, secret := r.app.Credentials()
	return aws.String(fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q}`, key, secret, r.orgURL))
}

// invoke sends the function a request for a token, and returns its response.
func (r *running) invoke(t *testing.T, f *localaws.Function) (status int, body string, err error) {
	t.Helper()
	event, _ := json.Marshal(map[string]any{
		"httpMethod": "GET", "path": "/tokens/crm", "pathParameters": map[string]any{"app": "crm"},
		"requestContext": map[string]any{"requestId": "r", "identity": map[string]any{"userArn": billing}},
	})
	raw, err := f.Invoke(t.Context(), event)
	if err != nil {
		return 0, "", err
	}
	var response struct {
		StatusCode int
		Body       string
	}
	err = json.Unmarshal(raw, &response)
	return response.StatusCode, response.Body, err
}

// vend returns the id of the token that it was given.
func (r *running) vend(t *testing.T) string {
	t.Helper()
	status, text, err := r.invoke(t, r.Function)
	var body struct {
		ID    string `json:"token_id"`
		Token string `json:"access_token"`
	}
	if err != nil || json.Unmarshal([]byte(text), &body) != nil || !r.org.TokenActive(body.Token) {
		t.Errorf("HTTP %d without a token, or with a dead one: %v", status, err)
	}
	return body.ID
}

func TestConcurrentInvocationsOfOneProcess(t *testing.T) {
	t.Parallel()
	r := start(t, localaws.FunctionConfig{PerProcess: 32})
	r.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(200*time.Millisecond), 1)
	var wg sync.WaitGroup
	var tokens sync.Map
	for range 32 {
		wg.Go(func() {
			for range 10 {
				tokens.Store(r.vend(t), true)
			}
		})
	}
	wg.Wait()
	different := 0
	tokens.Range(func(any, any) bool { different++; return true })
	if n := r.org.Stats().Calls[sfoauthtest.Token]; n != 1 || different != 1 || len(r.PIDs()) != 1 {
		t.Errorf("%d logins, %d tokens, %d processes", n, different, len(r.PIDs()))
	}
	r.Close() // all that it has written is there when it has ended
	lines := 0
	for _, line := range r.log.Lines() {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil {
			t.Fatalf("a line that is not whole: %q", line)
		}
		if fields["msg"] == "vend" {
			lines++
		}
	}
	if lines != 320 {
		t.Errorf("%d lines for 320 requests", lines)
	}
}
