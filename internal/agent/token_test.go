package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/internal/sim/apitest"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestConcurrentClients(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.SetDelay(time.Second)
		var clients sync.WaitGroup
		var mu sync.Mutex
		caches := map[string]int{}
		for range 1000 {
			clients.Go(func() {
				a := h.token(t, "")
				mu.Lock()
				defer mu.Unlock()
				caches[a.cache()]++
			})
		}
		clients.Wait()
		if n := len(h.Requests()); n != 1 || caches["miss"] != 1 || caches["hit"] != 999 {
			t.Errorf("%d requests to the API, cache %v", n, caches)
		}
	})
}

// A client in each second sees no expired token and waits for none, at one request to the API for each lifetime.
func TestRefreshAhead(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		const hour = 3600
		h.token(t, "")
		h.SetDelay(time.Second)
		time.Sleep(500 * time.Millisecond) // no client comes at the moment at which the agent begins a refresh
		begun, shortest := time.Now(), hour
		for range hour {
			before := time.Now()
			a := h.token(t, "")
			shortest = min(shortest, a.ExpiresIn)
			if !h.Org.TokenActive(a.AccessToken) || time.Since(before) > 0 {
				t.Fatalf("after %s: active: %t, waited %s", time.Since(begun), h.Org.TokenActive(a.AccessToken), time.Since(before))
			}
			time.Sleep(time.Second)
		}
		lifetime := int(vending.DefaultTokenTTL / time.Second)
		if n, most := len(h.Requests()), hour/(lifetime-30)+1; n > most || shortest < 29 {
			t.Errorf("%d requests to the API, want %d at most; the shortest lifetime was %d s", n, most, shortest)
		}
	})
}

func TestUnusedTokenIsNotRefreshed(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.token(t, "")
		time.Sleep(time.Hour)
		if n := len(h.Requests()); n != 1 {
			t.Errorf("%d requests to the API for one of a client", n)
		}
		if a := h.token(t, ""); a.cache() == "hit" || !h.Org.TokenActive(a.AccessToken) {
			t.Errorf("an hour later: %s", a.cache())
		}
	})
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.serve(t, agent.Config{Token: sfoauth.NewSecret(agentToken), Apps: []string{"crm", "erp"}})
		h.agent.Prefetch(t.Context())
		if a := h.token(t, ""); a.cache() != "hit" || len(h.Requests()) != 2 {
			t.Errorf("the first request: %s", a.cache())
		}
		if failed := h.lines("no_token"); len(failed) != 1 || failed[0]["app"] != "erp" {
			t.Errorf("the log has %v", failed)
		}
	})
}

func TestRejectedToken(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		first := h.token(t, "")
		if same := h.token(t, "?rejected="+first.TokenID); same.TokenID != first.TokenID || same.cache() != "confirmed" {
			t.Errorf("an active token: %s", same.cache())
		}
		if again := h.token(t, "?rejected="+first.TokenID); again.cache() != "confirmed" || len(h.Requests()) != 2 {
			t.Errorf("another client with the active token: %s", again.cache())
		}
		h.Org.RevokeAll()
		time.Sleep(6 * time.Second) // the API checks a rejected token every five seconds
		next := h.token(t, "?rejected="+first.TokenID)
		if next.TokenID == first.TokenID || !h.Org.TokenActive(next.AccessToken) {
			t.Error("the dead token was not replaced")
		}
		late := h.token(t, "?rejected="+first.TokenID)
		if late.TokenID != next.TokenID || late.cache() != "hit" || len(h.Requests()) != 1 {
			t.Errorf("another client with the dead token: %s", late.cache())
		}
	})
}

// down is a response of the API that cannot be served now.
func down(retryAfter int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", fmt.Sprint(retryAfter))
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"error":"temporarily_unavailable","error_description":"Salesforce is down","request_id":"req-7"}`)
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	hangs := func(http.ResponseWriter) { time.Sleep(time.Minute) }
	breaks := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	outages := map[string]func(http.ResponseWriter){"unavailable": down(5), "hangs": hangs, "breaks": breaks}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, h *harness) {
				first := h.token(t, "")
				h.RespondWith(slices.Repeat([]func(http.ResponseWriter){outage}, 1000)...)
				for left := first.ExpiresIn; left > 2; left = h.token(t, "").ExpiresIn {
					before := time.Now()
					a := h.token(t, "")
					if took := time.Since(before); a.TokenID != first.TokenID || took > 2*time.Second {
						t.Fatalf("%d s before the token expires: waited %s", left, took)
					}
					time.Sleep(time.Second)
				}
				time.Sleep(5 * time.Second)
				before := time.Now()
				a := h.get(t, "/v1/tokens/crm")
				if a.status != 503 || a.Code != "temporarily_unavailable" || a.AccessToken != "" ||
					time.Since(before) > 21*time.Second {
					t.Errorf("after its expiry: %d %s after %s: %s", a.status, a.Code, time.Since(before), a.Description)
				}
				if a.header.Get("Retry-After") == "" && name != "hangs" {
					t.Error("no Retry-After")
				}
				h.RespondWith()
				time.Sleep(time.Minute)
				if a := h.token(t, ""); !h.Org.TokenActive(a.AccessToken) {
					t.Error("after the outage: no new token")
				}
			})
		})
	}
}

// TestFailover: no client notices that a region is lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const standby = "127.0.0.2:8080"
		h := newHarness(t)
		second := h.AddRegion(standby, "eu-west-1")
		h.serve(t, agent.Config{
			APIURL: apitest.URL + ",http://" + standby + "/v1#eu-west-1", Token: sfoauth.NewSecret(agentToken),
		})
		h.Break(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() { h.token(t, "") })
		}
		clients.Wait()
		if first, second := len(h.Requests()), len(second.Requests()); first != 1 || second != 1 {
			t.Errorf("%d requests to the lost region, %d to the other", first, second)
		}
		var hosts []string
		for _, line := range h.lines("api_request") {
			hosts = append(hosts, line["host"].(string))
		}
		slices.Sort(hosts)
		if want := []string{apitest.Host, standby}; !slices.Equal(hosts, want) {
			t.Errorf("the log has requests to %v", hosts)
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	respond := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	strange := func(w http.ResponseWriter) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_, _ = fmt.Fprint(conn, "HTTP/1.1 099 -\r\nConnection: close\r\n\r\n"+`{"error":"x"}`)
		_ = conn.Close()
	}
	for name, c := range map[string]struct {
		response                 func(http.ResponseWriter)
		status                   int
		code, description, retry string
	}{
		"the function's": {respond(502, `{"error":"app_misconfigured","error_description":"fix it","request_id":"r1",`+
			`"salesforce_error":"invalid_grant"}`), 502, "app_misconfigured", "fix it", ""},
		"unavailable for long": {down(60), 503, "temporarily_unavailable", "Salesforce is down", "60"},
		"IAM's":                {respond(403, `{"Message":"User: x is not"}`), 403, "access_denied", "API Gateway: User", ""},
		"throttled":            {respond(429, `{"message":"Too Many Requests"}`), 503, "temporarily_unavailable", "429", "1"},
		"the gateway's":        {respond(500, `{"message":"Internal"}`), 503, "temporarily_unavailable", "500", "1"},
		"another server":       {respond(404, `<html>`), 502, "bad_upstream_response", "404", ""},
		"a strange status":     {strange, 502, "bad_upstream_response", "HTTP 99 x", ""},
		"an error as success":  {respond(201, `{"error":"x"}`), 502, "bad_upstream_response", "HTTP 201 x", ""},
		"a redirect":           {respond(302, `{"error":"x"}`), 502, "bad_upstream_response", "HTTP 302 x", ""},
		"another agent's":      {respond(401, `{"error":"invalid_client"}`), 502, "bad_upstream_response", "401", ""},
		"a proxy's":            {respond(400, `{"error":"Blocked: 8f3a"}`), 502, "bad_upstream_response", "8f3a", ""},
		"no token":             {respond(200, `{}`), 500, "server_error", "no token in response", ""},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, h *harness) {
				h.RespondWith(slices.Repeat([]func(http.ResponseWriter){c.response}, 1000)...)
				a := h.get(t, "/v1/tokens/crm")
				if a.status != c.status || a.Code != c.code || !strings.Contains(a.Description, c.description) ||
					a.header.Get("Retry-After") != c.retry || a.header.Get("Cache-Control") != "no-store" ||
					a.header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%d %v %s", a.status, a.header, a.text)
				}
			})
		})
	}
}

// failingCredentials are AWS credentials that have expired.
type failingCredentials struct{}

func (failingCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("the SSO session has expired")
}

func TestNoAWSCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		cfg := h.Config()
		cfg.Credentials = failingCredentials{}
		h.serve(t, agent.Config{Token: sfoauth.NewSecret(agentToken), AWS: cfg})
		a := h.get(t, "/v1/tokens/crm")
		if a.status != 500 || a.Code != "server_error" || !strings.Contains(a.Description, "the SSO session has expired") {
			t.Errorf("%d %s", a.status, a.text)
		}
		if failed := h.lines("no_token"); len(failed) != 1 {
			t.Errorf("the log has %v", failed)
		}
	})
}

// A client that repeats a request which cannot succeed must not use up the API's rate limit.
func TestFailurePause(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		for range 1000 {
			if a := h.get(t, "/v1/tokens/erp"); a.status != 404 || a.Code != "unknown_app" {
				t.Fatalf("%d %s", a.status, a.text)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(h.Requests()); n > 11 {
			t.Errorf("%d requests to the API in ten seconds", n)
		}
	})
}

// The pause also applies to a rejected or expired token that cannot be replaced, and not to one that others can use.
func TestFailurePauseWithToken(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		first := h.token(t, "")
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"unknown_app"}`)
		}}, 10000)...)
		for _, query := range []string{"?rejected=" + first.TokenID, ""} {
			h.Requests()
			for range 1000 {
				if a := h.get(t, "/v1/tokens/crm"+query); a.status != 404 {
					t.Fatalf("%d %s", a.status, a.text)
				}
				if query != "" {
					h.token(t, "")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if n := len(h.Requests()); n > 11 {
				t.Errorf("%q: %d requests to the API in ten seconds", query, n)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestAppsAreBounded(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		first := h.token(t, "")
		for i := range 300 {
			h.get(t, fmt.Sprintf("/v1/tokens/app-%d", i))
		}
		h.Requests()
		if a := h.token(t, ""); a.TokenID != first.TokenID || a.cache() != "hit" || len(h.Requests()) != 0 {
			t.Errorf("an app in use was dropped: %s", a.cache())
		}
		if n := agent.Apps(h.agent); n > 100 {
			t.Errorf("%d apps are kept", n)
		}
		if names := strings.Count(h.get(t, "/metrics").text, "app-"); names > 0 {
			t.Errorf("%d metrics have names that clients made up", names)
		}
	})
}

func TestOnlyConfiguredApps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.serve(t, agent.Config{Token: sfoauth.NewSecret(agentToken), Apps: []string{"erp"}})
		if a := h.get(t, "/v1/tokens/crm"); a.status != 403 || a.Code != "access_denied" || len(h.Requests()) != 0 {
			t.Errorf("%d %s", a.status, a.text)
		}
	})
}

func TestMetrics(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.token(t, "")
		h.token(t, "")
		h.get(t, "/v1/tokens/erp")
		h.get(t, "/v1/tokens/crm", "Authorization: Bearer wrong")
		for name, want := range map[string]string{
			`sftoken_agent_requests_total{app="crm",outcome="ok"}`:                            "2",
			`sftoken_agent_requests_total{app="",outcome="unknown_app"}`:                      "1",
			`sftoken_agent_api_requests_total{app="crm",outcome="200"}`:                       "",
			`sftoken_agent_api_requests_total{app="",outcome="200"}`:                          "1",
			`sftoken_agent_api_requests_total{app="",outcome="404"}`:                          "1",
			`sftoken_agent_refused_requests_total{reason="token"}`:                            "1",
			`sftoken_agent_request_duration_seconds_count`:                                    "3",
			`sftoken_agent_build_info{goversion="` + runtime.Version() + `",version="1.2.3"}`: "1",
			`sftoken_agent_token_expiry_timestamp_seconds{app="crm"}`: strconv.FormatFloat(
				float64(time.Now().Add(vending.DefaultTokenTTL).Unix()), 'g', -1, 64),
		} {
			if got := h.metric(t, name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
}

// Neither the log nor the metrics nor an error has a secret.
func TestSecrecy(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		a := h.token(t, "")
		h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.ErrorResponse(400, "invalid_grant", a.AccessToken), 0)
		shown := h.get(t, "/v1/tokens/crm?rejected="+a.AccessToken).text
		shown += h.get(t, "/v1/tokens/"+a.AccessToken).text
		shown += h.get(t, "/v1/tokens/crm", "Authorization: Bearer "+a.AccessToken).text
		shown += h.get(t, "/v1/tokens/crm", "Host: "+a.AccessToken).text
		h.RespondWith(func(w http.ResponseWriter) { fmt.Fprint(w, a.AccessToken) })
		shown += h.get(t, "/v1/tokens/erp").text
		shown += h.get(t, "/metrics").text
		for _, secret := range append(h.Org.Secrets(), agentToken) {
			if strings.Contains(shown, secret) {
				t.Errorf("a response has a secret of %d characters", len(secret))
			}
			if strings.Contains(h.log.String(), secret) && secret != a.AccessToken {
				t.Errorf("the log has a secret of %d characters", len(secret))
			}
		}
	})
}

// quotingCredentials fail as those of an assumed role do if STS refuses the signature: AWS quotes the signed request.
type quotingCredentials struct{}

func (quotingCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("operation error STS: AssumeRole: SignatureDoesNotMatch: the signature does " +
		"not match\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:secret-of-aws")
}

// The AWS SDK's errors quote the output of a credential process and signed requests. Clients of the agent must not see
// the agent's AWS credentials, and neither must readers of its log.
func TestAWSCredentialsAreNotShown(t *testing.T) {
	t.Parallel()
	for name, provider := range map[string]aws.CredentialsProvider{
		"a credential process": processcreds.NewProvider("echo secret-of-aws is not JSON"),
		"STS":                  quotingCredentials{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				cfg := h.Config()
				cfg.Credentials = provider
				h.serve(t, agent.Config{Token: sfoauth.NewSecret(agentToken), AWS: cfg})
				a := h.get(t, "/v1/tokens/crm")
				if a.status != 500 || strings.Contains(a.text+h.log.String(), "secret-of-aws") {
					t.Errorf("%d %s\n%s", a.status, a.text, h.log.String())
				}
			})
		})
	}
}

// An agent runs for months: it keeps no token that has expired.
func TestExpiredTokenIsForgotten(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.token(t, "")
		inMemory := agent.Latest(h.agent, "crm")
		time.Sleep(time.Hour)
		h.token(t, "")
		synctest.Wait()
		if runtime.GC(); inMemory() {
			t.Error("an expired token is still in memory")
		}
	})
}

// A client that leaves is no failure of the agent, and the token is there for the next client.
func TestClientLeaves(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.SetDelay(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, agentURL+"/v1/tokens/crm", nil)
		h.Must(err)
		req.Header.Set("Authorization", "Bearer "+agentToken)
		if _, err := h.Client.Do(req); err == nil {
			t.Fatal("the client did not leave")
		}
		time.Sleep(5 * time.Second)
		if a := h.token(t, ""); a.cache() != "miss" || len(h.Requests()) != 1 {
			t.Errorf("the next client: %s", a.cache())
		}
		for outcome, want := range map[string]string{"server_error": "", "temporarily_unavailable": "1"} {
			if got := h.metric(t, `sftoken_agent_requests_total{app="",outcome="`+outcome+`"}`); got != want {
				t.Errorf("%s is %q, want %q", outcome, got, want)
			}
		}
	})
}
