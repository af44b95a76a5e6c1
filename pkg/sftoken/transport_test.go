package sftoken_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

const limits = "/services/data/v65.0/limits"

func TestTransportFindsTheInstance(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		client := w.salesforce()
		for _, url := range []string{limits, "http://" + orgHost + limits} {
			if status := w.get(client, url); status != 200 {
				t.Errorf("%s: HTTP %d", url, status)
			}
		}
		if status := w.get(client, "/services/data/v65.0/nosuch"); status != 404 {
			t.Errorf("what Salesforce does not know: HTTP %d", status)
		}
		if asked := w.requests(); len(asked) != 1 {
			t.Errorf("%d requests for one token", len(asked))
		}
	})
}

func TestTransportSendsTheTokenNowhereElse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, host := range []string{"elsewhere.example:80", "elsewhere.example:443", "127.0.0.1:8444"} {
			w.serve(host, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.Host) }))
		}
		client := w.salesforce()
		for _, url := range []string{"http://elsewhere.example/", "https://elsewhere.example/", "http://127.0.0.1:8444" + limits, "https://" + orgHost + limits} {
			body := &closable{Reader: strings.NewReader("x")}
			if _, err := client.Post(url, "text/plain", body); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("%s: %v", url, err)
			}
			if !body.closed {
				t.Errorf("%s: the request's body is left open", url)
			}
		}
		for _, status := range []int{302, 307} {
			w.org.Fail(sfoauthtest.REST, sfoauthtest.Redirect(status, "http://elsewhere.example"), 1)
			if _, err := client.Get(limits); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("Salesforce redirects elsewhere with %d: %v", status, err)
			}
		}
		if improper := w.org.Improper(); len(improper) > 0 {
			t.Errorf("the org was sent %q", improper)
		}
		w.serve("acme.my.salesforce.com:80", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the token went over the network in plain text") }))
		w.inPlace(says(200, `{"access_token":"00Dx","token_id":"0123456789abcdef","instance_url":"http://acme.my.salesforce.com","expires_in":800}`))
		if _, err := w.salesforce().Get(limits); err == nil || !strings.Contains(err.Error(), "not an https URL") {
			t.Errorf("an instance_url in plain text: %v", err)
		}
	})
}

type closable struct {
	io.Reader
	closed bool
}

func (c *closable) Close() error {
	c.closed = true
	return nil
}

func TestTransportReplacesADeadToken(t *testing.T) {
	compressed := func(r *http.Request) *http.Request {
		r.Header.Set("Accept-Encoding", "gzip") // whoever asks for it gets it, and not Go's own client
		return r
	}
	for name, try := range map[string]struct {
		request func() *http.Request
		fault   sfoauthtest.Fault
		status  int
	}{
		"GET":  {func() *http.Request { return request("GET", limits, nil) }, sfoauthtest.NoFault(), 200},
		"HEAD": {func() *http.Request { return request("HEAD", limits, nil) }, sfoauthtest.NoFault(), 200},
		"POST with a body": {func() *http.Request {
			r := request("POST", "/services/data/v65.0/sobjects/Account", strings.NewReader(`{"Name":"Umbrella"}`))
			r.Header.Set("Content-Type", "application/json")
			return r
		}, sfoauthtest.NoFault(), 201},
		"POST with an empty one": {func() *http.Request { return request("POST", limits, http.NoBody) }, sfoauthtest.NoFault(), 405},
		"userinfo":               {func() *http.Request { return request("GET", "/services/oauth2/userinfo", nil) }, sfoauthtest.NoFault(), 200},
		"a compressed answer":    {func() *http.Request { return compressed(request("GET", limits, nil)) }, sfoauthtest.HugeCompressed(10), 200},
		"an answer in XML":       {func() *http.Request { return request("GET", limits, nil) }, sfoauthtest.NoFault(), 200},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				client := w.salesforce()
				w.get(client, limits)
				w.org.RevokeAll()
				w.org.Fail(sfoauthtest.REST, try.fault, 1)
				resp, err := client.Do(try.request())
				w.must(err)
				_ = resp.Body.Close()
				if asked := w.requests(); resp.StatusCode != try.status || len(asked) != 2 {
					t.Errorf("HTTP %d after %d requests for a token", resp.StatusCode, len(asked))
				}
			})
		})
	}
}

func request(method, url string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err) // the arguments are those above
	}
	return r
}

func TestTransportAndABodyThatCannotBeRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		client := w.salesforce()
		w.get(client, limits)
		w.org.RevokeAll()
		post := func() *http.Response {
			resp, err := client.Post(limits, "text/plain", io.MultiReader(strings.NewReader("once")))
			w.must(err)
			return resp
		}
		resp := post()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 401 || !strings.Contains(string(body), "INVALID_SESSION_ID") {
			t.Errorf("HTTP %d, %q, %v", resp.StatusCode, body, err)
		}
		_ = resp.Body.Close()
		resp = post()
		_ = resp.Body.Close()
		if resp.StatusCode != 405 {
			t.Errorf("HTTP %d: the dead token was not replaced for those that follow", resp.StatusCode)
		}
	})
}

func TestTransportDoesNotRefreshForAMissingScope(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		client := w.salesforce()
		w.org.Fail(sfoauthtest.REST, sfoauthtest.Refusal(401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API"), 0)
		begun := time.Now()
		for range 10 {
			if status := w.get(client, limits); status != 401 {
				t.Errorf("HTTP %d", status)
			}
		}
		calls := w.org.Seen().Calls
		if calls[sfoauthtest.Token] != 1 || calls[sfoauthtest.Introspect] != 1 || calls[sfoauthtest.REST] != 10 || time.Since(begun) > 0 {
			t.Errorf("after %s: %v", time.Since(begun), calls)
		}
	})
}

func TestTransportTellsWhyThereIsNoOtherToken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		client := w.salesforce()
		w.get(client, limits)
		w.org.RevokeAll()
		w.inPlace(says(403, `{"error":"access_denied","error_description":"not any more","request_id":"req-9"}`))
		_, err := client.Get(limits)
		if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.RequestID != "req-9" {
			t.Errorf("got %v", err)
		}
		w.inPlace(says(403, `{"error":"access_denied","error_description":"not at all","request_id":"req-1"}`))
		body := &closable{Reader: strings.NewReader("x")}
		_, err = w.salesforce().Post(limits, "text/plain", body)
		if failed, ok := errors.AsType[*sftoken.Error](err); !ok || failed.RequestID != "req-1" || !body.closed {
			t.Errorf("got %v; the body is closed: %t", err, body.closed)
		}
	})
}

// Each instance of the function has a token of its own, and an administrator who ends all sessions ends them all. What is said to
// one instance of the token of another makes that one hand out its own.
func TestTransportGetsOverTheDeadTokensOfTwoInstances(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		source := w.source("crm")
		client := &http.Client{Transport: &sftoken.Transport{Source: source, Base: w.client.Transport}}
		w.get(client, limits)
		first, err := source.Get(t.Context())
		w.must(err)
		w.org.RevokeAll()
		const other = "0123456789abcdef"
		w.inPlace(says(200, `{"access_token":"00Ddead","token_id":"`+other+`","instance_url":"http://`+orgHost+`","expires_in":800}`, "X-Token-Cache: hit"))
		if status := w.get(client, limits); status != 200 {
			t.Errorf("HTTP %d", status)
		}
		if asked := w.requests(); !slices.Equal(asked, []string{"", "rejected=" + first.ID, other, first.ID}) {
			t.Errorf("asked %q", asked)
		}
	})
}

func TestTransportEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.slow(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		client, begun := w.salesforce(), time.Now()
		var callers sync.WaitGroup
		callers.Go(func() {
			_, err := client.Do(request("GET", limits, nil).WithContext(ctx))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 2*time.Second {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
		})
		callers.Go(func() {
			if status := w.get(client, limits); status != 200 || time.Since(begun) != 10*time.Second {
				t.Errorf("HTTP %d after %s", status, time.Since(begun))
			}
		})
		callers.Wait()
	})
}

func TestOAuth2Client(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, w.client)
		client := oauth2.NewClient(ctx, w.source("crm"))
		for range 3 {
			if status := w.get(client, "http://"+orgHost+limits); status != 200 {
				t.Errorf("HTTP %d", status)
			}
		}
		if asked := w.requests(); len(asked) != 1 {
			t.Errorf("%d requests for one token", len(asked))
		}
	})
}

// A transport of another make answers as Salesforce does to who accepts XML alone.
func TestTransportReadsXML(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		refusing := &refusing{next: w.client.Transport}
		client := &http.Client{Transport: &sftoken.Transport{Source: w.source("crm"), Base: refusing}}
		if status := w.get(client, limits); status != 401 || len(w.requests()) != 2 {
			t.Errorf("HTTP %d: the API was not asked", status)
		}
	})
}

type refusing struct {
	next http.RoundTripper
}

func (*refusing) RoundTrip(*http.Request) (*http.Response, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, `<?xml version="1.0"?><Errors><Error><errorCode>INVALID_SESSION_ID</errorCode></Error></Errors>`)
	_ = z.Close()
	return &http.Response{StatusCode: 401, Header: http.Header{"Content-Encoding": {"gzip"}}, Body: io.NopCloser(&b)}, nil
}
