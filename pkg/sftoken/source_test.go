package sftoken_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var _ oauth2.TokenSource = (*sftoken.TokenSource)(nil)

func TestTokenReuse(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Token()
		h.must(err)
		if !h.org.TokenActive(first.AccessToken) || first.Type() != "Bearer" ||
			time.Until(first.Expiry) != vending.DefaultTokenTTL {
			t.Errorf("a %s that lives for %s", first.Type(), time.Until(first.Expiry))
		}
		for _, name := range []string{"instance_url", "token_id", "scope"} {
			if text, _ := first.Extra(name).(string); text == "" {
				t.Errorf("no %s", name)
			}
		}
		time.Sleep(vending.DefaultTokenTTL - 31*time.Second)
		again, err := source.Fetch(t.Context())
		h.must(err)
		if again.AccessToken.Reveal() != first.AccessToken || again.Cache != "miss" || len(h.requests()) != 1 {
			t.Error("the token was not reused")
		}
		time.Sleep(2 * time.Second)
		again, err = source.Fetch(t.Context())
		h.must(err)
		if again.Cache != "confirmed" || len(h.requests()) != 1 {
			t.Errorf("half a minute before it expires: %s", again.Cache)
		}
	})
}

func TestShortLivedToken(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		short := respond(200, tokenJSON("short", "https://x.my.salesforce.com", 20))
		h.respondWith(short, short, short)
		source := h.source("crm")
		for _, c := range []struct {
			after    time.Duration
			requests int
		}{{0, 1}, {9 * time.Second, 0}, {2 * time.Second, 1}} {
			time.Sleep(c.after)
			_, err := source.Fetch(t.Context())
			h.must(err)
			if n := len(h.requests()); n != c.requests {
				t.Errorf("%s later: %d requests", c.after, n)
			}
		}
	})
}

func TestConcurrentFetch(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		h.setDelay(3 * time.Second)
		source := h.source("crm")
		impatient, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		begun := time.Now()
		callers.Go(func() {
			_, err := source.Fetch(impatient) // the one whose call began the request
			if !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
		})
		time.Sleep(time.Millisecond)
		for range 100 {
			callers.Go(func() {
				if _, err := source.Fetch(t.Context()); err != nil || time.Since(begun) != 3*time.Second {
					t.Errorf("after %s: %v", time.Since(begun), err)
				}
			})
		}
		time.Sleep(time.Second - time.Millisecond)
		leave()
		callers.Wait()
		if asked := h.requests(); len(asked) != 1 {
			t.Errorf("%d requests", len(asked))
		}
	})
}

func TestAbandonedRequestIsCached(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		h.setDelay(3 * time.Second)
		source := h.source("crm")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with a second of time: %v", err)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		begun := time.Now()
		if _, err := source.Fetch(t.Context()); err != nil || time.Since(begun) > 0 || len(h.requests()) != 1 {
			t.Errorf("what the first caller began has not been kept: %v", err)
		}
	})
}

const gatewayError = `{"message": "Internal server error"}`

func down(header ...string) func(http.ResponseWriter) {
	const body = `{"error":"temporarily_unavailable","error_description":"Salesforce is down","request_id":"req-7"}`
	return respond(503, body, header...)
}

func TestRetries(t *testing.T) {
	t.Parallel()
	type responses []func(http.ResponseWriter)
	const ms, s = time.Millisecond, time.Second
	failed, throttled := respond(502, gatewayError), respond(429, `{"message":"Too Many Requests"}`)
	for name, try := range map[string]struct {
		responses responses
		min, max  time.Duration // until Fetch returns a token
	}{
		"503 with Retry-After":     {responses{down("Retry-After: 20"), down("Retry-After: 7")}, 27 * s, 34 * s},
		"503 without Retry-After":  {responses{down()}, 250 * ms, s},
		"many times":               {slices.Repeat(responses{down("Retry-After: 1")}, 30), 30 * s, 40 * s},
		"throttled by API Gateway": {responses{throttled, throttled}, 750 * ms, s},
		"function failure":         {responses{failed, failed, failed}, 1750 * ms, 3 * s},
		"function timeout":         {responses{respond(504, `{"message": "Endpoint request timed out"}`)}, 250 * ms, s},
		"API Gateway error":        {responses{respond(500, `{"message": null}`)}, 250 * ms, s},
		"broken connection":        {responses{closeConn, closeConn}, 750 * ms, 2 * s},
		"truncated response":       {responses{respond(200, `{"acc`, "Content-Length: 1000")}, 250 * ms, s},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSynctest(t, func(t *testing.T, h *harness) {
				h.respondWith(try.responses...)
				source, begun := h.source("crm"), time.Now()
				var callers sync.WaitGroup
				for range 10 {
					callers.Go(func() {
						_, err := source.Fetch(t.Context())
						if took := time.Since(begun); err != nil || took < try.min || took > try.max {
							t.Errorf("after %s: %v", took, err)
						}
					})
				}
				callers.Wait()
				if asked := h.requests(); len(asked) != len(try.responses)+1 {
					t.Errorf("%d requests of 10 callers, want %d", len(asked), len(try.responses)+1)
				}
			})
		})
	}
}

func TestRetryLimits(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		h.respondWith(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 8")}, 100)...)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		source, begun := h.source("crm"), time.Now()
		_, err := source.Fetch(ctx)
		if failed := errorOf(err); failed.Status != 503 || failed.RetryAfter != 8*time.Second {
			t.Errorf("as long as there is time: %v", err)
		}
		if took := time.Since(begun); took >= 30*time.Second || took < 16*time.Second {
			t.Errorf("gave up after %s, though it can be known that there is no time for another try", took)
		}
		asked := len(h.requests())
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.Fetch(short); err == nil || len(h.requests()) != 0 || asked > 4 {
			t.Errorf("the API is not left alone when it has said when to come back: %d requests, then %v", asked, err)
		}
		begun = time.Now()
		if _, err := source.Token(); err == nil || time.Since(begun) > time.Minute {
			t.Errorf("without a deadline: %v after %s", err, time.Since(begun))
		}
	})
	runSynctest(t, func(t *testing.T, h *harness) {
		h.respondWith(slices.Repeat([]func(http.ResponseWriter){closeConn}, 100)...)
		begun := time.Now()
		_, err := h.source("crm").Fetch(t.Context())
		if asked := h.requests(); err == nil || len(asked) != 4 || time.Since(begun) > 4*time.Second {
			t.Errorf("a connection that always breaks: %d requests, %v after %s", len(asked), err, time.Since(begun))
		}
	})
}

func TestPermanentErrors(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct {
		response func(http.ResponseWriter)
		want     sftoken.Error
	}{
		"not allowed": {
			respond(403, `{"error":"access_denied","error_description":"not among them","request_id":"req-1"}`),
			sftoken.Error{Status: 403, Code: "access_denied", Description: "not among them", RequestID: "req-1"},
		},
		"not allowed by IAM": {
			respond(403, `{"Message":"User: x is not authorized"}`, "X-Amzn-Requestid: req-2"),
			sftoken.Error{Status: 403, Description: "User: x is not authorized", RequestID: "req-2"},
		},
		"set up wrongly": {
			respond(502, `{"error":"app_misconfigured","error_description":"set the run-as user",`+
				`"salesforce_error":"invalid_grant","request_id":"req-3"}`),
			sftoken.Error{
				Status: 502, Code: "app_misconfigured", Description: "set the run-as user",
				SalesforceError: "invalid_grant", RequestID: "req-3",
			},
		},
		"a bug": {
			respond(500, `{"error":"server_error","error_description":"unexpected","request_id":"req-4"}`),
			sftoken.Error{Status: 500, Code: "server_error", Description: "unexpected", RequestID: "req-4"},
		},
		"a web page": {respond(404, `<html>no</html>`), sftoken.Error{Status: 404}},
		"a redirect": {
			respond(307, ``, "Location: http://elsewhere.example/v1/tokens/crm"),
			sftoken.Error{
				Status:      307,
				Description: "a redirect, which is not followed: is this the address of the sftoken API?",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSynctest(t, func(t *testing.T, h *harness) {
				h.mustNotCall("elsewhere.example:80")
				h.respondWith(try.response)
				_, err := h.source("crm").Fetch(t.Context())
				failed := errorOf(err)
				if failed != try.want {
					t.Fatalf("got %+v, %v", failed, err)
				}
				if asked := h.requests(); len(asked) != 1 {
					t.Errorf("%d requests", len(asked))
				}
				want := try.want
				for _, part := range []string{
					want.Code, want.Description, want.SalesforceError, want.RequestID, fmt.Sprint(want.Status),
				} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
			})
		})
	}
}

func TestWrongServer(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a web page":       "<html>Log in</html>",
		"no token":         "{}",
		"no token_id":      `{"access_token":"x","instance_url":"https://x","expires_in":60}`,
		"an expired token": tokenJSON("x", "https://x", 0),
	} {
		runSynctest(t, func(t *testing.T, h *harness) {
			h.respondWith(respond(200, body))
			if _, err := h.source("crm").Fetch(t.Context()); err == nil ||
				!strings.Contains(err.Error(), "is this the address of the sftoken API?") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	runSynctest(t, func(t *testing.T, h *harness) {
		begun := time.Now()
		if _, err := h.sourceAt("https://nosuch.example/v1", "crm").Fetch(t.Context()); err == nil || time.Since(begun) > 0 {
			t.Errorf("a host that does not exist, after %s: %v", time.Since(begun), err)
		}
	})
	var tries counter
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(&tries, "", 0)
	server.StartTLS()
	config := aws.Config{Region: "us-east-1", Credentials: credentialsOf(billing)}
	_, err := sftoken.NewTokenSource(config, server.URL, "crm").Fetch(t.Context())
	server.Close()
	if err == nil || !strings.Contains(err.Error(), "certificate") || tries.Load() > 1 {
		t.Errorf("an untrusted certificate, %d handshakes: %v", tries.Load(), err)
	}
}

// counter counts what is written to it.
type counter struct{ atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.Add(1)
	return len(p), nil
}

func TestOutageWithLiveToken(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		_, err := source.Fetch(t.Context())
		h.must(err)
		time.Sleep(vending.DefaultTokenTTL - 15*time.Second)
		h.respondWith(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 60")}, 9)...)
		for range 10 {
			if _, err := source.Fetch(t.Context()); err != nil {
				t.Errorf("15 seconds before the token expires: %v", err)
			}
		}
		if asked := h.requests(); len(asked) != 2 { // the first, and one for all ten
			t.Errorf("%d requests", len(asked)-1)
		}
		time.Sleep(15 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := source.Fetch(ctx); err == nil {
			t.Error("an expired token was handed out")
		}
	})
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.must(err)
		same, err := source.Refresh(t.Context(), first.ID)
		h.must(err)
		if same.ID != first.ID || same.Cache != "confirmed" {
			t.Errorf("a token that lives was replaced: %s", same.Cache)
		}
		for range 10 {
			_, err = source.Refresh(t.Context(), first.ID)
			h.must(err)
		}
		if asked := h.requests(); !slices.Equal(asked, []string{"", first.ID}) {
			t.Errorf("asked %q", asked)
		}
		h.org.RevokeAll()
		time.Sleep(6 * time.Second)
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if next, err := source.Refresh(t.Context(), first.ID); err != nil || next.ID == first.ID ||
					!h.org.TokenActive(next.AccessToken.Reveal()) {
					t.Errorf("a dead token was not replaced: %v", err)
				}
			})
		}
		callers.Wait()
		if asked := h.requests(); len(asked) != 1 {
			t.Errorf("%d requests for one dead token", len(asked))
		}
	})
}

// The API checks a rejected token once in five seconds. A second token whose session ends in that time must not be
// taken for one that Salesforce rejects for another reason.
func TestRefreshWaitsForCheck(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.must(err)
		h.org.RevokeAll()
		second, err := source.Refresh(t.Context(), first.ID)
		h.must(err)
		h.org.RevokeAll()
		begun := time.Now()
		third, err := source.Refresh(t.Context(), second.ID)
		h.must(err)
		if third.ID == second.ID || !h.org.TokenActive(third.AccessToken.Reveal()) || time.Since(begun) > 6*time.Second {
			t.Errorf("after %s the dead token was not replaced", time.Since(begun))
		}
		h.org.RevokeAll()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if same, err := source.Refresh(ctx, third.ID); err != nil || same.ID != third.ID || time.Since(begun) > 0 {
			t.Errorf("without the time to wait, after %s: %v", time.Since(begun), err)
		}
	})
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.must(err)
		h.respondWith(down("Retry-After: 2"), closeConn)
		h.must(source.Revoke(t.Context()))
		if h.org.TokenActive(first.AccessToken.Reveal()) {
			t.Error("the token lives")
		}
		next, err := source.Fetch(t.Context())
		h.must(err)
		if next.ID == first.ID {
			t.Error("the revoked token is still handed out")
		}
		err = h.source("erp").Revoke(t.Context())
		if failed := errorOf(err); failed.Status != 403 || !strings.Contains(failed.Description, "DELETE/tokens/erp") {
			t.Errorf("what IAM does not allow: %v", err)
		}
	})
}

// The signatures are checked by the gateway, for its region.
func TestRegionAndAddress(t *testing.T) {
	t.Parallel()
	for address, region := range map[string]string{
		"https://abc123.execute-api.eu-west-1.amazonaws.com/v1":                    "eu-west-1",
		"https://ABC123.Execute-API.eu-west-1.amazonaws.com/v1":                    "eu-west-1",
		"https://abc123-vpce-0a1b2c3d.execute-api.us-gov-west-1.amazonaws.com/v1":  "us-gov-west-1",
		"https://vpce-0a1b-us-east-2a.execute-api.us-east-2.vpce.amazonaws.com/v1": "us-east-2",
		"https://abc123.execute-api.cn-north-1.amazonaws.com.cn/v1":                "cn-north-1",
		"https://abc123.execute-api.eusc-de-east-1.amazonaws.eu/v1":                "eusc-de-east-1",
		"https://tokens.example.com/v1":                                            "",
		"https://abc123.execute-api.localhost.localstack.cloud/v1":                 "",
		"https://notexecute-api.eu-west-1.amazonaws.com/v1":                        "",
		"http://localhost:4566/v1":                                                 "",
	} {
		if got := sftoken.RegionFromURL(address); got != region {
			t.Errorf("%s: region %q", address, got)
		}
		runSynctest(t, func(t *testing.T, h *harness) {
			h.gateway.Region = region
			var options []sftoken.Option
			if region == "" {
				h.gateway.Region = "ap-southeast-2"
				options = append(options, sftoken.WithRegion("ap-southeast-2"))
			}
			port, host := "443", strings.TrimSuffix(strings.TrimPrefix(address, "https://"), "/v1")
			if rest, ok := strings.CutPrefix(address, "http://"); ok {
				host, port, _ = strings.Cut(strings.TrimSuffix(rest, "/v1"), ":")
			}
			h.serve(host+":"+port, h)
			config := aws.Config{Region: "us-east-1", Credentials: credentialsOf(billing)}
			source := sftoken.NewTokenSource(config, address, "crm", append(options, sftoken.WithHTTPClient(h.client))...)
			if _, err := source.Fetch(t.Context()); err != nil {
				t.Errorf("%s: %v", address, err)
			}
		})
	}
}

func TestInvalidArguments(t *testing.T) {
	t.Parallel()
	with := func(c aws.CredentialsProvider) aws.Config { return aws.Config{Region: "us-east-1", Credentials: c} }
	good := with(credentialsOf(billing))
	const address = "https://api.example/v1"
	for want, source := range map[string]*sftoken.TokenSource{
		"must be a URL, like":       sftoken.NewTokenSource(good, "", "crm"),
		"must be a URL":             sftoken.NewTokenSource(good, "api.example", "crm"),
		"the API's address must be": sftoken.NewTokenSource(good, address+"?x=1", "crm"),
		"API's address must be a":   sftoken.NewTokenSource(good, address+"?", "crm"),
		"address must be a URL, ":   sftoken.NewTokenSource(good, address+"#", "crm"),
		"address must be a URL":     sftoken.NewTokenSource(good, "https://me:pass@api.example/v1", "crm"),
		"must be https":             sftoken.NewTokenSource(good, "http://api.example/v1", "crm"),
		"address must be https":     sftoken.NewTokenSource(good, "http://abc123.execute-api.localhost:4566/v1", "crm"),
		`app "CRM"`:                 sftoken.NewTokenSource(good, address, "CRM"),
		"no region":                 sftoken.NewTokenSource(aws.Config{Credentials: good.Credentials}, address, "crm"),
		"has no credentials":        sftoken.NewTokenSource(aws.Config{Region: "us-east-1"}, address, "crm"),
		"credentials are empty":     sftoken.NewTokenSource(with(emptyCredentials{}), address, "crm"),
		"SSO session has expired":   sftoken.NewTokenSource(with(expiredCredentials{}), address, "crm"),
	} {
		_, err := source.Token()
		if err == nil || !strings.HasPrefix(err.Error(), "sftoken: ") || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "pass") {
			t.Errorf("want %q: %v", want, err)
		}
		if err := source.Revoke(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("revoking, want %q: %v", want, err)
		}
	}
}

type emptyCredentials struct{}

func (emptyCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, nil
}

type expiredCredentials struct{}

func (expiredCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("the SSO session has expired")
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		token, err := source.Fetch(t.Context())
		h.must(err)
		wrong := billing
		wrong.SecretAccessKey = "another-secret"
		config := aws.Config{Region: "us-east-1", Credentials: credentialsOf(wrong)}
		source = sftoken.NewTokenSource(config, "http://"+apiHost+"/v1", "crm", sftoken.WithHTTPClient(h.client))
		_, refused := source.Fetch(t.Context())
		h.respondWith(slices.Repeat([]func(http.ResponseWriter){closeConn}, 20)...)
		_, broken := h.source("crm").Fetch(t.Context())
		h.respondWith(slices.Repeat([]func(http.ResponseWriter){bodyOnly}, 20)...)
		_, garbled := h.source("crm").Fetch(t.Context())
		h.respondWith()
		h.org.InjectFault(sfoauthtest.REST, sfoauthtest.Reset(), 0)
		_, lost := h.salesforce().Get("/services/data")
		printed := fmt.Sprintf("%v %+v %#v %s", token, *token, token, token.JSON)
		printed += fmt.Sprintf("%v %v %v %v %+v", refused, broken, lost, garbled, garbled)
		secrets := append(h.org.Secrets(), billing.SecretAccessKey, billing.SessionToken, "another-secret", "Signature=")
		for _, secret := range secrets {
			if strings.Contains(printed, secret) {
				t.Errorf("one of %d characters is in %s", len(secret), printed)
			}
		}
		if refused == nil || broken == nil || lost == nil || garbled == nil ||
			!strings.Contains(garbled.Error(), "malformed HTTP") {
			t.Errorf("no error where there should be one: %v, %v, %v, %v", refused, broken, lost, garbled)
		}
	})
}
