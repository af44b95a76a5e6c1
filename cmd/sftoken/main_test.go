package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

// TestMain lets the tests run this program as a function, and as the commands sftoken and aws, which it puts on the
// PATH.
func TestMain(m *testing.M) {
	stack.RunFunction(buildinfo.Version())
	testscript.Main(m, map[string]func(){"sftoken": main, "aws": awsCommand})
}

// The constants of every stack.
const (
	region    = stack.Region
	owner     = stack.Account
	rotateARN = stack.RotateARN
)

var (
	ownerKey    = stack.SimulatedKeys().Owner
	billingKey  = stack.SimulatedKeys().Billing
	strangerKey = stack.SimulatedKeys().Stranger
	probeKey    = stack.SimulatedKeys().Probe
	functionKey = stack.SimulatedKeys().Function
)

// testStack is all of sftoken, for tests.
type testStack struct{ *stack.Stack }

// newTestStack starts a stack with a simulated org.
func newTestStack(t testing.TB, log io.Writer, settings ...string) *testStack {
	t.Helper()
	return startStack(t, stack.Config{Log: log, Env: settings, Timeout: 4 * time.Second})
}

// startStack starts a stack that ends with the test.
func startStack(t testing.TB, c stack.Config) *testStack {
	t.Helper()
	s, err := stack.Start(t.Context(), c)
	must(t, err)
	t.Cleanup(s.Close)
	return &testStack{s}
}

// useKey sets the environment of the commands that follow: they run as p.
func (s *testStack) useKey(t *testing.T, p localaws.Principal) {
	t.Helper()
	for name, value := range s.env(p) {
		t.Setenv(name, value)
	}
}

// env returns the environment variables of a command that p runs.
func (s *testStack) env(p localaws.Principal) map[string]string {
	return map[string]string{
		"SFTOKEN_URL": s.URL, "AWS_REGION": region, "AWS_ACCESS_KEY_ID": p.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": p.SecretAccessKey, "AWS_SESSION_TOKEN": p.SessionToken, "AWS_ENDPOINT_URL": s.AWSURL,
		"SFTOKEN_HOSTS": s.OrgHost(), "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "", "SFTOKEN_ADMIN_APP": "",
		"SFTOKEN_PREFIX": "", "SFTOKEN_EGRESS_ADDRESSES": "",
	}
}

// environ returns the whole environment of a process that p starts.
func (s *testStack) environ(p localaws.Principal) []string {
	environ := os.Environ()
	for name, value := range s.env(p) {
		environ = append(environ, name+"="+value)
	}
	return environ
}

// secret returns the secret of the app crm.
func (s *testStack) secret(t *testing.T) *appsecret.Secret {
	t.Helper()
	secret, err := s.Secret(t.Context())
	must(t, err)
	return secret
}

// current returns the current version of the secret of the app crm.
func (s *testStack) current(t *testing.T) string {
	t.Helper()
	return s.secret(t).VersionWithLabel(appsecret.Current)
}

// command runs a command in this process and returns its output and exit code.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

// command runs the program as p in a process of its own, for tests that run in parallel: they cannot set the
// environment.
func (s *testStack) command(
	t *testing.T, p localaws.Principal, stdin string, args ...string,
) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "sftoken", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env = s.environ(p)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// tokenResponse is a response of the API.
const tokenResponse = `{"access_token":"t","token_id":"e3b98a4da31a127d",` +
	`"instance_url":"https://acme.my.salesforce.com","expires_in":600}`

// serveAPI serves h as the API and as AWS until the test ends. The commands that follow use it as a caller.
func serveAPI(t *testing.T, h http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s := &testStack{&stack.Stack{URL: server.URL + "/v1", AWSURL: server.URL}}
	s.useKey(t, billingKey)
}

// must fails the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
