// Orgs serves simulated orgs on this machine for test/clients/run until standard input ends: one with records, by
// https, and one for each fault, with the fault at its token endpoint. Into the directory that its argument names it
// writes ca.pem, the certificate to trust, and secrets.json, for `sftoken local --secrets`, with an app for each org.
package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/clients/go/records"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// secret is an app's secret, and what test/clients/api/test_faults.py expects of its tokens.
type secret struct {
	ConsumerKey       string   `json:"consumerKey"`
	ConsumerSecret    string   `json:"consumerSecret"`
	BaseURI           string   `json:"baseUri"`
	OrgID             string   `json:"orgId"`
	AllowedPrincipals []string `json:"allowedPrincipals,omitempty"`
	Fault             string   `json:"fault"`
	Healthy           bool     `json:"healthy"` // the API returns a token
}

// run writes the files, then the orgs' hosts, as SALESFORCE_HOSTS takes them, to standard output.
func run(dir string) error {
	secrets, hosts := map[string]secret{}, []string{}
	add := func(app string, options sfoauthtest.AppOptions, fault sfoauthtest.Fault, s secret, tls bool) *httptest.Server {
		org := sfoauthtest.New(sfoauthtest.Config{})
		org.InjectFault(sfoauthtest.Token, fault, 0)
		s.ConsumerKey, s.ConsumerSecret = org.AddApp(options).Credentials()
		server := httptest.NewUnstartedServer(records.New(org, nil))
		if tls { // many Salesforce clients support https only
			server.StartTLS()
		} else {
			server.Start()
		}
		_, host, _ := strings.Cut(server.URL, "://")
		hosts = append(hosts, host)
		s.BaseURI, s.OrgID = server.URL, org.ID()
		secrets[app] = s
		return server
	}
	crm := secret{Fault: "none", Healthy: true, AllowedPrincipals: []string{"111111111111", "222222222222"}}
	server := add("crm", sfoauthtest.AppOptions{}, sfoauthtest.NoFault(), crm, true)
	for _, fault := range sfoauthtest.AllFaults() {
		if fault.AppliesTo(sfoauthtest.Token) {
			s := secret{Fault: fault.String(), Healthy: isHealthy(fault)}
			add(fmt.Sprintf("app-%02d", len(secrets)), sfoauthtest.AppOptions{}, fault, s, false)
		}
	}
	for name, options := range map[string]sfoauthtest.AppOptions{
		"a JWT": {JWT: true}, "more fields": {ExtraFields: true}, "no introspection": {NoIntrospection: true},
	} {
		s := secret{Fault: name, Healthy: true}
		add(fmt.Sprintf("app-%02d", len(secrets)), options, sfoauthtest.NoFault(), s, false)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		return err
	}
	text, err := json.Marshal(secrets)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets.json"), text, 0o600); err != nil {
		return err
	}
	if _, err := fmt.Println(strings.Join(hosts, ",")); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// isHealthy reports whether the API returns a token in spite of the fault. The secrets do not pin a user.
func isHealthy(fault sfoauthtest.Fault) bool {
	name := fault.String()
	return name == sfoauthtest.Latency(time.Second).String() || name == sfoauthtest.OtherUser().String()
}
