package doctor

import (
	"context"
	"net/url"
	"strings"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// firstAddress returns the first address without the region that it may end with, and its region, or "" if it has none.
func (s *session) firstAddress() (address, region string) {
	if len(s.addresses) == 0 {
		return "", ""
	}
	address, region = s.addresses[0], sftoken.RegionFromURL(s.addresses[0])
	return strings.TrimSuffix(address, "#"+region), region
}

// failover requests a token from each further address, to which clients turn if the first one fails.
func (s *session) failover(ctx context.Context) outcome {
	var works, fails []string
	for _, address := range s.addresses[1:] {
		name := address
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			name = u.Host
		}
		token, err := sftoken.NewTokenSource(s.aws, address, s.App, sftoken.WithHTTPClient(s.apiClient())).Fetch(ctx)
		if err != nil {
			fails = append(fails, name+": "+shortError(err))
			continue
		}
		if token.Cache == "miss" {
			s.logins++
		}
		works = append(works, name+" gives tokens: "+token.ID)
	}
	if len(fails) > 0 {
		return warning(strings.Join(append(fails, works...), "; "), "clients could not fail over to it: run `sftoken doctor "+
			s.App+" --url` with this address alone. The caller's policy must name the API of each region")
	}
	return ok(strings.Join(works, "; "))
}
