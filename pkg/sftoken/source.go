// Package sftoken fetches Salesforce access tokens from the sftoken API. TokenSource is an oauth2.TokenSource;
// Transport is an http.RoundTripper that also replaces a token whose session ended early. Callers need AWS
// credentials that may invoke execute-api on the app's path, and no Salesforce credentials. Callers of an agent
// (`sftoken serve`) on the same host need no AWS credentials either.
package sftoken

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Token is a Salesforce access token from the API.
type Token struct {
	AccessToken    sfoauth.Secret
	ID             string         // identifies the token in log lines and in rejected=; not secret
	InstanceURL    string         // scheme and host of the REST API
	APIInstanceURL string         // https://api.salesforce.com or similar; may be empty
	Scope          string         // separated by spaces
	Expiry         time.Time      // when to fetch another one; Salesforce may end the session earlier or later
	Cache          string         // the response's X-Token-Cache: hit, miss, confirmed or stale
	JSON           sfoauth.Secret // the whole response
	RefreshAt      time.Time      // when a TokenSource fetches another one: before Expiry
}

// TokenSource fetches an app's token and caches it until shortly before it expires. It implements oauth2.TokenSource
// and is safe for concurrent use. Concurrent callers share one request, which continues if one of them gives up.
type TokenSource struct {
	config    aws.Config
	app       string
	client    *http.Client
	name      string     // User-Agent
	region    string     // of WithRegion; may be empty
	agent     *agent     // of WithAgentToken; may be nil
	addresses []*address // in order of preference; one at least, unless err is set
	err       error      // why the arguments are invalid

	mu          sync.Mutex // guards the fields below, and those of addresses; never held during a request
	inFlight    *call      // may be nil
	cached      *Token     // may be nil
	confirmedAt time.Time  // when the API last returned the cached token although it was rejected
	confirmed   bool       // whether the API had Salesforce introspect it then
	backoff     backoff
}

// Option configures a TokenSource. Of two options of one kind, the last one applies.
type Option func(*TokenSource)

// WithHTTPClient sets the client that sends the requests to the API, by default http.DefaultClient. Its CheckRedirect
// is ignored: redirects are not followed. Its Timeout bounds each attempt. Nil means the default.
func WithHTTPClient(client *http.Client) Option { return func(s *TokenSource) { s.client = client } }

// WithRegion sets the region that requests to every address are signed for. The default is the region in the address,
// or config.Region if there is none; an empty region means the default.
func WithRegion(region string) Option { return func(s *TokenSource) { s.region = region } }

// WithUserAgent sets the User-Agent of the requests, which the API's audit log records. The default is "sftoken-go".
func WithUserAgent(name string) Option { return func(s *TokenSource) { s.name = name } }

// WithAgentToken authenticates requests to an agent with its token, in place of a signature. The agent's address must
// be http at localhost or a loopback address. The default is the token in the environment: see AgentTokenVariable.
func WithAgentToken(token string) Option {
	return func(s *TokenSource) { s.agent = &agent{token: fixedToken(token)} }
}

var appName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// NewTokenSource returns a source of the app's tokens. apiURL is the ApiUrl in the deployment's outputs, or a custom
// domain name with its base path; it must be https, or http at localhost or a loopback address. Each request is signed
// with the credentials that config provides at that time.
//
// apiURL may be several addresses, separated by commas: those of deployments in several regions, the preferred one
// first. The source uses the next one while one is unreachable, does not respond within seconds or responds with a 5xx
// status, and returns to the preferred one after a pause that grows from 10 seconds to 5 minutes. An address whose name
// has no region may end with it: https://tokens.example.com/v1#eu-west-1.
//
// apiURL may also be the address of an agent, for which UsesAgent returns true. Requests are then not signed, and
// config may be empty. A Unix socket is reached without the client of WithHTTPClient.
//
// Invalid arguments make the first Fetch fail.
func NewTokenSource(config aws.Config, apiURL, app string, options ...Option) *TokenSource {
	s := &TokenSource{config: config, app: app, name: "sftoken-go", client: http.DefaultClient}
	for _, option := range options {
		option(s)
	}
	if s.client == nil {
		s.client = http.DefaultClient
	}
	s.addresses, s.err = s.parseAddresses(apiURL)
	if s.err == nil && !appName.MatchString(app) {
		s.err = fmt.Errorf("sftoken: app %q: a name must match %s", app, appName)
	}
	return s
}

// Err returns why the arguments of NewTokenSource are invalid, or nil. Fetch returns the same error.
func (s *TokenSource) Err() error { return s.err }

// Token implements oauth2.TokenSource. The token's extra fields are instance_url, token_id and scope. It retries for at
// most a minute; its errors are those of Fetch.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	t, err := s.Fetch(context.Background())
	if err != nil {
		return nil, err
	}
	token := &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: "Bearer", Expiry: t.Expiry}
	extra := map[string]any{"instance_url": t.InstanceURL, "token_id": t.ID, "scope": t.Scope}
	return token.WithExtra(extra), nil
}

// Fetch returns the cached token, or fetches one. It retries a 503 of the API and a 429 after their Retry-After, until
// ctx ends (a minute if ctx has no deadline). It retries other 5xx of API Gateway and broken connections up to three
// times. The error is an *Error if the API or API Gateway responded.
func (s *TokenSource) Fetch(ctx context.Context) (*Token, error) {
	return s.get(ctx, caller{})
}

// Refresh returns a token after Salesforce rejected the one with this id. It returns the same token if the API finds it
// active. The API introspects rejected tokens every few seconds at most. Refresh waits for that as long as
// ctx allows.
func (s *TokenSource) Refresh(ctx context.Context, rejected string) (*Token, error) {
	return s.get(ctx, caller{rejected: rejected})
}

// Revoke revokes the app's cached token at Salesforce for all its holders. It is for emergencies and needs
// permission to invoke DELETE on the app's path. It retries as Fetch does. With several addresses it revokes the token
// of each, and fails if one of them fails.
func (s *TokenSource) Revoke(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	failed := make([]error, len(s.addresses)) // by address
	var group sync.WaitGroup
	for i, a := range s.addresses {
		group.Go(func() {
			failed[i] = s.revokeWithRetry(ctx, a)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cached = nil // it may be this address's; fetching another one does no harm
		})
	}
	group.Wait()
	return s.firstError(failed)
}

func (s *TokenSource) revokeWithRetry(ctx context.Context, a *address) error {
	var b backoff
	for attempts := 1; ; attempts++ {
		err := s.revoke(ctx, a)
		if err == nil {
			return nil
		}
		if b = b.next(err); attempts >= maxAttempts(err) || !sleep(ctx, time.Until(b.until)) {
			return err
		}
	}
}
