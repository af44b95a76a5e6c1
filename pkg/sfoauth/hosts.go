package sfoauth

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// AllowedHosts lists the hosts, beside Salesforce's own domains, that may be sent credentials and may be named in an answer. An
// entry matches a URL's host exactly, with its port where it has one ("127.0.0.1:8443"). The zero value allows
// Salesforce's own domains alone. Plain http is accepted only for a loopback host that is listed.
type AllowedHosts []string

// A My Domain host ends in one of these: commercial (production, sandbox, develop, scratch and trailblaze orgs alike),
// Government Cloud, and China. Source: Salesforce Help, "My Domain URL Formats".
var myDomains = []string{".my.salesforce.com", ".my.salesforce.mil", ".my.sfcrmproducts.cn"}

// An answer's instance_url may name any host of Salesforce's own.
var ownDomains = []string{".salesforce.com", ".salesforce.mil", ".sfcrmproducts.cn"}

// ParseAllowedHosts reads a comma-separated list. Empty entries are dropped; one that is not host or host:port is an error
// that names it.
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

// MyDomain checks that raw is an address that credentials may be sent to: the https origin of a My Domain, or a
// listed host. White space around it and a trailing slash are forgiven.
func (h AllowedHosts) MyDomain(raw string) (*url.URL, error) {
	u, err := h.origin(raw)
	switch {
	case err != nil:
		return nil, err
	case h.listed(u) || underAny(u, myDomains):
		return u, nil
	default:
		return nil, fmt.Errorf("host %q is not a My Domain: want https://<MyDomain>.my.salesforce.com", u.Host)
	}
}

// Instance checks that raw, taken from an answer, is the https origin of a host of Salesforce's own, or a listed host.
func (h AllowedHosts) Instance(raw string) (*url.URL, error) {
	u, err := h.origin(raw)
	switch {
	case err != nil:
		return nil, err
	case h.listed(u) || underAny(u, ownDomains):
		return u, nil
	default:
		return nil, fmt.Errorf("host %q is not Salesforce's", u.Host)
	}
}

func (h AllowedHosts) origin(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(raw), "/"))
	if err != nil {
		return nil, fmt.Errorf("not a URL") // url.Error would print the input, whatever a person pasted there
	}
	u.Host = strings.ToLower(u.Host)
	switch {
	case u.Hostname() == "" || u.Scheme == "":
		return nil, fmt.Errorf("not an absolute URL: want https://<MyDomain>.my.salesforce.com")
	case u.User != nil || u.Path != "" || strings.ContainsAny(raw, "?#"): // url.Parse forgets an empty query or fragment
		return nil, fmt.Errorf("host %q: want scheme and host alone, without user, path or query", u.Host)
	case u.Scheme == "http" && h.listed(u) && isLoopback(u.Hostname()):
		return u, nil
	case u.Scheme != "https":
		return nil, fmt.Errorf("host %q: want https", u.Host)
	}
	return u, nil
}

func (h AllowedHosts) listed(u *url.URL) bool { return slices.Contains(h, u.Host) }

func underAny(u *url.URL, suffixes []string) bool {
	return slices.ContainsFunc(suffixes, func(suffix string) bool {
		label := strings.TrimSuffix(u.Host, suffix)
		return label != u.Host && label != ""
	})
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
