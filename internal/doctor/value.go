package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// characters looks for what a copy from Setup, an editor or a chat leaves around a value. What sftoken forgives,
// others that read the same secret may not.
func (v *session) characters(context.Context) outcome {
	var wrong, odd []string
	text, marked := strings.CutPrefix(v.value.Reveal(), "\ufeff")
	if marked {
		odd = append(odd, "the value begins with a byte order mark")
	}
	fields, _ := appsecret.Fields(text) // Parse has done it before
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if meant := misspelt(name); meant != "" {
			odd = append(odd, fmt.Sprintf("the field %q is not known: do you mean %s?", line(name), meant))
		}
		var value string
		if !appsecret.IsField(name) || json.Unmarshal(fields[name], &value) != nil {
			continue
		}
		trimmed := strings.TrimSpace(value)
		if trimmed != value {
			odd = append(odd, "there is white space around "+name)
		}
		if strings.ContainsFunc(trimmed, func(r rune) bool { return r <= ' ' || r > '~' }) {
			wrong = append(wrong, name+" holds white space or characters that do not show")
		}
		if strings.ContainsAny(trimmed, "\"'`<>") {
			wrong = append(wrong, name+" holds quotation marks or brackets")
		}
	}
	if isConsumerKey(v.version.ConsumerSecret.Reveal()) && !isConsumerKey(v.version.ConsumerKey) {
		wrong = append(wrong, "consumerKey and consumerSecret look swapped")
	}
	const again = "copy both from Setup once more, and store them again"
	switch {
	case len(wrong) > 0:
		return failed(strings.Join(append(wrong, odd...), "; "), again)
	case len(odd) > 0:
		return warning(strings.Join(odd, "; "), "sftoken forgives it, another reader of the secret may not: store it again")
	}
	return ok("no stray ones")
}

// misspelt returns the field that is meant by a name that others use for it. Empty: none. Parse refuses a name that
// is nearly a field's.
func misspelt(name string) string {
	return map[string]string{"instanceurl": "baseUri", "organizationid": "orgId", "principals": "allowedPrincipals"}[strings.ToLower(name)]
}

// isConsumerKey says whether text begins as Salesforce's consumer keys do.
func isConsumerKey(text string) bool { return strings.HasPrefix(text, "3MVG9") }

// myDomain looks at the address that the pair is sent to.
func (v *session) myDomain(context.Context) outcome {
	base := v.version.BaseURI
	u, err := v.Hosts.MyDomain(base)
	if err == nil {
		return ok(u.String())
	}
	return failed("baseUri: "+line(err.Error()), suggestion(base))
}

// families are the domains of each of Salesforce's clouds, and where its My Domains are. Source: Salesforce Help, "My
// Domain URL Formats" and "Allow the Required Domains".
var families = []struct {
	myDomain string
	domains  []string
}{
	{".my.salesforce.com", []string{".salesforce.com", ".force.com", ".salesforce-setup.com", ".site.com", ".visualforce.com"}},
	{".my.salesforce.mil", []string{".salesforce.mil", ".crmforce.mil", ".force.mil", ".salesforce-setup.mil"}},
	{".my.sfcrmproducts.cn", []string{".sfcrmproducts.cn", ".sfcrmapps.cn"}},
}

// services are what stands between the org's name and the domain in a host that serves pages.
var services = []string{".my", ".lightning", ".vf", ".file", ".setup", ".sites", ".builder", ".preview"}

// suggestion says what baseUri should be, as far as it can be told from what it is.
func suggestion(base string) string {
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
	if _, domain, _ := strings.Cut(host, "."); host == "login."+domain && domain != "" && !strings.Contains(domain, ".my.") || host == "test.salesforce.com" {
		return host + " serves all orgs, and not this flow: " + general
	}
	for _, family := range families {
		for _, domain := range family.domains {
			if name := orgName(host, domain); name != "" && strings.HasSuffix(host, family.myDomain) {
				return "set baseUri to https://" + host
			} else if name != "" {
				return "set baseUri to https://" + name + family.myDomain + ": " + host + " serves pages, and not the API"
			}
		}
	}
	return general + "; a host of your own must be among SALESFORCE_HOSTS"
}

// orgName returns the org's name in a host under the domain, with the kind of a sandbox or trial org:
// acme--dev.sandbox. Empty: the host is not one that names an org.
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
	if !known || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.HasPrefix(name, ".") {
		return ""
	}
	return name
}

// ids looks at the form of the record ids. Source of the prefixes: Salesforce Help, "Standard Field Record ID Prefix
// Decoder".
func (v *session) ids(context.Context) outcome {
	var wrong, odd []string
	for _, id := range []struct{ name, value, prefix, what string }{
		{"appId", v.version.AppID, "0xI", "an External Client App's"}, {"consumerId", v.version.ConsumerID, "888", "a consumer's"},
		{"orgId", v.version.OrgID, "00D", "an organization's"}, {"userId", v.version.UserID, "005", "a user's"},
	} {
		switch {
		case id.value == "":
		case len(id.value) != 15 && len(id.value) != 18 || strings.ContainsFunc(id.value, func(r rune) bool { return r > '~' || !unicode.IsLetter(r) && !unicode.IsDigit(r) }):
			wrong = append(wrong, id.name+" is not a record id of 15 or 18 letters and digits")
		case !strings.HasPrefix(id.value, id.prefix):
			odd = append(odd, fmt.Sprintf("%s does not begin with %s, as %s id does", id.name, id.prefix, id.what))
		}
	}
	if (v.version.AppID == "") != (v.version.ConsumerID == "") {
		odd = append(odd, "only one of appId and consumerId is there: rotation needs both")
	}
	const fix = "look them up: orgId in Company Information; appId and consumerId with /services/data/v65.0/apps/oauth/usage"
	switch {
	case len(wrong) > 0:
		return failed(strings.Join(append(wrong, odd...), "; "), fix)
	case len(odd) > 0:
		return warning(strings.Join(odd, "; "), fix)
	}
	return ok("well-formed")
}
