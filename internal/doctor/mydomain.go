package doctor

import (
	"context"
	"net/url"
	"strings"
)

// myDomain checks the address at which the credentials log in.
func (s *session) myDomain(context.Context) outcome {
	base := s.version.BaseURI
	u, err := s.Hosts.MyDomain(base)
	if err != nil {
		return failed("baseUri: "+line(err.Error()), suggestBaseURI(base))
	}
	return ok(u.String())
}

// families are Salesforce's clouds: the domain of My Domains and all domains of pages. Source: Salesforce Help, "My
// Domain URL Formats" and "Allow the Required Domains".
var families = []struct {
	myDomain string
	domains  []string
}{
	{
		".my.salesforce.com",
		[]string{".salesforce.com", ".force.com", ".salesforce-setup.com", ".site.com", ".visualforce.com"},
	},
	{".my.salesforce.mil", []string{".salesforce.mil", ".crmforce.mil", ".force.mil", ".salesforce-setup.mil"}},
	{".my.sfcrmproducts.cn", []string{".sfcrmproducts.cn", ".sfcrmapps.cn"}},
}

// services stand between the org's name and the domain in the host names of pages.
var services = []string{".my", ".lightning", ".vf", ".file", ".setup", ".sites", ".builder", ".preview"}

// suggestBaseURI returns what baseUri should be, as far as its present value shows.
func suggestBaseURI(base string) string {
	const general = "set baseUri to https://<MyDomain>.my.salesforce.com, as My Domain in Setup shows it (setup step 3)"
	text := strings.TrimSpace(base)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return general
	}
	host := strings.ToLower(u.Hostname())
	_, domain, _ := strings.Cut(host, ".")
	isLogin := host == "login."+domain && domain != "" && !strings.Contains(domain, ".my.")
	if isLogin || host == "test.salesforce.com" {
		return host + " serves all orgs and does not support this flow: " + general
	}
	for _, family := range families {
		for _, domain := range family.domains {
			if name := orgName(host, domain); name != "" && strings.HasSuffix(host, family.myDomain) {
				return "set baseUri to https://" + host
			} else if name != "" {
				return "set baseUri to https://" + name + family.myDomain + ": " + host + " serves pages, not the API"
			}
		}
	}
	return general + "; add a host of your own to the deployment's SalesforceHosts, and pass it with --salesforce-hosts"
}

// orgName returns the org's name in a host under the domain, including the type of a sandbox or trial org, like
// acme--dev.sandbox. It returns "" if the host does not name an org.
func orgName(host, domain string) string {
	rest, under := strings.CutSuffix(host, domain)
	if !under {
		return ""
	}
	name, known := rest, strings.HasSuffix(domain, "-setup.com") || strings.HasSuffix(domain, "-setup.mil")
	for _, service := range services {
		if before, found := strings.CutSuffix(rest, service); found {
			name, known = before, true
			if service == ".vf" { // acme--package, or acme--dev--package.sandbox
				first, kind, _ := strings.Cut(before, ".")
				if at := strings.LastIndex(first, "--"); at > 0 {
					first = first[:at]
				}
				name = strings.TrimSuffix(first+"."+kind, ".")
			}
		}
	}
	invalid := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.HasPrefix(name, ".")
	if !known || invalid {
		return ""
	}
	return name
}
