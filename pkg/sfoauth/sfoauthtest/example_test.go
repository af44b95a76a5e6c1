package sfoauthtest_test

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

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
