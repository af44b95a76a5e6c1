package sftoken

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// address is an address of the API, or that of an agent.
type address struct {
	url    string
	host   string // of the address as it was given, for errors
	region string // that requests are signed for
	client *http.Client
	agent  *agent // nil: requests are signed

	// Guarded by TokenSource.mu.
	failures    int       // requests that failed in a row
	err         error     // of the last request, if that is one of the latest call of fetchAny; may be nil
	pausedUntil time.Time // other addresses come first until then
}

var (
	// apiHost matches the names of APIs and of their VPC endpoints in every partition:
	// <id>.execute-api.<region>.amazonaws.com, <id>-<vpce>.execute-api.<region>.amazonaws.com.cn,
	// <vpce>.execute-api.<region>.vpce.amazonaws.com. Source: API Gateway Developer Guide, "Invoke a private API".
	apiHost    = regexp.MustCompile(`(?:^|\.)execute-api\.([a-z]+(?:-[a-z]+)+-[0-9]+)\.`)
	regionName = regexp.MustCompile(`^[a-z]+(?:-[a-z]+)+-[0-9]+$`)
)

// Addresses returns the addresses in a list that is separated by commas, as NewTokenSource takes it.
func Addresses(apiURL string) []string {
	var all []string
	for part := range strings.SplitSeq(apiURL, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// RegionFromURL returns the region in an API's address: that of its name, or one that it ends with, after "#". It
// returns "" if there is none, as in a custom domain name.
func RegionFromURL(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return ""
	}
	if regionName.MatchString(u.Fragment) {
		return u.Fragment
	}
	if parts := apiHost.FindStringSubmatch(strings.ToLower(u.Hostname())); parts != nil {
		return parts[1]
	}
	return ""
}

// parseAddresses returns the addresses in their order of preference.
func (s *TokenSource) parseAddresses(apiURL string) ([]*address, error) {
	given := Addresses(apiURL)
	if len(given) == 0 {
		given = []string{""} // for the same error as that of a malformed one
	}
	var all []*address
	for _, text := range given {
		a, err := s.parseAddress(text)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
		if len(given) > 1 && a.agent != nil {
			return nil, fmt.Errorf("sftoken: %s is an agent's address, which must be the only one: the agent itself takes "+
				"several addresses of the API", text)
		}
	}
	return all, nil
}

// parseAddress checks an address and finds out how requests to it are authenticated.
func (s *TokenSource) parseAddress(text string) (*address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && u.Scheme != unixScheme || u.User != nil || strings.Contains(text, "?") ||
		u.Scheme != "https" && u.Scheme != "http" && u.Scheme != unixScheme {
		return nil, errors.New("sftoken: the API's address must be a URL, like " +
			"https://<id>.execute-api.<region>.amazonaws.com/v1")
	}
	if strings.Contains(text, "#") && !regionName.MatchString(u.Fragment) {
		return nil, fmt.Errorf("sftoken: address %s: want a region after #, like #eu-west-1", text)
	}
	a := &address{host: u.Host, client: s.client, region: cmp.Or(s.region, RegionFromURL(text), s.config.Region)}
	if a.agent, err = newAgent(u, s.agent); err != nil {
		return nil, err
	}
	u.Fragment = ""
	switch {
	case a.agent != nil && a.agent.socket != "":
		u, a.client = &url.URL{Scheme: "http", Host: "localhost", Path: "/v1"}, a.agent.client()
	case a.agent != nil && net.ParseIP(u.Hostname()) == nil:
		// Another user may listen at another address of localhost, and a proxy may resolve the name.
		u.Host = "127.0.0.1" + u.Host[len("localhost"):]
	case a.agent == nil && !isHTTPSOrLoopback(u):
		return nil, fmt.Errorf("sftoken: the API's address must be https: %s would send the token in plain text", u.Host)
	case a.agent == nil && a.region == "":
		return nil, errors.New("sftoken: no region: set AWS_REGION to the API's region, end the address with it, like " +
			"https://tokens.example.com/v1#eu-west-1, or set config.Region or WithRegion in Go")
	}
	a.url = strings.TrimRight(u.String(), "/")
	return a, nil
}

// isHTTPSOrLoopback reports whether requests to u are encrypted or stay on this machine.
func isHTTPSOrLoopback(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && sfoauth.IsLoopback(u.Hostname())
}
