package agent_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/internal/sim/apitest"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Weeks of use keep no more memory than a day of it. It does not run in parallel: other tests would use memory too.
func TestMemoryIsFlat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		a := agent.New(agent.Config{
			APIURL: apitest.URL, AWS: aws.Config{Region: "us-east-1", Credentials: apitest.Billing.Credentials()},
			HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				fmt.Fprintf(w, `{"access_token":"t","token_id":"%016x","instance_url":"https://x.example","expires_in":450}`,
					time.Now().UnixNano())
				return w.Result(), nil
			})},
		})
		defer a.Close()
		handler := a.Handler(&net.UnixAddr{Net: "unix"})
		use := func(days int) (heap int64) {
			for end := time.Now().Add(time.Duration(days) * day); time.Now().Before(end); time.Sleep(time.Minute) {
				r := httptest.NewRequest(http.MethodGet, "/v1/tokens/crm", nil)
				r.Host = "localhost"
				w := httptest.NewRecorder()
				if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
					t.Fatalf("HTTP %d", w.Code)
				}
			}
			var stats runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&stats)
			return int64(stats.HeapAlloc)
		}
		before := use(1)
		if grown := use(14) - before; grown > 256<<10 {
			t.Errorf("two weeks of use keep %d bytes more", grown)
		}
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// BenchmarkAgent measures requests over loopback with as many clients as processors, relative to a handler that only
// writes the same number of bytes.
func BenchmarkAgent(b *testing.B) {
	var apiRequests atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		apiRequests.Add(1)
		_, _ = io.WriteString(
			w,
			`{"access_token":"00D000000000001!`+fmt.Sprintf("%096d", 1)+`","token_id":"0123456789abcdef",`+
				`"token_type":"Bearer","instance_url":"https://acme.my.salesforce.com","id":"https://login.salesforce.com/id/x/y",`+
				`"scope":"api id","issued_at":"1795676473049","expires_in":450}`,
		)
	}))
	defer api.Close()
	const size = 380
	b.Run("noop", func(b *testing.B) {
		body := make([]byte, size)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
		defer server.Close()
		load(b, server.URL)
	})
	b.Run("agent", func(b *testing.B) {
		listener, err := agent.ListenTCP("127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		cfg := aws.Config{Region: "us-east-1", Credentials: apitest.Billing.Credentials()}
		a := agent.New(agent.Config{APIURL: api.URL + "/v1", AWS: cfg, Token: sfoauth.NewSecret(agentToken)})
		ctx, stop := context.WithCancel(b.Context())
		ended := make(chan error)
		go func() { ended <- a.Serve(ctx, listener) }()
		load(b, "http://"+listener.Addr().String())
		b.ReportMetric(float64(apiRequests.Swap(0)), "API-requests")
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
}

// load sends b.N requests for a token.
func load(b *testing.B, url string) {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, url+"/v1/tokens/crm", nil)
			req.Header.Set("Authorization", "Bearer "+agentToken)
			resp, err := transport.RoundTrip(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				b.Errorf("HTTP %d", resp.StatusCode)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
