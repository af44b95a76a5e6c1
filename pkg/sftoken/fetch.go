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
	// maxBody bounds what is read of an answer, in bytes.
	maxBody = 256 << 10
	// expiryMargin is how long before its expiry a token is replaced, or half of its life where that is shorter.
	expiryMargin = 30 * time.Second
)

// fetch asks the API for a token.
func (s *TokenSource) fetch(ctx context.Context, rejected string) (*Token, error) {
	query := ""
	if rejected != "" {
		query = "?rejected=" + url.QueryEscape(rejected)
	}
	resp, body, err := s.send(ctx, http.MethodGet, query)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, apiError(resp, body)
	}
	return parseToken(resp, body)
}

// revoke asks the API to end the app's token.
func (s *TokenSource) revoke(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, body, err := s.send(ctx, http.MethodDelete, "")
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		return apiError(resp, body)
	}
	return nil
}

// send makes one request. It is signed anew each time, since a signature is good for five minutes.
func (s *TokenSource) send(ctx context.Context, method, query string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+"/tokens/"+s.app+query, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("sftoken: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if err := s.sign(req); err != nil {
		return nil, nil, err
	}
	// A redirect would take the signature, and with a session its token, to another host.
	unredirected := *s.client
	unredirected.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := unredirected.Do(req)
	if err != nil {
		return nil, nil, newTransportError("no answer of the API: ", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, nil, newTransportError("the API's answer broke off: ", err)
	}
	return resp, body, nil
}

func (s *TokenSource) sign(req *http.Request) error {
	if s.config.Credentials == nil {
		return errors.New("sftoken: the AWS configuration has no credentials")
	}
	credentials, err := s.config.Credentials.Retrieve(req.Context())
	if err != nil {
		return fmt.Errorf("sftoken: AWS credentials: %w", err)
	}
	if !credentials.HasKeys() { // the signer would sign with empty ones
		return errors.New("sftoken: the AWS credentials are empty")
	}
	empty := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(req.Context(), credentials, req, hex.EncodeToString(empty[:]), "execute-api", s.region, time.Now()); err != nil {
		return fmt.Errorf("sftoken: signing: %w", err)
	}
	return nil
}

func parseToken(resp *http.Response, body []byte) (*Token, error) {
	var a struct {
		AccessToken    string `json:"access_token"`
		ExpiresIn      int64  `json:"expires_in"`
		TokenID        string `json:"token_id"`
		InstanceURL    string `json:"instance_url"`
		APIInstanceURL string `json:"api_instance_url"`
		Scope          string `json:"scope"`
	}
	if json.Unmarshal(body, &a) != nil || a.AccessToken == "" || a.TokenID == "" || a.InstanceURL == "" || a.ExpiresIn < 1 {
		return nil, errors.New("sftoken: the answer is not a token: is this the address of the sftoken API?")
	}
	if strings.ContainsFunc(a.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("sftoken: the answer's access_token holds white space or characters that do not print")
	}
	life := time.Duration(a.ExpiresIn) * time.Second
	now := time.Now().Round(0) // by the clock on the wall, which goes on while a process is frozen
	return &Token{
		AccessToken: sfoauth.NewSecret(a.AccessToken), ID: a.TokenID, InstanceURL: a.InstanceURL, APIInstanceURL: a.APIInstanceURL, Scope: a.Scope,
		Expiry: now.Add(life), refreshAt: now.Add(life - min(expiryMargin, life/2)), Cache: resp.Header.Get("X-Token-Cache"),
		JSON: sfoauth.NewSecret(string(bytes.TrimSpace(body))),
	}, nil
}
