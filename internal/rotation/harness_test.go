package rotation_test

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
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotateapi"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	crm           = simtest.SecretName
	functionARN   = "arn:aws:lambda:us-east-1:111111111111:function:sftoken-rotate"
	rotationToken = "rotation-token-0000000000000000000000"
)

// harness is the rotate function between a simulated org and a simulated Secrets Manager that calls it.
type harness struct {
	*simtest.Harness
	t       *testing.T
	bus     *localaws.EventBus
	options options
	log     *localaws.SyncBuffer
	errors  *localaws.SyncBuffer // what the function returns: Lambda's runtime logs it, and sends it to the caller

	fields map[string]any // of crm's secret, in addition to the credentials

	process atomic.Pointer[process]
	running atomic.Int32 // invocations of the function
	quiet   atomic.Bool  // the test's own calls are not watched
	onOrg   func(sfoauthtest.Call)
	onAWS   func(localaws.Call)
}

type options struct {
	org         sfoauthtest.Config
	adminApp    bool // another app changes the credentials
	noIDs       bool // the secret does not name its app: a person makes its credentials
	propagation time.Duration
}

// process is one process of the function. Once it is dead, nothing that it sends arrives.
type process struct {
	dead   atomic.Bool
	end    context.CancelFunc
	ctx    context.Context
	invoke localaws.Invoker
}

// kill ends the process, including the calls that it has under way.
func (p *process) kill() {
	p.dead.Store(true)
	p.end()
}

// mortalTransport fails once its process is dead.
type mortalTransport struct {
	*process
	next http.RoundTripper
}

func (m mortalTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, errors.New("the process is dead")
	}
	return m.next.RoundTrip(r)
}

// run runs the test in parallel with others, in a synctest bubble. Nothing may run in parallel twice: in a loop, use
// t.Run.
func run(t *testing.T, o options, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	runSynctest(t, o, test)
}

func runSynctest(t *testing.T, o options, test func(t *testing.T, h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newHarness(t, o)) })
}

// newHarness stores the app's secret and switches its rotation on.
func newHarness(t *testing.T, o options) *harness {
	t.Helper()
	h := &harness{t: t, options: o, log: &localaws.SyncBuffer{}, errors: &localaws.SyncBuffer{}}
	h.bus = &localaws.EventBus{Function: h.invoke, Pause: time.Minute}
	o.org.OnCall = func(c sfoauthtest.Call) {
		if !h.quiet.Load() && h.onOrg != nil {
			h.onOrg(c)
		}
	}
	h.Harness = simtest.New(t, simtest.Options{
		Org: o.org, App: sfoauthtest.AppOptions{Name: "CRM"}, NoSecret: true,
		AWS: localaws.SecretsManagerConfig{
			LabelMoved: h.bus.LabelMoved, Functions: map[string]localaws.Invoker{functionARN: h.invoke},
			OnCall: func(c localaws.Call) {
				if !h.quiet.Load() && h.onAWS != nil && c.Operation != "RotateSecret" {
					h.onAWS(c)
				}
			},
		},
	})
	h.start()
	t.Cleanup(func() { h.process.Load().kill() })
	admin := h.App
	if o.adminApp {
		admin = h.Org.AddApp(sfoauthtest.AppOptions{Name: "Admin"})
		h.create("sftoken/admin", h.value(admin, nil))
	}
	permit(admin.User)
	h.fields = map[string]any{"note": "kept as it is", "nested": map[string]any{"kept": []any{1.0, "two"}}}
	if !o.noIDs {
		h.fields["appId"], h.fields["consumerId"] = h.App.ID, h.App.ConsumerID
	}
	h.create(crm, h.value(h.App, h.fields))
	h.deliver()
	h.enable(crm)
	return h
}

// permit gives the user the permissions that changing credentials takes.
func permit(user *sfoauthtest.User) {
	user.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
}

// start starts a process of the function, as Lambda does after one has died.
func (h *harness) start() { h.process.Store(h.newProcess()) }

func (h *harness) newProcess() *process {
	p := &process{}
	p.ctx, p.end = context.WithCancel(context.Background())
	transport := h.Network.Transport()
	h.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: mortalTransport{p, transport}}
	p.invoke = h.handler(h.rotator(h.SDK(client), client)).Invoke
	return p
}

// rotator returns a Rotator with the harness's options. The client is nil for one that never dies.
func (h *harness) rotator(secrets appsecret.Client, client *http.Client) *rotation.Rotator {
	if client == nil {
		client = h.HTTPClient()
	}
	r := &rotation.Rotator{
		Secrets: secrets, Lister: h.Secrets, Prefix: simtest.Prefix, Hosts: sfoauth.AllowedHosts{simtest.OrgHost},
		HTTPClient: client, Propagation: h.options.propagation, Logins: loginbudget.New(0, 0),
	}
	if lister, ok := secrets.(*secretsmanager.Client); ok {
		r.Lister = lister
	}
	if h.options.adminApp {
		r.AdminApp = "admin"
	}
	return r
}

func (h *harness) handler(r *rotation.Rotator) *rotateapi.Handler {
	return &rotateapi.Handler{Rotator: r, Log: telemetry.New(h.log, 0, "sftoken", "test")}
}

// invoke calls the function as Lambda does.
func (h *harness) invoke(_ context.Context, payload []byte) ([]byte, error) {
	h.running.Add(1)
	defer h.running.Add(-1)
	p := h.process.Load()
	if p.dead.Load() {
		h.start()
		p = h.process.Load()
	}
	ctx, cancel := context.WithTimeout(p.ctx, 15*time.Minute)
	defer cancel()
	response, err := p.invoke(ctx, payload)
	if err != nil {
		fmt.Fprintf(h.errors, "%v %+v\n", err, err)
	}
	if p.dead.Load() {
		return nil, &localaws.FunctionError{Type: "Runtime.ExitError", Message: "signal: killed"}
	}
	return response, err
}

// create creates a secret with this name.
func (h *harness) create(name string, value map[string]any) {
	h.t.Helper()
	_, err := h.Secrets.CreateSecret(h.t.Context(), &secretsmanager.CreateSecretInput{
		Name: &name, SecretString: aws.String(encode(value)),
	})
	h.Must(err)
}

func encode(value map[string]any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// value returns a secret's value with the app's primary credentials.
func (h *harness) value(app *sfoauthtest.App, fields map[string]any) map[string]any {
	value := h.Value(app.Credentials())
	maps.Copy(value, fields)
	return value
}

// Values of secrets whose credentials do not work.
func wrong() map[string]any { return valueOf("3MVG9wrong", "wrong", simtest.OrgURL) }

func placeholder() map[string]any {
	return valueOf("replace-me", "replace-me", "https://replace-me.my.salesforce.com")
}

func valueOf(key, secret, baseURI string) map[string]any {
	return map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": baseURI}
}

// store writes a version of crm under the label that has these credentials and crm's other fields. It returns its ID.
func (h *harness) store(key, secret, label string) string {
	h.t.Helper()
	return h.storeValue(label, map[string]any{"consumerKey": key, "consumerSecret": secret})
}

func (h *harness) storeWrong(label string) string { return h.store("3MVG9wrong", "wrong", label) }

// storeSame stores the app's credentials once more.
func (h *harness) storeSame(label string) string { return h.storeValue(label, nil) }

// storeNew makes new credentials in Setup, which ends those before, and stores them.
func (h *harness) storeNew(label string) string {
	key, secret := h.App.Regenerate()
	return h.store(key, secret, label)
}

// storeOther stores the credentials of another app of the org, which acts as the user (nil: one of its own).
func (h *harness) storeOther(label string, runAs *sfoauthtest.User) (version string, other *sfoauthtest.App) {
	other = h.Org.AddApp(sfoauthtest.AppOptions{Name: "Other", RunAs: runAs})
	key, secret := other.Credentials()
	return h.store(key, secret, label), other
}

// storeValue writes a version of crm with the app's credentials, crm's fields and these; nil leaves one out.
func (h *harness) storeValue(label string, fields map[string]any) string {
	h.t.Helper()
	value := h.value(h.App, h.fields)
	for name, field := range fields {
		value[name] = field
		if field == nil {
			delete(value, name)
		}
	}
	return h.Store(value, label)
}

// at returns the fields of the version with the label; nil: there is none.
func (h *harness) at(label string) map[string]any {
	h.t.Helper()
	quiet := h.quiet.Swap(true)
	defer h.quiet.Store(quiet)
	out, err := h.Secrets.GetSecretValue(h.t.Context(), &secretsmanager.GetSecretValueInput{
		SecretId: aws.String(crm), VersionStage: &label,
	})
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
func (h *harness) describe() *appsecret.Secret {
	h.t.Helper()
	quiet := h.quiet.Swap(true)
	defer h.quiet.Store(quiet)
	secret, err := appsecret.Open(h.t.Context(), h.Secrets, simtest.Prefix, crm)
	h.Must(err)
	return secret
}

// version returns the ID of the version with the label; empty: there is none.
func (h *harness) version(label string) string { return h.describe().VersionWithLabel(label) }

// labels checks which version has each label, in turn: labels("AWSCURRENT", id, "REJECTED", ""), where none has REJECTED.
func (h *harness) labels(want ...string) {
	h.t.Helper()
	s := h.describe()
	for pair := range slices.Chunk(want, 2) {
		if s.VersionWithLabel(pair[0]) != pair[1] {
			h.t.Errorf("%s is not on %q: %v\n%s", pair[0], pair[1], s.Labels, h.log.String())
		}
	}
}

// logsIn reports whether the credentials of the version with the label work now.
func (h *harness) logsIn(label string) bool {
	fields := h.at(label)
	return h.Org.CanLogin(text(fields, "consumerKey"), text(fields, "consumerSecret"))
}

// checkCurrentWorks checks that AWSCURRENT logs in.
func (h *harness) checkCurrentWorks() {
	h.t.Helper()
	if !h.logsIn("AWSCURRENT") {
		h.t.Errorf("AWSCURRENT does not log in: labels %v\n%s", h.describe().Labels, h.log.String())
	}
}

// checkEnded checks that the credentials do not log in any more.
func (h *harness) checkEnded(key, secret string) {
	h.t.Helper()
	if h.Org.CanLogin(key, secret) {
		h.t.Errorf("the compromised credentials still log in\n%s", h.log.String())
	}
}

// enable switches the secret's rotation on, and tests the function.
func (h *harness) enable(name string) {
	h.t.Helper()
	_, err := h.Secrets.RotateSecret(h.t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &name, RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false),
	})
	h.Must(err)
}

// tryRotate requests a rotation, and returns when Secrets Manager has tried once. The error is that of the request.
func (h *harness) tryRotate() error {
	_, err := h.Secrets.RotateSecret(h.t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(crm)})
	return err
}

func (h *harness) rotate() {
	h.t.Helper()
	h.Must(h.tryRotate())
}

func (h *harness) rotateAndDeliver() {
	h.t.Helper()
	h.rotate()
	h.deliver()
}

// deliver delivers the events that wait, and those that they raise.
func (h *harness) deliver() {
	h.t.Helper()
	if n, err := h.bus.Deliver(h.t.Context()); err != nil || n > 100 {
		h.t.Fatalf("%d events were delivered: they do not come to rest (%v)", n, err)
	}
}

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// step calls the function for one step, as Secrets Manager does.
func (h *harness) step(step, version string) error { return h.stepOf(h.describe().ARN, step, version) }

func (h *harness) stepOf(secret, step, version string) error {
	_, err := h.invoke(h.t.Context(), fmt.Appendf(nil,
		`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q,"RotationToken":%q}`, step, secret, version, rotationToken))
	return err
}

// retry runs the steps again with the same token, as Secrets Manager does some time after one has failed.
func (h *harness) retry() {
	version := h.version("AWSPENDING")
	if version == "" { // abandoned: the next rotation is a new one
		_ = h.tryRotate()
		return
	}
	for _, step := range steps {
		if h.step(step, version) != nil {
			return
		}
	}
}

// abandon cancels the rotation and takes AWSPENDING off, as a person does.
func (h *harness) abandon() {
	h.cancel()
	s := h.describe()
	if pending := s.VersionWithLabel("AWSPENDING"); pending != "" && pending != s.VersionWithLabel("AWSCURRENT") {
		h.unlabel("AWSPENDING", pending)
	}
}

func (h *harness) cancel() {
	h.t.Helper()
	in := &secretsmanager.CancelRotateSecretInput{SecretId: aws.String(crm)}
	_, err := h.Secrets.CancelRotateSecret(h.t.Context(), in)
	h.Must(err)
}

// unlabel takes the label off the version.
func (h *harness) unlabel(label, version string) {
	h.t.Helper()
	h.Must(h.describe().RemoveLabel(h.t.Context(), label, version))
}

// event returns the event of a label of the secret that has moved to the version.
func (h *harness) event(secret, label, version string) []byte {
	event, err := json.Marshal(map[string]any{
		"source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "time": time.Now().UTC().Format(time.RFC3339),
		"detail": map[string]string{"name": secret, "labelUpdated": label, "versionId": version},
	})
	h.Must(err)
	return event
}

// send invokes the function for the event of a label of crm.
func (h *harness) send(label, version string) {
	h.t.Helper()
	_, err := h.invoke(h.t.Context(), h.event(crm, label, version))
	h.Must(err)
}

// check invokes the function for the daily check.
func (h *harness) check() {
	h.t.Helper()
	_, err := h.invoke(h.t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
	h.Must(err)
}

// staged is a person's access to the app's credentials.
func (h *harness) staged() *sfoauth.StagedCredentialsClient {
	permit(h.App.User)
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret(h.App.NewToken())}
	return h.OAuth("", "").StagedCredentials(token, h.App.ID, h.App.ConsumerID)
}

// stage leaves staged credentials at Salesforce, as an abandoned rotation does.
func (h *harness) stage() sfoauthtest.StagedCredentials {
	_, err := h.staged().Stage(h.t.Context())
	h.Must(err)
	return h.App.Staged()[0]
}

// promote stages credentials and makes them the primary ones, as a person does. The ones before work for 30 more days.
func (h *harness) promote() sfoauth.StagedCredentials {
	client := h.staged()
	staged, err := client.Stage(h.t.Context())
	h.Must(err)
	h.Must(client.Promote(h.t.Context(), staged.ID))
	return staged
}

// compromise labels the current version, as `sftoken rotate --compromised` does.
func (h *harness) compromise() { h.Label("COMPROMISED", h.version("AWSCURRENT")) }

func (h *harness) compromiseAndDeliver() {
	h.compromise()
	h.deliver()
}

// failAWS makes every attempt of one call of the SDK fail.
func (h *harness) failAWS(operation string, times int) {
	h.AWS.InjectFault(operation, localaws.Fault{Code: "InternalServiceError", Status: 500}, times)
}

// invalidClient is Salesforce's response to credentials that it does not know.
func invalidClient() sfoauthtest.Fault {
	return sfoauthtest.ErrorResponse(400, "invalid_client_id", "client identifier invalid")
}

// rotated returns how the state differs from that after a rotation of the credentials with oldKey; nil: not at all.
func (h *harness) rotated(oldKey string) error {
	h.t.Helper()
	fields := h.at("AWSCURRENT")
	key, secret := h.App.Credentials()
	switch {
	case text(fields, "consumerKey") == oldKey:
		return errors.New("AWSCURRENT has the old credentials")
	case text(fields, "consumerKey") != key || text(fields, "consumerSecret") != secret:
		return errors.New("AWSCURRENT does not have the primary credentials")
	case !h.logsIn("AWSCURRENT"):
		return errors.New("AWSCURRENT does not log in")
	case text(fields, "note") != "kept as it is" || fmt.Sprint(fields["nested"]) != "map[kept:[1 two]]",
		text(fields, "appId") != h.App.ID:
		return errors.New("a field of the secret was lost")
	}
	for _, staged := range h.App.Staged() {
		if staged.State == "Active" {
			return errors.New("credentials are left staged")
		}
	}
	s := h.describe()
	if pending := s.VersionWithLabel("AWSPENDING"); pending != "" && pending != s.VersionWithLabel("AWSCURRENT") {
		return errors.New("AWSPENDING is left on another version")
	}
	return nil
}

// checkRotated fails the test unless the credentials with oldKey were rotated.
func (h *harness) checkRotated(oldKey string) {
	h.t.Helper()
	if err := h.rotated(oldKey); err != nil {
		h.t.Errorf("%v: labels %v\n%s", err, h.describe().Labels, h.log.String())
	}
}

func (h *harness) key() string { key, _ := h.App.Credentials(); return key }

// logged checks that the log has a line with all of the texts.
func (h *harness) logged(texts ...string) {
	h.t.Helper()
	for line := range strings.Lines(h.log.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return
		}
	}
	h.t.Errorf("no line with %q in the log:\n%s", texts, h.log.String())
}

// noFailures checks that no alarm fires.
func (h *harness) noFailures() {
	h.t.Helper()
	if log := h.log.String(); strings.Contains(log, "RotationFailures") {
		h.t.Errorf("an alarm fires:\n%s", log)
	}
}

// noDeadLetters checks that no event was given up.
func (h *harness) noDeadLetters() {
	h.t.Helper()
	if dead := h.bus.DeadLetters(); len(dead) != 0 {
		h.t.Errorf("%d dead letters: no retry was of use", len(dead))
	}
}

// noSecrets fails the test if the log, or an error that the function has returned, holds anything that the org keeps
// secret, or the token that Secrets Manager sends with a step.
func (h *harness) noSecrets() {
	h.t.Helper()
	written := h.log.String() + h.errors.String()
	for _, secret := range append(h.Org.Secrets(), rotationToken) {
		if len(secret) >= 8 && (strings.Contains(written, secret) || strings.Contains(written, url.QueryEscape(secret))) {
			h.t.Errorf("a secret of %d characters is in the log", len(secret))
		}
	}
}

// sample calls test for every item or, with -short, for every nth of them.
func sample(n, i int) bool { return !testing.Short() || i%n == 0 }
