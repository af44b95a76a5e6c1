package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// What every stack is deployed as.
const (
	Account = "111111111111" // that owns sftoken
	Region  = "us-east-1"
	Prefix  = "sftoken/" // of the secrets' names
	Stage   = "v1"       // of the API

	TokenTable = "sftoken-tokens"

	RotateARN = "arn:aws:lambda:" + Region + ":" + Account + ":function:sftoken-rotate"
)

// Config configures a stack. The zero value is a simulated org with one app, crm, on free ports of this machine.
type Config struct {
	// ListenAPI, ListenAWS and ListenOrg are host:port. Empty: a free port of 127.0.0.1.
	ListenAPI, ListenAWS, ListenOrg string
	// NoFunctions starts no functions, no API and no delivery of events: the functions run elsewhere.
	NoFunctions bool
	// RotateFunction handles the rotate function's events. Nil: a process of the real function does.
	RotateFunction localaws.Invoker
	// OrgURL is where the functions reach the simulated org. Empty: at the address that it listens on.
	OrgURL string
	// Secrets are the secret values of a real org's apps, by app. Nil: the org is a simulated one.
	Secrets map[string]json.RawMessage
	// Env are further settings of the functions, NAME=value.
	Env []string
	// Org configures the simulated org.
	Org sfoauthtest.Config
	// SharedTokens gives the token function a token table.
	SharedTokens bool
	// Processes is how many processes of the token function are started at once. Zero: up to 4 when they are needed.
	Processes int
	// Log receives what the functions write. Nil: it is discarded.
	Log io.Writer
	// Timeout of the token function. Zero: 15 seconds.
	Timeout time.Duration
	// ClockOffset is by how much the clock of Secrets Manager is behind. SetClockOffset changes it.
	ClockOffset time.Duration
}

// Stack is all of sftoken on this machine. Close it.
type Stack struct {
	Keys    Keys
	Org     *sfoauthtest.Org // nil where the secrets are a real org's
	App     *sfoauthtest.App // nil where the secrets are a real org's
	OrgURL  string
	AWS     *localaws.SecretsManager
	AWSURL  string             // of Secrets Manager, STS and DynamoDB
	Tables  *localaws.DynamoDB // nil without Config.SharedTokens
	URL     string             // of the API
	Token   *localaws.Function // nil with Config.NoFunctions
	Rotate  *localaws.Function // nil with Config.NoFunctions
	Secrets *secretsmanager.Client
	Apps    []string // that have a secret, in alphabetical order

	rotate      localaws.Invoker // nil with Config.NoFunctions
	bus         *localaws.EventBus
	arrivals    chan struct{}
	clockOffset atomic.Int64 // in nanoseconds
	closers     []func()
	wg          sync.WaitGroup
}

// Start starts a stack. The program must have called RunFunction.
func Start(ctx context.Context, c Config) (_ *Stack, err error) {
	s := &Stack{arrivals: make(chan struct{}, 1), Keys: SimulatedKeys()}
	if c.Secrets != nil {
		s.Keys = RandomKeys()
	}
	s.SetClockOffset(c.ClockOffset)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if c.Secrets == nil {
		if err := s.startOrg(c); err != nil {
			return nil, err
		}
	}
	if err := s.startAWS(c); err != nil {
		return nil, err
	}
	if err := s.seed(ctx, c.Secrets); err != nil {
		return s, err
	}
	return s, s.startProcesses(ctx, c.Processes)
}

// Close stops everything that the stack has started.
func (s *Stack) Close() {
	for _, end := range slices.Backward(s.closers) {
		end()
	}
	s.wg.Wait()
}

// SetClockOffset sets by how much the clock of Secrets Manager is behind.
func (s *Stack) SetClockOffset(d time.Duration) { s.clockOffset.Store(int64(d)) }

// SourceFor returns a source of the crm app's tokens that signs as p.
func (s *Stack) SourceFor(p localaws.Principal) *sftoken.TokenSource {
	return sftoken.NewTokenSource(aws.Config{Region: Region, Credentials: p.Credentials()}, s.URL, "crm")
}

// WaitIdle waits until the rotate function has handled all events.
func (s *Stack) WaitIdle(ctx context.Context) error {
	for s.bus.Waiting() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// ListenError is an error of an address in Config.
type ListenError struct {
	Flag string // of `sftoken local`, that sets the address
	Err  error
}

func (e *ListenError) Error() string { return e.Flag + ": " + e.Err.Error() }

func (e *ListenError) Unwrap() error { return e.Err }

// serve serves h at addr until the stack is closed.
func (s *Stack) serve(flag, addr string, h http.Handler) (string, error) {
	listener, err := net.Listen("tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		return "", &ListenError{flag, err}
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	s.wg.Go(func() { _ = server.Serve(listener) })
	s.closers = append(s.closers, func() { _ = server.Close() })
	return "http://" + listener.Addr().String(), nil
}

func (s *Stack) startOrg(c Config) error {
	s.Org = sfoauthtest.New(c.Org)
	s.App = s.Org.AddApp(sfoauthtest.AppOptions{Name: "CRM"})
	s.App.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	s.closers = append(s.closers, func() { s.Org.ClearFaults() })
	url, err := s.serve("--org-listen", c.ListenOrg, s.Org)
	if err != nil {
		return err
	}
	s.OrgURL = cmp.Or(c.OrgURL, url)
	return nil
}

// OrgHost returns host:port of the simulated org: a value of SALESFORCE_HOSTS. Empty where the org is a real one.
func (s *Stack) OrgHost() string { return strings.TrimPrefix(s.OrgURL, "http://") }
