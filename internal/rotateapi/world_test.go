package rotateapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	orgHost     = "127.0.0.1:8443"
	awsHost     = "127.0.0.1:4566"
	crm         = "sftoken/crm"
	functionARN = "arn:aws:lambda:us-east-1:111111111111:function:sftoken-rotate"
)

// world is the rotate function between a simulated org and a Secrets Manager that calls it, on a network in memory.
type world struct {
	t       *testing.T
	network *sfoauthtest.Network
	org     *sfoauthtest.Org
	app     *sfoauthtest.App
	aws     *localaws.SecretsManager
	bus     *localaws.EventBus
	secrets *secretsmanager.Client // the test's own
	options options
	log     *localaws.SyncBuffer
	errors  *localaws.SyncBuffer // what the function returns: Lambda's runtime writes it into the log, and answers it

	fields map[string]any // of crm's secret, beside the pair

	process  atomic.Pointer[process]
	running  atomic.Int32 // invocations of the function
	quiet    atomic.Bool  // the test's own calls are not watched
	watchOrg func(sfoauthtest.Call)
	watchAWS func(localaws.Call)
}

type options struct {
	org         sfoauthtest.Config
	adminApp    bool // another app changes the pair
	noIDs       bool // the secret does not say which app it is: a person makes the pairs
	propagation time.Duration
}

// process is one process of the function. Once it is dead, nothing that it sends arrives.
type process struct {
	dead   atomic.Bool
	end    context.CancelFunc
	ctx    context.Context
	invoke localaws.Invoker
}

var errDead = errors.New("the process is dead")

// kill ends the process: what it has under way, and whatever it would do next.
func (p *process) kill() {
	p.dead.Store(true)
	p.end()
}

type mortal struct {
	*process
	next http.RoundTripper
}

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.next.RoundTrip(r)
}

func inBubble(t *testing.T, o options, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, o)) })
}

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, options: o, log: &localaws.SyncBuffer{}, errors: &localaws.SyncBuffer{}, network: &sfoauthtest.Network{}}
	o.org.BaseURL = "http://" + orgHost
	o.org.OnCall = func(c sfoauthtest.Call) {
		if !w.quiet.Load() && w.watchOrg != nil {
			w.watchOrg(c)
		}
	}
	w.org = sfoauthtest.New(o.org)
	w.bus = &localaws.EventBus{Function: w.invoke, Pause: time.Minute}
	w.aws = localaws.NewSecretsManager(localaws.SecretsManagerConfig{
		Account: "111111111111", Region: "us-east-1", LabelMoved: w.bus.LabelMoved,
		Functions: map[string]localaws.Invoker{functionARN: w.invoke},
		OnCall: func(c localaws.Call) {
			if !w.quiet.Load() && w.watchAWS != nil && c.Operation != "RotateSecret" {
				w.watchAWS(c)
			}
		},
	})
	for host, handler := range map[string]http.Handler{orgHost: w.org, awsHost: w.aws} {
		stop, err := w.network.Serve(host, handler)
		w.must(err)
		t.Cleanup(stop)
	}
	w.secrets = w.sdk(w.network.Client())
	w.start()
	t.Cleanup(func() { w.process.Load().kill() })
	w.setUp()
	return w
}

func (w *world) sdk(client *http.Client) *secretsmanager.Client {
	w.t.Cleanup(client.CloseIdleConnections)
	return secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + awsHost), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	})
}

// start starts a process of the function, as Lambda does after one has died.
func (w *world) start() { w.process.Store(w.newProcess()) }

func (w *world) newProcess() *process {
	p := &process{}
	p.ctx, p.end = context.WithCancel(context.Background())
	transport := w.network.Transport()
	w.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: mortal{p, transport}}
	secrets := w.sdk(client)
	admin := ""
	if w.options.adminApp {
		admin = "admin"
	}
	h := &Handler{
		Rotator: &rotation.Rotator{
			Secrets: secrets, Lister: secrets, Prefix: "sftoken/", AdminApp: admin, Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: client,
			Propagation: w.options.propagation, Logins: loginbudget.New(0, 0),
		},
		Log: telemetry.New(w.log, 0, "sftoken", "test"),
	}
	p.invoke = h.Invoke
	return p
}

// invoke calls the function as Lambda does.
func (w *world) invoke(_ context.Context, payload []byte) ([]byte, error) {
	w.running.Add(1)
	defer w.running.Add(-1)
	p := w.process.Load()
	if p.dead.Load() {
		w.start()
		p = w.process.Load()
	}
	ctx, cancel := context.WithTimeout(p.ctx, 15*time.Minute)
	defer cancel()
	answer, err := p.invoke(ctx, payload)
	if err != nil {
		fmt.Fprintf(w.errors, "%v %+v\n", err, err)
	}
	if p.dead.Load() {
		return nil, &localaws.FunctionError{Type: "Runtime.ExitError", Message: "signal: killed"}
	}
	return answer, err
}

// setUp stores the app's secret and switches its rotation on.
func (w *world) setUp() {
	w.app = w.org.AddApp(sfoauthtest.AppOptions{Name: "CRM"})
	changer := w.app
	if w.options.adminApp {
		changer = w.org.AddApp(sfoauthtest.AppOptions{Name: "Admin"})
		w.create("sftoken/admin", w.value(changer, nil))
	}
	changer.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	w.fields = map[string]any{"note": "kept as it is", "nested": map[string]any{"kept": []any{1.0, "two"}}}
	if !w.options.noIDs {
		w.fields["appId"], w.fields["consumerId"] = w.app.ID, w.app.ConsumerID
	}
	w.create(crm, w.value(w.app, w.fields))
	w.deliver()
	w.enable()
}

func (w *world) enable() {
	w.t.Helper()
	_, err := w.secrets.RotateSecret(w.t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(crm), RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false),
	})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(name string, value map[string]any) {
	w.t.Helper()
	text, err := json.Marshal(value)
	w.must(err)
	_, err = w.secrets.CreateSecret(w.t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(text))})
	w.must(err)
}

// value is a secret's value with the app's main pair.
func (w *world) value(app *sfoauthtest.App, fields map[string]any) map[string]any {
	key, secret := app.Credentials()
	value := map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": "http://" + orgHost}
	maps.Copy(value, fields)
	return value
}

// store writes a version of crm with this pair and everything else as it is, under the label, and returns its id.
func (w *world) store(key, secret, label string) string {
	w.t.Helper()
	value := w.value(w.app, w.fields)
	value["consumerKey"], value["consumerSecret"] = key, secret
	text, err := json.Marshal(value)
	w.must(err)
	return w.storeText(string(text), label)
}

func (w *world) storeText(text, label string) string {
	w.t.Helper()
	out, err := w.secrets.PutSecretValue(w.t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(crm), SecretString: &text, VersionStages: []string{label},
	})
	w.must(err)
	return *out.VersionId
}

// at returns the fields of the version with the label; nil: there is none.
func (w *world) at(label string) map[string]any {
	w.t.Helper()
	quiet := w.quiet.Swap(true)
	defer w.quiet.Store(quiet)
	out, err := w.secrets.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(crm), VersionStage: &label})
	if err != nil {
		return nil
	}
	var fields map[string]any
	if json.Unmarshal([]byte(*out.SecretString), &fields) != nil {
		return map[string]any{}
	}
	return fields
}

func text(fields map[string]any, name string) string { s, _ := fields[name].(string); return s }

// describe returns the secret's labels.
func (w *world) describe() *appsecret.Secret {
	w.t.Helper()
	quiet := w.quiet.Swap(true)
	defer w.quiet.Store(quiet)
	secret, err := appsecret.Open(w.t.Context(), w.secrets, "sftoken/", crm)
	w.must(err)
	return secret
}

// logsIn says whether the pair of the version with the label works now.
func (w *world) logsIn(label string) bool {
	fields := w.at(label)
	return w.org.CanLogin(text(fields, "consumerKey"), text(fields, "consumerSecret"))
}

// rotate asks for a rotation with this token ("": a new one) and returns when Secrets Manager has tried once.
func (w *world) rotate(token string) error {
	input := &secretsmanager.RotateSecretInput{SecretId: aws.String(crm)}
	if token != "" {
		input.ClientRequestToken = &token
	}
	_, err := w.secrets.RotateSecret(w.t.Context(), input)
	return err
}

// deliver delivers the events that wait, and those that they raise.
func (w *world) deliver() {
	w.t.Helper()
	if n, err := w.bus.Deliver(w.t.Context()); err != nil || n > 100 {
		w.t.Fatalf("%d events were delivered: they do not come to rest (%v)", n, err)
	}
}

// rotated says whether the pair that was current has been replaced by one that works, on both sides.
func (w *world) rotated(oldKey string) error {
	w.t.Helper()
	fields := w.at("AWSCURRENT")
	key, secret := w.app.Credentials()
	switch {
	case text(fields, "consumerKey") == oldKey:
		return errors.New("AWSCURRENT is still the old pair")
	case text(fields, "consumerKey") != key || text(fields, "consumerSecret") != secret:
		return errors.New("AWSCURRENT is not the main pair at Salesforce")
	case !w.logsIn("AWSCURRENT"):
		return errors.New("AWSCURRENT does not log in")
	case text(fields, "note") != "kept as it is" || fmt.Sprint(fields["nested"]) != "map[kept:[1 two]]" || text(fields, "appId") != w.app.ID:
		return errors.New("a field of the secret was lost")
	}
	active := slices.DeleteFunc(w.app.Staged(), func(p sfoauthtest.StagedCredentials) bool { return p.State != "Active" })
	if len(active) > 0 {
		return fmt.Errorf("%d pairs are left staged", len(active))
	}
	s := w.describe()
	if pending := s.VersionWithLabel("AWSPENDING"); pending != "" && pending != s.VersionWithLabel("AWSCURRENT") {
		return errors.New("AWSPENDING is left on another version")
	}
	return nil
}

// noSecrets fails the test if the log, or an error that the function has returned, holds anything that the org has kept as a
// secret, or the token that Secrets Manager sends along with a step.
func (w *world) noSecrets() {
	w.t.Helper()
	written := w.log.String() + w.errors.String()
	for _, secret := range append(w.org.Secrets(), rotationToken) {
		if len(secret) >= 8 && (strings.Contains(written, secret) || strings.Contains(written, url.QueryEscape(secret))) {
			w.t.Errorf("a secret of %d characters is in the log", len(secret))
		}
	}
}

func rulesOf(schedule string) *types.RotationRulesType {
	return &types.RotationRulesType{ScheduleExpression: &schedule}
}
