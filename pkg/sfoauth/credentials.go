package sfoauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// APIVersion is the version of the Connect REST API that Credentials speaks, the first that has staged credentials.
const APIVersion = "v65.0"

const credentialsPath = "/services/data/" + APIVersion + "/apps/oauth/credentials/"

// StagedCredentialsClient changes the pair of an External Client App's consumer through the Connect REST API. A new pair is staged
// beside the main one, tried, and then made the main one; the old main pair goes on working for 30 days unless it is
// deleted. A consumer has one slot for a pair beside the main one. It is safe for concurrent use.
//
// The token's user needs the permissions External Client App Developer and View Client Secret, in an org that allows access
// to consumer secrets through the REST API. Where one of them is missing, Salesforce answers 403 INSUFFICIENT_ACCESS
// or 404.
//
// Source: Salesforce Help, "Stage, Rotate, and Delete OAuth StagedCredentialsClient for an External Client App"; Connect REST API
// Developer Guide.
type StagedCredentialsClient struct {
	client     *Client
	token      *Token
	appID      string
	consumerID string
}

// ConsumerCredentials is a consumer key and its secret. Both change together.
type ConsumerCredentials struct {
	ConsumerKey    string
	ConsumerSecret Secret
}

// Equal compares two pairs.
func (p ConsumerCredentials) Equal(other ConsumerCredentials) bool {
	return p.ConsumerKey == other.ConsumerKey && p.ConsumerSecret.Equal(other.ConsumerSecret)
}

// State is the state of the pair in the slot.
type State string

const (
	Active  State = "Active"  // staged: logs in beside the main pair
	Expired State = "Expired" // was staged for 30 days and never made the main one
	Rotated State = "Rotated" // was the main pair, and logs in until ExpirationDate
)

// StagedCredentials is the pair in the slot.
type StagedCredentials struct {
	ConsumerCredentials
	ID         string
	State      State
	Expiration time.Time // zero where the answer does not say
	Created    time.Time // zero where the answer does not say
}

// Consumer is one consumer of an app.
type Consumer struct {
	ID          string `json:"id"` // 888…
	ConsumerKey string `json:"key"`
	Name        string `json:"name"`
}

// ExternalClientApp is one app as the org lists it.
type ExternalClientApp struct {
	ID   string `json:"identifier"` // 0xI…
	Name string `json:"name"`
}

// StagedCredentialsClient returns access to the pairs of the consumer of an app, with the rights of the token's user. The client's own
// pair takes no part in it.
func (c *Client) StagedCredentialsClient(token *Token, appID, consumerID string) *StagedCredentialsClient {
	return &StagedCredentialsClient{client: c, token: token, appID: appID, consumerID: consumerID}
}

// Apps lists the org's apps; the app and consumer ids are not needed for it.
func (c *StagedCredentialsClient) Apps(ctx context.Context) ([]ExternalClientApp, error) {
	var a struct {
		Apps  []ExternalClientApp `json:"apps"`
		Usage []ExternalClientApp `json:"usage"`
	}
	err := c.get(ctx, "usage", "/services/data/"+APIVersion+"/apps/oauth/usage", &a)
	return append(a.Apps, a.Usage...), err
}

// Consumers lists the app's consumers; the consumer id is not needed for it.
func (c *StagedCredentialsClient) Consumers(ctx context.Context) ([]Consumer, error) {
	var a struct {
		Consumers []Consumer `json:"consumers"`
	}
	if !isRecordID(c.appID) {
		return nil, c.unnamed("consumers")
	}
	err := c.get(ctx, "consumers", credentialsPath+c.appID, &a)
	return a.Consumers, err
}

// Primary returns the main pair.
func (c *StagedCredentialsClient) Primary(ctx context.Context) (ConsumerCredentials, error) {
	var a stagedAnswer
	path, err := c.path("main pair", "")
	if err != nil {
		return ConsumerCredentials{}, err
	}
	if err := c.get(ctx, "main pair", path+"?part=keyandsecret", &a); err != nil {
		return ConsumerCredentials{}, err
	}
	pair := a.pair()
	if pair.ConsumerKey == "" || pair.ConsumerSecret.IsZero() {
		return ConsumerCredentials{}, c.untrusted("main pair", errors.New("the answer holds no pair"))
	}
	return pair, nil
}

// ListStaged returns the pairs beside the main one: one at most, as far as is known.
func (c *StagedCredentialsClient) ListStaged(ctx context.Context) ([]StagedCredentials, error) {
	path, err := c.path("staged pairs", "/staged")
	if err != nil {
		return nil, err
	}
	var a stagedAnswer
	if err := c.get(ctx, "staged pairs", path, &a); err != nil {
		return nil, err
	}
	return a.all(), nil
}

// Stage makes a new pair beside the main one. It fails where the slot is taken. When the answer is lost, Staged tells
// whether it took effect.
func (c *StagedCredentialsClient) Stage(ctx context.Context) (StagedCredentials, error) {
	path, err := c.path("stage", "/staged")
	if err != nil {
		return StagedCredentials{}, err
	}
	body, err := c.send(ctx, "stage", http.MethodPost, path, "{}")
	if err != nil {
		return StagedCredentials{}, err
	}
	var a stagedAnswer
	if err := decode(body, &a); err != nil {
		return StagedCredentials{}, c.untrusted("stage", err)
	}
	pairs := a.all()
	if len(pairs) != 1 || pairs[0].ConsumerKey == "" || pairs[0].ConsumerSecret.IsZero() {
		return StagedCredentials{}, c.untrusted("stage", errors.New("the answer does not hold one new pair"))
	}
	return pairs[0], nil
}

// Promote makes the staged pair the main one. The old main pair takes its place in the slot, as Rotated.
func (c *StagedCredentialsClient) Promote(ctx context.Context, stagedID string) error {
	return c.change(ctx, "rotate", http.MethodPatch, stagedID, `{"command":"rotate"}`)
}

// Delete empties the slot. The pair in it stops working at once.
func (c *StagedCredentialsClient) Delete(ctx context.Context, stagedID string) error {
	return c.change(ctx, "delete staged pair", http.MethodDelete, stagedID, "")
}

func (c *StagedCredentialsClient) change(ctx context.Context, op, method, stagedID, body string) error {
	path, err := c.path(op, "/staged/"+stagedID)
	if err == nil && (stagedID == "" || len(stagedID) > 64 || strings.Trim(stagedID, alphanumeric) != "") {
		err = &Error{Op: op, Kind: Permanent, Err: errors.New("the staged pair's id must be letters and digits")}
	}
	if err != nil {
		return err
	}
	_, err = c.send(ctx, op, method, path, body)
	return err
}

// path is built from the ids and never from the URLs in an answer.
func (c *StagedCredentialsClient) path(op, rest string) (string, error) {
	if !isRecordID(c.appID) || !isRecordID(c.consumerID) {
		return "", c.unnamed(op)
	}
	return credentialsPath + c.appID + "/" + c.consumerID + rest, nil
}

func (c *StagedCredentialsClient) get(ctx context.Context, op, path string, into any) error {
	body, err := c.send(ctx, op, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	if err := decode(body, into); err != nil {
		return c.untrusted(op, err)
	}
	return nil
}

func (c *StagedCredentialsClient) send(ctx context.Context, op, method, path, body string) ([]byte, error) {
	req := call{
		op: op, method: method, base: c.client.instance(c.token), path: path, json: body, rest: true,
		bearer: c.token.AccessToken, own: []Secret{c.token.AccessToken, c.client.ConsumerSecret},
	}
	return c.client.do(ctx, req, c.client.AllowedHosts.Instance)
}

func (c *StagedCredentialsClient) untrusted(op string, err error) error {
	return c.client.untrusted(call{op: op, base: c.client.instance(c.token)}, err)
}

func (c *StagedCredentialsClient) unnamed(op string) error {
	return &Error{Op: op, Kind: Permanent, Err: errors.New("appId (0xI…) and consumerId (888…) must be record ids of 15 or 18 letters and digits")}
}

// stagedAnswer takes both forms in which pairs are answered: a list under stagedCredentials, and the object itself.
type stagedAnswer struct {
	stagedObject
	List []stagedObject `json:"stagedCredentials"`
}

type stagedObject struct {
	ID         string    `json:"id"`
	Key        string    `json:"key"`
	Secret     string    `json:"secret"`
	State      State     `json:"state"`
	Expiration timestamp `json:"expirationDate"`
	Created    timestamp `json:"createdDate"`
}

func (o stagedObject) pair() ConsumerCredentials {
	return ConsumerCredentials{o.Key, NewSecret(o.Secret)}
}

func (a stagedAnswer) all() []StagedCredentials {
	objects := a.List
	if a.ID != "" {
		objects = append(objects, a.stagedObject)
	}
	var pairs []StagedCredentials
	for _, o := range objects {
		pairs = append(pairs, StagedCredentials{o.pair(), o.ID, o.State, o.Expiration.Time, o.Created.Time})
	}
	return pairs
}

// timestamp reads the ISO 8601 forms that Salesforce writes. One that is not understood stays zero: no decision hangs on
// it.
type timestamp struct{ time.Time }

func (t *timestamp) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if at, err := time.Parse(layout, text); err == nil {
			t.Time = at
			return nil
		}
	}
	return nil
}
