package sfoauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// APIVersion is the version of the REST API that this package calls, the first one with staged credentials.
const APIVersion = "v65.0"

const credentialsPath = "/services/data/" + APIVersion + "/apps/oauth/credentials/"

// StagedCredentialsClient rotates the credentials of an External Client App through the Connect REST API: it stages new
// credentials, promotes them to be the app's primary credentials, and deletes the old ones. A consumer has at most one
// set of credentials besides the primary ones. Its methods are safe for concurrent use, and return an *Error when they
// fail.
//
// The token's user needs the permissions External Client App Developer and View Client Secret, and the org must allow
// access to consumer secrets through the REST API. Otherwise Salesforce responds with 403 INSUFFICIENT_ACCESS or 404.
//
// Sources: Salesforce Help, "Stage, Rotate, and Delete OAuth Credentials for an External Client App"; Connect REST API
// Developer Guide.
type StagedCredentialsClient struct {
	client     *Client
	token      *Token
	appID      string
	consumerID string
}

// StagedCredentials returns a client for the credentials of an app's consumer that acts as the token's user. It uses
// c's hosts, HTTP client and timeout, but not c's consumer key and secret. Apps needs no ids, and Consumers only appID;
// the other methods fail without a request if an id is missing.
func (c *Client) StagedCredentials(token *Token, appID, consumerID string) *StagedCredentialsClient {
	return &StagedCredentialsClient{client: c, token: token, appID: appID, consumerID: consumerID}
}

// ConsumerCredentials is a consumer key and its secret. A rotation changes both.
type ConsumerCredentials struct {
	ConsumerKey    string
	ConsumerSecret Secret
}

// Equal reports whether key and secret are equal.
func (p ConsumerCredentials) Equal(other ConsumerCredentials) bool {
	return p.ConsumerKey == other.ConsumerKey && p.ConsumerSecret.Equal(other.ConsumerSecret)
}

func (p ConsumerCredentials) complete() bool {
	return p.ConsumerKey != "" && !p.ConsumerSecret.IsZero()
}

// State is the state of credentials that are not the primary ones.
type State string

// The states of staged credentials.
const (
	Active  State = "Active"  // staged; a login with them succeeds
	Expired State = "Expired" // staged 30 days ago and never promoted
	Rotated State = "Rotated" // the previous primary credentials; they work until their expiration
)

// StagedCredentials are credentials that are not the primary ones: staged, or rotated out.
type StagedCredentials struct {
	ConsumerCredentials
	ID         string
	State      State
	Expiration time.Time // zero if Salesforce does not say
	Created    time.Time // zero if Salesforce does not say
}

// Consumer is one consumer of an app.
type Consumer struct {
	ID          string `json:"id"` // 888…
	ConsumerKey string `json:"key"`
	Name        string `json:"name"`
}

// ExternalClientApp is an app in the org's list.
type ExternalClientApp struct {
	ID   string `json:"identifier"` // 0xI…
	Name string `json:"name"`
}

// Apps lists the org's apps.
func (c *StagedCredentialsClient) Apps(ctx context.Context) ([]ExternalClientApp, error) {
	var list struct {
		Apps  []ExternalClientApp `json:"apps"`
		Usage []ExternalClientApp `json:"usage"`
	}
	req := c.request("usage", http.MethodGet, "/services/data/"+APIVersion+"/apps/oauth/usage", "")
	err := c.client.doJSON(ctx, req, &list)
	return append(list.Apps, list.Usage...), err
}

// Consumers lists the app's consumers.
func (c *StagedCredentialsClient) Consumers(ctx context.Context) ([]Consumer, error) {
	var list struct {
		Consumers []Consumer `json:"consumers"`
	}
	if !isRecordID(c.appID) {
		return nil, missingIDs("consumers")
	}
	err := c.client.doJSON(ctx, c.request("consumers", http.MethodGet, credentialsPath+c.appID, ""), &list)
	return list.Consumers, err
}

// Primary returns the primary credentials.
func (c *StagedCredentialsClient) Primary(ctx context.Context) (ConsumerCredentials, error) {
	const op = "primary credentials"
	path, err := c.path(op, "")
	if err != nil {
		return ConsumerCredentials{}, err
	}
	req := c.request(op, http.MethodGet, path+"?part=keyandsecret", "")
	var resp credentialsResponse
	if err := c.client.doJSON(ctx, req, &resp); err != nil {
		return ConsumerCredentials{}, err
	}
	primary := resp.credentials()
	if !primary.complete() {
		return ConsumerCredentials{}, c.client.invalidResponse(req, errors.New("no key and secret in response"))
	}
	return primary, nil
}

// ListStaged returns the credentials that are not the primary ones. Salesforce documents at most one.
func (c *StagedCredentialsClient) ListStaged(ctx context.Context) ([]StagedCredentials, error) {
	const op = "staged credentials"
	path, err := c.path(op, "/staged")
	if err != nil {
		return nil, err
	}
	var resp credentialsResponse
	if err := c.client.doJSON(ctx, c.request(op, http.MethodGet, path, ""), &resp); err != nil {
		return nil, err
	}
	return resp.staged(), nil
}

// Stage creates new credentials. It fails if the consumer already has staged or rotated credentials. If the response is
// lost, ListStaged shows whether Stage succeeded.
func (c *StagedCredentialsClient) Stage(ctx context.Context) (StagedCredentials, error) {
	path, err := c.path("stage", "/staged")
	if err != nil {
		return StagedCredentials{}, err
	}
	req := c.request("stage", http.MethodPost, path, "{}")
	var resp credentialsResponse
	if err := c.client.doJSON(ctx, req, &resp); err != nil {
		return StagedCredentials{}, err
	}
	staged := resp.staged()
	if len(staged) != 1 || !staged[0].complete() {
		err := errors.New("no single new key and secret in response")
		return StagedCredentials{}, c.client.invalidResponse(req, err)
	}
	return staged[0], nil
}

// Promote makes the staged credentials with this id the primary ones. The previous primary credentials become Rotated.
func (c *StagedCredentialsClient) Promote(ctx context.Context, stagedID string) error {
	return c.change(ctx, "promote", http.MethodPatch, stagedID, `{"command":"rotate"}`)
}

// Delete deletes the staged or rotated credentials with this id. They stop working at once.
func (c *StagedCredentialsClient) Delete(ctx context.Context, stagedID string) error {
	return c.change(ctx, "delete staged credentials", http.MethodDelete, stagedID, "")
}

func (c *StagedCredentialsClient) change(ctx context.Context, op, method, stagedID, body string) error {
	path, err := c.path(op, "/staged/"+stagedID)
	if err == nil && (stagedID == "" || len(stagedID) > 64 || strings.Trim(stagedID, alphanumeric) != "") {
		err = &Error{Op: op, Kind: Permanent, Err: errors.New("the id of staged credentials must be letters and digits")}
	}
	if err != nil {
		return err
	}
	_, err = c.client.do(ctx, c.request(op, method, path, body), c.client.AllowedHosts.Instance)
	return err
}

// path returns the path of a consumer's resource. It uses the ids only, never a URL from a response.
func (c *StagedCredentialsClient) path(op, resource string) (string, error) {
	if !isRecordID(c.appID) || !isRecordID(c.consumerID) {
		return "", missingIDs(op)
	}
	return credentialsPath + c.appID + "/" + c.consumerID + resource, nil
}

func missingIDs(op string) error {
	return &Error{Op: op, Kind: Permanent, Err: errors.New(
		"appId (0xI…) and consumerId (888…) must be record ids of 15 or 18 letters and digits")}
}

// request returns a call of the REST API as the token's user.
func (c *StagedCredentialsClient) request(op, method, path, body string) call {
	req := c.client.withToken(op, method, path, c.token)
	req.json, req.rest = body, true
	return req
}

// credentialsResponse decodes both forms of a response: a list under stagedCredentials, and a single object.
type credentialsResponse struct {
	credentialsObject
	List []credentialsObject `json:"stagedCredentials"`
}

type credentialsObject struct {
	ID         string    `json:"id"`
	Key        string    `json:"key"`
	Secret     string    `json:"secret"`
	State      State     `json:"state"`
	Expiration timestamp `json:"expirationDate"`
	Created    timestamp `json:"createdDate"`
}

func (o credentialsObject) credentials() ConsumerCredentials {
	return ConsumerCredentials{o.Key, NewSecret(o.Secret)}
}

func (r credentialsResponse) staged() []StagedCredentials {
	objects := r.List
	if r.ID != "" {
		objects = append(objects, r.credentialsObject)
	}
	var staged []StagedCredentials
	for _, o := range objects {
		staged = append(staged, StagedCredentials{o.credentials(), o.ID, o.State, o.Expiration.Time, o.Created.Time})
	}
	return staged
}

// timestamp decodes the ISO 8601 forms that Salesforce writes. An unknown form leaves it zero, because no decision
// depends on it.
type timestamp struct{ time.Time }

func (t *timestamp) UnmarshalJSON(raw []byte) error {
	var text string
	_ = json.Unmarshal(raw, &text) // text stays empty if raw is not a string
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if at, err := time.Parse(layout, text); err == nil {
			t.Time = at
			return nil
		}
	}
	return nil
}
