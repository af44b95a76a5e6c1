package sftoken

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

const (
	// maxBody is how much of a response is read, in bytes.
	maxBody = 256 << 10
	// expiryMargin is how long before its expiry a token is refreshed. Half of its lifetime is used if that is shorter.
	expiryMargin = 30 * time.Second
	// maxLifetime bounds expires_in, in seconds: another token is fetched then, and a huge number would overflow a
	// time.Duration.
	maxLifetime = 24 * 60 * 60
)

// fetch requests a token from the API at an address. rejected is the id of a token that Salesforce rejected, or empty.
func (s *TokenSource) fetch(ctx context.Context, a *address, rejected string) (*Token, error) {
	query := ""
	if rejected != "" {
		query = "?rejected=" + url.QueryEscape(rejected)
	}
	resp, err := s.send(ctx, a, http.MethodGet, query)
	if err != nil {
		return nil, err
	}
	if resp.status != http.StatusOK {
		return nil, apiError(resp)
	}
	return parseToken(resp)
}

// revoke makes the API at an address revoke the app's token.
func (s *TokenSource) revoke(ctx context.Context, a *address) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.send(ctx, a, http.MethodDelete, "")
	if err != nil {
		return err
	}
	if resp.status != http.StatusNoContent {
		return apiError(resp)
	}
	return nil
}

// response is a response of the API, read completely.
type response struct {
	status int
	header http.Header
	body   []byte
}

// send sends one request. Each attempt is signed anew, since a signature is valid for five minutes.
func (s *TokenSource) send(ctx context.Context, a *address, method, query string) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.url+"/tokens/"+s.app+query, nil)
	if err != nil {
		return nil, fmt.Errorf("sftoken: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", s.name)
	if err := s.authenticate(req, a); err != nil {
		return nil, err
	}
	// A redirect would take the signature, and with a session its token, to another host.
	noRedirects := *a.client
	noRedirects.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := noRedirects.Do(req)
	if err != nil {
		return nil, newTransportError("no response from "+a.server(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, newTransportError("incomplete response from "+a.server(), err)
	}
	return &response{resp.StatusCode, resp.Header, body}, nil
}

// server is what requests go to, in errors.
func (a *address) server() string {
	if a.agent != nil {
		return "the agent"
	}
	return "the API"
}

func (s *TokenSource) authenticate(req *http.Request, a *address) error {
	if a.agent != nil {
		return a.agent.authenticate(req)
	}
	return s.sign(req, a.region)
}

func (s *TokenSource) sign(req *http.Request, region string) error {
	if s.config.Credentials == nil {
		return errors.New("sftoken: the AWS configuration has no credentials")
	}
	credentials, err := s.config.Credentials.Retrieve(req.Context())
	if err != nil {
		return &CredentialsError{err}
	}
	if !credentials.HasKeys() { // the signer would sign with empty ones
		return errors.New("sftoken: the AWS credentials are empty")
	}
	empty := sha256.Sum256(nil)
	hash, signer := hex.EncodeToString(empty[:]), v4.NewSigner()
	err = signer.SignHTTP(req.Context(), credentials, req, hash, "execute-api", region, time.Now())
	if err != nil {
		return fmt.Errorf("sftoken: signing the request: %w", err)
	}
	return nil
}

var (
	errNoToken        = errors.New("sftoken: no token in response: is this the address of the sftoken API?")
	errMalformedToken = errors.New("sftoken: access_token has white space or unprintable characters")
)

func parseToken(resp *response) (*Token, error) {
	var fields struct {
		AccessToken    string `json:"access_token"`
		ExpiresIn      int64  `json:"expires_in"`
		TokenID        string `json:"token_id"`
		InstanceURL    string `json:"instance_url"`
		APIInstanceURL string `json:"api_instance_url"`
		Scope          string `json:"scope"`
	}
	err := json.Unmarshal(resp.body, &fields)
	if err != nil || fields.AccessToken == "" || fields.TokenID == "" || fields.InstanceURL == "" || fields.ExpiresIn < 1 {
		return nil, errNoToken
	}
	if strings.ContainsFunc(fields.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errMalformedToken
	}
	lifetime := time.Duration(min(fields.ExpiresIn, maxLifetime)) * time.Second
	now := time.Now().Round(0) // the wall clock, which continues while a process is frozen
	return &Token{
		AccessToken: sfoauth.NewSecret(fields.AccessToken), ID: fields.TokenID, Scope: fields.Scope,
		InstanceURL: fields.InstanceURL, APIInstanceURL: fields.APIInstanceURL,
		Expiry: now.Add(lifetime), RefreshAt: now.Add(lifetime - min(expiryMargin, lifetime/2)),
		Cache: resp.header.Get("X-Token-Cache"), JSON: sfoauth.NewSecret(string(bytes.TrimSpace(resp.body))),
	}, nil
}
