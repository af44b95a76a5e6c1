package sftoken_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

const (
	orgHost = "127.0.0.1:8443"
	awsHost = "127.0.0.1:4566"
	apiHost = "127.0.0.1:8080"
)

// billing is a session of a role in another account than the API's.
var billing = localaws.Principal{
	AccessKeyID: "ASIATESTBILLING", SecretAccessKey: "secret-of-billing", SessionToken: "session-of-billing", Account: "222222222222",
	ARN: "arn:aws:sts::222222222222:assumed-role/billing/anna", UserID: "AROATEST:anna", Invoke: []string{"GET/tokens/*", "DELETE/tokens/crm"},
}

// world is the API in front of a simulated org, on a network in memory: signatures, IAM and the rules of vending are real, and
// time is that of the bubble.
type world struct {
	t       *testing.T
	network *sfoauthtest.Network
	org     *sfoauthtest.Org
	gateway *localaws.Gateway
	client  *http.Client // over the network
	vendor  *vending.Vendor

	mu       sync.Mutex
	asked    []string                    // the query strings that have reached the function, in order
	instead  []func(http.ResponseWriter) // answers the next requests in place of API Gateway
	slowness time.Duration               // of each request
}

// inBubble runs a test in a world and a time of its own.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, network: &sfoauthtest.Network{}, org: sfoauthtest.New(sfoauthtest.Config{BaseURL: "http://" + orgHost})}
	secrets := localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"})
	w.client = w.network.Client()
	t.Cleanup(w.client.CloseIdleConnections)
	sdk := secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + awsHost), HTTPClient: w.client, Credentials: credentialsOf(billing),
	})
	w.vendor = vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: sdk, Prefix: "sftoken/"}, Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: w.client,
	})
	w.gateway = &localaws.Gateway{
		Account: "111111111111", Region: "us-east-1", Stage: "v1", Keys: localaws.NewKeys(billing), AllowedAccounts: []string{billing.Account},
		Function: w.function,
	}
	w.serve(orgHost, w.org)
	w.serve(awsHost, secrets)
	w.serve(apiHost, w)
	key, secret := w.org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	value, _ := json.Marshal(map[string]string{"consumerKey": key, "consumerSecret": secret, "baseUri": "http://" + orgHost})
	if _, err := sdk.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("sftoken/crm"), SecretString: aws.String(string(value))}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) serve(host string, h http.Handler) {
	w.t.Helper()
	stop, err := w.network.Serve(host, h)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(stop)
}

func credentialsOf(p localaws.Principal) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)
}

// source returns a source of the app's tokens for billing.
func (w *world) source(app string) *sftoken.TokenSource {
	return w.sourceAt("http://"+apiHost+"/v1/", app) // a slash at the end is forgiven
}

func (w *world) sourceAt(url, app string) *sftoken.TokenSource {
	config := aws.Config{Region: "us-east-1", Credentials: credentialsOf(billing)}
	return sftoken.NewTokenSource(config, url, app, sftoken.WithHTTPClient(w.client))
}

// transport returns a client of Salesforce.
func (w *world) salesforce() *http.Client {
	return &http.Client{Transport: &sftoken.Transport{Source: w.source("crm"), Base: w.client.Transport}}
}

// ServeHTTP is API Gateway, or what has been told to answer in its place.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	slowness := w.slowness
	var instead func(http.ResponseWriter)
	if len(w.instead) > 0 {
		instead, w.instead = w.instead[0], w.instead[1:]
		w.asked = append(w.asked, r.URL.RawQuery)
	}
	w.mu.Unlock()
	time.Sleep(slowness)
	if instead != nil {
		instead(rw)
		return
	}
	w.gateway.ServeHTTP(rw, r)
}

// function does what functions/token does with an event.
func (w *world) function(ctx context.Context, payload []byte) ([]byte, error) {
	var event struct {
		HTTPMethod            string
		QueryStringParameters map[string]string
		RequestContext        struct{ Identity struct{ UserArn string } }
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, err
	}
	rejected := event.QueryStringParameters["rejected"]
	w.mu.Lock()
	w.asked = append(w.asked, rejected)
	w.mu.Unlock()
	req := vending.Request{App: appOf(payload), Principal: event.RequestContext.Identity.UserArn, Rejected: rejected}
	if event.HTTPMethod == http.MethodDelete {
		if _, err := w.vendor.Revoke(ctx, req, &vending.CallStats{}); err != nil {
			return nil, err
		}
		return []byte(`{"statusCode":204}`), nil
	}
	grant, err := w.vendor.Vend(ctx, req, &vending.CallStats{})
	if failed, ok := errors.AsType[*vending.Error](err); ok {
		return answer(404, nil, map[string]any{"error": failed.Code, "error_description": failed.Description, "request_id": "req-1"}), nil
	}
	return answer(200, map[string]string{"X-Token-Cache": string(grant.CacheStatus)}, map[string]any{
		"access_token": grant.Token.AccessToken.Reveal(), "token_type": "Bearer", "expires_in": int64(grant.ExpiresIn.Seconds()), "token_id": grant.TokenID,
		"instance_url": grant.Token.InstanceURL, "id": grant.Token.ID, "scope": grant.Token.Scope,
	}), err
}

// appOf returns the app that an event asks for.
func appOf(payload []byte) string {
	var event struct{ PathParameters map[string]string }
	_ = json.Unmarshal(payload, &event) // it is the gateway's
	return event.PathParameters["app"]
}

func answer(status int, header map[string]string, body any) []byte {
	text, _ := json.Marshal(body)
	raw, _ := json.Marshal(map[string]any{"statusCode": status, "headers": header, "body": string(text)})
	return raw
}

// inPlace makes the next requests meet these answers instead of API Gateway, and no longer those of before.
func (w *world) inPlace(answers ...func(http.ResponseWriter)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instead = answers
}

// slow makes each request to the API take so long.
func (w *world) slow(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slowness = d
}

// requests returns what the API has been asked since it was last called: the ids that were rejected.
func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

// get calls Salesforce and returns the status.
func (w *world) get(client *http.Client, url string) int {
	w.t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// says answers with a status, header lines and a body.
func says(status int, body string, header ...string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			rw.Header().Set(name, value)
		}
		rw.WriteHeader(status)
		fmt.Fprint(rw, body)
	}
}

// bare answers with a secret and no HTTP around it.
func bare(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = connection.Write([]byte(billing.SessionToken + "\r\n\r\n"))
	_ = connection.Close()
}

// breaks closes the connection without an answer.
func breaks(http.ResponseWriter) { panic(http.ErrAbortHandler) }
