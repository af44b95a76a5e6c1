// Package sftoken is for programs that call Salesforce with tokens of the sftoken API: an oauth2.TokenSource, and an
// http.RoundTripper that also replaces a token that has died early. All it takes is AWS credentials that may invoke
// execute-api on the app's path.
package sftoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Token is what the API hands out.
type Token struct {
	AccessToken    sfoauth.Secret
	ID             string    // names the token in log lines and in rejected=; not secret
	InstanceURL    string    // scheme and host of the REST API
	APIInstanceURL string    // https://api.salesforce.com or the like; empty where the org has none
	Scope          string    // separated by spaces
	Expiry         time.Time // when to ask for another one; Salesforce may end the session earlier or later
	Cache          string    // hit, miss, confirmed or stale: how the API came by it
	JSON           sfoauth.Secret
}

// Source fetches an app's token and keeps it until shortly before it expires. It is an oauth2.TokenSource, and safe for
// concurrent use: one fetch is under way at a time, and everybody waits for it.
type Source struct {
	config aws.Config
	url    string
	region string
	app    string
	client *http.Client
	err    error // what was wrong with the arguments

	turn   chan struct{} // holds one element while nobody fetches
	cached *Token
	asked  time.Time // when the API last said that the cached token is alive, though it had been refused
}

// Option changes a Source.
type Option func(*Source)

// WithHTTPClient makes the Source send its requests with this client. Default: http.DefaultClient.
func WithHTTPClient(client *http.Client) Option { return func(s *Source) { s.client = client } }

// WithRegion sets the region that requests are signed for, where the API's address does not say it and config.Region is
// another.
func WithRegion(region string) Option { return func(s *Source) { s.region = region } }

var (
	appName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	// An API's own address: https://<id>.execute-api.<region>.amazonaws.com/<stage>, or with a VPC endpoint's id behind the API's.
	apiHost = regexp.MustCompile(`\.execute-api\.([a-z0-9-]+)\.(amazonaws\.com|amazonaws\.com\.cn)$`)
)

// expiryMargin is how long before its expiry a token is replaced.
const expiryMargin = 30 * time.Second

// NewTokenSource returns a source of tokens of the app at the API with this address, the ApiUrl that the deployment put
// out. Wrong arguments show at the first Token. Credentials are asked of config at each fetch, so that they may change.
func NewTokenSource(config aws.Config, apiURL, app string, options ...Option) *Source {
	s := &Source{config: config, url: strings.TrimRight(strings.TrimSpace(apiURL), "/"), app: app, region: config.Region, client: http.DefaultClient}
	s.turn = make(chan struct{}, 1)
	s.turn <- struct{}{}
	u, err := url.Parse(s.url)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		s.err = errors.New("sftoken: the API's address must be a URL, like https://<id>.execute-api.<region>.amazonaws.com/v1")
	case !appName.MatchString(app):
		s.err = fmt.Errorf("sftoken: app %q: a name must match %s", app, appName)
	default:
		s.region = cmp.Or(RegionOf(s.url), s.region)
	}
	for _, option := range options {
		option(s)
	}
	if s.err == nil && s.region == "" {
		s.err = errors.New("sftoken: no region: set config.Region, AWS_REGION or WithRegion to the API's")
	}
	return s
}

// RegionOf returns the region that an API's own address names. Empty: the address names none, as a custom domain's does not.
func RegionOf(apiURL string) string {
	u, err := url.Parse(strings.TrimSpace(apiURL))
	if err != nil {
		return ""
	}
	parts := apiHost.FindStringSubmatch(u.Hostname())
	if parts == nil {
		return ""
	}
	return parts[1]
}

// Token returns the token as package oauth2 has it. Its errors are of type *Error where the API answered.
func (s *Source) Token() (*oauth2.Token, error) {
	t, err := s.Get(context.Background())
	if err != nil {
		return nil, err
	}
	token := &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: "Bearer", Expiry: t.Expiry}
	return token.WithExtra(map[string]any{"instance_url": t.InstanceURL, "token_id": t.ID, "scope": t.Scope}), nil
}

// Get returns the cached token, or fetches one. A 503 of the API is tried again for as long as ctx lasts, a minute where it
// has no deadline.
func (s *Source) Get(ctx context.Context) (*Token, error) {
	return s.get(ctx, "")
}

// Replace returns a token after Salesforce has refused the one with this id. That is the same one where the API finds that
// Salesforce has not ended it.
func (s *Source) Replace(ctx context.Context, rejected string) (*Token, error) {
	return s.get(ctx, rejected)
}

// replaceEvery is how long the API's word is taken that a token is alive, though Salesforce has refused it.
const replaceEvery = 5 * time.Second

func (s *Source) get(ctx context.Context, rejected string) (*Token, error) {
	if s.err != nil {
		return nil, s.err
	}
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, fmt.Errorf("sftoken: waiting for a token of app %s: %w", s.app, ctx.Err())
	}
	t, now := s.cached, time.Now()
	if t != nil && now.Before(t.Expiry.Add(-expiryMargin)) && (t.ID != rejected || now.Sub(s.asked) < replaceEvery) {
		return t, nil
	}
	if t != nil && t.ID != rejected {
		rejected = ""
	}
	fetched, err := s.fetchPatiently(ctx, rejected)
	if err != nil {
		return nil, err
	}
	if fetched.ID == rejected {
		s.asked = now
	}
	s.cached = fetched
	return fetched, nil
}
