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
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Error is what the API, or API Gateway in front of it, answered instead of a token.
type Error struct {
	Status          int
	Code            string        // error, as docs/openapi.yaml lists them; empty where API Gateway itself refused
	Description     string        // error_description, or API Gateway's message
	SalesforceError string        // what Salesforce said, where it did
	RequestID       string        // names the request in the function's log
	RetryAfter      time.Duration // when to try again; zero: not before something has been changed
}

func (e *Error) Error() string {
	text := fmt.Sprintf("sftoken: HTTP %d", e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Description != "" {
		text += ": " + e.Description
	}
	if e.SalesforceError != "" {
		text += " (Salesforce: " + e.SalesforceError + ")"
	}
	if e.RequestID != "" {
		text += " [request " + e.RequestID + "]"
	}
	return text
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 256 << 10

// fetchPatiently fetches, and tries again when the API says that it may be worth it.
func (s *Source) fetchPatiently(ctx context.Context, rejected string) (*Token, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	var last error // what the API said before
	for {
		token, err := s.fetch(ctx, rejected)
		if err != nil && ctx.Err() != nil && last != nil {
			return nil, last // says more than that time is up
		}
		failed, ok := errors.AsType[*Error](err)
		last = err
		if !ok || failed.Status != http.StatusServiceUnavailable {
			return token, err
		}
		wait := max(failed.RetryAfter, time.Second)
		if deadline, _ := ctx.Deadline(); time.Until(deadline) <= wait {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// fetch makes one signed request. It is signed anew each time, since a signature is good for five minutes.
func (s *Source) fetch(ctx context.Context, rejected string) (*Token, error) {
	query := ""
	if rejected != "" {
		query = "?rejected=" + url.QueryEscape(rejected)
	}
	resp, body, err := s.send(ctx, http.MethodGet, query)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, failure(resp, body)
	}
	return parseToken(resp, body)
}

// Revoke has the app's cached token revoked at Salesforce, for everybody who holds it. It is for emergencies, and takes the
// right to invoke DELETE on the app's path.
func (s *Source) Revoke(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	resp, body, err := s.send(ctx, http.MethodDelete, "")
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		return failure(resp, body)
	}
	return nil
}

func (s *Source) send(ctx context.Context, method, query string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+"/tokens/"+s.app+query, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("sftoken: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if s.config.Credentials == nil {
		return nil, nil, errors.New("sftoken: the AWS configuration has no credentials")
	}
	credentials, err := s.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sftoken: AWS credentials: %w", err)
	}
	if !credentials.HasKeys() { // the signer would sign with empty ones
		return nil, nil, errors.New("sftoken: the AWS credentials are empty")
	}
	empty := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(empty[:]), "execute-api", s.region, time.Now()); err != nil {
		return nil, nil, fmt.Errorf("sftoken: signing: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("sftoken: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("sftoken: the API's answer broke off: %w", err)
	}
	return resp, body, nil
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
	if json.Unmarshal(body, &a) != nil || a.AccessToken == "" || a.InstanceURL == "" {
		return nil, errors.New("sftoken: the answer is not a token: is this the address of the sftoken API?")
	}
	return &Token{
		AccessToken: sfoauth.NewSecret(a.AccessToken), ID: a.TokenID, InstanceURL: a.InstanceURL, APIInstanceURL: a.APIInstanceURL, Scope: a.Scope,
		Expiry: time.Now().Add(time.Duration(a.ExpiresIn) * time.Second), Cache: resp.Header.Get("X-Token-Cache"),
		JSON: sfoauth.NewSecret(string(bytes.TrimSpace(body))),
	}, nil
}

// failure reads the API's own form of an error, and API Gateway's, which writes "message" or "Message".
func failure(resp *http.Response, body []byte) *Error {
	var a struct {
		Error           string `json:"error"`
		Description     string `json:"error_description"`
		SalesforceError string `json:"salesforce_error"`
		RequestID       string `json:"request_id"`
		Message         string `json:"message"`
	}
	_ = json.Unmarshal(body, &a) // what is not JSON says nothing
	e := &Error{Status: resp.StatusCode, Code: a.Error, Description: a.Description, SalesforceError: a.SalesforceError, RequestID: a.RequestID}
	if e.Code == "" {
		// Of a wrong signature API Gateway echoes all that was to be signed, the caller's session token included.
		a.Message, _, _ = strings.Cut(a.Message, "\n")
		e.Description, e.RequestID = a.Message, resp.Header.Get("X-Amzn-Requestid")
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
