// Package sftoken is for programs that call Salesforce with tokens of the sftoken API: an oauth2.TokenSource, and an
// http.RoundTripper that also replaces a token that has died early. All it takes is AWS credentials that may invoke
// execute-api on the app's path.
package sftoken

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
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

	refreshAt time.Time // from when on a Source asks for another one
}

// TokenSource fetches an app's token and keeps it until shortly before it expires. It is an oauth2.TokenSource, and safe for
// concurrent use: one request is under way at a time, everybody waits for it, and who gives up does not cancel it for the others.
type TokenSource struct {
	config aws.Config
	url    string
	region string
	app    string
	client *http.Client
	err    error // what was wrong with the arguments

	mu          sync.Mutex // guards what follows; never held during a request
	inFlight    *call      // the request under way; nil: none
	cached      *Token     // nil: none
	confirmedAt time.Time  // when the API last gave the cached token out again, though it was said to be refused
	confirmed   bool       // it had Salesforce asked then
	backoff     backoff
}

// Option changes a Source.
type Option func(*TokenSource)

// WithHTTPClient makes the Source send its requests with this client; its CheckRedirect is ignored, since redirects are not
// followed. Default: http.DefaultClient.
func WithHTTPClient(client *http.Client) Option { return func(s *TokenSource) { s.client = client } }

// WithRegion sets the region that requests are signed for, where the API's address does not say it and config.Region is
// another.
func WithRegion(region string) Option { return func(s *TokenSource) { s.region = region } }

var (
	appName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	// The names of an API and of VPC endpoints for it, in every partition: <id>.execute-api.<region>.amazonaws.com,
	// <id>-<vpce>.execute-api.<region>.amazonaws.com.cn, <vpce>.execute-api.<region>.vpce.amazonaws.com. Source: API Gateway
	// Developer Guide, "Invoke a private API".
	apiHost = regexp.MustCompile(`(?:^|\.)execute-api\.([a-z]+(?:-[a-z]+)+-[0-9]+)\.`)
)

// NewTokenSource returns a source of tokens of the app at the API with this address, the ApiUrl that the deployment
// put out or a custom domain name with its base path. It must be https, or http at a loopback address or localhost.
// Wrong arguments show at the first Token. Credentials are asked of config at each request, so that they may change.
func NewTokenSource(config aws.Config, apiURL, app string, options ...Option) *TokenSource {
	s := &TokenSource{config: config, url: strings.TrimRight(strings.TrimSpace(apiURL), "/"), app: app, region: config.Region}
	if region := RegionFromURL(s.url); region != "" {
		s.region = region
	}
	for _, option := range options {
		option(s)
	}
	if s.client == nil {
		s.client = http.DefaultClient
	}
	u, err := url.Parse(s.url)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s.url, "?#") || u.Scheme != "https" && u.Scheme != "http":
		s.err = errors.New("sftoken: the API's address must be a URL, like https://<id>.execute-api.<region>.amazonaws.com/v1")
	case !isHTTPSOrLoopback(u):
		s.err = fmt.Errorf("sftoken: the API's address must be https: a token would go over the network in plain text from %s", u.Host)
	case !appName.MatchString(app):
		s.err = fmt.Errorf("sftoken: app %q: a name must match %s", app, appName)
	case s.region == "":
		s.err = errors.New("sftoken: no region: set AWS_REGION to the API's, or config.Region or WithRegion in Go")
	}
	return s
}

// RegionFromURL returns the region that an API's own address names. Empty: the address names none, as a custom domain's does not.
func RegionFromURL(apiURL string) string {
	u, err := url.Parse(strings.TrimSpace(apiURL))
	if err != nil {
		return ""
	}
	parts := apiHost.FindStringSubmatch(strings.ToLower(u.Hostname()))
	if parts == nil {
		return ""
	}
	return parts[1]
}

// isHTTPSOrLoopback reports whether what goes to u is encrypted or does not leave this machine. A name below localhost may
// resolve to any address.
func isHTTPSOrLoopback(u *url.URL) bool {
	name := u.Hostname()
	ip := net.ParseIP(name)
	return u.Scheme == "https" || u.Scheme == "http" && (strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback())
}

// Token returns the token as package oauth2 has it, with the extra fields instance_url, token_id and scope. Its errors are of
// type *Error where the API answered. It tries for a minute at the most.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	t, err := s.Fetch(context.Background())
	if err != nil {
		return nil, err
	}
	token := &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: "Bearer", Expiry: t.Expiry}
	return token.WithExtra(map[string]any{"instance_url": t.InstanceURL, "token_id": t.ID, "scope": t.Scope}), nil
}

// Fetch returns the cached token, or fetches one. What may pass is tried again: a 503 of the API and a 429, after the time that it
// says, for as long as ctx lasts (a minute where it has no deadline); an answer of API Gateway's own that the function failed, and a
// connection that broke, three times. Errors are of type *Error where the API answered.
func (s *TokenSource) Fetch(ctx context.Context) (*Token, error) {
	return s.get(ctx, waiter{})
}

// Refresh returns a token after Salesforce has refused the one with this id. It is the same one where the API finds that
// Salesforce has not ended it. The API looks into that once in a few seconds; where somebody else has just asked, Replace waits
// for its turn, as long as ctx allows.
func (s *TokenSource) Refresh(ctx context.Context, rejected string) (*Token, error) {
	return s.get(ctx, waiter{rejected: rejected})
}

// Revoke has the app's cached token revoked at Salesforce, for everybody who holds it. It is for emergencies, and takes the
// right to invoke DELETE on the app's path. It tries again as Get does.
func (s *TokenSource) Revoke(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	var held backoff
	for tries := 1; ; tries++ {
		err := s.revoke(ctx)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cached = nil
			return nil
		}
		if held = held.next(err); tries >= maxAttempts(err) || !sleep(ctx, time.Until(held.until)) {
			return err
		}
	}
}
