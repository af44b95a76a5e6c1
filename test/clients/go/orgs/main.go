// Troubles serves simulated orgs on this machine, each with another fault at its token endpoint, until standard input ends. It writes
// what `sftoken local --secrets` takes: an app for each, with the fault's name in its secret.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes the secrets to file, and the orgs' hosts, as SALESFORCE_HOSTS takes them, to standard output.
func run(file string) error {
	secrets, hosts := map[string]any{}, []string{}
	add := func(fault sfoauthtest.Fault, options sfoauthtest.AppOptions, name string, healthy bool) error {
		org := sfoauthtest.New(sfoauthtest.Config{})
		server, err := org.Start("127.0.0.1:0")
		if err != nil {
			return err
		}
		org.InjectFault(sfoauthtest.Token, fault, 0)
		key, secret := org.AddApp(options).Credentials()
		hosts = append(hosts, strings.TrimPrefix(server.URL, "http://"))
		secrets[fmt.Sprintf("app-%02d", len(secrets))] = map[string]any{
			"consumerKey": key, "consumerSecret": secret, "baseUri": server.URL, "orgId": org.ID(), "fault": name, "healthy": healthy,
		}
		return nil
	}
	for _, fault := range sfoauthtest.AllFaults() {
		if !fault.AppliesTo(sfoauthtest.Token) {
			continue
		}
		// Another user's token is none's business where the secret does not pin the user.
		healthy := fault.String() == sfoauthtest.Latency(time.Second).String() || fault.String() == sfoauthtest.OtherUser().String()
		if err := add(fault, sfoauthtest.AppOptions{}, fault.String(), healthy); err != nil {
			return err
		}
	}
	for name, options := range map[string]sfoauthtest.AppOptions{
		"none": {}, "a JWT": {JWT: true}, "more fields": {ExtraFields: true}, "no introspection": {NoIntrospection: true},
	} {
		if err := add(sfoauthtest.NoFault(), options, name, true); err != nil {
			return err
		}
	}
	text, err := json.Marshal(secrets)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	if _, err := fmt.Println(strings.Join(hosts, ",")); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
