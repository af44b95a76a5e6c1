package sftoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

func TestTransportInstanceURL(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		client := h.salesforce()
		for _, url := range []string{limits, "http://" + orgHost + limits} {
			if status := h.get(client, url); status != 200 {
				t.Errorf("%s: HTTP %d", url, status)
			}
		}
		if status := h.get(client, "/services/data/v65.0/nosuch"); status != 404 {
			t.Errorf("what Salesforce does not know: HTTP %d", status)
		}
		if asked := h.Requests(); len(asked) != 1 {
			t.Errorf("%d requests for one token", len(asked))
		}
	})
}

func TestTransportRefusesOtherHosts(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.mustNotCall("elsewhere.example:80", "elsewhere.example:443", "127.0.0.1:8444")
		client := h.salesforce()
		for _, url := range []string{
			"http://elsewhere.example/", "https://elsewhere.example/", "http://127.0.0.1:8444" + limits,
			"https://" + orgHost + limits,
		} {
			body := &closeRecorder{Reader: strings.NewReader("x")}
			if _, err := client.Post(url, "text/plain", body); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("%s: %v", url, err)
			}
			if !body.closed {
				t.Errorf("%s: the request's body is left open", url)
			}
		}
		for _, status := range []int{302, 307} {
			h.Org.InjectFault(sfoauthtest.REST, sfoauthtest.Redirect(status, "http://elsewhere.example"), 1)
			if _, err := client.Get(limits); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("Salesforce redirects elsewhere with %d: %v", status, err)
			}
		}
		if violations := h.Org.Violations(); len(violations) > 0 {
			t.Errorf("the org was sent %q", violations)
		}
	})
}

// The token goes over https, or to an address of this machine.
func TestTransportRefusesPlainHTTP(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.mustNotCall("acme.my.salesforce.com:80", "api.salesforce.com:80", "acme.localhost:80", "localhost.example:80")
		for _, instance := range []string{
			"http://acme.my.salesforce.com", "http://acme.localhost", "http://localhost.example",
			"//acme.my.salesforce.com", "ftp://127.0.0.1:8443",
		} {
			h.RespondWith(respond(200, tokenJSON("00Dx", instance, 800)))
			if _, err := h.salesforce().Get(limits); err == nil || !strings.Contains(err.Error(), "not an https URL") {
				t.Errorf("instance_url %s: %v", instance, err)
			}
		}
		for _, api := range []string{"http://api.salesforce.com", "http://acme.localhost"} {
			apiInstance := `,"api_instance_url":"` + api + `"`
			h.RespondWith(respond(200, tokenJSON("00Dx", "https://acme.my.salesforce.com", 800, apiInstance)))
			if _, err := h.salesforce().Get(api + limits); err == nil || !strings.Contains(err.Error(), "is not sent to") {
				t.Errorf("api_instance_url %s: %v", api, err)
			}
		}
		h.Serve("localhost:80", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) }))
		for _, instance := range []string{"http://localhost", "http://LOCALHOST"} {
			h.RespondWith(respond(200, tokenJSON("00Dx", instance, 800)))
			if status := h.get(h.salesforce(), strings.ToLower(instance)+limits); status != 204 {
				t.Errorf("%s: HTTP %d", instance, status)
			}
		}
	})
}

// A malformed token goes into no header, and is not printed.
func TestMalformedToken(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		for _, token := range []string{
			`00Dx\r\nX-Injected: 1`, `00Dx y`, `00Dx\u0000`, `00Dx\u007f`, `00Dxé`, `\t00Dx`, ` `,
		} {
			malformed := respond(200, tokenJSON(token, "http://"+orgHost, 800))
			h.RespondWith(malformed)
			_, err := h.salesforce().Get(limits)
			if err == nil || !strings.Contains(err.Error(), "access_token") || strings.Contains(err.Error(), "00Dx") {
				t.Errorf("%q: %v", token, err)
			}
			h.RespondWith(malformed)
			if _, err := h.source("crm").Token(); err == nil {
				t.Errorf("%q: no error", token)
			}
		}
		if calls := h.Org.Stats().Calls[sfoauthtest.REST]; calls > 0 {
			t.Errorf("Salesforce was sent %d requests", calls)
		}
	})
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

func TestTransportReplacesEndedSession(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct {
		method, path string
		body         io.Reader
		gzip         bool // asked for by the caller, so that net/http does not decompress
		status       int
	}{
		"GET":             {"GET", limits, nil, false, 200},
		"HEAD":            {"HEAD", limits, nil, false, 200},
		"POST":            {"POST", "/services/data/v65.0/sobjects/Account", strings.NewReader(newAccount), false, 201},
		"POST empty body": {"POST", limits, http.NoBody, false, 405},
		"userinfo":        {"GET", "/services/oauth2/userinfo", nil, false, 200},
		"gzip response":   {"GET", limits, nil, true, 200},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, h *harness) {
				client := h.salesforce()
				h.get(client, limits)
				h.Org.RevokeAll()
				r := request(try.method, try.path, try.body)
				if try.gzip {
					r.Header.Set("Accept-Encoding", "gzip")
					h.Org.InjectFault(sfoauthtest.REST, sfoauthtest.OversizedGzip(10), 1)
				}
				resp, err := client.Do(r)
				h.Must(err)
				_ = resp.Body.Close()
				if asked := h.Requests(); resp.StatusCode != try.status || len(asked) != 2 {
					t.Errorf("HTTP %d after %d requests for a token", resp.StatusCode, len(asked))
				}
			})
		})
	}
}

func request(method, url string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err) // the arguments are constants
	}
	return r
}

func TestTransportUnrepeatableBody(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		client := h.salesforce()
		h.get(client, limits)
		h.Org.RevokeAll()
		post := func() *http.Response {
			resp, err := client.Post(limits, "text/plain", io.MultiReader(strings.NewReader("once")))
			h.Must(err)
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

func TestTransportMissingScope(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		client := h.salesforce()
		const message = "This session is not valid for use with the REST API"
		h.Org.InjectFault(sfoauthtest.REST, sfoauthtest.ErrorResponse(401, "INVALID_SESSION_ID", message), 0)
		begun := time.Now()
		for range 10 {
			if status := h.get(client, limits); status != 401 {
				t.Errorf("HTTP %d", status)
			}
		}
		calls := h.Org.Stats().Calls
		want := map[sfoauthtest.Endpoint]int{sfoauthtest.Token: 1, sfoauthtest.Introspect: 1, sfoauthtest.REST: 10}
		if !maps.Equal(calls, want) || time.Since(begun) > 0 {
			t.Errorf("after %s: %v", time.Since(begun), calls)
		}
	})
}

func TestTransportRefreshError(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		client := h.salesforce()
		h.get(client, limits)
		h.Org.RevokeAll()
		h.RespondWith(respond(403, `{"error":"access_denied","error_description":"not any more","request_id":"req-9"}`))
		_, err := client.Get(limits)
		if errorOf(err).RequestID != "req-9" {
			t.Errorf("got %v", err)
		}
		h.RespondWith(respond(403, `{"error":"access_denied","error_description":"not at all","request_id":"req-1"}`))
		body := &closeRecorder{Reader: strings.NewReader("x")}
		_, err = h.salesforce().Post(limits, "text/plain", body)
		if errorOf(err).RequestID != "req-1" || !body.closed {
			t.Errorf("got %v; the body is closed: %t", err, body.closed)
		}
	})
}

// Two instances of the function may hold different tokens, and an administrator who ends all sessions ends both. An
// instance that is asked about the other's token returns its own.
func TestTransportTwoInstances(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		client := &http.Client{Transport: &sftoken.Transport{Source: source, Base: h.Client.Transport}}
		h.get(client, limits)
		first, err := source.Fetch(t.Context())
		h.Must(err)
		h.Org.RevokeAll()
		const other = "0123456789abcdef" // its id
		h.RespondWith(respond(200, tokenJSON("00Ddead", "http://"+orgHost, 800), "X-Token-Cache: hit"))
		if status := h.get(client, limits); status != 200 {
			t.Errorf("HTTP %d", status)
		}
		if asked := h.Requests(); !slices.Equal(asked, []string{"", "rejected=" + first.ID, other, first.ID}) {
			t.Errorf("asked %q", asked)
		}
	})
}

// Transport gives up when every token that it gets is rejected. It closes all responses but the last.
func TestTransportStopsReplacing(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		var tokens []func(http.ResponseWriter)
		for i := range 10 {
			body := strings.Replace(tokenJSON("00Dx", "http://"+orgHost, 800), "0123456789abcdef", fmt.Sprintf("%016x", i), 1)
			tokens = append(tokens, respond(200, body))
		}
		h.RespondWith(tokens...)
		var bodies []*closeRecorder
		base := roundTripFunc(func(*http.Request) (*http.Response, error) {
			bodies = append(bodies, &closeRecorder{Reader: strings.NewReader(`[{"errorCode":"INVALID_SESSION_ID"}]`)})
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: bodies[len(bodies)-1]}, nil
		})
		client := &http.Client{Transport: &sftoken.Transport{Source: h.source("crm"), Base: base}}
		resp, err := client.Get(limits)
		h.Must(err)
		if resp.StatusCode != 401 || len(bodies) != 4 {
			t.Fatalf("HTTP %d after %d requests", resp.StatusCode, len(bodies))
		}
		for i, body := range bodies {
			if last := i == len(bodies)-1; body.closed == last {
				t.Errorf("response %d is closed: %t", i, body.closed)
			}
		}
		_ = resp.Body.Close()
	})
}

// A Host header that the caller has set for another address does not stay on a request to the token's instance.
func TestTransportSetsHost(t *testing.T) {
	t.Parallel()
	runSynctest(t, func(t *testing.T, h *harness) {
		base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != orgHost || r.Host != "" && r.Host != orgHost {
				t.Errorf("the request goes to %s as %q", r.URL.Host, r.Host)
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
		})
		r := request("GET", limits, nil)
		r.Host = "elsewhere.example"
		client := &http.Client{Transport: &sftoken.Transport{Source: h.source("crm"), Base: base}}
		resp, err := client.Do(r)
		h.Must(err)
		_ = resp.Body.Close()
	})
}

func TestTransportContext(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.SetDelay(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		client, begun := h.salesforce(), time.Now()
		var callers sync.WaitGroup
		callers.Go(func() {
			_, err := client.Do(request("GET", limits, nil).WithContext(ctx))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 2*time.Second {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
		})
		callers.Go(func() {
			if status := h.get(client, limits); status != 200 || time.Since(begun) != 10*time.Second {
				t.Errorf("HTTP %d after %s", status, time.Since(begun))
			}
		})
		callers.Wait()
	})
}

func TestOAuth2Client(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, h.Client)
		client := oauth2.NewClient(ctx, h.source("crm"))
		for range 3 {
			if status := h.get(client, "http://"+orgHost+limits); status != 200 {
				t.Errorf("HTTP %d", status)
			}
		}
		if asked := h.Requests(); len(asked) != 1 {
			t.Errorf("%d requests for one token", len(asked))
		}
	})
}

// Salesforce responds in XML to a client that accepts only that.
func TestTransportReadsXML(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		client := &http.Client{Transport: &sftoken.Transport{Source: h.source("crm"), Base: xmlRefusal{}}}
		if status := h.get(client, limits); status != 401 || len(h.Requests()) != 2 {
			t.Errorf("HTTP %d: the API was not asked", status)
		}
	})
}

type xmlRefusal struct{}

func (xmlRefusal) RoundTrip(*http.Request) (*http.Response, error) {
	body := gzipped(`<Errors><Error><errorCode>INVALID_SESSION_ID</errorCode></Error></Errors>`)
	header := http.Header{"Content-Encoding": {"gzip"}}
	return &http.Response{StatusCode: 401, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// Bulk API 1.0 takes the token in X-SFDC-Session and rejects it with a 400, in JSON or XML.
func TestTransportBulk(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct {
		contentType, body string
		gzip              bool
	}{
		"JSON":      {"application/json", `{"operation":"query","object":"Account"}`, false},
		"XML":       {"application/xml", `<jobInfo><operation>query</operation></jobInfo>`, false},
		"gzip JSON": {"application/json", `{"operation":"query","object":"Account"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, h *harness) {
				client := h.salesforce()
				h.get(client, limits)
				h.Org.RevokeAll()
				r := request("POST", "/services/async/65.0/job", strings.NewReader(try.body))
				r.Header.Set("Content-Type", try.contentType)
				r.Header.Set("X-SFDC-Session", "the token that the program kept")
				if try.gzip {
					r.Header.Set("Accept-Encoding", "gzip")
				}
				resp, err := client.Do(r)
				h.Must(err)
				_ = resp.Body.Close()
				if asked := h.Requests(); resp.StatusCode != 201 || len(asked) != 2 {
					t.Errorf("HTTP %d after %d requests for a token", resp.StatusCode, len(asked))
				}
				if violations := h.Org.Violations(); len(violations) > 0 {
					t.Errorf("the org was sent %q", violations)
				}
			})
		})
	}
}

func TestTransportOtherBulkErrors(t *testing.T) {
	t.Parallel()
	const (
		job     = "/services/async/65.0/job/750"
		invalid = `{"exceptionCode":"InvalidSessionId","exceptionMessage":"x"}`
		inText  = `<error><exceptionCode>InvalidJob</exceptionCode>` +
			`<exceptionMessage>&lt;exceptionCode>InvalidSessionId&lt;/exceptionCode></exceptionMessage></error>`
		nested = `<error><row><exceptionCode>InvalidSessionId</exceptionCode></row></error>`
	)
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"another code":         {job, `{"exceptionCode":"InvalidJob","exceptionMessage":"InvalidSessionId"}`, 400},
		"another code in XML":  {job, inText, 400},
		"another status":       {job, invalid, 500},
		"nested code":          {job, nested, 400},
		"another API":          {"/services/data/v65.0/sobjects", invalid, 400},
		"neither JSON nor XML": {job, strings.Repeat("InvalidSessionId ", 100_000), 400},
		"empty":                {job, "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, h *harness) {
				base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
					body := io.NopCloser(strings.NewReader(c.body))
					return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: body, Request: r}, nil
				})
				client := &http.Client{Transport: &sftoken.Transport{Source: h.source("crm"), Base: base}}
				resp, err := client.Get(c.path)
				h.Must(err)
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != c.body || resp.StatusCode != c.status {
					t.Errorf("HTTP %d with %d bytes of %d, %v", resp.StatusCode, len(body), len(c.body), err)
				}
				if asked := h.Requests(); len(asked) != 1 {
					t.Errorf("%d requests for a token", len(asked))
				}
			})
		})
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
