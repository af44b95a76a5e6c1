package sftoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/internal/sim/apitest"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// In a program, cfg comes from config.LoadDefaultConfig of the AWS SDK, and apiURL is the deployment's ApiUrl.
func Example() {
	apiURL, cfg, stop := deployment()
	defer stop()

	source := sftoken.NewTokenSource(cfg, apiURL, "crm")
	client := &http.Client{Transport: &sftoken.Transport{Source: source}}
	resp, err := client.Get("/services/data/v65.0/limits")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// A library that needs an http.Client and the org's address gets both from one TokenSource.
func ExampleTokenSource_Fetch() {
	apiURL, cfg, stop := deployment()
	defer stop()

	source := sftoken.NewTokenSource(cfg, apiURL, "crm")
	token, err := source.Fetch(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: &sftoken.Transport{Source: source}}
	resp, err := client.Get(token.InstanceURL + "/services/data/v65.0/limits")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, token.AccessToken)
	// Output: 200 OK [redacted]
}

// TokenSource works with any package that takes an oauth2.TokenSource. Unlike Transport, such a client does not replace
// a token whose session ended early.
func ExampleNewTokenSource() {
	apiURL, cfg, stop := deployment()
	defer stop()

	source := sftoken.NewTokenSource(cfg, apiURL, "crm")
	token, err := source.Token()
	if err != nil {
		fmt.Println(err)
		return
	}
	client := oauth2.NewClient(context.Background(), source)
	resp, err := client.Get(token.Extra("instance_url").(string) + "/services/oauth2/userinfo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

func ExampleError() {
	apiURL, cfg, stop := deployment()
	defer stop()

	_, err := sftoken.NewTokenSource(cfg, apiURL, "payroll").Fetch(context.Background())
	if failed, ok := errors.AsType[*sftoken.Error](err); ok {
		fmt.Println(failed.Status, failed.Code)
		fmt.Println(failed.Description)
	}
	// Output:
	// 404 unknown_app
	// there is no app payroll
}

// A custom domain name has no region, and the API's owner finds the program's name in the audit log.
func ExampleOption() {
	apiURL, cfg, stop := deployment()
	defer stop()

	source := sftoken.NewTokenSource(cfg, apiURL, "crm",
		sftoken.WithRegion("us-east-1"),
		sftoken.WithUserAgent("invoices/1.4"),
		sftoken.WithHTTPClient(&http.Client{Timeout: 10 * time.Second}))
	token, err := source.Fetch(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.ID, time.Until(token.Expiry).Round(time.Minute))
	// Output: 0123456789abcdef 15m0s
}

// A program next to an agent (`sftoken serve`) needs no AWS credentials. The environment has the address and the token
// of the agent, or the program passes them.
func ExampleWithAgentToken() {
	apiURL, cfg, stop := deployment()
	defer stop()
	agentURL, agentToken, stopAgent := localAgent(apiURL, cfg)
	defer stopAgent()

	source := sftoken.NewTokenSource(aws.Config{}, agentURL, "crm", sftoken.WithAgentToken(agentToken))
	token, err := source.Fetch(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.AccessToken, token.ID)
	// Output: [redacted] 0123456789abcdef
}

// localAgent runs what `sftoken serve` runs.
func localAgent(apiURL string, cfg aws.Config) (agentURL, agentToken string, stop func()) {
	listener, err := agent.ListenTCP("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	token := agent.NewToken()
	a := agent.New(agent.Config{APIURL: apiURL, AWS: cfg, Token: token})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.Serve(ctx, listener) // if it fails, so do the requests
	}()
	return "http://" + listener.Addr().String() + "/v1", token.Reveal(), func() { cancel(); <-ended }
}

// deployment simulates one in AWS: API Gateway in front of a function with one app, crm.
func deployment() (apiURL string, cfg aws.Config, stop func()) {
	org := sfoauthtest.New(sfoauthtest.Config{})
	app := org.AddApp(sfoauthtest.AppOptions{})
	salesforce := httptest.NewServer(org)
	api := httptest.NewServer(&localaws.Gateway{
		Account: "111111111111", Region: "us-east-1", Stage: "v1", Keys: localaws.NewKeys(billing),
		AllowedAccounts: []string{billing.Account},
		Function: func(_ context.Context, event []byte) ([]byte, error) {
			if apitest.AppOf(event) != "crm" {
				return apitest.Response(404, nil, map[string]any{
					"error": "unknown_app", "error_description": "there is no app " + apitest.AppOf(event), "request_id": "1",
				}), nil
			}
			return apitest.Response(200, nil, map[string]any{
				"access_token": app.NewToken(), "token_id": "0123456789abcdef", "instance_url": salesforce.URL,
				"expires_in": 900,
			}), nil
		},
	})
	return api.URL + "/v1", aws.Config{Region: "us-east-1", Credentials: billing.Credentials()}, func() {
		api.Close()
		salesforce.Close()
	}
}
