package sftoken_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// startAgent starts an agent of a simulated deployment, and stops it when the test ends.
func startAgent(t *testing.T, listener net.Listener, token string) {
	t.Helper()
	apiURL, cfg, stopDeployment := deployment()
	a := agent.New(agent.Config{APIURL: apiURL, AWS: cfg, Token: sfoauth.NewSecret(token)})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- a.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		stopDeployment()
	})
}

func listenTCP(t *testing.T) (listener net.Listener, url string) {
	t.Helper()
	listener, err := agent.ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener, "http://" + listener.Addr().String() + "/v1"
}

// fetches gets a token from an agent without any AWS configuration.
func fetches(t *testing.T, url string, options ...sftoken.Option) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := sftoken.NewTokenSource(aws.Config{}, url, "crm", options...).Fetch(ctx)
	return err
}

func TestAgentSocket(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: no Unix sockets for one user")
	}
	dir, err := os.MkdirTemp("", "sftoken") //nolint:usetesting // T.TempDir has the test's name, which may be long
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "agent.sock")
	listener, err := agent.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	startAgent(t, listener, "")
	if err := fetches(t, "unix://"+path); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"unix://host" + path, "unix:agent.sock", "unix://", "unix://" + path + "?x"} {
		if err := fetches(t, url); err == nil || !strings.Contains(err.Error(), "address") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if err := fetches(t, "unix://"+path+".none"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no socket: %v", err)
	}
	if !sftoken.UsesAgent("unix://" + path) {
		t.Error("a socket is not an agent's")
	}
}

// The agent token in the environment applies to loopback addresses only, and a file is read for each request.
func TestAgentEnvironment(t *testing.T) {
	t.Setenv(sftoken.AgentTokenVariable, "")
	t.Setenv(sftoken.AgentTokenFileVariable, "")
	listener, url := listenTCP(t)
	startAgent(t, listener, "first")
	// The agent's own source must not find the token in the environment of this test.
	if err := fetches(t, url, sftoken.WithAgentToken("first")); err != nil {
		t.Fatal(err)
	}
	if err := fetches(t, url); err == nil || !strings.Contains(err.Error(), "no region") || sftoken.UsesAgent(url) {
		t.Errorf("without a token: %v", err)
	}
	t.Setenv(sftoken.AgentTokenVariable, "first")
	if err := fetches(t, url); err != nil || !sftoken.UsesAgent(url) {
		t.Errorf("with the token: %v", err)
	}
	t.Setenv(sftoken.AgentTokenVariable, "first\n") // as in a Kubernetes secret that was made with echo
	if err := fetches(t, url); err != nil {
		t.Errorf("with a line end after the token: %v", err)
	}
	for _, other := range []string{
		"https://api.example/v1", "http://api.example/v1", "https://127.0.0.1/v1", "http://127.0.0.1.evil.example/v1",
		"http://evil.localhost/v1", "http://10.0.0.1/v1", "http://169.254.169.254/v1",
	} {
		if sftoken.UsesAgent(other) {
			t.Errorf("the agent token would be sent to %s", other)
		}
		client := &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if sent := r.Header.Get("Authorization"); strings.Contains(sent, "first") {
				t.Errorf("the agent token is sent to %s", r.URL)
			}
			return nil, &net.DNSError{IsNotFound: true} // not retried
		})}
		cfg := aws.Config{Region: "us-east-1", Credentials: billing.Credentials()}
		_, _ = sftoken.NewTokenSource(cfg, other, "crm", sftoken.WithHTTPClient(client)).Fetch(t.Context())
	}
	file := filepath.Join(t.TempDir(), "token")
	t.Setenv(sftoken.AgentTokenVariable, "")
	t.Setenv(sftoken.AgentTokenFileVariable, file)
	go func() { // the agent starts a little later than its client
		time.Sleep(300 * time.Millisecond)
		_ = os.WriteFile(file, []byte("first\n"), 0o600)
	}()
	if err := fetches(t, url); err != nil {
		t.Errorf("with a file that comes later: %v", err)
	}
	for text, want := range map[string]string{"second": "401 invalid_client", " \n": "is empty"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := fetches(t, url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestAgentTokenOption(t *testing.T) {
	t.Parallel()
	listener, url := listenTCP(t)
	startAgent(t, listener, "first")
	if err := fetches(t, url, sftoken.WithAgentToken("first")); err != nil {
		t.Error(err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Error(r.URL) }))
	defer elsewhere.Close()
	client := &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = elsewhere.Listener.Addr().String() // wherever the name leads
		return http.DefaultTransport.RoundTrip(r)
	})}
	for _, other := range []string{"http://evil.localhost/v1", "https://127.0.0.1/v1", "https://api.example/v1"} {
		err := fetches(t, other, sftoken.WithAgentToken("first"), sftoken.WithHTTPClient(client))
		if err == nil || !strings.Contains(err.Error(), "loopback address only") || strings.Contains(err.Error(), "first") {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// The API's audit log records who calls.
func TestUserAgent(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		var names []string
		gateway := h.Client.Transport
		h.Client.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == apiHost {
				names = append(names, r.UserAgent())
			}
			return gateway.RoundTrip(r)
		})
		_, err := h.source("crm").Fetch(t.Context())
		h.Must(err)
		url := "http://" + apiHost + "/v1"
		named := sftoken.WithUserAgent("report/7")
		_, err = sftoken.NewTokenSource(h.Config(), url, "crm", sftoken.WithHTTPClient(h.Client), named).Fetch(t.Context())
		h.Must(err)
		if strings.Join(names, " ") != "sftoken-go report/7" {
			t.Errorf("User-Agent: %q", names)
		}
	})
}

// A refresh that does not end keeps callers waiting for two seconds at most, while the cached token has not expired.
func TestRefreshThatHangs(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.Must(err)
		time.Sleep(time.Until(first.RefreshAt))
		h.SetDelay(time.Hour)
		for i, most := range []time.Duration{2 * time.Second, 0, 0} {
			begun := time.Now()
			token, err := source.Fetch(t.Context())
			if err != nil || token.ID != first.ID || time.Since(begun) > most {
				t.Errorf("caller %d after %s: %v", i, time.Since(begun), err)
			}
		}
		time.Sleep(time.Until(first.Expiry))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := source.Fetch(ctx); err == nil {
			t.Error("an expired token was returned")
		}
		time.Sleep(2 * time.Hour) // until the requests have ended
	})
}

// A caller that waits for a refresh while the cached token expires gets another token, or none.
func TestTokenExpiresDuringRefresh(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.Must(err)
		time.Sleep(time.Until(first.Expiry) - time.Second)
		h.SetDelay(10 * time.Second)
		token, err := source.Fetch(t.Context())
		h.Must(err)
		if left := time.Until(token.Expiry); left <= 0 {
			t.Errorf("the token expired %s ago", -left)
		}
		time.Sleep(time.Minute) // until the requests have ended
	})
}

// For localhost, another user may listen at [::1] where the agent does not, and HTTP_PROXY applies to LOCALHOST.
func TestAgentAtLocalhost(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost", "LOCALHOST"} {
		want := host
		if host[0] != '1' && host[0] != '[' {
			want = "127.0.0.1"
		}
		for _, port := range []string{"", ":7373"} {
			asked := ""
			client := &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				asked = r.URL.String()
				return nil, &net.DNSError{IsNotFound: true} // not retried
			})}
			_ = fetches(t, "http://"+host+port+"/v1", sftoken.WithAgentToken("first"), sftoken.WithHTTPClient(client))
			if asked != "http://"+want+port+"/v1/tokens/crm" {
				t.Errorf("for %s the agent token is sent to %s", host+port, asked)
			}
		}
	}
}
