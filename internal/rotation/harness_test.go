package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
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
	onCrash func() // called at the call at which a rotation crashes; nil: nothing more is lost than the process
}

type options struct {
	org         sfoauthtest.Config
	adminApp    bool // another app changes the credentials
	noIDs       bool // the secret does not name its app: a person makes its credentials
	propagation time.Duration
	standby     *standby // a second region with a replica of crm; nil: none
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

// runAll runs the test for each case, as a subtest.
func runAll[C any](t *testing.T, o options, cases map[string]C, test func(t *testing.T, h *harness, c C)) {
	t.Helper()
	t.Parallel()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { run(t, o, func(t *testing.T, h *harness) { test(t, h, c) }) })
	}
}

// newHarness stores the app's secret and switches its rotation on.
func newHarness(t *testing.T, o options) *harness {
	t.Helper()
	h := &harness{options: o, log: &localaws.SyncBuffer{}, errors: &localaws.SyncBuffer{}}
	h.bus = &localaws.EventBus{Function: h.invoke, Pause: time.Minute}
	o.org.OnCall = func(c sfoauthtest.Call) {
		if !h.quiet.Load() && h.onOrg != nil {
			h.onOrg(c)
		}
	}
	var second *localaws.SecretsManagerConfig
	if o.standby != nil {
		second = o.standby.config()
	}
	h.Harness = simtest.New(t, simtest.Options{
		StandbyAWS: second, Org: o.org, App: sfoauthtest.AppOptions{Name: "CRM"}, NoSecret: true,
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
		h.CreateSecret("sftoken/admin", h.value(admin, nil))
	}
	permit(admin.User)
	h.fields = map[string]any{"note": "kept as it is", "nested": map[string]any{"kept": []any{1.0, "two"}}}
	if !o.noIDs {
		h.fields["appId"], h.fields["consumerId"] = h.App.ID, h.App.ConsumerID
	}
	h.CreateSecret(crm, h.value(h.App, h.fields))
	h.deliver()
	h.enable(crm)
	if o.standby != nil {
		o.standby.start(h)
	}
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
	h.T.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: mortalTransport{p, transport}}
	sdk := h.SDK(client)
	r := h.rotator(sdk)
	r.Lister, r.HTTPClient = sdk, client
	p.invoke = h.handler(r).Invoke
	return p
}

// rotator returns a Rotator with the harness's options. Its Lister and HTTPClient never die.
func (h *harness) rotator(secrets appsecret.Client) *rotation.Rotator {
	r := &rotation.Rotator{
		Secrets: secrets, Lister: h.Secrets, Prefix: simtest.Prefix, Hosts: sfoauth.AllowedHosts{simtest.OrgHost},
		HTTPClient: h.HTTPClient(), Propagation: h.options.propagation, Logins: loginbudget.New(0, 0),
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

// enable switches the secret's rotation on, and tests the function.
func (h *harness) enable(name string) {
	h.T.Helper()
	_, err := h.Secrets.RotateSecret(h.T.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &name, RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false),
	})
	h.Must(err)
}

// tryRotate requests a rotation, and returns when Secrets Manager has tried once. The error is that of the request.
func (h *harness) tryRotate() error {
	_, err := h.Secrets.RotateSecret(h.T.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(crm)})
	return err
}

func (h *harness) rotate() {
	h.T.Helper()
	h.Must(h.tryRotate())
}

func (h *harness) rotateAndDeliver() {
	h.T.Helper()
	h.rotate()
	h.deliver()
}

// deliver delivers the events that wait, and those that they raise.
func (h *harness) deliver() {
	h.T.Helper()
	if n, err := h.bus.Deliver(h.T.Context()); err != nil || n > 100 {
		h.T.Fatalf("%d events were delivered: they do not come to rest (%v)", n, err)
	}
}

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// step calls the function for one step, as Secrets Manager does.
func (h *harness) step(step, version string) error { return h.stepOf(h.describe().ARN, step, version) }

func (h *harness) stepOf(secret, step, version string) error {
	_, err := h.invoke(h.T.Context(), fmt.Appendf(nil,
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
	h.T.Helper()
	in := &secretsmanager.CancelRotateSecretInput{SecretId: aws.String(crm)}
	_, err := h.Secrets.CancelRotateSecret(h.T.Context(), in)
	h.Must(err)
}

// unlabel takes the label off the version.
func (h *harness) unlabel(label, version string) {
	h.T.Helper()
	h.Must(h.describe().RemoveLabel(h.T.Context(), label, version))
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
	h.T.Helper()
	_, err := h.invoke(h.T.Context(), h.event(crm, label, version))
	h.Must(err)
}

// check invokes the function for the daily check.
func (h *harness) check() {
	h.T.Helper()
	_, err := h.invoke(h.T.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
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
	_, err := h.staged().Stage(h.T.Context())
	h.Must(err)
	return h.App.Staged()[0]
}

// promote stages credentials and makes them the primary ones, as a person does. The ones before work for 30 more days.
func (h *harness) promote() sfoauth.StagedCredentials {
	client := h.staged()
	staged, err := client.Stage(h.T.Context())
	h.Must(err)
	h.Must(client.Promote(h.T.Context(), staged.ID))
	return staged
}

// compromise labels the current version, as `sftoken rotate --compromised` does.
func (h *harness) compromise() { h.Label("COMPROMISED", h.version("AWSCURRENT")) }

func (h *harness) compromiseAndDeliver() {
	h.compromise()
	h.deliver()
}

// onceDone calls f once, when the first call of the endpoint has been processed.
func (h *harness) onceDone(at sfoauthtest.Endpoint, f func()) {
	var once sync.Once
	h.onOrg = func(c sfoauthtest.Call) {
		if c.Endpoint == at && c.Phase == sfoauthtest.Done {
			once.Do(f)
		}
	}
}

// failAWS makes every attempt of one call of the SDK fail.
func (h *harness) failAWS(operation string, times int) {
	h.AWS.InjectFault(operation, localaws.Fault{Code: "InternalServiceError", Status: 500}, times)
}

// invalidClient is Salesforce's response to credentials that it does not know.
func invalidClient() sfoauthtest.Fault {
	return sfoauthtest.ErrorResponse(400, "invalid_client_id", "client identifier invalid")
}

// sample reports whether case i is tried: each one, or every nth where simtest.Sampled.
func sample(n, i int) bool { return !simtest.Sampled() || i%n == 0 }
