package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	simstack "github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	owner  = "111111111111" // the account that owns the local sftoken
	region = "us-east-1"
	prefix = "sftoken/"
	stage  = "v1"

	rotateARN = "arn:aws:lambda:" + region + ":" + owner + ":function:sftoken-rotate"

	rotationDays = 30

	// firstVersion is that of the simulated org's app, so that events/ can name it.
	firstVersion = "00000000-0000-4000-8000-000000000001"
)

// The principals of the local AWS, with keys that the documentation shows: all that they open is a simulated org.
var (
	ownerKey = localaws.Principal{
		AccessKeyID: "AKIALOCALOWNER", SecretAccessKey: "local-owner-only", Account: owner,
		ARN: "arn:aws:iam::111111111111:user/owner", UserID: "AIDALOCALOWNER", Invoke: []string{"*"},
	}
	billingKey = localaws.Principal{
		AccessKeyID: "AKIALOCALBILLING", SecretAccessKey: "local-billing-only", Account: "222222222222",
		ARN: "arn:aws:iam::222222222222:user/billing", UserID: "AIDALOCALBILLING", Invoke: []string{"GET/tokens/*", "POST/tokens/*"},
	}
	strangerKey = localaws.Principal{
		AccessKeyID: "AKIALOCALSTRANGER", SecretAccessKey: "local-stranger-only", Account: "333333333333",
		ARN: "arn:aws:iam::333333333333:user/stranger", UserID: "AIDALOCALSTRANGER", Invoke: []string{"GET/tokens/*"},
	}
	functionKey = localaws.Principal{
		AccessKeyID: "ASIALOCALEXECUTION", SecretAccessKey: "local-execution-only", SessionToken: "local-session", Account: owner,
		ARN: "arn:aws:sts::111111111111:assumed-role/sftoken/functions", UserID: "AROALOCAL:functions",
	}
)

// principals are those of one stack.
type principals struct {
	owner, billing, stranger, function localaws.Principal
}

// simulatedKeys are the keys for a simulated org.
var simulatedKeys = principals{ownerKey, billingKey, strangerKey, functionKey}

// randomKeys are keys of this run alone: with the secret of a real org behind them, no other user of this machine may know them.
func randomKeys() principals {
	random := func(p localaws.Principal) localaws.Principal {
		p.AccessKeyID = p.AccessKeyID[:len("AKIA")] + rand.Text()[:16]
		p.SecretAccessKey = rand.Text() + rand.Text()
		if p.SessionToken != "" {
			p.SessionToken = rand.Text() + rand.Text()
		}
		return p
	}
	return principals{random(ownerKey), random(billingKey), random(strangerKey), random(functionKey)}
}

// stackOptions are where the parts of a stack listen, and what is in it.
type stackOptions struct {
	api, aws, org string // host:port
	noFunctions   bool   // nor an API, nor events: somebody else runs the functions
	orgURL        string // of the org, where it is not reached at the address that it listens on
	orgCA         string // file: the org answers https too, by a certificate of the authority that is written there
	secrets       map[string]json.RawMessage
	env           []string // further settings of the functions, NAME=value
	config        sfoauthtest.Config
	log           io.Writer     // takes what the functions write
	timeout       time.Duration // of the token function; zero: 15 seconds
	behind        time.Duration // by how much the clock of Secrets Manager is slow
}

// stack is the whole of sftoken on this machine: the real functions between a simulated org and stand-ins for AWS.
type stack struct {
	keys     principals
	org      *sfoauthtest.Org // nil where the secrets are of a real org
	app      *sfoauthtest.App
	orgURL   string
	aws      *localaws.SecretsManager
	awsURL   string
	url      string // of the API
	token    *localaws.Function
	rotate   *localaws.Function
	bus      *localaws.EventBus
	secrets  *secretsmanager.Client
	apps     []string     // those that have a secret, in order
	behind   atomic.Int64 // by how many nanoseconds the clock of Secrets Manager is slow
	closers  []func()
	arrivals chan struct{}
	events   atomic.Int64 // that have not been delivered yet
	wg       sync.WaitGroup
}

// newStack starts everything. Close it.
func newStack(ctx context.Context, o stackOptions) (_ *stack, err error) {
	s := &stack{arrivals: make(chan struct{}, 1), keys: simulatedKeys}
	if o.secrets != nil {
		s.keys = randomKeys()
	}
	s.behind.Store(int64(o.behind))
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	hosts := ""
	if o.secrets == nil {
		if err := s.startOrg(o); err != nil {
			return nil, err
		}
		hosts = strings.TrimPrefix(s.orgURL, "http://")
	}
	if err := s.startAWS(o, hosts); err != nil {
		return nil, err
	}
	return s, s.fill(ctx, o.secrets)
}

// serve serves h at addr, which the flag gives, until the stack is closed, by TLS too where secure is not nil.
func (s *stack) serve(flag, addr string, h http.Handler, secure *tls.Config) (string, error) {
	listener, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "", fmt.Errorf("%w: does another `sftoken local` run? If not, choose another address with %s", err, flag)
	case err != nil:
		return "", fmt.Errorf("%s: %w: want HOST:PORT, like 127.0.0.1:8081", flag, err)
	}
	if secure != nil {
		listener = eitherListener{listener, secure}
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	s.wg.Go(func() { _ = server.Serve(listener) })
	s.closers = append(s.closers, func() { _ = server.Close() })
	return "http://" + listener.Addr().String(), nil
}

func (s *stack) startOrg(o stackOptions) (err error) {
	s.org = sfoauthtest.New(o.config)
	s.app = s.org.AddApp(sfoauthtest.AppOptions{Name: "CRM"})
	s.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	s.closers = append(s.closers, func() { s.org.ClearFaults() })
	var secure *tls.Config
	if o.orgCA != "" {
		if secure, err = orgCertificate(o.orgCA); err != nil {
			return err
		}
	}
	listening, err := s.serve("--org-listen", o.org, s.org, secure)
	s.orgURL = cmp.Or(o.orgURL, listening)
	return err
}

func (s *stack) startAWS(o stackOptions, hosts string) (err error) {
	keys := localaws.NewKeys(s.keys.owner, s.keys.billing, s.keys.stranger, s.keys.function)
	s.bus = &localaws.EventBus{
		Labels: []string{appsecret.Current, appsecret.Candidate, appsecret.Compromised}, Pause: time.Second,
		Function: func(ctx context.Context, payload []byte) ([]byte, error) { return s.rotate.Invoke(ctx, payload) },
		Arrived: func() {
			s.events.Add(1)
			select {
			case s.arrivals <- struct{}{}:
			default:
			}
		},
	}
	s.aws = localaws.NewSecretsManager(localaws.SecretsManagerConfig{
		Account: owner, Region: region, LabelMoved: s.bus.LabelMoved, Retries: 1,
		Now: func() time.Time { return time.Now().Add(-time.Duration(s.behind.Load())) },
		Authenticate: func(r *http.Request, body []byte) error {
			p, err := keys.Verify(r, body, "secretsmanager", region, time.Now())
			if err == nil && p.Account != owner {
				_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
				return &localaws.AuthError{Type: "AccessDenied", Message: "User: " + p.ARN + " is not authorized to perform: secretsmanager:" + operation}
			}
			return err
		},
		Functions: map[string]localaws.Invoker{
			rotateARN: func(ctx context.Context, payload []byte) ([]byte, error) {
				if s.rotate == nil {
					return nil, errors.New("no function runs here: invoke it with each step yourself")
				}
				return s.rotate.Invoke(ctx, payload)
			},
		},
	})
	sts := &localaws.STS{Keys: keys, Region: region}
	guard := func(h http.Handler) http.Handler { return h }
	if o.secrets != nil {
		guard = localaws.LoopbackOnly
	}
	if s.awsURL, err = s.serve("--secrets-manager-listen", o.aws, guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "/sts/aws4_request") {
			sts.ServeHTTP(w, r)
			return
		}
		s.aws.ServeHTTP(w, r)
	})), nil); err != nil {
		return err
	}
	env := map[string]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.awsURL, "SALESFORCE_HOSTS": hosts}
	if s.org != nil { // what is tried in a minute here takes days in a real org
		env["LOGIN_BURST"], env["LOGINS_PER_HOUR"] = "3600", "3600"
	}
	for _, setting := range o.env {
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
	}
	s.secrets = secretsmanager.New(secretsmanager.Options{
		Region: region, BaseEndpoint: aws.String(s.awsURL), Credentials: credentialsOf(s.keys.owner),
	})
	if o.noFunctions {
		return nil
	}
	function := func(name string, timeout time.Duration) *localaws.Function {
		f := localaws.NewFunction(localaws.FunctionConfig{
			Name: "sftoken-" + name, Main: name, Account: owner, Region: region, Env: env, Credentials: s.keys.function,
			Timeout: timeout, Environments: 4, Stdout: o.log, Stderr: o.log,
		})
		s.closers = append(s.closers, f.Close)
		return f
	}
	s.token, s.rotate = function(simstack.TokenMain, cmp.Or(o.timeout, 15*time.Second)), function(simstack.RotateMain, 15*time.Minute)
	gateway := &localaws.Gateway{
		Account: owner, Region: region, APIID: "l0ca1", Stage: stage, Keys: keys, AllowedAccounts: []string{s.keys.billing.Account, s.keys.stranger.Account},
		Function: s.token.Invoke,
	}
	api, err := s.serve("--listen", o.api, guard(gateway), nil)
	if err != nil {
		return err
	}
	s.url = api + "/" + stage
	s.closers = append(s.closers, s.deliver())
	return nil
}

// deliver hands the events to the rotate function as they come, and does the rotations that are due, until the function that it
// returns is called.
func (s *stack) deliver() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		schedule := time.NewTicker(time.Minute)
		defer schedule.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.arrivals:
				n, _ := s.bus.Deliver(ctx) // ends early only when it is stopped
				s.events.Add(-int64(n))
			case <-schedule.C:
				s.aws.RunDue(ctx)
			}
		}
	})
	return cancel
}

// settle waits until the rotate function has dealt with all events: it logs in with the first version of a secret too.
func (s *stack) settle(ctx context.Context) error {
	for s.events.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// fill stores the secrets: those given, or that of the simulated org's app. Only the latter is rotated: a pair that a real org
// made would be in the memory of this process alone, and lost with it.
func (s *stack) fill(ctx context.Context, secrets map[string]json.RawMessage) error {
	simulated := secrets == nil
	if simulated {
		key, secret := s.app.Credentials()
		value, err := json.Marshal(map[string]any{
			"consumerKey": key, "consumerSecret": secret, "baseUri": s.orgURL, "appId": s.app.ID, "consumerId": s.app.ConsumerID, "orgId": s.org.ID(),
			"allowedPrincipals": []string{owner, s.keys.billing.Account},
		})
		if err != nil {
			return err
		}
		secrets = map[string]json.RawMessage{"crm": value}
	}
	s.apps = slices.Sorted(maps.Keys(secrets))
	for _, app := range s.apps {
		value := secrets[app]
		version, err := appsecret.Parse("local", string(value))
		if err == nil {
			err = version.PrincipalsErr
		}
		if err != nil {
			return fmt.Errorf("the secret of app %s: %w", app, err)
		}
		_, err = s.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
			Name: aws.String(prefix + app), SecretString: aws.String(string(value)), ClientRequestToken: aws.String(firstVersion),
		})
		if err != nil {
			return err
		}
		if !simulated || s.rotate == nil {
			continue
		}
		_, err = s.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
			SecretId: aws.String(prefix + app), RotationLambdaARN: aws.String(rotateARN), RotateImmediately: aws.Bool(false), ClientRequestToken: aws.String(newRequestToken()),
			RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(rotationDays)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything that the stack has started.
func (s *stack) Close() {
	for _, end := range slices.Backward(s.closers) {
		end()
	}
	s.wg.Wait()
}

func credentialsOf(p localaws.Principal) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)
}

// readSecrets reads a file that maps apps to secret values.
func readSecrets(path string) (map[string]json.RawMessage, error) {
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	var secrets map[string]json.RawMessage
	if err := json.Unmarshal(text, &secrets); err != nil || len(secrets) == 0 {
		return nil, fmt.Errorf(`%s: want a JSON object that maps apps to secret values, like {"crm": {"consumerKey": …}}`, path)
	}
	for app := range secrets {
		if !appsecret.ValidName(app) {
			return nil, fmt.Errorf("%s: %q is no app's name", path, app)
		}
	}
	return secrets, nil
}

var errNotAsTold = errors.New("it did not happen as told")
