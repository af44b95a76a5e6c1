package sfoauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func ExampleClient_Token() {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	key, secret := org.AddApp(sfoauthtest.AppOptions{}).Credentials()

	client := &sfoauth.Client{
		BaseURL:        server.URL, // of a real org: https://<MyDomain>.my.salesforce.com
		ConsumerKey:    key,
		ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts:   sfoauth.AllowedHosts{server.URL[len("http://"):]}, // of a real org: none
	}
	token, err := client.Token(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.TokenType, token.AccessToken, token.Scope)
	// Output: Bearer [redacted] id api
}

func ExampleError() {
	client, stop := newClient(sfoauthtest.AppOptions{NoRunAsUser: true})
	defer stop()

	_, err := client.Token(context.Background())
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
		fmt.Println(refused.Kind, refused.Code)
		fmt.Println(refused.Hint())
	}
	// Output:
	// permanent invalid_grant
	// set the run-as user in the app's client credentials flow policy (setup step 2)
}

// A Secret prints as "[redacted]" wherever it ends up.
func ExampleNewSecret() {
	secret := sfoauth.NewSecret("hunter2")
	fmt.Println(secret)
	fmt.Printf("%#v, %d characters\n", secret, len(secret.Reveal()))
	// Output:
	// [redacted]
	// [redacted], 7 characters
}

// Only Salesforce's own hosts, and those of the list, may receive credentials.
func ExampleParseAllowedHosts() {
	hosts, err := sfoauth.ParseAllowedHosts("salesforce.example.com:8443, 127.0.0.1:8080")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, address := range []string{
		"https://acme.my.salesforce.com/", "https://salesforce.example.com:8443", "http://127.0.0.1:8080",
		"https://salesforce.example.com",
	} {
		if origin, err := hosts.MyDomain(address); err == nil {
			fmt.Println(origin)
		} else {
			fmt.Println("refused:", address)
		}
	}
	// Output:
	// https://acme.my.salesforce.com
	// https://salesforce.example.com:8443
	// http://127.0.0.1:8080
	// refused: https://salesforce.example.com
}

// On AWS Lambda, give the client a transport that survives a freeze between two requests.
func ExampleNewTransport() {
	client, stop := newClient(sfoauthtest.AppOptions{})
	defer stop()

	client.HTTPClient = &http.Client{Transport: sfoauth.NewTransport()}
	token, err := client.Token(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	state, err := client.Introspect(context.Background(), token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(state.Active)
	// Output: true
}

// A rotation: new credentials are staged, tried, and made the primary ones. The old ones keep working for a time.
func ExampleClient_StagedCredentials() {
	ctx := context.Background()
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	app := org.AddApp(sfoauthtest.AppOptions{RunAs: org.AddUser(sfoauthtest.UserOptions{
		ExternalClientAppDeveloper: true, ViewClientSecret: true,
	})})
	key, secret := app.Credentials()
	client := &sfoauth.Client{
		BaseURL: server.URL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts: sfoauth.AllowedHosts{server.URL[len("http://"):]},
	}
	token, err := client.Token(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}

	credentials := client.StagedCredentials(token, app.ID, app.ConsumerID)
	staged, err := credentials.Stage(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("staged:", staged.State, "logs in:", org.CanLogin(staged.ConsumerKey, staged.ConsumerSecret.Reveal()))
	if err := credentials.Promote(ctx, staged.ID); err != nil {
		fmt.Println(err)
		return
	}
	primary, err := credentials.Primary(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("primary:", primary.Equal(staged.ConsumerCredentials), "the old ones log in:", org.CanLogin(key, secret))
	// Output:
	// staged: Active logs in: true
	// primary: true the old ones log in: true
}

// newClient returns a client for an app of a simulated org.
func newClient(options sfoauthtest.AppOptions) (client *sfoauth.Client, stop func()) {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	key, secret := org.AddApp(options).Credentials()
	return &sfoauth.Client{
		BaseURL: server.URL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts: sfoauth.AllowedHosts{server.URL[len("http://"):]},
	}, server.Close
}
