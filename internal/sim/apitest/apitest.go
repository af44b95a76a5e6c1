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

// Harness is the API in front of a simulated org, on a network in memory. It is an http.Handler: the API itself, or the
// responses that are set in its place.
type Harness struct {
	*simtest.Harness
	Gateway *localaws.Gateway
	Client  *http.Client // over the network
	Vendor  *vending.Vendor

	mu      sync.Mutex
	queries []string                    // the rejected IDs, or raw queries, of the requests so far
	queued  []func(http.ResponseWriter) // responses to the next requests in place of API Gateway's
	delay   time.Duration               // of each request to the API
}

// New returns a Harness that is stopped when the test ends.
func New(t testing.TB, o simtest.Options) *Harness {
	h := &Harness{Harness: simtest.New(t, o)}
	h.Client = h.HTTPClient()
	h.Vendor = vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: h.Secrets, Prefix: simtest.Prefix},
		Hosts:   sfoauth.AllowedHosts{simtest.OrgHost}, HTTPClient: h.Client,
	})
	h.Gateway = &localaws.Gateway{
		Account: simtest.Account, Region: simtest.Region, Stage: "v1", Keys: localaws.NewKeys(Billing),
		AllowedAccounts: []string{Billing.Account}, Function: h.function,
	}
	h.Serve(Host, h)
	return h
}

// Config is an AWS configuration with Billing's credentials.
func (h *Harness) Config() aws.Config {
	return aws.Config{Region: simtest.Region, Credentials: Billing.Credentials()}
}

// ServeHTTP is API Gateway, or one of the responses in its place.
func (h *Harness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	delay := h.delay
	var instead func(http.ResponseWriter)
	if len(h.queued) > 0 {
		instead, h.queued = h.queued[0], h.queued[1:]
		h.queries = append(h.queries, r.URL.RawQuery)
	}
	h.mu.Unlock()
	time.Sleep(delay)
	if instead != nil {
		instead(w)
		return
	}
	h.Gateway.ServeHTTP(w, r)
}

// function handles an event as functions/token does.
func (h *Harness) function(ctx context.Context, payload []byte) ([]byte, error) {
	var event struct {
		HTTPMethod            string
		QueryStringParameters map[string]string
		RequestContext        struct{ Identity struct{ UserArn string } }
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, err
	}
	rejected := event.QueryStringParameters["rejected"]
	h.mu.Lock()
	h.queries = append(h.queries, rejected)
	h.mu.Unlock()
	req := vending.Request{App: AppOf(payload), Principal: event.RequestContext.Identity.UserArn, Rejected: rejected}
	if event.HTTPMethod == http.MethodDelete {
		if _, err := h.Vendor.Revoke(ctx, req, &vending.CallStats{}); err != nil {
			return nil, err
		}
		return []byte(`{"statusCode":204}`), nil
	}
	grant, err := h.Vendor.Vend(ctx, req, &vending.CallStats{})
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
func (h *Harness) RespondWith(responses ...func(http.ResponseWriter)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queued = responses
}

// SetDelay delays each request to the API by d.
func (h *Harness) SetDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

// Requests returns the rejected ID of each request to the API since the last call of Requests.
func (h *Harness) Requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.queries
	h.queries = nil
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
