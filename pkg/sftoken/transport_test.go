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
			w.org.InjectFault(sfoauthtest.REST, sfoauthtest.Redirect(status, "http://elsewhere.example"), 1)
			if _, err := client.Get(limits); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("Salesforce redirects elsewhere with %d: %v", status, err)
			}
		}
		if improper := w.org.Violations(); len(improper) > 0 {
			t.Errorf("the org was sent %q", improper)
		}
	})
}

// The token goes over https, or to an address of this machine.
func TestTransportSendsTheTokenEncrypted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, host := range []string{"acme.my.salesforce.com:80", "api.salesforce.com:80", "acme.localhost:80", "localhost.example:80"} {
			w.serve(host, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the token went to %s in plain text", r.Host) }))
		}
		for instance, refused := range map[string]string{
			"http://acme.my.salesforce.com": "not an https URL", "http://acme.localhost": "not an https URL", "http://localhost.example": "not an https URL",
			"//acme.my.salesforce.com": "not an https URL", "ftp://127.0.0.1:8443": "not an https URL",
		} {
			w.inPlace(says(200, `{"access_token":"00Dx","token_id":"0123456789abcdef","instance_url":"`+instance+`","expires_in":800}`))
			if _, err := w.salesforce().Get(limits); err == nil || !strings.Contains(err.Error(), refused) {
				t.Errorf("instance_url %s: %v", instance, err)
			}
		}
		for _, api := range []string{"http://api.salesforce.com", "http://acme.localhost"} {
			w.inPlace(says(200, `{"access_token":"00Dx","token_id":"0123456789abcdef","instance_url":"https://acme.my.salesforce.com","api_instance_url":"`+api+`","expires_in":800}`))
			if _, err := w.salesforce().Get(api + limits); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("api_instance_url %s: %v", api, err)
			}
		}
		w.serve("localhost:80", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) }))
		for _, instance := range []string{"http://localhost", "http://LOCALHOST"} {
			w.inPlace(says(200, `{"access_token":"00Dx","token_id":"0123456789abcdef","instance_url":"`+instance+`","expires_in":800}`))
			if status := w.get(w.salesforce(), strings.ToLower(instance)+limits); status != 204 {
				t.Errorf("%s: HTTP %d", instance, status)
			}
		}
	})
}

// A malformed token goes into no header, and is not printed.
func TestAMalformedTokenIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, token := range []string{`00Dx\r\nX-Injected: 1`, `00Dx y`, `00Dx\u0000`, `00Dx\u007f`, `00Dxé`, `\t00Dx`, ` `} {
			w.inPlace(says(200, `{"access_token":"`+token+`","token_id":"0123456789abcdef","instance_url":"http://`+orgHost+`","expires_in":800}`))
			_, err := w.salesforce().Get(limits)
			if err == nil || !strings.Contains(err.Error(), "access_token") || strings.Contains(err.Error(), "00Dx") {
				t.Errorf("%q: %v", token, err)
			}
			w.inPlace(says(200, `{"access_token":"`+token+`","token_id":"0123456789abcdef","instance_url":"http://`+orgHost+`","expires_in":800}`))
			if _, err := w.source("crm").Token(); err == nil {
				t.Errorf("%q: it is returned", token)
			}
		}
		if calls := w.org.Stats().Calls[sfoauthtest.REST]; calls > 0 {
			t.Errorf("Salesforce was sent %d requests", calls)
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
		"a compressed answer":    {func() *http.Request { return compressed(request("GET", limits, nil)) }, sfoauthtest.OversizedGzip(10), 200},
		"an answer in XML":       {func() *http.Request { return request("GET", limits, nil) }, sfoauthtest.NoFault(), 200},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				client := w.salesforce()
				w.get(client, limits)
				w.org.RevokeAll()
				w.org.InjectFault(sfoauthtest.REST, try.fault, 1)
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
		w.org.InjectFault(sfoauthtest.REST, sfoauthtest.ErrorResponse(401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API"), 0)
		begun := time.Now()
		for range 10 {
			if status := w.get(client, limits); status != 401 {
				t.Errorf("HTTP %d", status)
			}
		}
		calls := w.org.Stats().Calls
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
		first, err := source.Fetch(t.Context())
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

// Bulk API 1.0 takes the token in a header of its own, and says with 400 that it is dead, in JSON or XML.
func TestTransportReplacesADeadTokenOfBulk(t *testing.T) {
	const jobs = "/services/async/65.0/job"
	for name, try := range map[string]struct {
		kind, body string
		compressed bool
	}{
		"JSON":            {"application/json", `{"operation":"query","object":"Account"}`, false},
		"XML":             {"application/xml", `<jobInfo xmlns="http://www.force.com/2009/06/asyncapi/dataload"><operation>query</operation><object>Account</object></jobInfo>`, false},
		"compressed JSON": {"application/json", `{"operation":"query","object":"Account"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				client := w.salesforce()
				w.get(client, limits)
				w.org.RevokeAll()
				if try.compressed {
					w.org.InjectFault(sfoauthtest.Bulk, sfoauthtest.OversizedGzip(10), 1)
				}
				r := request("POST", jobs, strings.NewReader(try.body))
				r.Header.Set("Content-Type", try.kind)
				r.Header.Set("X-SFDC-Session", "the one that the program kept")
				if try.compressed {
					r.Header.Set("Accept-Encoding", "gzip")
				}
				resp, err := client.Do(r)
				w.must(err)
				_ = resp.Body.Close()
				if asked := w.requests(); resp.StatusCode != 201 || len(asked) != 2 {
					t.Errorf("HTTP %d after %d requests for a token", resp.StatusCode, len(asked))
				}
				if improper := w.org.Violations(); len(improper) > 0 {
					t.Errorf("the org was sent %q", improper)
				}
			})
		})
	}
}

func TestTransportLeavesOtherErrorsOfBulkAlone(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"another code":                {"/services/async/65.0/job/750", `{"exceptionCode":"InvalidJob","exceptionMessage":"InvalidSessionId"}`, 400},
		"another code in XML":         {"/services/async/65.0/job/750", `<error><exceptionCode>InvalidJob</exceptionCode><exceptionMessage>&lt;exceptionCode>InvalidSessionId&lt;/exceptionCode></exceptionMessage></error>`, 400},
		"another status":              {"/services/async/65.0/job/750", `{"exceptionCode":"InvalidSessionId","exceptionMessage":"x"}`, 500},
		"the code below another name": {"/services/async/65.0/job/750", `<error><row><exceptionCode>InvalidSessionId</exceptionCode></row></error>`, 400},
		"another API":                 {"/services/data/v65.0/sobjects", `{"exceptionCode":"InvalidSessionId","exceptionMessage":"x"}`, 400},
		"neither":                     {"/services/async/65.0/job/750", strings.Repeat("InvalidSessionId ", 100_000), 400},
		"nothing":                     {"/services/async/65.0/job/750", "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				answers := roundTrip(func(r *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body)), Request: r}, nil
				})
				client := &http.Client{Transport: &sftoken.Transport{Source: w.source("crm"), Base: answers}}
				resp, err := client.Get(c.path)
				w.must(err)
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != c.body || resp.StatusCode != c.status {
					t.Errorf("HTTP %d with %d bytes of %d, %v", resp.StatusCode, len(body), len(c.body), err)
				}
				if asked := w.requests(); len(asked) != 1 {
					t.Errorf("%d requests for a token", len(asked))
				}
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
