package sftoken_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/sim/apitest"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// The API in a second region.
const (
	standbyHost   = "127.0.0.2:8080"
	standbyRegion = "eu-west-1"
	bothURLs      = apitest.URL + "#" + simtest.Region + ", http://" + standbyHost + "/v1/#" + standbyRegion
)

// regions is the API in two regions.
type regions struct {
	*harness
	standby *apitest.API
}

func runRegions(t *testing.T, test func(t *testing.T, r *regions)) {
	t.Helper()
	run(t, func(t *testing.T, h *harness) { test(t, &regions{h, h.AddRegion(standbyHost, standbyRegion)}) })
}

func (r *regions) source() *sftoken.TokenSource {
	config := r.Config()
	config.Region = "" // each address has its own
	return sftoken.NewTokenSource(config, bothURLs, "crm", sftoken.WithHTTPClient(r.Client))
}

// answer makes every request get this response.
func answer(response func(http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { response(w) }
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// slow answers after d, or not at all if the client leaves before that.
func slow(d time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			next(w, r)
		case <-r.Context().Done():
		}
	}
}

// The ways in which a region fails.
var outages = map[string]http.HandlerFunc{
	"connection lost": answer(closeConn),
	"hangs":           hang,
	"gateway down":    answer(respond(503, `{"message":"Service Unavailable"}`)),
	"bad gateway":     answer(respond(502, `{"message":"Internal server error"}`)),
	"unavailable":     answer(respond(503, `{"error":"temporarily_unavailable"}`, "Retry-After: 60")),
	"server error":    answer(respond(500, `{"error":"server_error"}`)),
	"redirect":        answer(respond(302, "", "Location: https://example.com/")),
	"another server":  answer(respond(200, `<html>hello</html>`)),
	"not HTTP":        answer(bodyOnly),
}

// TestFailover has 100 callers that use a token every 5 seconds for two hours, each with a source of its own as in
// another process. The preferred region fails for half an hour in the middle.
func TestFailover(t *testing.T) {
	for name, outage := range outages {
		if testing.Short() && name != "hangs" && name != "gateway down" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			runRegions(t, func(t *testing.T, r *regions) {
				const callers, fails, lasts, ends = 100, 30 * time.Minute, 30 * time.Minute, 2 * time.Hour
				var group sync.WaitGroup
				for i := range callers {
					group.Go(func() {
						source, started := r.source(), time.Now()
						time.Sleep(time.Duration(i) * 3 * time.Second) // some start while the region is lost
						for time.Since(started) < ends {
							asked := time.Now()
							ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
							token, err := source.Fetch(ctx)
							cancel()
							if took := time.Since(asked); err != nil || took > 6*time.Second {
								t.Errorf("caller %d at %s, after %s: %v", i, asked.Sub(started), took, err)
								return
							}
							if !r.Org.TokenActive(token.AccessToken.Reveal()) {
								t.Errorf("caller %d at %s: a token whose session has ended", i, asked.Sub(started))
								return
							}
							time.Sleep(5 * time.Second)
						}
					})
				}
				time.Sleep(fails - time.Minute)
				synctest.Wait()
				if n := len(r.standby.Requests()); n > 0 || len(r.Requests()) == 0 {
					t.Errorf("%d requests to the standby before the outage", n)
				}
				time.Sleep(time.Minute)
				r.Break(outage)
				time.Sleep(lasts)
				// A token has to be fetched every 10 to 20 minutes. Each time the lost region is asked once at most.
				lost, standby := len(r.Requests()), len(r.standby.Requests())
				r.Break(nil)
				time.Sleep(30 * time.Minute)
				r.standby.Requests()
				time.Sleep(ends - fails - lasts - 30*time.Minute)
				group.Wait()
				t.Logf("requests of %d callers in %s: %d to the lost region, %d to the other", callers, lasts, lost, standby)
				if lost > 4*callers || standby < callers || standby > 4*callers {
					t.Errorf("%d callers made %d requests to the lost region and %d to the other", callers, lost, standby)
				}
				if n := len(r.standby.Requests()); n > 0 {
					t.Errorf("%d requests to the standby half an hour after the outage", n)
				}
			})
		})
	}
}

// TestFailoverDoesNotHammer has a caller that needs a new token every 10 seconds while the preferred region is lost.
func TestFailoverDoesNotHammer(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			runRegions(t, func(t *testing.T, r *regions) {
				var mu sync.Mutex
				var requests []time.Time // guarded by mu
				breaks := func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					now := time.Now()
					if len(requests) == 0 || requests[len(requests)-1] != now { // net/http repeats a GET if the connection is lost
						requests = append(requests, now)
					}
					mu.Unlock()
					outage(w, r)
				}
				take := func() []time.Time {
					mu.Lock()
					defer mu.Unlock()
					taken := requests
					requests = nil
					return taken
				}
				r.Break(breaks)
				r.standby.Break(answer(respond(200, tokenJSON("t", simtest.OrgURL, 2))))
				source := r.source()
				fetch := func(atMost time.Duration) {
					t.Helper()
					before := time.Now()
					if _, err := source.Fetch(t.Context()); err != nil || time.Since(before) > atMost {
						t.Fatalf("after %s: %v", time.Since(before), err)
					}
					time.Sleep(10 * time.Second)
				}
				fetch(5 * time.Second)
				for started := time.Now(); time.Since(started) < time.Hour; {
					fetch(time.Second)
				}
				asked, want := take(), 10*time.Second
				for i := 1; i < len(asked); i++ {
					if gap := asked[i].Sub(asked[i-1]); gap < want || gap > want*5/4+16*time.Second {
						t.Errorf("request %d follows after %s, want %s to a quarter more", i, gap, want)
					}
					want = min(2*want, 5*time.Minute)
				}
				if len(asked) < 13 {
					t.Errorf("the lost region was asked %d times in an hour", len(asked))
				}
				r.Break(nil)
				time.Sleep(7 * time.Minute)
				fetch(0)
				time.Sleep(time.Hour) // its token has expired
				r.Break(breaks)
				fetch(5 * time.Second)
				fetch(0)
				fetch(time.Second)
				if n := len(take()); n != 2 {
					t.Errorf("after its recovery the region was paused as long as before: %d requests", n)
				}
			})
		})
	}
}

// TestFailoverShared has 100 callers of one source, as in one process.
func TestFailoverShared(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		r.Break(hang)
		source := r.source()
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if _, err := source.Fetch(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if lost, standby := len(r.Requests()), len(r.standby.Requests()); lost != 1 || standby != 1 {
			t.Errorf("%d requests to the lost region, %d to the other", lost, standby)
		}
	})
}

// TestFailoverRefusals: only a failure of the preferred region lets another one decide.
func TestFailoverRefusals(t *testing.T) {
	denied := answer(respond(403, `{"error":"access_denied","error_description":"no"}`))
	throttled := answer(respond(429, `{"message":"Too Many Requests"}`))
	unavailable := answer(respond(503, `{"error":"temporarily_unavailable"}`))
	vends := answer(respond(200, tokenJSON("t", simtest.OrgURL, 60)))
	lost := answer(closeConn)
	for name, c := range map[string]struct {
		first, second http.HandlerFunc
		err           string // what it contains; empty: none
		temporary     bool
		standby       int // requests
	}{
		"refused":                  {denied, nil, "access_denied", false, 0},
		"throttled":                {throttled, nil, "Too Many Requests", true, 0},
		"lost, then refused":       {lost, denied, apiHost + ": sftoken: no response from the API", true, 4},
		"slow, then refused":       {slow(7*time.Second, denied), denied, "access_denied", false, 1},
		"slow, refused by another": {slow(7*time.Second, vends), denied, "", false, 1},
		"broken, then unavailable": {outages["server error"], unavailable, "HTTP 500 server_error; " + standbyHost, true, 9},
		"both unavailable":         {lost, unavailable, standbyHost + ": sftoken: HTTP 503", true, 9},
	} {
		t.Run(name, func(t *testing.T) {
			runRegions(t, func(t *testing.T, r *regions) {
				r.Break(c.first)
				r.standby.Break(c.second)
				ctx, cancel := context.WithTimeout(t.Context(), 28*time.Second)
				defer cancel()
				_, err := r.source().Fetch(ctx)
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				if sftoken.IsTemporary(err) != c.temporary {
					t.Errorf("temporary: %t: %v", !c.temporary, err)
				}
				if n := len(r.standby.Requests()); n > c.standby || n == 0 && c.standby > 0 {
					t.Errorf("%d requests to the standby, want %d at most", n, c.standby)
				}
			})
		})
	}
}

// TestFailoverFromSlowRegion: the next region is asked after five seconds, and comes first afterwards.
func TestFailoverFromSlowRegion(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		vend := func(token string) http.HandlerFunc { return answer(respond(200, tokenJSON(token, simtest.OrgURL, 1))) }
		r.Break(slow(8*time.Second, vend("first")))
		r.standby.Break(vend("second"))
		source := r.source()
		fetch := func(want string, took time.Duration) {
			t.Helper()
			started := time.Now()
			token, err := source.Fetch(t.Context())
			if err != nil || token.AccessToken.Reveal() != want || time.Since(started) != took {
				t.Errorf("want %s after %s: %v after %s", want, took, err, time.Since(started))
			}
			time.Sleep(2 * time.Second)
		}
		fetch("second", 5*time.Second)
		fetch("second", 0)
		r.standby.Break(answer(closeConn))
		fetch("first", 8*time.Second) // although it is in a pause
		r.Break(vend("first"))
		fetch("first", 0)
		r.Break(slow(8*time.Second, vend("first")))
		r.standby.Break(answer(closeConn))
		fetch("first", 8*time.Second) // the other one has failed meanwhile
	})
}

// TestFailoverWithShortDeadline: a caller with a few seconds does not wait until they are over.
func TestFailoverWithShortDeadline(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		r.Break(hang)
		for deadline, asksAfter := range map[time.Duration]time.Duration{
			20 * time.Second: 5 * time.Second, 9 * time.Second: 3 * time.Second, 2 * time.Second: time.Second,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			started := time.Now()
			_, err := r.source().Fetch(ctx)
			cancel()
			if took := time.Since(started); err != nil || took != asksAfter {
				t.Errorf("with %s: %v after %s, want a token after %s", deadline, err, took, asksAfter)
			}
		}
	})
}

// TestFailoverRetryAfter: one region's Retry-After does not keep callers from the others.
func TestFailoverRetryAfter(t *testing.T) {
	unavailable := func(seconds string) http.HandlerFunc {
		return answer(respond(503, `{"error":"temporarily_unavailable"}`, "Retry-After: "+seconds))
	}
	denied := answer(respond(403, `{"error":"access_denied"}`))
	for name, c := range map[string]struct {
		first, second http.HandlerFunc
		retryAfter    time.Duration // of the error
	}{
		"a long one of the standby":       {outages["server error"], unavailable("3600"), 0},
		"a long one of the first":         {unavailable("3600"), unavailable("2"), 2 * time.Second},
		"one region lost":                 {unavailable("3600"), answer(closeConn), 0},
		"the other region does not serve": {unavailable("60"), denied, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			runRegions(t, func(t *testing.T, r *regions) {
				r.Break(c.first)
				r.standby.Break(c.second)
				source := r.source()
				for range 2 { // the second call finds the backoff of the first
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					_, err := source.Fetch(ctx)
					cancel()
					failed := errorOf(err)
					if failed.Status != 503 || failed.RetryAfter > c.retryAfter || failed.RetryAfter <= c.retryAfter-2*time.Second {
						t.Errorf("RetryAfter of %v: %+v", err, failed)
					}
					if text := err.Error(); !strings.Contains(text, apiHost) || !strings.Contains(text, standbyHost) {
						t.Errorf("the error does not name both addresses: %v", err)
					}
				}
				if c.retryAfter == time.Minute {
					return
				}
				r.standby.Break(nil)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if _, err := source.Fetch(ctx); err != nil {
					t.Errorf("the standby has recovered: %v", err)
				}
			})
		})
	}
}

func TestFailoverOfRejectedToken(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		source := r.source()
		before, err := source.Fetch(t.Context())
		r.Must(err)
		r.Org.RevokeAll()
		r.Break(answer(closeConn))
		after, err := source.Refresh(t.Context(), before.ID)
		r.Must(err)
		if after.ID == before.ID || !r.Org.TokenActive(after.AccessToken.Reveal()) {
			t.Error("the token was not replaced")
		}
	})
}

// TestRevokeInEveryRegion: each region has a cached token.
func TestRevokeInEveryRegion(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		token := func(url, region string) string {
			one, err := r.sourceAt(url+"#"+region, "crm").Fetch(t.Context())
			r.Must(err)
			return one.AccessToken.Reveal()
		}
		tokens := []string{token(apitest.URL, simtest.Region), token("http://"+standbyHost+"/v1", standbyRegion)}
		r.Must(r.source().Revoke(t.Context()))
		for i, one := range tokens {
			if r.Org.TokenActive(one) {
				t.Errorf("the token of address %d still works", i)
			}
		}
		kept := token("http://"+standbyHost+"/v1", standbyRegion)
		r.Break(answer(respond(403, `{"message":"not authorized"}`)))
		err := r.source().Revoke(t.Context())
		if err == nil || !strings.Contains(err.Error(), apiHost+": sftoken: HTTP 403: not authorized") ||
			strings.Contains(err.Error(), standbyHost) {
			t.Errorf("one region failed: %v", err)
		}
		if r.Org.TokenActive(kept) {
			t.Error("the failure of one region kept the token of the other")
		}
		if e := errorOf(err); e.Status != 403 {
			t.Errorf("the error wraps %v", e)
		}
	})
}

// TestRevokeWhileARegionHangs: the token that was revoked is not returned meanwhile.
func TestRevokeWhileARegionHangs(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		r.Break(answer(closeConn))
		source := r.source()
		revoked, err := source.Fetch(t.Context())
		r.Must(err)
		r.Break(hang)
		var group sync.WaitGroup
		group.Go(func() {
			if err := source.Revoke(t.Context()); err == nil {
				t.Error("a region did not respond, and Revoke succeeded")
			}
		})
		synctest.Wait()
		if token, err := source.Fetch(t.Context()); err != nil || token.ID == revoked.ID {
			t.Errorf("the same token, or %v", err)
		}
		group.Wait()
	})
}

// TestWithRegion: the option applies to every address.
func TestWithRegion(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := sftoken.NewTokenSource(h.Config(), apitest.URL+"#"+standbyRegion, "crm", sftoken.WithHTTPClient(h.Client),
			sftoken.WithRegion(simtest.Region))
		if _, err := source.Fetch(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAddressLists(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		bothURLs:                           "",
		" , " + apitest.URL + " ,":         "no region",
		bothURLs + ",ftp://127.0.0.1":      "must be a URL",
		apitest.URL + "#east":              "want a region after #, like #eu-west-1",
		apitest.URL + "#us-east-1#x":       "want a region after #",
		bothURLs + ",unix:///run/a.sock":   "an agent's address, which must be the only one",
		",":                                "must be a URL",
		"https://tokens.example#us-gov-1":  "",
		"https://tokens.example/v1#eu-1/a": "want a region after #",
	} {
		source := sftoken.NewTokenSource(aws.Config{}, given, "crm")
		switch err := source.Err(); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want %q", given, err, want)
		}
	}
	if got := fmt.Sprint(sftoken.Addresses(" a, ,b,")); got != "[a b]" {
		t.Errorf("addresses %s", got)
	}
}
