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

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var _ oauth2.TokenSource = (*sftoken.TokenSource)(nil)

func TestTokenIsReusedUntilShortlyBeforeItExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		first, err := source.Token()
		w.must(err)
		if !w.org.TokenActive(first.AccessToken) || first.Type() != "Bearer" || time.Until(first.Expiry) != vending.DefaultTokenTTL {
			t.Errorf("a %s that lives for %s", first.Type(), time.Until(first.Expiry))
		}
		for _, name := range []string{"instance_url", "token_id", "scope"} {
			if text, _ := first.Extra(name).(string); text == "" {
				t.Errorf("no %s", name)
			}
		}
		time.Sleep(vending.DefaultTokenTTL - 31*time.Second)
		again, err := source.Fetch(t.Context())
		w.must(err)
		if again.AccessToken.Reveal() != first.AccessToken || again.Cache != "miss" || len(w.requests()) != 1 {
			t.Error("the token was not reused")
		}
		time.Sleep(2 * time.Second)
		again, err = source.Fetch(t.Context())
		w.must(err)
		if again.Cache != "confirmed" || len(w.requests()) != 1 {
			t.Errorf("half a minute before it expires: %s", again.Cache)
		}
	})
}

func TestATokenOfAShortLifeIsNotAskedForAtEachCall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		short := says(200, `{"access_token":"short","token_id":"0123456789abcdef","instance_url":"https://x.my.salesforce.com","expires_in":20}`)
		w.inPlace(short, short, short)
		source := w.source("crm")
		for _, c := range []struct {
			after    time.Duration
			requests int
		}{{0, 1}, {9 * time.Second, 0}, {2 * time.Second, 1}} {
			time.Sleep(c.after)
			_, err := source.Fetch(t.Context())
			w.must(err)
			if n := len(w.requests()); n != c.requests {
				t.Errorf("%s later: %d requests", c.after, n)
			}
		}
	})
}

func TestOneRequestForEverybody(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.slow(3 * time.Second)
		source := w.source("crm")
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
		if asked := w.requests(); len(asked) != 1 {
			t.Errorf("%d requests", len(asked))
		}
	})
}

func TestWhatEverybodyGaveUpIsNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.slow(3 * time.Second)
		source := w.source("crm")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with a second of time: %v", err)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		begun := time.Now()
		if _, err := source.Fetch(t.Context()); err != nil || time.Since(begun) > 0 || len(w.requests()) != 1 {
			t.Errorf("what the first caller began has not been kept: %v", err)
		}
	})
}

const fromGateway = `{"message": "Internal server error"}`

func down(header ...string) func(http.ResponseWriter) {
	return says(503, `{"error":"temporarily_unavailable","error_description":"Salesforce is down","request_id":"req-7"}`, header...)
}

func TestWhatMayPassIsTriedAgain(t *testing.T) {
	for name, try := range map[string]struct {
		answers  []func(http.ResponseWriter)
		from, to time.Duration // how long it takes until there is a token
	}{
		"503 that says when":         {[]func(http.ResponseWriter){down("Retry-After: 20"), down("Retry-After: 7")}, 27 * time.Second, 34 * time.Second},
		"503 that does not":          {[]func(http.ResponseWriter){down()}, 250 * time.Millisecond, time.Second},
		"many times":                 {slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 1")}, 30), 30 * time.Second, 40 * time.Second},
		"throttled by API Gateway":   {[]func(http.ResponseWriter){says(429, `{"message": "Too Many Requests"}`), says(429, `{"message":"Too Many Requests"}`)}, 750 * time.Millisecond, time.Second},
		"the function failed":        {[]func(http.ResponseWriter){says(502, fromGateway), says(502, fromGateway), says(502, fromGateway)}, 1750 * time.Millisecond, 3 * time.Second},
		"the function took too long": {[]func(http.ResponseWriter){says(504, `{"message": "Endpoint request timed out"}`)}, 250 * time.Millisecond, time.Second},
		"an error of API Gateway":    {[]func(http.ResponseWriter){says(500, `{"message": null}`)}, 250 * time.Millisecond, time.Second},
		"a connection that breaks":   {[]func(http.ResponseWriter){breaks, breaks}, 750 * time.Millisecond, 2 * time.Second},
		"an answer that breaks off":  {[]func(http.ResponseWriter){says(200, `{"acc`, "Content-Length: 1000")}, 250 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.inPlace(try.answers...)
				source, begun := w.source("crm"), time.Now()
				var callers sync.WaitGroup
				for range 10 {
					callers.Go(func() {
						_, err := source.Fetch(t.Context())
						if took := time.Since(begun); err != nil || took < try.from || took > try.to {
							t.Errorf("after %s: %v", took, err)
						}
					})
				}
				callers.Wait()
				if asked := w.requests(); len(asked) != len(try.answers)+1 {
					t.Errorf("%d requests of 10 callers, want %d", len(asked), len(try.answers)+1)
				}
			})
		})
	}
}

func TestTriesEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.inPlace(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 8")}, 100)...)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		source, begun := w.source("crm"), time.Now()
		_, err := source.Fetch(ctx)
		if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.Status != 503 || failed.RetryAfter != 8*time.Second {
			t.Errorf("as long as there is time: %v", err)
		}
		if took := time.Since(begun); took >= 30*time.Second || took < 16*time.Second {
			t.Errorf("gave up after %s, though it can be known that there is no time for another try", took)
		}
		asked := len(w.requests())
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.Fetch(short); err == nil || len(w.requests()) != 0 || asked > 4 {
			t.Errorf("the API is not left alone when it has said when to come back: %d requests, then %v", asked, err)
		}
		begun = time.Now()
		if _, err := source.Token(); err == nil || time.Since(begun) > time.Minute {
			t.Errorf("without a deadline: %v after %s", err, time.Since(begun))
		}
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.inPlace(slices.Repeat([]func(http.ResponseWriter){breaks}, 100)...)
		begun := time.Now()
		_, err := w.source("crm").Fetch(t.Context())
		if asked := w.requests(); err == nil || len(asked) != 4 || time.Since(begun) > 4*time.Second {
			t.Errorf("a connection that always breaks: %d requests, %v after %s", len(asked), err, time.Since(begun))
		}
	})
}

func TestWhatDoesNotPassIsNotTriedAgain(t *testing.T) {
	for name, try := range map[string]struct {
		answer func(http.ResponseWriter)
		want   sftoken.Error
	}{
		"not allowed": {
			says(403, `{"error":"access_denied","error_description":"not among them","request_id":"req-1"}`),
			sftoken.Error{Status: 403, Code: "access_denied", Description: "not among them", RequestID: "req-1"},
		},
		"not allowed by IAM": {
			says(403, `{"Message":"User: x is not authorized"}`, "X-Amzn-Requestid: req-2"),
			sftoken.Error{Status: 403, Description: "User: x is not authorized", RequestID: "req-2"},
		},
		"set up wrongly": {
			says(502, `{"error":"app_misconfigured","error_description":"set the run-as user","salesforce_error":"invalid_grant","request_id":"req-3"}`),
			sftoken.Error{Status: 502, Code: "app_misconfigured", Description: "set the run-as user", SalesforceError: "invalid_grant", RequestID: "req-3"},
		},
		"a bug": {
			says(500, `{"error":"server_error","error_description":"unexpected","request_id":"req-4"}`),
			sftoken.Error{Status: 500, Code: "server_error", Description: "unexpected", RequestID: "req-4"},
		},
		"a web page": {says(404, `<html>no</html>`), sftoken.Error{Status: 404}},
		"a redirect": {
			says(307, ``, "Location: http://elsewhere.example/v1/tokens/crm"),
			sftoken.Error{Status: 307, Description: "a redirect, which is not followed: is this the address of the sftoken API?"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.serve("elsewhere.example:80", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed with a signature") }))
				w.inPlace(try.answer)
				_, err := w.source("crm").Fetch(t.Context())
				failed, ok := errors.AsType[*sftoken.Error](err)
				if !ok || *failed != try.want {
					t.Fatalf("got %+v, %v", failed, err)
				}
				if asked := w.requests(); len(asked) != 1 {
					t.Errorf("%d requests", len(asked))
				}
				for _, part := range []string{try.want.Code, try.want.Description, try.want.SalesforceError, try.want.RequestID, fmt.Sprint(try.want.Status)} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
			})
		})
	}
}

func TestNotTheAPI(t *testing.T) {
	for name, body := range map[string]string{
		"a web page": "<html>Log in</html>", "no token": "{}", "no token_id": `{"access_token":"x","instance_url":"https://x","expires_in":60}`,
		"a dead token": `{"access_token":"x","instance_url":"https://x","token_id":"0123456789abcdef","expires_in":0}`,
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.inPlace(says(200, body))
			if _, err := w.source("crm").Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "is this the address of the sftoken API?") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	inBubble(t, func(t *testing.T, w *world) {
		begun := time.Now()
		if _, err := w.sourceAt("https://nosuch.example/v1", "crm").Fetch(t.Context()); err == nil || time.Since(begun) > 0 {
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
		t.Errorf("a certificate that nobody trusts, %d handshakes: %v", tries.Load(), err)
	}
}

// counter counts what is written to it.
type counter struct{ atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.Add(1)
	return len(p), nil
}

func TestTokenThatStillLivesBridgesAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		_, err := source.Fetch(t.Context())
		w.must(err)
		time.Sleep(vending.DefaultTokenTTL - 15*time.Second)
		w.inPlace(slices.Repeat([]func(http.ResponseWriter){down("Retry-After: 60")}, 9)...)
		for range 10 {
			if _, err := source.Fetch(t.Context()); err != nil {
				t.Errorf("15 seconds before the token expires: %v", err)
			}
		}
		if asked := w.requests(); len(asked) != 2 { // the first, and one for all ten
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

func TestReplace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		first, err := source.Fetch(t.Context())
		w.must(err)
		same, err := source.Refresh(t.Context(), first.ID)
		w.must(err)
		if same.ID != first.ID || same.Cache != "confirmed" {
			t.Errorf("a token that lives was replaced: %s", same.Cache)
		}
		for range 10 {
			_, err = source.Refresh(t.Context(), first.ID)
			w.must(err)
		}
		if asked := w.requests(); !slices.Equal(asked, []string{"", first.ID}) {
			t.Errorf("asked %q", asked)
		}
		w.org.RevokeAll()
		time.Sleep(6 * time.Second)
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if next, err := source.Refresh(t.Context(), first.ID); err != nil || next.ID == first.ID || !w.org.TokenActive(next.AccessToken.Reveal()) {
					t.Errorf("a dead token was not replaced: %v", err)
				}
			})
		}
		callers.Wait()
		if asked := w.requests(); len(asked) != 1 {
			t.Errorf("%d requests for one dead token", len(asked))
		}
	})
}

// The API looks into a rejection once in five seconds, whoever asks. A second token that dies in that time must not be taken
// for one that Salesforce refuses for another reason.
func TestReplaceWaitsForTheAPIToLook(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		first, err := source.Fetch(t.Context())
		w.must(err)
		w.org.RevokeAll()
		second, err := source.Refresh(t.Context(), first.ID)
		w.must(err)
		w.org.RevokeAll()
		begun := time.Now()
		third, err := source.Refresh(t.Context(), second.ID)
		w.must(err)
		if third.ID == second.ID || !w.org.TokenActive(third.AccessToken.Reveal()) || time.Since(begun) > 6*time.Second {
			t.Errorf("after %s the dead token was not replaced", time.Since(begun))
		}
		w.org.RevokeAll()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if same, err := source.Refresh(ctx, third.ID); err != nil || same.ID != third.ID || time.Since(begun) > 0 {
			t.Errorf("without the time to wait, after %s: %v", time.Since(begun), err)
		}
	})
}

func TestRevoke(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		first, err := source.Fetch(t.Context())
		w.must(err)
		w.inPlace(down("Retry-After: 2"), breaks)
		w.must(source.Revoke(t.Context()))
		if w.org.TokenActive(first.AccessToken.Reveal()) {
			t.Error("the token lives")
		}
		next, err := source.Fetch(t.Context())
		w.must(err)
		if next.ID == first.ID {
			t.Error("the revoked token is still handed out")
		}
		err = w.source("erp").Revoke(t.Context())
		if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.Status != 403 || !strings.Contains(failed.Description, "DELETE/tokens/erp") {
			t.Errorf("what IAM does not allow: %v", err)
		}
	})
}

// The signatures are checked by the gateway, for its region.
func TestRegionAndAddress(t *testing.T) {
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
		inBubble(t, func(t *testing.T, w *world) {
			w.gateway.Region = region
			var options []sftoken.Option
			if region == "" {
				w.gateway.Region = "ap-southeast-2"
				options = append(options, sftoken.WithRegion("ap-southeast-2"))
			}
			port, host := "443", strings.TrimSuffix(strings.TrimPrefix(address, "https://"), "/v1")
			if rest, ok := strings.CutPrefix(address, "http://"); ok {
				host, port, _ = strings.Cut(strings.TrimSuffix(rest, "/v1"), ":")
			}
			w.serve(host+":"+port, w)
			config := aws.Config{Region: "us-east-1", Credentials: credentialsOf(billing)}
			source := sftoken.NewTokenSource(config, address, "crm", append(options, sftoken.WithHTTPClient(w.client))...)
			if _, err := source.Fetch(t.Context()); err != nil {
				t.Errorf("%s: %v", address, err)
			}
		})
	}
}

func TestWrongArguments(t *testing.T) {
	good := aws.Config{Region: "us-east-1", Credentials: credentialsOf(billing)}
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
		"credentials are empty":     sftoken.NewTokenSource(aws.Config{Region: "us-east-1", Credentials: anonymous{}}, address, "crm"),
		"SSO session has expired":   sftoken.NewTokenSource(aws.Config{Region: "us-east-1", Credentials: noCredentials{}}, address, "crm"),
	} {
		_, err := source.Token()
		if err == nil || !strings.HasPrefix(err.Error(), "sftoken: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pass") {
			t.Errorf("want %q: %v", want, err)
		}
		if err := source.Revoke(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("revoking, want %q: %v", want, err)
		}
	}
}

type anonymous struct{}

func (anonymous) Retrieve(context.Context) (aws.Credentials, error) { return aws.Credentials{}, nil }

type noCredentials struct{}

func (noCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("the SSO session has expired")
}

func TestNothingSecretIsPrinted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		token, err := source.Fetch(t.Context())
		w.must(err)
		wrong := localaws.Principal{AccessKeyID: billing.AccessKeyID, SecretAccessKey: "another-secret", SessionToken: billing.SessionToken}
		config := aws.Config{Region: "us-east-1", Credentials: credentialsOf(wrong)}
		_, refused := sftoken.NewTokenSource(config, "http://"+apiHost+"/v1", "crm", sftoken.WithHTTPClient(w.client)).Fetch(t.Context())
		w.inPlace(slices.Repeat([]func(http.ResponseWriter){breaks}, 20)...)
		_, broken := w.source("crm").Fetch(t.Context())
		w.inPlace(slices.Repeat([]func(http.ResponseWriter){bare}, 20)...)
		_, garbled := w.source("crm").Fetch(t.Context())
		w.inPlace()
		w.org.InjectFault(sfoauthtest.REST, sfoauthtest.Reset(), 0)
		_, lost := w.salesforce().Get("/services/data")
		printed := fmt.Sprintf("%v %+v %#v %s %v %v %v %v %+v", token, *token, token, token.JSON, refused, broken, lost, garbled, garbled)
		for _, secret := range append(w.org.Secrets(), billing.SecretAccessKey, billing.SessionToken, "another-secret", "Signature=") {
			if strings.Contains(printed, secret) {
				t.Errorf("one of %d characters is in %s", len(secret), printed)
			}
		}
		if refused == nil || broken == nil || lost == nil || garbled == nil || !strings.Contains(garbled.Error(), "malformed HTTP") {
			t.Errorf("no error where there should be one: %v, %v, %v, %v", refused, broken, lost, garbled)
		}
	})
}
