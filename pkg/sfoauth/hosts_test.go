package sfoauth_test

import (
	"testing"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestAllowedHosts(t *testing.T) {
	t.Parallel()
	hosts, err := sfoauth.ParseAllowedHosts(" 127.0.0.1:8443, localhost:1 ,acme.localhost:1,proxy.example.com,[::1]:9,,")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url                string
		myDomain, instance bool
	}{
		{"https://acme.my.salesforce.com", true, true},
		{" https://acme.my.salesforce.com/ ", true, true},
		{"https://ACME.my.salesforce.com", true, true},
		{"https://acme--uat.sandbox.my.salesforce.com", true, true},
		{"https://acme-dev-ed.develop.my.salesforce.com", true, true},
		{"https://acme.scratch.my.salesforce.com", true, true},
		{"https://acme.my.salesforce.mil", true, true},
		{"https://acme.my.sfcrmproducts.cn", true, true},
		{"https://api.salesforce.com", false, true},
		{"https://login.salesforce.com", false, true},
		{"https://na139.salesforce.com", false, true},
		{"https://acme.lightning.force.com", false, false},
		{"https://acme.my.salesforce-setup.com", false, false},
		{"https://acme.my.salesforce.com.evil.example", false, false},
		{"https://evilsalesforce.com", false, false},
		{"https://my.salesforce.com", false, true},
		{"https://.my.salesforce.com", false, true},
		{"http://acme.my.salesforce.com", false, false},
		{"https://acme.my.salesforce.com:8443", false, false},
		{"https://user:pw@acme.my.salesforce.com", false, false},
		{"https://acme.my.salesforce.com/services", false, false},
		{"https://acme.my.salesforce.com?x=1", false, false},
		{"https://acme.my.salesforce.com#x", false, false},
		{"https://acme.my.salesforce.com?", false, false},
		{"https://acme.my.salesforce.com#", false, false},
		{"https://acme.my.salesforce.com/?", false, false},
		{"https://acme.my.salesforce.com/#", false, false},
		{"https://acme.my.salesforce.com?/", false, false},
		{"https://acme.my.salesforce.com#/", false, false},
		{"http://acme.localhost:1", false, false},
		{"https://acme.localhost:1", true, true},
		{"acme.my.salesforce.com", false, false},
		{"", false, false},
		{"https://", false, false},
		{"javascript:alert(1)", false, false},
		{"http://127.0.0.1:8443", true, true},
		{"https://127.0.0.1:8443", true, true},
		{"http://127.0.0.1:8444", false, false},
		{"http://127.0.0.1", false, false},
		{"http://[::1]:9", true, true},
		{"http://localhost:1", true, true},
		{"https://proxy.example.com", true, true},
		{"http://proxy.example.com", false, false},
		{"https://proxy.example.com:443", false, false},
	} {
		if _, err := hosts.MyDomain(c.url); (err == nil) != c.myDomain {
			t.Errorf("MyDomain(%q): %v, want allowed: %t", c.url, err, c.myDomain)
		}
		if _, err := hosts.Instance(c.url); (err == nil) != c.instance {
			t.Errorf("Instance(%q): %v, want allowed: %t", c.url, err, c.instance)
		}
	}
	for _, bad := range []string{"https://a.example", "a.example/path", "*.example.com", "a b", "a@b", ":80"} {
		if hosts, err := sfoauth.ParseAllowedHosts(bad); err == nil {
			t.Errorf("ParseAllowedHosts(%q) = %v, want an error", bad, hosts)
		}
	}
}
