package doctor_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	account = "111111111111" // that owns the API and the secrets
	region  = "us-east-1"
	prefix  = "sftoken/"

	standbyRegion = "us-west-2"

	table = "sftoken-tokens"
)

// The callers of doctor, and the role of the functions.
var (
	owner = localaws.Principal{
		AccessKeyID: "AKIATESTOWNER", SecretAccessKey: "owner-secret-for-tests", Account: account,
		ARN: "arn:aws:iam::111111111111:user/owner", UserID: "AIDAOWNER", Invoke: []string{"*"},
	}
	oncall = localaws.Principal{ // may describe secrets, but not read them
		AccessKeyID: "ASIATESTONCALL", SecretAccessKey: "oncall-secret-for-tests",
		SessionToken: "oncall-session-token-for-tests", Account: account,
		ARN: "arn:aws:sts::111111111111:assumed-role/oncall/anna", UserID: "AROAONCALL:anna", Invoke: []string{"*"},
	}
	caller = localaws.Principal{ // in another account
		AccessKeyID: "ASIATESTCALLER", SecretAccessKey: "caller-secret-for-tests",
		SessionToken: "caller-session-token-for-tests", Account: "222222222222",
		ARN: "arn:aws:sts::222222222222:assumed-role/billing/bob", UserID: "AROABILLING:bob",
		Invoke: []string{"GET/tokens/*"},
	}
	functions = localaws.Principal{
		AccessKeyID: "ASIATESTFUNCTIONS", SecretAccessKey: "functions-secret-for-tests",
		SessionToken: "functions-session-token-for-tests", Account: account,
		ARN: "arn:aws:sts::111111111111:assumed-role/sftoken/functions", UserID: "AROAFUNCTIONS:functions",
	}
)

// harness is a working setup: a simulated org, simulated AWS services, and the real functions between them.
// Everything is reached over HTTP.
type harness struct {
	*testing.T
	org      *sfoauthtest.Org
	app      *sfoauthtest.App
	orgURL   string
	aws      *localaws.SecretsManager
	regions  *localaws.Replication
	dynamodb http.Handler
	awsURL   string
	keys     *localaws.Keys
	token    *localaws.Function
	rotate   *localaws.Function
	secrets  *secretsmanager.Client // as the owner
	behind   atomic.Int64           // nanoseconds by which Secrets Manager's clock is slow
	awsAhead atomic.Int64           // nanoseconds by which this machine's clock is slow
	noSTS    bool                   // STS cannot be reached
	refuse   func(p localaws.Principal, operation string) error

	config doctor.Config
	as     localaws.Principal
}

// TestMain lets the tests run this program as a function.
func TestMain(m *testing.M) {
	stack.RunFunction("test")
	os.Exit(m.Run())
}

func newHarness(t *testing.T, config sfoauthtest.Config, settings map[string]string) *harness {
	t.Helper()
	w := &harness{T: t, as: owner, keys: localaws.NewKeys(owner, oncall, caller, functions)}
	config.SourceIP = func(r *http.Request) string { return cmp.Or(r.Header.Get(sourceIP), stackIP) }
	w.org = sfoauthtest.New(config)
	w.app = w.org.AddApp(sfoauthtest.AppOptions{Name: "CRM"})
	w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	w.orgURL = w.serve(w.org)
	t.Cleanup(func() { w.org.ClearFaults() })
	w.startAWS(settings)
	w.config = doctor.Config{
		Load: func(context.Context) (aws.Config, error) {
			return aws.Config{Region: region, BaseEndpoint: &w.awsURL, Credentials: w.as.Credentials()}, nil
		},
		URL: w.api() + "/v1", App: "crm", Prefix: prefix, Hosts: sfoauth.AllowedHosts{host(w.orgURL)},
		HTTPClient: from(machineIP), Timeout: 5 * time.Second,
	}
	w.create("crm", w.value())
	w.schedule("crm")
	return w
}

// The addresses of the functions and of doctor, as Salesforce sees them. The header sourceIP sets another one.
const (
	stackIP   = "203.0.113.5"
	machineIP = "198.51.100.7"
	sourceIP  = "X-Test-Source-Ip"
)

// from returns a client whose requests the org sees as from this address.
func from(ip string) *http.Client {
	return &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set(sourceIP, ip)
		return http.DefaultTransport.RoundTrip(r)
	})}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func host(url string) string { return strings.TrimPrefix(url, "http://") }

func (w *harness) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	w.Cleanup(server.Close)
	return server.URL
}

// awsNow is the time at AWS.
func (w *harness) awsNow() time.Time { return time.Now().Add(time.Duration(w.awsAhead.Load())) }

func (w *harness) startAWS(settings map[string]string) {
	const rotateARN = "arn:aws:lambda:us-east-1:111111111111:function:rotate"
	w.regions = &localaws.Replication{}
	w.aws = localaws.NewSecretsManager(localaws.SecretsManagerConfig{
		Account: account, Region: region, Authenticate: w.authenticate("secretsmanager", region), Replication: w.regions,
		Now: func() time.Time { return time.Now().Add(-time.Duration(w.behind.Load())) },
		Functions: map[string]localaws.Invoker{
			rotateARN: func(ctx context.Context, payload []byte) ([]byte, error) { return w.rotate.Invoke(ctx, payload) },
		},
	})
	w.addTable("app")
	w.awsURL = w.serveAWS(region, w.aws)
	env := map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": w.awsURL,
		"SALESFORCE_HOSTS":                 host(w.orgURL),
		"SECRET_TTL":                       "1s",
	}
	function := func(name string) *localaws.Function {
		f := localaws.NewFunction(localaws.FunctionConfig{
			Name: name, Main: name, Account: account, Region: region, Env: env, Credentials: functions, Stdout: io.Discard,
			Stderr: io.Discard,
		})
		w.Cleanup(f.Close)
		return f
	}
	w.rotate = function(stack.RotateMain)
	env = maps.Clone(env)
	maps.Copy(env, settings)
	w.token = function(stack.TokenMain)
	w.secrets = secretsmanager.New(secretsmanager.Options{
		Region: region, BaseEndpoint: &w.awsURL, Credentials: owner.Credentials(),
	})
}

// serveAWS serves the services of a region.
func (w *harness) serveAWS(region string, secrets http.Handler) (url string) {
	sts := &localaws.STS{Keys: w.keys, Region: region, Now: w.awsNow}
	return w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch target := r.Header.Get("X-Amz-Target"); {
		case target == "" && w.noSTS:
			panic(http.ErrAbortHandler)
		case target == "":
			sts.ServeHTTP(rw, r)
		case strings.HasPrefix(target, "DynamoDB_"):
			w.dynamodb.ServeHTTP(rw, r)
		default:
			secrets.ServeHTTP(rw, r)
		}
	}))
}

// standby returns the URL and a client of a second region, to which secrets can be replicated.
func (w *harness) standby() (url string, client *secretsmanager.Client) {
	url = w.serveAWS(standbyRegion, localaws.NewSecretsManager(localaws.SecretsManagerConfig{
		Account: account, Region: standbyRegion, Authenticate: w.authenticate("secretsmanager", standbyRegion),
		Replication: w.regions,
	}))
	return url, secretsmanager.New(secretsmanager.Options{
		Region: standbyRegion, BaseEndpoint: &url, Credentials: owner.Credentials(),
	})
}

// replicate replicates the secret to the second region.
func (w *harness) replicate() {
	w.Helper()
	_, err := w.secrets.ReplicateSecretToRegions(w.Context(), &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId:          aws.String(prefix + "crm"),
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(standbyRegion)}},
	})
	w.must(err)
}

// useStandby replicates the secret, and makes doctor examine the stack of the second region.
func (w *harness) useStandby() {
	w.Helper()
	url, _ := w.standby()
	w.replicate()
	w.useStandbyAt(url)
}

func (w *harness) useStandbyAt(url string) {
	gateway := w.gateway()
	gateway.Region = standbyRegion
	w.config.URL = w.serve(gateway) + "/v1"
	w.config.Load = func(context.Context) (aws.Config, error) {
		return aws.Config{Region: standbyRegion, BaseEndpoint: &url, Credentials: w.as.Credentials()}, nil
	}
}

// authenticate admits the owner's account. The on-call engineer may not read values, nor describe tables.
func (w *harness) authenticate(service, region string) func(r *http.Request, body []byte) error {
	return func(r *http.Request, body []byte) error {
		p, err := w.keys.Verify(r, body, service, region, time.Now())
		if err != nil {
			return err
		}
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch {
		case w.refuse != nil && w.refuse(p, operation) != nil:
			return w.refuse(p, operation)
		case p.Account != account,
			p.AccessKeyID == oncall.AccessKeyID && (operation == "GetSecretValue" || operation == "DescribeTable"):
			return localaws.AccessDenied(p, r)
		}
		return nil
	}
}

// addTable replaces DynamoDB with one whose table has this key.
func (w *harness) addTable(key string) {
	w.dynamodb = localaws.NewDynamoDB(localaws.DynamoDBConfig{
		Table: table, Key: key, Authenticate: w.authenticate("dynamodb", region),
	})
}

// api is the address of the API, without the stage.
func (w *harness) api() string { return w.serve(w.gateway()) }

func (w *harness) gateway() *localaws.Gateway {
	return &localaws.Gateway{
		Account: account, Region: region, APIID: "a1b2c3", Stage: "v1", Keys: w.keys,
		AllowedAccounts: []string{caller.Account}, Now: w.awsNow,
		Function: func(ctx context.Context, payload []byte) ([]byte, error) { return w.token.Invoke(ctx, payload) },
	}
}

// value returns the value of a working secret.
func (w *harness) value() map[string]any {
	key, secret := w.app.Credentials()
	return map[string]any{
		"consumerKey": key, "consumerSecret": secret, "baseUri": w.orgURL, "appId": w.app.ID, "consumerId": w.app.ConsumerID,
		"orgId":             w.org.ID(),
		"allowedPrincipals": []string{account, "arn:aws:iam::222222222222:role/billing"},
	}
}

func encode(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	text, _ := json.Marshal(value) // strings and lists always can be
	return string(text)
}

func (w *harness) create(app string, value any) {
	w.Helper()
	_, err := w.secrets.CreateSecret(w.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String(prefix + app), SecretString: aws.String(encode(value))})
	w.must(err)
}

// change stores the value with some fields changed; nil removes one.
func (w *harness) change(fields map[string]any) {
	w.Helper()
	value := w.value()
	maps.Copy(value, fields)
	maps.DeleteFunc(value, func(_ string, v any) bool { return v == nil })
	w.put(value)
}

// put stores a value under the labels; without labels, as AWSCURRENT.
func (w *harness) put(value any, labels ...string) {
	w.Helper()
	_, err := w.secrets.PutSecretValue(w.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(prefix + "crm"), SecretString: aws.String(encode(value)), VersionStages: labels,
	})
	w.must(err)
}

func (w *harness) label(label, version string) {
	w.Helper()
	_, err := w.secrets.UpdateSecretVersionStage(w.Context(), &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: aws.String(prefix + "crm"), VersionStage: &label, MoveToVersionId: &version,
	})
	w.must(err)
}

func (w *harness) current() string {
	w.Helper()
	out, err := w.secrets.GetSecretValue(w.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String(prefix + "crm")})
	w.must(err)
	return aws.ToString(out.VersionId)
}

func (w *harness) schedule(app string) {
	w.Helper()
	_, err := w.secrets.RotateSecret(w.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(prefix + app), RotationLambdaARN: aws.String(w.rotate.ARN()), RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(30 days)")},
	})
	w.must(err)
}

// rotateNow runs the real rotate function, which may fail.
func (w *harness) rotateNow() {
	_, _ = w.secrets.RotateSecret(w.Context(),
		&secretsmanager.RotateSecretInput{SecretId: aws.String(prefix + "crm"), RotateImmediately: aws.Bool(true)})
}

func (w *harness) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// vend makes the API cache a token.
func (w *harness) vend() {
	w.Helper()
	config := w.config
	config.App = "crm"
	report := doctor.Run(w.Context(), config)
	if got := find(report, "token"); got.Status != doctor.OK {
		w.Fatalf("no token: %+v", got)
	}
}

func (w *harness) userChange(change func(*sfoauthtest.UserOptions)) { w.app.User.Change(change) }

func find(report *doctor.Report, check string) doctor.Result {
	i := slices.IndexFunc(report.Checks, func(r doctor.Result) bool { return r.Check == check })
	if i < 0 {
		return doctor.Result{}
	}
	return report.Checks[i]
}
