package sfoauthtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestFaults injects every fault at each endpoint it applies to, over the in-memory network, and compares what a client
// sees with testdata/faults.txt. The request after the fault must succeed.
func TestFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultClient(t)
		var lines []string
		names := map[string]bool{}
		for _, fault := range sfoauthtest.AllFaults() {
			if names[fault.String()] {
				t.Errorf("two faults are called %q", fault)
			}
			names[fault.String()] = true
			for _, endpoint := range sfoauthtest.Endpoints()[:5] { // those of send
				if !fault.AppliesTo(endpoint) {
					continue
				}
				c.prepare()
				c.org.InjectFault(endpoint, fault, 1)
				lines = append(lines, fmt.Sprintf("%s: %s: %s", endpoint, fault, c.outcome(endpoint)))
				if endpoint == sfoauthtest.Token && c.loggedIn() != fault.Commits() {
					t.Errorf("%s: logged in %t, but Commits is %t", fault, c.loggedIn(), fault.Commits())
				}
				c.prepare()
				if got := c.outcome(endpoint); !strings.HasPrefix(got, "200") || strings.Contains(got, "wrong") {
					t.Errorf("%s after %q: %s", endpoint, fault, got)
				}
			}
		}
		simtest.Golden(t, "faults.txt", strings.Join(lines, "\n")+"\n")
	})
}

// faultClient is a client of an org on a network, with a timeout of 5 seconds.
type faultClient struct {
	t      *testing.T
	org    *sfoauthtest.Org
	app    *sfoauthtest.App
	client *http.Client
	base   string
	token  string
	logins int // before the call
}

func newFaultClient(t *testing.T) *faultClient {
	var network sfoauthtest.Network
	org := sfoauthtest.New(sfoauthtest.Config{})
	stop, err := network.Serve("acme.my.salesforce.com:443", org)
	must(t, err)
	t.Cleanup(stop)
	transport := network.Transport()
	transport.DisableKeepAlives = true // net/http repeats requests on connections that break when used again
	transport.MaxResponseHeaderBytes = 64 << 10
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Transport: transport, CheckRedirect: noRedirects}
	return &faultClient{t: t, org: org, app: org.AddApp(sfoauthtest.AppOptions{}), client: client, base: base}
}

// prepare gets an active token for the calls that need one.
func (c *faultClient) prepare() {
	resp, err := c.send(c.t.Context(), sfoauthtest.Token)
	must(c.t, err)
	defer resp.Body.Close()
	var fields struct {
		Token string `json:"access_token"`
	}
	must(c.t, json.NewDecoder(resp.Body).Decode(&fields))
	c.token = fields.Token
	c.logins = c.app.Logins().Succeeded
}

// loggedIn reports whether the org granted a login since prepare.
func (c *faultClient) loggedIn() bool { return c.app.Logins().Succeeded > c.logins }

func (c *faultClient) send(ctx context.Context, endpoint sfoauthtest.Endpoint) (*http.Response, error) {
	key, secret := c.app.Credentials()
	form := url.Values{"client_id": {key}, "client_secret": {secret}, "token": {c.token}}
	method, path := "POST", "/services/oauth2/"+string(endpoint)
	switch endpoint {
	case sfoauthtest.Token:
		form.Del("token")
		form.Set("grant_type", "client_credentials")
	case sfoauthtest.UserInfo:
		method, form = "GET", nil
	case sfoauthtest.REST:
		method, path, form = "GET", limits, nil
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if form != nil {
		req.Header.Set("Content-Type", formType)
	} else {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.client.Do(req)
}

// outcome calls the endpoint and describes the response, without secrets.
func (c *faultClient) outcome(endpoint sfoauthtest.Endpoint) string {
	start := time.Now()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	resp, err := c.send(ctx, endpoint)
	if err != nil {
		return describeError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Sprint(resp.StatusCode, " then ", describeError(err))
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	out := fmt.Sprint(resp.StatusCode, " ", media)
	for _, name := range []string{"Retry-After", "Location"} {
		if value := resp.Header.Get(name); value != "" {
			out += fmt.Sprintf(" %s %s", name, value)
		}
	}
	if took := time.Since(start); took > 0 {
		out += fmt.Sprint(" after ", took)
	}
	if len(body) > 1<<20 {
		out += fmt.Sprintf(" of %d MiB", len(body)>>20)
	}
	switch {
	case resp.StatusCode != http.StatusOK:
	case endpoint == sfoauthtest.Token:
		out += c.wrong(body)
	case len(strings.TrimSpace(string(body))) < 100 && endpoint != sfoauthtest.REST:
		out += fmt.Sprintf(", body %.40q", strings.TrimSpace(string(body)))
	}
	return out
}

// wrong lists the fields of a token response that a client must not trust.
func (c *faultClient) wrong(body []byte) string {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return ", wrong: not a JSON object"
	}
	_, secret := c.app.Credentials()
	token, _ := fields["access_token"].(string)
	signed := signature(secret, fmt.Sprint(fields["id"]), fmt.Sprint(fields["issued_at"]))
	var wrong []string
	for field, good := range map[string]bool{
		"access_token":     c.org.TokenActive(token),
		"token_type":       fields["token_type"] == "Bearer",
		"instance_url":     fields["instance_url"] == base,
		"api_instance_url": fields["api_instance_url"] == nil,
		"token_format":     fields["token_format"] == nil,
		"id":               fields["id"] == base+"/id/"+c.org.ID()+"/"+c.app.User.ID,
		"issued_at":        fields["issued_at"] == fmt.Sprint(time.Now().UnixMilli()),
		"signature":        fields["signature"] == signed || fields["id"] == nil,
	} {
		if !good {
			wrong = append(wrong, field)
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	slices.Sort(wrong)
	return ", wrong: " + strings.Join(wrong, " ")
}

func describeError(err error) string {
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, syscall.ECONNRESET, io.ErrUnexpectedEOF, io.EOF,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	for _, known := range []string{"malformed HTTP", "malformed MIME header", "headers exceeded"} {
		if strings.Contains(err.Error(), known) {
			return known // the rest quotes the response
		}
	}
	return err.Error()
}

// Faults of the connection have the same effect over TCP.
func TestFaultsOverTCP(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1)
	org := sfoauthtest.New(sfoauthtest.Config{OnCall: func(c sfoauthtest.Call) {
		if c.Endpoint == sfoauthtest.REST && c.Phase == sfoauthtest.Arrived {
			arrived <- struct{}{}
		}
	}})
	server, err := org.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(server.Close)
	transport := &http.Transport{DisableKeepAlives: true}
	app, client := org.AddApp(sfoauthtest.AppOptions{}), &http.Client{Transport: transport}
	c := &faultClient{t: t, org: org, app: app, client: client, base: server.URL}
	c.prepare()
	for _, test := range []struct {
		fault  sfoauthtest.Fault
		want   string
		cancel bool // give up once the request has arrived
	}{
		{sfoauthtest.Reset(), "connection reset by peer", false},
		{sfoauthtest.ResetAfterCommit(), "connection reset by peer", false},
		{sfoauthtest.Truncate(), "unexpected EOF", false},
		{sfoauthtest.TruncateHeader(), "unexpected EOF", false},
		{sfoauthtest.NotHTTP(), "malformed HTTP", false},
		{sfoauthtest.BodyOnly(), "malformed HTTP", false},
		{sfoauthtest.BodyAsHeader(), "malformed MIME header", false},
		{sfoauthtest.Hang(), "context canceled", true},
		{sfoauthtest.HangAfterCommit(), "context canceled", true},
		{sfoauthtest.Trickle(time.Hour), "context canceled", true},
		{sfoauthtest.Latency(time.Hour), "context canceled", true},
		{sfoauthtest.NoFault(), "", false},
	} {
		org.InjectFault(sfoauthtest.REST, test.fault, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			if test.cancel {
				cancel()
			}
		}()
		got := ""
		resp, err := c.send(ctx, sfoauthtest.REST)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if err != nil {
			got = describeError(err)
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.fault, got, test.want)
		}
		cancel()
	}
}

// A request takes effect even if the client gives up.
func TestLatencyCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultClient(t)
		c.prepare()
		c.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(time.Minute), 1)
		if got := c.outcome(sfoauthtest.Token); got != "context deadline exceeded" {
			t.Errorf("outcome %s", got)
		}
		synctest.Wait()
		if !c.loggedIn() {
			t.Error("the login had no effect")
		}
	})
}

func TestFaultQueue(t *testing.T) {
	t.Parallel()
	h := newHarness(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	h.org.InjectFault(sfoauthtest.Token, sfoauthtest.NoFault(), 2)
	h.org.InjectFault(sfoauthtest.Token, sfoauthtest.Unavailable(), 1)
	h.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.TooManyRequests(time.Second, false), 0)
	var got []int
	for range 5 {
		got = append(got, h.login().status)
	}
	if want := []int{200, 200, 503, 429, 429}; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
	h.org.ClearFaults(sfoauthtest.Token)
	if status := h.login().status; status != 429 {
		t.Errorf("after ClearFaults of the endpoint: %d", status)
	}
	h.org.ClearFaults()
	if status := h.login().status; status != 200 {
		t.Errorf("after ClearFaults: %d", status)
	}
	if seen := h.org.Stats(); seen.Calls[sfoauthtest.Token] != 7 || seen.Logins.Attempts != 3 {
		t.Errorf("%d calls and %d logins, want 7 and 3", seen.Calls[sfoauthtest.Token], seen.Logins.Attempts)
	}
}

func TestClearFaultsReleasesRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultClient(t)
		c.prepare()
		c.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Hang(), 0)
		got := make(chan error)
		go func() {
			_, err := c.send(t.Context(), sfoauthtest.REST)
			got <- err
		}()
		synctest.Wait()
		c.org.ClearFaults()
		if err := <-got; describeError(err) != "EOF" {
			t.Errorf("%v, want EOF", err)
		}
	})
}

// A client that follows a redirect sends its secret to another host.
func TestFollowedRedirect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultClient(t)
		c.client.CheckRedirect = nil
		for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
			c.org.InjectFault(sfoauthtest.Token, sfoauthtest.Redirect(status, ""), 1)
			c.outcome(sfoauthtest.Token)
		}
		want := []string{
			"GET other: a redirect was followed",
			"POST other: a redirect was followed",
			"POST other: credentials or a token where they are not wanted",
		}
		if got := c.org.Violations(); !slices.Equal(got, want) || c.org.Stats().Redirects != 2 {
			t.Errorf("violations: %q, want %q", got, want)
		}
	})
}
