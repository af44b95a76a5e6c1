package doctor

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// failoverChecks are for several addresses.
var failoverChecks = []check{
	{"api", "failover", []string{"credentials"}, (*session).failover},
}

// firstAddress returns the first address without the region that it may end with, and its region, or "" if it has none.
func (s *session) firstAddress() (address, region string) {
	if len(s.addresses) == 0 {
		return "", ""
	}
	address, region = s.addresses[0], sftoken.RegionFromURL(s.addresses[0])
	return strings.TrimSuffix(address, "#"+region), region
}

// failover requests a token from each further address, to which clients turn if the first one fails. It asks them at
// the same time, so that one that does not respond leaves time for the others.
func (s *session) failover(ctx context.Context) outcome {
	if err := sftoken.NewTokenSource(s.aws, strings.Join(s.addresses, ","), s.App).Err(); err != nil {
		return failed(shortError(err), "correct SFTOKEN_URL or --url: a client refuses the whole list")
	}
	others := s.addresses[1:]
	tokens, errs := make([]*sftoken.Token, len(others)), make([]error, len(others))
	var group sync.WaitGroup
	for i, address := range others {
		group.Go(func() {
			source := sftoken.NewTokenSource(s.aws, address, s.App, sftoken.WithHTTPClient(s.apiClient()))
			tokens[i], errs[i] = source.Fetch(ctx)
		})
	}
	group.Wait()
	var works, fails []string
	for i, token := range tokens {
		u, _ := url.Parse(others[i]) // valid: a source has parsed it
		if errs[i] != nil {
			fails = append(fails, u.Host+": "+shortError(errs[i]))
			continue
		}
		if token.Cache == "miss" {
			s.logins++
		}
		works = append(works, u.Host+" gives tokens: "+token.ID)
	}
	if len(fails) > 0 {
		return warning(strings.Join(append(fails, works...), "; "), "clients could not fail over to it: run `sftoken doctor "+
			s.App+" --url` with this address alone. The caller's policy must name the API of each region")
	}
	return ok(strings.Join(works, "; "))
}
