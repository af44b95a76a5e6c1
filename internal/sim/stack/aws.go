package stack

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

func (s *Stack) startAWS(c Config) (err error) {
	keys := localaws.NewKeys(s.Keys.Owner, s.Keys.Billing, s.Keys.Stranger, s.Keys.Probe, s.Keys.Function)
	s.bus = &localaws.EventBus{
		Labels: []string{appsecret.Current, appsecret.Candidate, appsecret.Compromised}, Pause: time.Second,
		Function: s.invokeRotate,
		Arrived: func() {
			select {
			case s.arrivals <- struct{}{}:
			default:
			}
		},
	}
	s.AWS = localaws.NewSecretsManager(localaws.SecretsManagerConfig{
		Account: Account, Region: Region, LabelMoved: s.bus.LabelMoved, Retries: 1,
		Now:          func() time.Time { return time.Now().Add(-time.Duration(s.clockOffset.Load())) },
		Authenticate: func(r *http.Request, body []byte) error { return authenticate(keys, r, body) },
		Functions:    map[string]localaws.Invoker{RotateARN: s.invokeRotate},
	})
	guard := func(h http.Handler) http.Handler { return h }
	if c.Secrets != nil {
		guard = localaws.LoopbackOnly
	}
	sts := &localaws.STS{Keys: keys, Region: Region}
	if c.SharedTokens {
		s.Tables = localaws.NewDynamoDB(localaws.DynamoDBConfig{
			Table: TokenTable, Key: tokenstore.Key,
			Authenticate: func(r *http.Request, body []byte) error { return s.authenticateTable(keys, r, body) },
		})
	}
	s.AWSURL, err = s.serve("--secrets-manager-listen", c.ListenAWS,
		guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			authorization := r.Header.Get("Authorization")
			switch {
			case strings.Contains(authorization, "/sts/aws4_request"):
				sts.ServeHTTP(w, r)
			case s.Tables != nil && strings.Contains(authorization, "/dynamodb/aws4_request"):
				s.Tables.ServeHTTP(w, r)
			default:
				s.AWS.ServeHTTP(w, r)
			}
		})))
	if err != nil {
		return err
	}
	s.Secrets = secretsmanager.New(secretsmanager.Options{
		Region: Region, BaseEndpoint: aws.String(s.AWSURL), Credentials: s.Keys.Owner.Credentials(),
	})
	if c.NoFunctions {
		return nil
	}
	s.Token = s.function(TokenMain, c.Timeout, c)
	s.Rotate = s.function(RotateMain, 15*time.Minute, c)
	if s.rotate = c.RotateFunction; s.rotate == nil {
		s.rotate = s.Rotate.Invoke
	}
	gateway := &localaws.Gateway{
		Account: Account, Region: Region, APIID: "l0ca1", Stage: Stage, Keys: keys,
		AllowedAccounts: []string{s.Keys.Billing.Account, s.Keys.Stranger.Account}, Function: s.Token.Invoke,
	}
	api, err := s.serve("--listen", c.ListenAPI, guard(gateway))
	if err != nil {
		return err
	}
	s.URL = api + "/" + Stage
	s.closers = append(s.closers, s.pumpEvents())
	return nil
}

// authenticate lets the owner's account in, to everything.
func authenticate(keys *localaws.Keys, r *http.Request, body []byte) error {
	p, err := keys.Verify(r, body, "secretsmanager", Region, time.Now())
	if err != nil || p.Account == Account {
		return err
	}
	return localaws.AccessDenied(p, r)
}

// authenticateTable lets the functions' role read and update items, and the owner do everything.
func (s *Stack) authenticateTable(keys *localaws.Keys, r *http.Request, body []byte) error {
	p, err := keys.Verify(r, body, "dynamodb", Region, time.Now())
	if err != nil {
		return err
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	itemOperation := operation == "GetItem" || operation == "UpdateItem"
	if p.ARN == s.Keys.Owner.ARN || p.ARN == s.Keys.Function.ARN && itemOperation {
		return nil
	}
	return localaws.AccessDenied(p, r)
}

func (s *Stack) invokeRotate(ctx context.Context, payload []byte) ([]byte, error) {
	if s.rotate == nil {
		return nil, errors.New("no function runs here: invoke it with each step yourself")
	}
	return s.rotate(ctx, payload)
}

// function returns one of the two functions, which runs until the stack is closed.
func (s *Stack) function(main string, timeout time.Duration, c Config) *localaws.Function {
	env := map[string]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.AWSURL, "SALESFORCE_HOSTS": s.OrgHost()}
	if s.Org != nil { // logins that are minutes apart here are days apart in a real org
		env["LOGIN_BURST"], env["LOGINS_PER_HOUR"] = "3600", "3600"
	}
	if c.SharedTokens && main == TokenMain {
		env["TOKEN_TABLE"], env["AWS_ENDPOINT_URL_DYNAMODB"] = TokenTable, s.AWSURL
	}
	for _, setting := range c.Env {
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
	}
	f := localaws.NewFunction(localaws.FunctionConfig{
		Name: "sftoken-" + main, Main: main, Account: Account, Region: Region, Env: env, Credentials: s.Keys.Function,
		Timeout: timeout, Environments: cmp.Or(c.Processes, 4), Stdout: c.Log, Stderr: c.Log,
	})
	s.closers = append(s.closers, f.Close)
	return f
}

// startProcesses starts n processes of the token function. Requests take turns with them.
func (s *Stack) startProcesses(ctx context.Context, n int) error {
	if s.Token == nil {
		return nil
	}
	for range n {
		if _, err := s.Token.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pumpEvents hands events to the rotate function as they arrive, and starts the rotations that are due, until stop is
// called.
func (s *Stack) pumpEvents() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		schedule := time.NewTicker(time.Minute)
		defer schedule.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.arrivals:
				_, _ = s.bus.Deliver(ctx) // returns early only when it is stopped
			case <-schedule.C:
				s.AWS.RunDue(ctx)
			}
		}
	})
	return cancel
}
