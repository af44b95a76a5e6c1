// Package clients tests third-party Salesforce clients with tokens of `sftoken local`, which test/clients/run starts.
package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/k-capehart/go-salesforce/v3"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// source returns a TokenSource for the account billing.
func source(t *testing.T) *sftoken.TokenSource {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("SFTOKEN_LOCAL"))
	if err != nil {
		t.Fatalf("test/clients/run starts what this needs: %v", err)
	}
	var local struct {
		URL, Region string
		Keys        map[string]struct{ AccessKeyID, SecretAccessKey string }
	}
	if err := json.Unmarshal(text, &local); err != nil {
		t.Fatal(err)
	}
	key := local.Keys["billing"]
	provider := credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, "")
	config := aws.Config{Region: local.Region, Credentials: provider}
	return sftoken.NewTokenSource(config, local.URL, "crm")
}

func get(t *testing.T, s *sftoken.TokenSource) *sftoken.Token {
	t.Helper()
	token, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// endSession ends the token's session at Salesforce, as an administrator might.
func endSession(t *testing.T, token *sftoken.Token) {
	t.Helper()
	form := url.Values{"token": {token.AccessToken.Reveal()}}
	resp, err := http.PostForm(token.InstanceURL+"/services/oauth2/revoke", form)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("revoke: HTTP %d", resp.StatusCode)
	}
}

// connect returns a client with this token. A Transport in options replaces the token.
func connect(t *testing.T, token *sftoken.Token, options ...salesforce.Option) *salesforce.Salesforce {
	t.Helper()
	creds := salesforce.Creds{Domain: token.InstanceURL, AccessToken: token.AccessToken.Reveal()}
	client, err := salesforce.Init(creds, options...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

type account struct {
	ID       string `json:"Id,omitempty" salesforce:"Id"`
	Name     string `json:",omitempty"`
	Industry string `json:",omitempty"`
}

func TestGoSalesforce(t *testing.T) {
	for name, options := range map[string][]salesforce.Option{
		"plain": nil, "compressed": {salesforce.WithCompressionHeaders(true)},
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t)
			client := connect(t, get(t, s), append(options, salesforce.WithRoundTripper(&sftoken.Transport{Source: s}))...)
			created, err := client.InsertOne("Account", map[string]any{"Name": "O'Hara & Söhne"})
			if err != nil || !created.Success {
				t.Fatalf("%+v, %v", created, err)
			}
			if err := client.UpdateOne("Account", map[string]any{"Id": created.Id, "Industry": "Media"}); err != nil {
				t.Error(err)
			}
			endSession(t, get(t, s)) // the Transport repeats the next request, with its body
			if err := client.UpdateOne("Account", map[string]any{"Id": created.Id, "Industry": "Energy"}); err != nil {
				t.Error(err)
			}
			var found []account
			if err := client.Query(`SELECT Id, Name, Industry FROM Account WHERE Name = 'O\'Hara & Söhne'`, &found); err != nil {
				t.Error(err)
			}
			if len(found) != 1 || found[0].ID != created.Id || found[0].Industry != "Energy" {
				t.Errorf("found %+v", found)
			}
			if err := client.DeleteOne("Account", map[string]any{"Id": created.Id}); err != nil {
				t.Error(err)
			}
			err = client.Query("SELECT Nothing FROM Account", &found)
			if err == nil || !strings.Contains(err.Error(), "INVALID_FIELD") {
				t.Errorf("a wrong query: %v", err)
			}
		})
	}
}

// The agent's clients have no AWS credentials. They share the agent's token: another client never sees a session end
// that the first one has reported.
func TestGoSalesforceWithAgent(t *testing.T) {
	t.Setenv(sftoken.AgentTokenFileVariable, os.Getenv("AGENT_TOKEN_FILE"))
	s := sftoken.NewTokenSource(aws.Config{}, os.Getenv("AGENT_URL"), "crm")
	client := connect(t, get(t, s), salesforce.WithRoundTripper(&sftoken.Transport{Source: s}))
	for range 2 {
		var found []account
		if err := client.Query("SELECT Id FROM Account LIMIT 1", &found); err != nil || len(found) != 1 {
			t.Errorf("%d found, %v", len(found), err)
		}
		endSession(t, get(t, s))
		if err := client.Query("SELECT Id FROM Account LIMIT 1", &found); err != nil || len(found) != 1 {
			t.Errorf("after the session ended: %d found, %v", len(found), err)
		}
		other := connect(t, get(t, sftoken.NewTokenSource(aws.Config{}, os.Getenv("AGENT_URL"), "crm")))
		if err := other.Query("SELECT Id FROM Account LIMIT 1", &found); err != nil || len(found) != 1 {
			t.Errorf("another client: %d found, %v", len(found), err)
		}
	}
}

// There are more records than in one batch of a query.
func TestGoSalesforceManyRecords(t *testing.T) {
	s := source(t)
	client := connect(t, get(t, s), salesforce.WithRoundTripper(&sftoken.Transport{Source: s}))
	records := make([]map[string]any, 2100)
	for i := range records {
		records[i] = map[string]any{"Name": fmt.Sprintf("Many %d", i)}
	}
	saved, err := client.InsertCollection("Account", records, 200)
	if err != nil || saved.HasSalesforceErrors || len(saved.Results) != len(records) {
		t.Fatalf("%d saved, errors %t, %v", len(saved.Results), saved.HasSalesforceErrors, err)
	}
	var found []account
	err = client.Query("SELECT Id FROM Account WHERE Name LIKE 'Many %'", &found)
	if err != nil || len(found) != len(records) {
		t.Errorf("%d found, %v", len(found), err)
	}
	ids := make([]map[string]any, len(found))
	for i, one := range found {
		ids[i] = map[string]any{"Id": one.ID}
	}
	if gone, err := client.DeleteCollection("Account", ids, 200); err != nil || gone.HasSalesforceErrors {
		t.Errorf("errors %t, %v", gone.HasSalesforceErrors, err)
	}
}

// Without a Transport the program itself asks for another token.
func TestGoSalesforceWithoutTransport(t *testing.T) {
	s := source(t)
	token := get(t, s)
	client := connect(t, token)
	endSession(t, token)
	var found []account
	if err := client.Query("SELECT Id FROM Account LIMIT 1", &found); err == nil {
		t.Error("a query with an ended session succeeds")
	}
	next, err := s.Refresh(t.Context(), token.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := connect(t, next).Query("SELECT Id FROM Account LIMIT 1", &found); err != nil || len(found) != 1 {
		t.Errorf("%d found, %v", len(found), err)
	}
}

// A hundred callers in one process see no error while sessions end.
func TestConcurrentCallers(t *testing.T) {
	s := source(t)
	client := &http.Client{Transport: &sftoken.Transport{Source: s}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			for ctx.Err() == nil {
				const query = "/services/data/v65.0/query?q=SELECT+Id+FROM+Account+LIMIT+1"
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, query, nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if errors.Is(err, context.Canceled) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if ctx.Err() == nil && (err != nil || resp.StatusCode != http.StatusOK) {
					t.Errorf("HTTP %d %s, %v", resp.StatusCode, body, err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	seen := map[string]bool{}
	for range 3 {
		token := get(t, s)
		seen[token.ID] = true
		endSession(t, token)
		for deadline := time.Now().Add(time.Minute); get(t, s).ID == token.ID; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("an ended session has not been replaced")
			}
		}
	}
	stop()
	callers.Wait()
	if len(seen) != 3 {
		t.Errorf("%d sessions ended", len(seen))
	}
}
