package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/internal/sim/apitest"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

const (
	agentHost  = "127.0.0.1:7373"
	agentURL   = "http://" + agentHost
	agentToken = "AGENTTOKENOFTHISTEST"
)

// harness is an agent between its clients and the API, on a network in memory.
type harness struct {
	*apitest.Harness
	agent *agent.Agent
	log   *localaws.SyncBuffer
}

// run runs a test with an agent in a synctest bubble, in parallel with other tests.
func run(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.serve(t, agent.Config{Token: sfoauth.NewSecret(agentToken)})
		test(t, h)
	})
}

func newHarness(t *testing.T) *harness {
	return &harness{Harness: apitest.New(t, simtest.Options{}), log: &localaws.SyncBuffer{}}
}

// serve serves an agent until the test ends.
func (h *harness) serve(t *testing.T, c agent.Config) {
	t.Helper()
	h.agent = h.newAgent(c)
	server := h.serveAt(t, h.agent, agentHost)
	t.Cleanup(func() {
		server.stop()
		if err := <-server.ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
}

// newAgent returns an agent of the API. Its AWS configuration is Billing's if it has none.
func (h *harness) newAgent(c agent.Config) *agent.Agent {
	if c.AWS.Credentials == nil {
		c.AWS = h.Config()
	}
	c.APIURL = cmp.Or(c.APIURL, apitest.URL)
	c.HTTPClient, c.Version, c.Log = h.Client, "1.2.3", slog.New(slog.NewJSONHandler(h.log, nil))
	return agent.New(c)
}

// server is an agent that serves.
type server struct {
	stop  context.CancelFunc
	ended chan error // of Serve
}

func (h *harness) serveAt(t *testing.T, a *agent.Agent, host string) server {
	t.Helper()
	listener, err := h.Network.Listen(host)
	h.Must(err)
	ctx, stop := context.WithCancel(context.Background())
	s := server{stop, make(chan error, 1)}
	go func() { s.ended <- a.Serve(ctx, listener) }()
	return s
}

// answer is a response of the agent.
type answer struct {
	status int
	header http.Header
	text   string

	AccessToken string `json:"access_token"`
	TokenID     string `json:"token_id"`
	ExpiresIn   int    `json:"expires_in"`
	TokenType   string `json:"token_type"`
	Code        string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id"`
}

func (a answer) cache() string { return a.header.Get("X-Token-Cache") }

// do sends a request with the agent token, and with more header lines, which may replace it.
func (h *harness) do(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, agentURL+path, strings.NewReader(body))
	h.Must(err)
	req.Header.Set("Authorization", "Bearer "+agentToken)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		default:
			req.Header.Set(name, value)
		}
	}
	resp, err := h.Client.Do(req)
	h.Must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	h.Must(err)
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if len(text) > 0 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") &&
		json.Unmarshal(text, &a) != nil {
		t.Errorf("%s %s: not JSON: %s", method, path, text)
	}
	return a
}

func (h *harness) get(t *testing.T, path string, header ...string) answer {
	t.Helper()
	return h.do(t, http.MethodGet, path, "", header...)
}

// token gets a token of the app crm.
func (h *harness) token(t *testing.T, query string) answer {
	t.Helper()
	a := h.get(t, "/v1/tokens/crm"+query)
	if a.status != http.StatusOK || a.AccessToken == "" || a.ExpiresIn < 1 {
		t.Fatalf("%d %s: %s", a.status, a.Code, a.Description)
	}
	return a
}

// lines returns the log lines with this message.
func (h *harness) lines(message string) (found []map[string]any) {
	for line := range bytes.Lines([]byte(h.log.String())) {
		var fields map[string]any
		h.Must(json.Unmarshal(line, &fields))
		if fields["msg"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// metric returns the value of a metric as the text that /metrics shows, or "".
func (h *harness) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(h.get(t, "/metrics").text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
