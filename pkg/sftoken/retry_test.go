package sftoken_test

import (
	"context"
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

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

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
			run(t, func(t *testing.T, h *harness) {
				h.RespondWith(try.responses...)
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
				if asked := h.Requests(); len(asked) != len(try.responses)+1 {
					t.Errorf("%d requests of 10 callers, want %d", len(asked), len(try.responses)+1)
				}
			})
		})
	}
}

func TestRetryLimits(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 8")}, 100)...)
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
		asked := len(h.Requests())
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.Fetch(short); err == nil || len(h.Requests()) != 0 || asked > 4 {
			t.Errorf("the API is not left alone when it has said when to come back: %d requests, then %v", asked, err)
		}
		begun = time.Now()
		if _, err := source.Token(); err == nil || time.Since(begun) > time.Minute {
			t.Errorf("without a deadline: %v after %s", err, time.Since(begun))
		}
	})
	runSynctest(t, func(t *testing.T, h *harness) {
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){closeConn}, 100)...)
		begun := time.Now()
		_, err := h.source("crm").Fetch(t.Context())
		if asked := h.Requests(); err == nil || len(asked) != 4 || time.Since(begun) > 4*time.Second {
			t.Errorf("a connection that always breaks: %d requests, %v after %s", len(asked), err, time.Since(begun))
		}
	})
}

// If ctx ends during a retry, the API's last error says more than the end of ctx.
func TestLastErrorAtTheEnd(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		h.RespondWith(down("Retry-After: 1"), func(http.ResponseWriter) { time.Sleep(time.Minute) })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := h.source("crm").Fetch(ctx)
		if failed := errorOf(err); failed.Status != 503 || failed.RequestID != "req-7" {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
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
			run(t, func(t *testing.T, h *harness) {
				h.mustNotCall("elsewhere.example:80")
				h.RespondWith(try.response)
				_, err := h.source("crm").Fetch(t.Context())
				failed := errorOf(err)
				if failed != try.want {
					t.Fatalf("got %+v, %v", failed, err)
				}
				if asked := h.Requests(); len(asked) != 1 {
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
			h.RespondWith(respond(200, body))
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
	config := aws.Config{Region: "us-east-1", Credentials: billing.Credentials()}
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
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		_, err := source.Fetch(t.Context())
		h.Must(err)
		time.Sleep(vending.DefaultTokenTTL - 15*time.Second)
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 60")}, 9)...)
		for range 10 {
			if _, err := source.Fetch(t.Context()); err != nil {
				t.Errorf("15 seconds before the token expires: %v", err)
			}
		}
		if asked := h.Requests(); len(asked) != 2 { // the first, and one for all ten
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

// Numbers of a response that are too large for a time.Duration do not become short or negative times, for which the
// API would be asked without a pause.
func TestHugeNumbers(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"9223372036", "9223372037", "18446744073", "9223372036854775807"} {
		for name, huge := range map[string]func(http.ResponseWriter){
			"Retry-After": down("Retry-After: " + number),
			"expires_in": respond(200, `{"access_token":"a","token_id":"b","instance_url":"https://c","expires_in":`+
				number+`}`),
		} {
			t.Run(name+" "+number, func(t *testing.T) {
				run(t, func(t *testing.T, h *harness) {
					h.RespondWith(slices.Repeat([]func(http.ResponseWriter){huge}, 1000)...)
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, _ = h.source("crm").Fetch(ctx)
					if n := len(h.Requests()); n > 4 {
						t.Errorf("%d requests", n)
					}
				})
			})
		}
	}
}

// During a backoff, a caller whose token was rejected gets the error, not the rejected token. The error has the
// rest of the backoff.
func TestRejectedTokenDuringBackoff(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.Must(err)
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 60")}, 9)...)
		for _, left := range []time.Duration{60 * time.Second, 40 * time.Second, 20 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			token, err := source.Refresh(ctx, first.ID)
			cancel()
			if token != nil || errorOf(err).Status != 503 {
				t.Fatalf("the rejected token is returned: %t, %v", token != nil, err)
			}
			if wait := errorOf(err).RetryAfter; wait < left || wait > left+15*time.Second || wait > 60*time.Second {
				t.Errorf("Retry-After is %s, want %s", wait, left)
			}
			time.Sleep(20 * time.Second)
		}
		if asked := len(h.Requests()); asked != 2 {
			t.Errorf("%d requests", asked)
		}
	})
}
