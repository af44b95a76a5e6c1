package sftoken_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/internal/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var _ oauth2.TokenSource = (*sftoken.Source)(nil)

var caller = localaws.Principal{
	AccessKeyID: "AKIATESTCALLER", SecretAccessKey: "caller-secret-for-tests", Account: "222222222222",
	ARN: "arn:aws:iam::222222222222:user/caller", UserID: "AIDATEST", Invoke: []string{"GET/tokens/*"},
}

// deployed is an API in front of the real token function, and the org behind it.
type deployed struct {
	url  string
	org  *sfoauthtest.Org
	aws  *localaws.SecretsManager
	keys *localaws.Keys
}

func deploy(t *testing.T) *deployed {
	t.Helper()
	d := &deployed{org: sfoauthtest.New(sfoauthtest.Config{}), aws: localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"}), keys: localaws.NewKeys(caller)}
	org, secrets := httptest.NewServer(d.org), httptest.NewServer(d.aws)
	t.Cleanup(org.Close)
	t.Cleanup(secrets.Close)
	binary, err := localaws.BuildFunction(t.Context(), "../..", "./functions/token", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	function := localaws.NewFunction(localaws.FunctionConfig{
		Name: "token", Binary: binary, Account: "111111111111", Region: "us-east-1",
		Env: map[string]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.URL, "SALESFORCE_HOSTS": strings.TrimPrefix(org.URL, "http://")},
	})
	t.Cleanup(function.Close)
	api := httptest.NewServer(&localaws.Gateway{
		Account: "111111111111", Region: "us-east-1", Stage: "v1", Keys: d.keys, AllowedAccounts: []string{caller.Account}, Function: function.Invoke,
	})
	t.Cleanup(api.Close)
	d.url = api.URL + "/v1/" // a slash at the end is forgiven
	key, secret := d.org.AddApp(sfoauthtest.AppOptions{}).Pair()
	value, _ := json.Marshal(map[string]string{"consumerKey": key, "consumerSecret": secret, "baseUri": org.URL})
	client := secretsmanager.New(secretsmanager.Options{Region: "us-east-1", BaseEndpoint: &secrets.URL, Credentials: credentialsOf(caller)})
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("sftoken/crm"), SecretString: aws.String(string(value))}); err != nil {
		t.Fatal(err)
	}
	return d
}

func credentialsOf(p localaws.Principal) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, "")
}

func (d *deployed) source(app string) *sftoken.Source {
	return sftoken.NewTokenSource(aws.Config{Region: "us-east-1", Credentials: credentialsOf(caller)}, d.url, app)
}

func TestSource(t *testing.T) {
	d := deploy(t)
	source := d.source("crm")
	first, err := source.Token()
	if err != nil || !d.org.Live(first.AccessToken) || time.Until(first.Expiry) < 5*time.Minute || first.Extra("instance_url") == "" {
		t.Fatalf("token: %v", err)
	}
	again, err := source.Get(t.Context())
	if err != nil || again.AccessToken.Reveal() != first.AccessToken || again.Cache != "miss" {
		t.Errorf("the token is not reused: %v", err)
	}
	_, err = d.source("nosuch").Token()
	if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.Status != 404 || failed.Code != "unknown_app" || failed.RequestID == "" || failed.Description == "" {
		t.Errorf("an unknown app: %v", err)
	}
	err = source.Revoke(t.Context())
	if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.Status != 403 || !strings.Contains(failed.Description, "not authorized") {
		t.Errorf("what IAM does not allow: %v", err)
	}
	wrong := credentials.NewStaticCredentialsProvider(caller.AccessKeyID, "wrong", "session-token-for-tests")
	d.keys.Add(localaws.Principal{AccessKeyID: caller.AccessKeyID, SecretAccessKey: "right", SessionToken: "session-token-for-tests", Account: caller.Account})
	_, err = sftoken.NewTokenSource(aws.Config{Region: "us-east-1", Credentials: wrong}, d.url, "crm").Token()
	if failed, ok := errors.AsType[*sftoken.Error](err); !ok || !strings.Contains(failed.Description, "does not match") || strings.Contains(err.Error(), "session-token") {
		t.Errorf("a wrong signature: %v", err)
	}
	d.keys.Add(caller)
	d.aws.Fail("", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	_, err = d.source("other").Get(ctx)
	if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.Status != 503 || failed.RetryAfter == 0 {
		t.Errorf("Secrets Manager is down: %v", err)
	}
}

func TestWrongArguments(t *testing.T) {
	good := aws.Config{Region: "us-east-1", Credentials: credentialsOf(caller)}
	for name, source := range map[string]*sftoken.Source{
		"no address":     sftoken.NewTokenSource(good, "", "crm"),
		"no URL":         sftoken.NewTokenSource(good, "api.example", "crm"),
		"a bad app":      sftoken.NewTokenSource(good, "https://api.example/v1", "CRM"),
		"no region":      sftoken.NewTokenSource(aws.Config{Credentials: good.Credentials}, "https://api.example/v1", "crm"),
		"no credentials": sftoken.NewTokenSource(aws.Config{Region: "us-east-1"}, "https://api.example/v1", "crm"),
		"empty keys":     sftoken.NewTokenSource(aws.Config{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}}, "https://api.example/v1", "crm"),
	} {
		if _, err := source.Token(); err == nil || !strings.HasPrefix(err.Error(), "sftoken: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTransport(t *testing.T) {
	d := deploy(t)
	client := &http.Client{Transport: &sftoken.Transport{Source: d.source("crm")}}
	get := func(url string) (int, error) {
		resp, err := client.Get(url)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if status, err := get("/services/data/v65.0/limits"); err != nil || status != 200 {
		t.Fatalf("HTTP %d, %v", status, err)
	}
	if _, err := get("https://elsewhere.example/"); err == nil || !strings.Contains(err.Error(), "is not sent to") {
		t.Errorf("the token goes to another host: %v", err)
	}
	if status, err := get("/services/data/v65.0/nosuch"); err != nil || status != 404 {
		t.Errorf("HTTP %d, %v", status, err)
	}
	d.org.RevokeAll()
	resp, err := client.Post("/services/data/v65.0/limits", "text/plain", io.MultiReader(strings.NewReader("once")))
	if err != nil || resp.StatusCode != 401 {
		t.Fatalf("a body that cannot be repeated: %v", err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "INVALID_SESSION_ID") {
		t.Errorf("the answer's body is lost: %q, %v", body, err)
	}
	_ = resp.Body.Close()
	if status, err := get("/services/data/v65.0/limits"); err != nil || status != 200 {
		t.Errorf("after the session ended: HTTP %d, %v", status, err)
	}
}

func TestTokensThatDieAtRandomFailNobody(t *testing.T) {
	d := deploy(t)
	client := &http.Client{Transport: &sftoken.Transport{Source: d.source("crm")}}
	stop := make(chan struct{})
	killed := 0
	var killer, callers sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(200+rand.IntN(200)) * time.Millisecond):
				killed += min(d.org.RevokeAll(), 1)
			}
		}
	})
	for range 100 {
		callers.Go(func() {
			for range 20 {
				resp, err := client.Get("/services/data/v65.0/limits")
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				// Two sessions that end within one request of a caller cannot be told from a scope that is missing.
				if resp.StatusCode != 200 && resp.StatusCode != 401 {
					t.Errorf("HTTP %d", resp.StatusCode)
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	killer.Wait()
	if logins := d.org.Seen().Calls[sfoauthtest.Token]; logins > killed+1 {
		t.Errorf("%d logins for %d dead tokens", logins, killed)
	}
}
