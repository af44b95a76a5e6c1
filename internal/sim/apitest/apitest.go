// Package apitest serves the sftoken API on simtest's network, for tests of its clients: API Gateway's signatures and
// permissions and the vending of tokens are real.
package apitest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Where the API is on the network.
const (
	Host = "127.0.0.1:8080"
	URL  = "http://" + Host + "/v1"
)

// Billing is a session of a role in another account than the API's. It may get the tokens of every app.
var Billing = localaws.Principal{
	AccessKeyID: "ASIATESTBILLING", SecretAccessKey: "secret-of-billing", SessionToken: "session-of-billing",
	Account: "222222222222", ARN: "arn:aws:sts::222222222222:assumed-role/billing/anna", UserID: "AROATEST:anna",
	Invoke: []string{"GET/tokens/*", "DELETE/tokens/crm"},
}

// Harness is the API in front of a simulated org, on a network in memory.
type Harness struct {
	*simtest.Harness
	*API
	Client *http.Client // over the network
}

// API is an http.Handler: the API of one region, or the responses that are set in its place.
type API struct {
	Gateway *localaws.Gateway
	Vendor  *vending.Vendor

	mu      sync.Mutex
	queries []string                    // the rejected IDs, or raw queries, of the requests so far
	queued  []func(http.ResponseWriter) // responses to the next requests in place of API Gateway's
	broken  http.HandlerFunc            // answers each other request in its place; may be nil
	delay   time.Duration               // of each request to the API
}

// New returns a Harness that is stopped when the test ends.
func New(t testing.TB, o simtest.Options) *Harness {
	h := &Harness{Harness: simtest.New(t, o)}
	h.Client = h.HTTPClient()
	h.API = h.AddRegion(Host, simtest.Region)
	return h
}

// AddRegion serves the API of another region, whose functions read the same secret and have tokens of their own.
func (h *Harness) AddRegion(host, region string) *API {
	a := &API{Vendor: vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: h.Secrets, Prefix: simtest.Prefix},
		Hosts:   sfoauth.AllowedHosts{simtest.OrgHost}, HTTPClient: h.Client,
	})}
	a.Gateway = &localaws.Gateway{
		Account: simtest.Account, Region: region, Stage: "v1", Keys: localaws.NewKeys(Billing),
		AllowedAccounts: []string{Billing.Account}, Function: a.function,
	}
	h.Serve(host, a)
	return a
}

// Requests are those to the API of the first region; simtest's are those to the org.
func (h *Harness) Requests() []string { return h.API.Requests() }

// Config is an AWS configuration with Billing's credentials.
func (h *Harness) Config() aws.Config {
	return aws.Config{Region: simtest.Region, Credentials: Billing.Credentials()}
}

// ServeHTTP is API Gateway, or one of the responses in its place.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	delay, instead := a.delay, a.broken
	if len(a.queued) > 0 {
		next := a.queued[0]
		instead, a.queued = func(w http.ResponseWriter, _ *http.Request) { next(w) }, a.queued[1:]
	}
	if instead != nil {
		a.queries = append(a.queries, r.URL.RawQuery)
	}
	a.mu.Unlock()
	time.Sleep(delay)
	if instead != nil {
		instead(w, r)
		return
	}
	a.Gateway.ServeHTTP(w, r)
}

// function handles an event as functions/token does.
func (a *API) function(ctx context.Context, payload []byte) ([]byte, error) {
	var event struct {
		HTTPMethod            string
		QueryStringParameters map[string]string
		RequestContext        struct{ Identity struct{ UserArn string } }
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, err
	}
	rejected := event.QueryStringParameters["rejected"]
	a.mu.Lock()
	a.queries = append(a.queries, rejected)
	a.mu.Unlock()
	req := vending.Request{App: AppOf(payload), Principal: event.RequestContext.Identity.UserArn, Rejected: rejected}
	if event.HTTPMethod == http.MethodDelete {
		if _, err := a.Vendor.Revoke(ctx, req, &vending.CallStats{}); err != nil {
			return nil, err
		}
		return []byte(`{"statusCode":204}`), nil
	}
	grant, err := a.Vendor.Vend(ctx, req, &vending.CallStats{})
	if failed, ok := errors.AsType[*vending.Error](err); ok {
		return Response(404, nil, map[string]any{
			"error": failed.Code, "error_description": failed.Description, "request_id": "req-1",
		}), nil
	}
	return Response(200, map[string]string{"X-Token-Cache": string(grant.CacheStatus)}, map[string]any{
		"access_token": grant.Token.AccessToken.Reveal(), "token_type": "Bearer", "token_id": grant.TokenID,
		"expires_in": int64(grant.ExpiresIn.Seconds()), "instance_url": grant.Token.InstanceURL,
		"id": grant.Token.ID, "scope": grant.Token.Scope,
	}), err
}

// RespondWith replaces the next responses of API Gateway by these, and drops earlier ones that are left.
func (a *API) RespondWith(responses ...func(http.ResponseWriter)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queued = responses
}

// Break makes the handler answer in place of API Gateway, until Break is called with nil.
func (a *API) Break(handler http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = handler
}

// SetDelay delays each request to the API by d.
func (a *API) SetDelay(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delay = d
}

// Requests returns the rejected ID of each request to the API since the last call of Requests.
func (a *API) Requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.queries
	a.queries = nil
	return asked
}

// AppOf returns the app of an event.
func AppOf(payload []byte) string {
	var event struct{ PathParameters map[string]string }
	_ = json.Unmarshal(payload, &event) // the gateway's own JSON
	return event.PathParameters["app"]
}

// Response returns a function's response for API Gateway.
func Response(status int, header map[string]string, body any) []byte {
	text, _ := json.Marshal(body)
	raw, _ := json.Marshal(map[string]any{"statusCode": status, "headers": header, "body": string(text)})
	return raw
}
