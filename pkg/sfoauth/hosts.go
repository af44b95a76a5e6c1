package sfoauth

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// AllowedHosts lists hosts that may receive credentials and may appear in responses, in addition to Salesforce's own
// domains. An entry matches a URL's host exactly, with its port if it has one ("127.0.0.1:8443"). The zero value allows
// Salesforce's own domains only. Plain http is accepted only for a listed loopback host.
type AllowedHosts []string

// myDomains are the suffixes of My Domain hosts: commercial (production, sandbox, develop, scratch and trailblaze
// orgs), Government Cloud, and China. Source: Salesforce Help, "My Domain URL Formats".
var myDomains = []string{".my.salesforce.com", ".my.salesforce.mil", ".my.sfcrmproducts.cn"}

// salesforceDomains are the suffixes of all hosts that an instance_url may name.
var salesforceDomains = []string{".salesforce.com", ".salesforce.mil", ".sfcrmproducts.cn"}

// ParseAllowedHosts parses a comma-separated list of hosts, each host or host:port. It ignores empty entries, and
// returns an error for an entry with a scheme, a path or a wildcard. An empty list is the zero value.
func ParseAllowedHosts(list string) (AllowedHosts, error) {
	var hosts AllowedHosts
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "" {
			continue
		}
		u, err := url.Parse("https://" + entry)
		if err != nil || u.Host != entry || u.Hostname() == "" || strings.Contains(entry, "*") {
			return nil, fmt.Errorf("host %q: want host or host:port, without scheme, path or wildcard", entry)
		}
		hosts = append(hosts, entry)
	}
	return hosts, nil
}

// MyDomain parses an address that credentials may be sent to: the https origin of a My Domain, or of a listed host. It
// ignores white space around the address and trailing slashes.
func (h AllowedHosts) MyDomain(raw string) (*url.URL, error) {
	u, err := h.origin(raw)
	switch {
	case err != nil:
		return nil, err
	case h.listed(u) || hasDomain(u, myDomains):
		return u, nil
	default:
		return nil, fmt.Errorf("host %q is not a My Domain: want https://<MyDomain>.my.salesforce.com", u.Host)
	}
}

// Instance parses an address from a response: the https origin of a Salesforce host, or of a listed host.
func (h AllowedHosts) Instance(raw string) (*url.URL, error) {
	u, err := h.origin(raw)
	switch {
	case err != nil:
		return nil, err
	case h.listed(u) || hasDomain(u, salesforceDomains):
		return u, nil
	default:
		return nil, fmt.Errorf("host %q is not Salesforce's", u.Host)
	}
}

func (h AllowedHosts) origin(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(raw), "/"))
	if err != nil {
		return nil, errors.New("not a URL") // err would print raw, which may be a secret pasted into the wrong field
	}
	u.Host = strings.ToLower(u.Host)
	switch {
	case u.Hostname() == "" || u.Scheme == "":
		return nil, errors.New("not an absolute URL: want https://<MyDomain>.my.salesforce.com")
	case u.User != nil || u.Path != "" || strings.ContainsAny(raw, "?#"): // u has lost an empty query or fragment
		return nil, fmt.Errorf("host %q: want scheme and host alone, without user, path or query", u.Host)
	case u.Scheme == "http" && h.listed(u) && IsLoopback(u.Hostname()):
		return u, nil
	case u.Scheme != "https":
		return nil, fmt.Errorf("host %q: want https", u.Host)
	}
	return u, nil
}

func (h AllowedHosts) listed(u *url.URL) bool { return slices.Contains(h, u.Host) }

// hasDomain reports whether u is a host below one of the domains.
func hasDomain(u *url.URL, domains []string) bool {
	return slices.ContainsFunc(domains, func(domain string) bool {
		label := strings.TrimSuffix(u.Host, domain)
		return label != u.Host && label != ""
	})
}

// IsLoopback reports whether host, without a port, is localhost or a loopback address. Names below localhost are not
// loopback, since they may resolve to any address.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// isMyDomain reports whether address is the origin of a My Domain.
func isMyDomain(address string) bool {
	_, err := AllowedHosts(nil).MyDomain(address)
	return err == nil
}
