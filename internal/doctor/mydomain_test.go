package doctor

import (
	"strings"
	"testing"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// A suggestion is a My Domain of the same cloud, or the place where Setup shows it.
func TestSuggestBaseURI(t *testing.T) {
	for base, want := range map[string]string{
		"acme.my.salesforce.com":                            "https://acme.my.salesforce.com",
		"http://acme.my.salesforce.com/x":                   "https://acme.my.salesforce.com",
		"https://acme.lightning.force.com":                  "https://acme.my.salesforce.com",
		"https://acme--dev.sandbox.lightning.force.com/x":   "https://acme--dev.sandbox.my.salesforce.com",
		"https://acme.my.salesforce-setup.com":              "https://acme.my.salesforce.com",
		"https://acme--dev.sandbox.my.salesforce-setup.com": "https://acme--dev.sandbox.my.salesforce.com",
		"https://acme.my.site.com":                          "https://acme.my.salesforce.com",
		"https://acme.file.force.com":                       "https://acme.my.salesforce.com",
		"https://acme--c.vf.force.com":                      "https://acme.my.salesforce.com",
		"https://acme--my-package.vf.force.com/apex/x":      "https://acme.my.salesforce.com",
		"https://acme--dev--c.sandbox.vf.force.com":         "https://acme--dev.sandbox.my.salesforce.com",
		"https://acme.develop.lightning.force.com":          "https://acme.develop.my.salesforce.com",
		"https://acme.lightning.crmforce.mil":               "https://acme.my.salesforce.mil",
		"https://acme.lightning.force.mil":                  "https://acme.my.salesforce.mil",
		"https://acme--c.vf.crmforce.mil":                   "https://acme.my.salesforce.mil",
		"acme.my.salesforce.mil":                            "https://acme.my.salesforce.mil",
		"https://acme.lightning.sfcrmapps.cn":               "https://acme.my.sfcrmproducts.cn",
		"https://acme.setup.sfcrmproducts.cn":               "https://acme.my.sfcrmproducts.cn",
		"https://acme--c.vf.sfcrmapps.cn":                   "https://acme.my.sfcrmproducts.cn",
		"acme.my.sfcrmproducts.cn":                          "https://acme.my.sfcrmproducts.cn",
		"https://test.my.salesforce.com/":                   "https://test.my.salesforce.com",
		"https://login.salesforce.com":                      "",
		"https://test.salesforce.com":                       "",
		"https://login.salesforce.mil":                      "",
		"https://na1.salesforce.com":                        "",
		"https://acme.example.com":                          "",
		"https://lightning.force.com":                       "",
		"https://evil.example/.lightning.force.com":         "",
		"acme_x.lightning.force.com":                        "",
		"":                                                  "",
	} {
		got := suggestBaseURI(base)
		if want == "" && !strings.Contains(got, "as My Domain in Setup shows it") ||
			want != "" && got != "set baseUri to "+want && !strings.HasPrefix(got, "set baseUri to "+want+": ") {
			t.Errorf("%q: %s", base, got)
		}
		if want != "" {
			if _, err := (sfoauth.AllowedHosts{}).MyDomain(want); err != nil {
				t.Errorf("%q: %v", want, err)
			}
		}
	}
}
