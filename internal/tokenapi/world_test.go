package tokenapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	orgHost    = "127.0.0.1:8443"
	awsHost    = "127.0.0.1:4566"
	secretName = "sftoken/crm"
	billing    = "arn:aws:sts::222222222222:assumed-role/billing/anna"
)

// world is the token function between a simulated org and a Secrets Manager, on a network in memory: everything is real
// but the wire and, in a synctest bubble, the time.
type world struct {
	t       testing.TB
	network *sfoauthtest.Network
	org     *sfoauthtest.Org
	app     *sfoauthtest.App
	aws     *localaws.SecretsManager
	secrets *secretsmanager.Client
	handler *handler
	log     *localaws.SyncBuffer
	logged  int // how much of log has been read
}

type options struct {
	org    sfoauthtest.Config
	app    sfoauthtest.AppOptions
	config vending.Config
	secret map[string]any // put into the secret beside the pair
}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	network := &sfoauthtest.Network{}
	o.org.BaseURL = "http://" + orgHost
	w := &world{t: t, network: network, org: sfoauthtest.New(o.org), log: &localaws.SyncBuffer{}}
	w.app = w.org.AddApp(o.app)
	w.aws = localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"})
	serve(t, network, orgHost, w.org)
	serve(t, network, awsHost, w.aws)
	t.Cleanup(func() { w.org.ClearFaults() })
	sdk := network.Client()
	t.Cleanup(sdk.CloseIdleConnections)

	w.secrets = secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + awsHost), HTTPClient: sdk,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	})
	transport := sfoauth.NewTransport()
	transport.Proxy, transport.DialContext = nil, network.DialContext
	t.Cleanup(transport.CloseIdleConnections)
	o.config.Secrets = appsecret.Reader{Client: w.secrets, Prefix: "sftoken/"}
	o.config.Hosts = sfoauth.AllowedHosts{orgHost}
	o.config.HTTPClient = &http.Client{Transport: transport}
	o.config.Jitter = func() float64 { return 0 }
	w.handler = &handler{vendor: vending.New(o.config), log: telemetry.New(w.log, 0, "sftoken", "test")}

	key, secret := w.app.Credentials()
	value := map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": "http://" + orgHost}
	for name, field := range o.secret {
		value[name] = field
	}
	_, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(secretName), SecretString: aws.String(encode(value))})
	w.must(err)
	return w
}

func encode(value map[string]any) string {
	text, _ := json.Marshal(value) // strings and lists always can be
	return string(text)
}

func serve(t testing.TB, network *sfoauthtest.Network, host string, h http.Handler) {
	t.Helper()
	stop, err := network.Serve(host, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// store writes a new version of the secret under the labels (none: AWSCURRENT) and returns its id.
func (w *world) store(value map[string]any, labels ...string) string {
	w.t.Helper()
	return w.storeText(encode(value), labels...)
}

// storeText is store for a value that is not, or not quite, JSON.
func (w *world) storeText(value string, labels ...string) string {
	w.t.Helper()
	input := &secretsmanager.PutSecretValueInput{SecretId: aws.String(secretName), SecretString: aws.String(value), VersionStages: labels}
	out, err := w.secrets.PutSecretValue(w.t.Context(), input)
	w.must(err)
	return *out.VersionId
}

func (w *world) pair(key, secret string) map[string]any {
	return map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": "http://" + orgHost}
}

// answer is what a caller gets.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	took   time.Duration
}

func (a answer) text(field string) string { s, _ := a.body[field].(string); return s }
func (a answer) token() string            { return a.text("access_token") }
func (a answer) id() string               { return a.text("token_id") }
func (a answer) cache() string            { return a.header.Get("X-Token-Cache") }
func (a answer) expiresIn() time.Duration {
	s, _ := a.body["expires_in"].(float64)
	return time.Duration(s) * time.Second
}

func (a answer) String() string { // without the token
	return fmt.Sprintf("%d %s %s %s %s", a.status, a.text("error"), a.text("error_description"), a.cache(), a.expiresIn())
}

// call sends an event. change, where it is not nil, changes the event before.
func (w *world) call(change func(e map[string]any)) answer {
	w.t.Helper()
	return w.callIn(w.t.Context(), 15*time.Second, change)
}

func (w *world) callIn(ctx context.Context, timeout time.Duration, change func(e map[string]any)) answer {
	w.t.Helper()
	event := map[string]any{
		"httpMethod": "GET", "path": "/tokens/crm", "pathParameters": map[string]any{"app": "crm"}, "body": nil,
		"requestContext": map[string]any{"requestId": "req-1", "identity": map[string]any{
			"userArn": billing, "accountId": "222222222222", "sourceIp": "192.0.2.1",
		}},
	}
	if change != nil {
		change(event)
	}
	payload, err := json.Marshal(event)
	w.must(err)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begun := time.Now()
	raw, err := w.handler.Invoke(ctx, payload)
	w.must(err)
	got := answer{took: time.Since(begun), header: http.Header{}}
	var r struct {
		StatusCode int
		Headers    map[string]string
		Body       string
	}
	w.must(json.Unmarshal(raw, &r))
	got.status = r.StatusCode
	for name, value := range r.Headers {
		got.header.Set(name, value)
	}
	if r.Body != "" {
		w.must(json.Unmarshal([]byte(r.Body), &got.body))
	}
	return got
}

func (w *world) get() answer { w.t.Helper(); return w.call(nil) }

func (w *world) reject(id string) answer {
	w.t.Helper()
	return w.call(func(e map[string]any) {
		e["queryStringParameters"] = map[string]any{"rejected": id}
		e["multiValueQueryStringParameters"] = map[string]any{"rejected": []string{id}}
	})
}

func (w *world) revoke() answer {
	w.t.Helper()
	return w.call(func(e map[string]any) { e["httpMethod"] = "DELETE" })
}

func as(arn string) func(map[string]any) {
	return func(e map[string]any) {
		e["requestContext"].(map[string]any)["identity"].(map[string]any)["userArn"] = arn
	}
}

// want checks an answer's status, and the cache header of a token or the code of an error.
func (w *world) want(a answer, status int, what string) {
	w.t.Helper()
	if a.status != status || a.cache() != what && a.text("error") != what {
		w.t.Fatalf("got %s; want %d %s", a, status, what)
	}
	if a.token() != "" && !w.org.TokenActive(a.token()) {
		w.t.Fatalf("a dead token was handed out: %s", a)
	}
}

// logins returns how many token requests the org has seen.
func (w *world) logins() int { return w.org.Stats().Calls[sfoauthtest.Token] }

// asked returns how many requests the org has seen at all.
func (w *world) asked() int {
	total := 0
	for _, n := range w.org.Stats().Calls {
		total += n
	}
	return total
}

// lines returns the log lines since it was last called.
func (w *world) lines() []map[string]any {
	w.t.Helper()
	text := w.log.String()[w.logged:]
	w.logged += len(text)
	var lines []map[string]any
	for line := range strings.Lines(text) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			w.t.Fatalf("a log line is not JSON: %s", line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// noSecrets fails the test if text holds anything that the org has kept as a secret.
func (w *world) noSecrets(text string) {
	w.t.Helper()
	for _, secret := range w.org.Secrets() {
		if len(secret) >= 8 && strings.Contains(text, secret) {
			w.t.Errorf("a secret is in what was written: one of %d characters", len(secret))
		}
	}
}
