package sfoauthtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// A client logs in at a simulated org and uses the token. Then the org goes down for one request.
func Example() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	app := org.AddApp(sfoauthtest.AppOptions{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	key, secret := app.Credentials()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {key}, "client_secret": {secret}}
	resp, err := http.PostForm(server.URL+"/services/oauth2/token", form)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.StatusCode, token.TokenType, "live:", org.TokenActive(token.AccessToken))

	org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 1)
	resp, err = http.PostForm(server.URL+"/services/oauth2/token", form)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)

	fmt.Printf("logins: %+v, violations: %v\n", org.Stats().Logins, org.Violations())
	// Output:
	// 200 Bearer live: true
	// 503
	// logins: {Attempts:1 Succeeded:1}, violations: []
}

// An administrator's app stages new credentials for another app through the Connect REST API.
func Example_rotation() {
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	org := sfoauthtest.New(sfoauthtest.Config{Now: func() time.Time { return now }})
	app := org.AddApp(sfoauthtest.AppOptions{})
	admin := org.AddApp(sfoauthtest.AppOptions{RunAs: org.AddUser(sfoauthtest.UserOptions{
		ExternalClientAppDeveloper: true, ViewClientSecret: true,
	})})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	path := "/services/data/v65.0/apps/oauth/credentials/" + app.ID + "/" + app.ConsumerID + "/staged"
	req, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader("{}"))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+admin.NewToken())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()

	staged := app.Staged()[0]
	fmt.Println(resp.StatusCode, staged.State, "until", staged.Expires.Format(time.DateOnly))
	fmt.Println("logs in:", org.CanLogin(staged.Key, staged.Secret))
	// Output:
	// 201 Active until 2026-01-31
	// logs in: true
}

// Time in the org is what Now returns: a session ends without waiting for it.
func ExampleNew() {
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	org := sfoauthtest.New(sfoauthtest.Config{
		Now: func() time.Time { return now }, SessionTimeout: 15 * time.Minute, LoginsPerHour: 2,
	})
	token := org.AddApp(sfoauthtest.AppOptions{}).NewToken()
	fmt.Println("active:", org.TokenActive(token), "until", org.TokenExpiry(token).Format(time.TimeOnly))
	now = now.Add(15 * time.Minute)
	fmt.Println("active:", org.TokenActive(token))
	// Output:
	// active: true until 00:15:00
	// active: false
}

// A mistake in the app's setup makes logins fail as Salesforce makes them fail.
func ExampleOrg_AddApp() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	app := org.AddApp(sfoauthtest.AppOptions{Name: "CRM", NoRunAsUser: true})
	key, secret := app.Credentials()
	fmt.Println("logs in:", org.CanLogin(key, secret))
	app.Change(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = false })
	fmt.Println("logs in:", org.CanLogin(key, secret))
	// Output:
	// logs in: false
	// logs in: true
}

// Apps share a user's limit of logins if they run as that user.
func ExampleOrg_AddUser() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	user := org.AddUser(sfoauthtest.UserOptions{Username: "integration@example.com"})
	crm := org.AddApp(sfoauthtest.AppOptions{RunAs: user})
	erp := org.AddApp(sfoauthtest.AppOptions{RunAs: user})
	fmt.Println(user.Username(), crm.User == erp.User)
	user.Change(func(o *sfoauthtest.UserOptions) { o.Inactive = true })
	fmt.Println("logs in:", org.CanLogin(crm.Credentials()), org.CanLogin(erp.Credentials()))
	// Output:
	// integration@example.com true
	// logs in: false false
}

// A client of package sfoauth, or any other, uses the server's URL as the org's My Domain.
func ExampleOrg_Start() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	key, secret := org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	client := &sfoauth.Client{
		BaseURL: server.URL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts: sfoauth.AllowedHosts{strings.TrimPrefix(server.URL, "http://")},
	}
	token, err := client.Token(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.OrganizationID == org.ID())
	// Output: true
}

// A network in memory has hosts with real names, and needs no port of the machine.
func ExampleNetwork() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	var network sfoauthtest.Network
	stop, err := network.Serve("acme.my.salesforce.com:443", org)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	key, secret := org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	client := &sfoauth.Client{
		BaseURL: "https://acme.my.salesforce.com", ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		HTTPClient: network.Client(),
	}
	token, err := client.Token(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.InstanceURL)
	// Output: https://acme.my.salesforce.com
}

// Faults of an endpoint apply one after the other.
func ExampleFault() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	org.InjectFault(sfoauthtest.REST, sfoauthtest.Unavailable(), 2)
	org.InjectFault(sfoauthtest.REST, sfoauthtest.TooManyRequests(time.Minute, false), 1)
	for range 3 {
		resp, err := http.Get(server.URL + "/services/data/")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d, Retry-After: %q\n", resp.StatusCode, resp.Header.Get("Retry-After"))
		_ = resp.Body.Close()
	}
	// Output:
	// 503, Retry-After: ""
	// 503, Retry-After: ""
	// 429, Retry-After: "60"
}

// A test of a client can try every fault on every endpoint.
func ExampleEndpoints() {
	affected := map[sfoauthtest.Endpoint]bool{}
	for _, fault := range sfoauthtest.AllFaults() {
		for _, endpoint := range sfoauthtest.Endpoints() {
			if fault.AppliesTo(endpoint) {
				affected[endpoint] = true
			}
		}
	}
	fmt.Println(len(affected) == len(sfoauthtest.Endpoints()))
	// Output: true
}
