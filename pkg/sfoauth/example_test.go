package sfoauth_test

import (
	"context"
	"errors"
	"fmt"

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
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	key, secret := org.AddApp(sfoauthtest.AppOptions{NoRunAsUser: true}).Credentials()

	client := &sfoauth.Client{
		BaseURL: server.URL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		AllowedHosts: sfoauth.AllowedHosts{server.URL[len("http://"):]},
	}
	_, err = client.Token(context.Background())
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
		fmt.Println(refused.Kind, refused.Code)
		fmt.Println(refused.Hint())
	}
	// Output:
	// permanent invalid_grant
	// set the run-as user in the app's client credentials flow policy (setup step 2)
}
