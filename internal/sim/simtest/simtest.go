// Package simtest is the harness of tests that need Salesforce and AWS Secrets Manager: a simulated org and a simulated
// Secrets Manager on a network in memory. Everything between them is real. Tests embed Harness and
// add the function or client under test.
package simtest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// Where the simulators are on the network, and what they are called.
const (
	OrgHost    = "127.0.0.1:8443"
	OrgURL     = "http://" + OrgHost
	AWSHost    = "127.0.0.1:4566"
	AWSURL     = "http://" + AWSHost
	Account    = "111111111111"
	Region     = "us-east-1"
	Prefix     = "sftoken/"
	AppName    = "crm"
	SecretName = Prefix + AppName

	StandbyRegion  = "us-west-2"
	StandbyAWSHost = "127.0.0.1:4567"
	StandbyAWSURL  = "http://" + StandbyAWSHost

	DynamoDBHost = "127.0.0.1:8000"
	DynamoDBURL  = "http://" + DynamoDBHost
	TableName    = "sftoken-tokens"
)

// Options configures New. The zero value is an org with one app, whose credentials are stored.
type Options struct {
	Org sfoauthtest.Config            // BaseURL is set by New
	App sfoauthtest.AppOptions        // of the first app
	AWS localaws.SecretsManagerConfig // Account and Region are set by New
	// StandbyAWS is a second region, to which secrets can be replicated. Nil: there is none.
	StandbyAWS *localaws.SecretsManagerConfig
	// Secret holds fields for the app's secret in addition to its credentials and address.
	Secret map[string]any
	// NoSecret leaves Secrets Manager empty.
	NoSecret bool
	// TokenTable serves the token table.
	TokenTable bool
	DynamoDB   localaws.DynamoDBConfig // Table and Key are set by New
}

// Harness is a simulated org with one app, and a Secrets Manager that holds the app's credentials.
type Harness struct {
	T       testing.TB
	Network *sfoauthtest.Network
	Org     *sfoauthtest.Org
	App     *sfoauthtest.App
	AWS     *localaws.SecretsManager
	Secrets *secretsmanager.Client // the test's own; changes the secret under test
	Tables  *localaws.DynamoDB     // with the token table; nil without Options.TokenTable

	// The second region; nil without Options.StandbyAWS.
	StandbyAWS     *localaws.SecretsManager
	StandbySecrets *secretsmanager.Client
	Replication    *localaws.Replication
}

// New returns a Harness that is stopped when the test ends.
func New(t testing.TB, o Options) *Harness {
	t.Helper()
	h := &Harness{T: t, Network: &sfoauthtest.Network{}}
	o.Org.BaseURL = OrgURL
	h.Org = sfoauthtest.New(o.Org)
	h.App = h.Org.AddApp(o.App)
	o.AWS.Account, o.AWS.Region = Account, Region
	if o.StandbyAWS != nil {
		h.Replication = &localaws.Replication{}
		standby := *o.StandbyAWS
		standby.Account, standby.Region, standby.Replication = Account, StandbyRegion, h.Replication
		o.AWS.Replication = h.Replication
		h.StandbyAWS = localaws.NewSecretsManager(standby)
		h.Serve(StandbyAWSHost, h.StandbyAWS)
		h.StandbySecrets = h.StandbySDK(h.HTTPClient())
	}
	h.AWS = localaws.NewSecretsManager(o.AWS)
	h.Serve(OrgHost, h.Org)
	h.Serve(AWSHost, h.AWS)
	t.Cleanup(func() { h.Org.ClearFaults() })
	if o.TokenTable {
		o.DynamoDB.Table, o.DynamoDB.Key = TableName, tokenstore.Key
		h.Tables = localaws.NewDynamoDB(o.DynamoDB)
		h.Serve(DynamoDBHost, h.Tables)
	}
	h.Secrets = h.SDK(h.HTTPClient())
	if !o.NoSecret {
		value := h.Value(h.App.Credentials())
		maps.Copy(value, o.Secret)
		h.CreateSecret(SecretName, value)
	}
	return h
}

// Run runs a test of New's harness in a synctest bubble, where time passes only while every goroutine waits.
func Run(t *testing.T, o Options, test func(t *testing.T, h *Harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, New(t, o)) })
}

// Serve makes the handler reachable on the network until the test ends.
func (h *Harness) Serve(host string, handler http.Handler) {
	h.T.Helper()
	stop, err := h.Network.Serve(host, handler)
	h.Must(err)
	h.T.Cleanup(stop)
}

// HTTPClient returns a new client on the network.
func (h *Harness) HTTPClient() *http.Client {
	client := h.Network.Client()
	h.T.Cleanup(client.CloseIdleConnections)
	return client
}

// SalesforceClient returns a client on the network with the transport that the functions use.
func (h *Harness) SalesforceClient() *http.Client {
	transport := sfoauth.NewTransport()
	transport.Proxy, transport.DialContext = nil, h.Network.DialContext
	h.T.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// SDK returns a Secrets Manager client that sends its requests with client.
func (h *Harness) SDK(client *http.Client) *secretsmanager.Client { return sdk(Region, AWSURL, client) }

// StandbySDK is SDK for the second region.
func (h *Harness) StandbySDK(client *http.Client) *secretsmanager.Client {
	return sdk(StandbyRegion, StandbyAWSURL, client)
}

func sdk(region, url string, client *http.Client) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: region, BaseEndpoint: &url, HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	})
}

// Replicate replicates AppName's secret to the second region.
func (h *Harness) Replicate() {
	h.T.Helper()
	_, err := h.Secrets.ReplicateSecretToRegions(h.T.Context(), &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId:          aws.String(SecretName),
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(StandbyRegion)}},
	})
	h.Must(err)
}

// Promote makes the replica in the second region a primary secret.
func (h *Harness) Promote() {
	h.T.Helper()
	_, err := h.StandbySecrets.StopReplicationToReplica(h.T.Context(), &secretsmanager.StopReplicationToReplicaInput{
		SecretId: aws.String(SecretName),
	})
	h.Must(err)
}

// TokenStore returns a new store in the token table, with connections of its own as in another process.
func (h *Harness) TokenStore() *tokenstore.DynamoDB {
	cfg := aws.Config{
		Region: Region, BaseEndpoint: aws.String(DynamoDBURL),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	}
	return tokenstore.NewDynamoDB(cfg, TableName, func(o *dynamodb.Options) {
		client := o.HTTPClient.(*awshttp.BuildableClient)
		o.HTTPClient = client.WithTransportOptions(func(t *http.Transport) {
			t.Proxy, t.DialContext = nil, h.Network.DialContext
		})
	})
}

// OAuth returns a Salesforce client that logs in with the credentials.
func (h *Harness) OAuth(key, secret string) *sfoauth.Client {
	return &sfoauth.Client{
		BaseURL: OrgURL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts: sfoauth.AllowedHosts{OrgHost}, HTTPClient: h.HTTPClient(),
	}
}

// Must fails the test if err is not nil.
func (h *Harness) Must(err error) {
	h.T.Helper()
	if err != nil {
		h.T.Fatal(err)
	}
}

// Value returns a secret's value with the credentials and the org's address. More fields can be added to it.
func (h *Harness) Value(key, secret string) map[string]any {
	return map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": OrgURL}
}

// CreateSecret creates a secret with this name.
func (h *Harness) CreateSecret(name string, value map[string]any) {
	h.T.Helper()
	_, err := h.Secrets.CreateSecret(h.T.Context(), &secretsmanager.CreateSecretInput{
		Name: &name, SecretString: aws.String(Encode(value)),
	})
	h.Must(err)
}

// Store writes a new version of AppName's secret under the labels (none: AWSCURRENT) and returns its id.
func (h *Harness) Store(value map[string]any, labels ...string) string {
	h.T.Helper()
	return h.StoreText(Encode(value), labels...)
}

// StoreText is Store for a value that need not be JSON.
func (h *Harness) StoreText(value string, labels ...string) string {
	h.T.Helper()
	out, err := h.Secrets.PutSecretValue(h.T.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(SecretName), SecretString: aws.String(value), VersionStages: labels,
	})
	h.Must(err)
	return *out.VersionId
}

// StoreWith stores the credentials of App in a new version of AppName's secret, with one more field.
func (h *Harness) StoreWith(field string, content any) {
	h.T.Helper()
	value := h.Value(h.App.Credentials())
	value[field] = content
	h.Store(value)
}

// Encode returns a secret's value as JSON.
func Encode(value map[string]any) string {
	text, _ := json.Marshal(value) // strings, lists and maps of them always can be
	return string(text)
}

// Secret returns AppName's secret with its labels.
func (h *Harness) Secret() *appsecret.Secret {
	h.T.Helper()
	secret, err := appsecret.Open(h.T.Context(), h.Secrets, Prefix, SecretName)
	h.Must(err)
	return secret
}

// VersionWithLabel returns the id of the version of AppName's secret that has the label; empty: none has it.
func (h *Harness) VersionWithLabel(label string) string {
	h.T.Helper()
	return h.Secret().VersionWithLabel(label)
}

// Label moves a label of AppName's secret to a version.
func (h *Harness) Label(label, version string) {
	h.T.Helper()
	input := &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: aws.String(SecretName), VersionStage: aws.String(label), MoveToVersionId: aws.String(version),
	}
	if before := h.VersionWithLabel(label); before != "" {
		input.RemoveFromVersionId = &before
	}
	_, err := h.Secrets.UpdateSecretVersionStage(h.T.Context(), input)
	h.Must(err)
}

// Current returns the id of the version with AWSCURRENT.
func (h *Harness) Current() string { h.T.Helper(); return h.VersionWithLabel(appsecret.Current) }

// Compromise labels the current version as compromised, and stores new credentials of App.
func (h *Harness) Compromise() {
	h.T.Helper()
	h.Label(appsecret.Compromised, h.Current())
	h.Store(h.Value(h.App.Regenerate()))
}

// Requests returns how many requests the org has received at all of its endpoints.
func (h *Harness) Requests() int {
	total := 0
	for _, n := range h.Org.Stats().Calls {
		total += n
	}
	return total
}

// Logins returns how many token requests the org has received.
func (h *Harness) Logins() int { return h.Org.Stats().Calls[sfoauthtest.Token] }

// Introspections returns how many introspection requests the org has received.
func (h *Harness) Introspections() int { return h.Org.Stats().Calls[sfoauthtest.Introspect] }

// NoSecrets fails the test if text holds anything that the org keeps secret, or one of more, as it is or as in a URL.
func (h *Harness) NoSecrets(text string, more ...string) {
	h.T.Helper()
	for _, secret := range append(h.Org.Secrets(), more...) {
		if len(secret) >= 8 && (strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret))) {
			h.T.Errorf("the output holds a secret of %d characters", len(secret))
		}
	}
}
