package stack

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
)

func (s *Stack) startAWS(c Config) (err error) {
	keys := localaws.NewKeys(s.Keys.Owner, s.Keys.Billing, s.Keys.Stranger, s.Keys.Function)
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
	s.AWSURL, err = s.serve("--secrets-manager-listen", c.ListenAWS,
		guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Authorization"), "/sts/aws4_request") {
				sts.ServeHTTP(w, r)
				return
			}
			s.AWS.ServeHTTP(w, r)
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

func (s *Stack) invokeRotate(ctx context.Context, payload []byte) ([]byte, error) {
	if s.Rotate == nil {
		return nil, errors.New("no function runs here: invoke it with each step yourself")
	}
	return s.Rotate.Invoke(ctx, payload)
}

// function returns one of the two functions, which runs until the stack is closed.
func (s *Stack) function(main string, timeout time.Duration, c Config) *localaws.Function {
	env := map[string]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.AWSURL, "SALESFORCE_HOSTS": s.OrgHost()}
	if s.Org != nil { // logins that are minutes apart here are days apart in a real org
		env["LOGIN_BURST"], env["LOGINS_PER_HOUR"] = "3600", "3600"
	}
	for _, setting := range c.Env {
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
	}
	f := localaws.NewFunction(localaws.FunctionConfig{
		Name: "sftoken-" + main, Main: main, Account: Account, Region: Region, Env: env, Credentials: s.Keys.Function,
		Timeout: timeout, Environments: 4, Stdout: c.Log, Stderr: c.Log,
	})
	s.closers = append(s.closers, f.Close)
	return f
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
