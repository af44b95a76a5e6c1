package main

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

// TestMain lets the tests run this program as a function.
func TestMain(m *testing.M) {
	stack.RunFunction(version)
	os.Exit(m.Run())
}

// Of every stack.
const (
	region    = stack.Region
	owner     = stack.Account
	rotateARN = stack.RotateARN
)

var (
	ownerKey    = stack.SimulatedKeys().Owner
	billingKey  = stack.SimulatedKeys().Billing
	strangerKey = stack.SimulatedKeys().Stranger
	functionKey = stack.SimulatedKeys().Function
)

// testStack is all of sftoken, for tests.
type testStack struct{ *stack.Stack }

// newTestStack starts a stack with a simulated org.
func newTestStack(t *testing.T, log io.Writer, settings ...string) *testStack {
	t.Helper()
	return startStack(t, stack.Config{Log: log, Env: settings, Timeout: 4 * time.Second})
}

// startStack starts a stack that ends with the test.
func startStack(t *testing.T, c stack.Config) *testStack {
	t.Helper()
	s, err := stack.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &testStack{s}
}

// useKey makes the commands that follow run as p.
func (s *testStack) useKey(t *testing.T, p localaws.Principal) {
	t.Helper()
	for name, value := range map[string]string{
		"SFTOKEN_URL": s.URL, "AWS_REGION": region, "AWS_ACCESS_KEY_ID": p.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": p.SecretAccessKey, "AWS_SESSION_TOKEN": p.SessionToken, "AWS_ENDPOINT_URL": s.AWSURL,
		"SALESFORCE_HOSTS": s.OrgHost(), "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "", "ADMIN_APP": "", "SECRET_PREFIX": "",
	} {
		t.Setenv(name, value)
	}
}

func credentialsOf(p localaws.Principal) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)
}
