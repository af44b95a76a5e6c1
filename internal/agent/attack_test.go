package agent_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Requests that may come from another host, and from a web page that an attacker has written.
func TestForeignRequests(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		for _, host := range []string{
			"evil.example", "evil.example:7373", "127.0.0.1.evil.example:7373", "localhost.evil.example:7373",
			"evil.localhost:7373",
			"127.0.0.1", "127.0.0.1:80", "127.0.0.1:7374", "localhost:", "[::1]", "10.0.0.1:7373", "0.0.0.0:7373", "[::]:7373",
			"169.254.169.254:7373", "2130706433:7373", "127.1:7373", "user@127.0.0.1:7373", "localhost:7373.evil.example",
			"LOCALHOST.:7373",
		} {
			for _, path := range []string{"/v1/tokens/crm", "/metrics", "/healthz"} {
				if a := h.get(t, path, "Host: "+host); a.status/100 != 4 || a.AccessToken != "" {
					t.Errorf("Host %s, %s: %d", host, path, a.status)
				}
			}
		}
		for _, host := range []string{"localhost:7373", "[::1]:7373", "127.0.0.2:7373"} {
			if a := h.get(t, "/v1/tokens/crm", "Host: "+host); a.status != http.StatusOK {
				t.Errorf("Host %s: %d", host, a.status)
			}
		}
		for _, header := range []string{
			"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost:7373", "x-forwarded-proto: https",
			"Forwarded: for=127.0.0.1",
			"Via: 1.1 proxy", "X-Real-IP: 127.0.0.1", "Origin: https://evil.example", "Origin: null",
			"Origin: http://127.0.0.1:7373",
			"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodHead} {
				a := h.do(t, method, "/v1/tokens/crm", "", header)
				if a.status != http.StatusForbidden || a.AccessToken != "" || a.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s, %s: %d", method, header, a.status)
				}
			}
		}
		if n := len(h.Requests()); n != 1 {
			t.Errorf("%d requests to the API", n)
		}
		if n := len(h.lines("refused")); n == 0 || n > 20 {
			t.Errorf("%d lines in the log: they must be few", n)
		}
	})
}

func TestAuthentication(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		basic := func(user, password string) string {
			return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
		}
		const none = "Authorization: "
		form := func(secret string) string { return "grant_type=client_credentials&client_id=x&client_secret=" + secret }
		for name, c := range map[string]struct {
			method, body, header string
			status               int
		}{
			"bearer":                {"GET", "", "Authorization: Bearer " + agentToken, 200},
			"bearer in lower case":  {"GET", "", "Authorization: bearer " + agentToken, 200},
			"bearer and POST":       {"POST", "", "Authorization: Bearer " + agentToken, 200},
			"basic":                 {"POST", "grant_type=client_credentials", basic("x", agentToken), 200},
			"basic without a user":  {"GET", "", basic("", agentToken), 200},
			"form":                  {"POST", form(agentToken), none, 200},
			"nothing":               {"GET", "", none, 401},
			"empty bearer":          {"GET", "", "Authorization: Bearer  ", 401},
			"another":               {"GET", "", "Authorization: Bearer wrong", 401},
			"a prefix":              {"GET", "", "Authorization: Bearer " + agentToken[:10], 401},
			"more":                  {"GET", "", "Authorization: Bearer " + agentToken + "x", 401},
			"another case":          {"GET", "", "Authorization: Bearer " + strings.ToLower(agentToken), 401},
			"as user":               {"GET", "", basic(agentToken, ""), 401},
			"in the query":          {"GET", "", none, 401},
			"form of another":       {"POST", form("wrong"), none, 401},
			"empty form field":      {"POST", form(""), none, 401},
			"form with a wrong one": {"POST", form(agentToken), "Authorization: Bearer wrong", 401},
			"form of a GET":         {"GET", form(agentToken), none, 401},
			"long form":             {"POST", form(agentToken) + strings.Repeat("&a=b", 3000), none, 401},
			"a signature":           {"GET", "", "Authorization: AWS4-HMAC-SHA256 Credential=x", 401},
			"X-Api-Key":             {"GET", "", none, 401},
		} {
			a := h.do(t, c.method, "/v1/tokens/crm?client_secret="+agentToken, c.body, c.header, "X-Api-Key: "+agentToken)
			if a.status != c.status || (a.AccessToken != "") != (c.status == 200) {
				t.Errorf("%s: %d %s", name, a.status, a.Code)
			}
			if a.status == 401 && (a.Code != "invalid_client" || a.header.Get("WWW-Authenticate") == "") {
				t.Errorf("%s: %s without WWW-Authenticate", name, a.Code)
			}
		}
		if a := h.get(t, "/metrics", none); a.status != 401 || strings.Contains(a.text, "sftoken") && a.Code == "" {
			t.Errorf("metrics: %d", a.status)
		}
		if a := h.get(t, "/healthz", none); a.status != 200 {
			t.Errorf("healthz: %d", a.status)
		}
	})
}

func TestPaths(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		for _, path := range []string{
			"/", "/v1", "/v1/tokens", "/v1/tokens/", "/v1/tokens/crm/", "//v1/tokens/crm", "/v1//tokens/crm", "/v1/tokens//crm",
			"/v1/tokens/../tokens/crm", "/v1/tokens/./crm", "/v1/tokens/crm/..", "/v1/tokens/%63rm", "/v1/tokens/crm%2f",
			"/v1/tokens/CRM",
			"/v1/tokens/crm%00", "/v1/tokens/crm;x=1", "/v2/tokens/crm", "/tokens/crm", "/V1/tokens/crm",
			"/v1/tokens/crm%3Frejected=x",
			"/v1/tokens/-crm", "/v1/tokens/" + strings.Repeat("a", 64), "/v1/tokens/crm?rejected=",
			"/v1/tokens/crm?rejected=0123",
			"/v1/tokens/crm?rejected=0123456789abcdef&rejected=0123456789abcdef", "/v1/tokens/crm?rejected=0123456789ABCDEF",
			"/v1/tokens/crm?rejected=%zz", "/v1/tokens/crm?a;b", "/debug/pprof/", "/metrics/", "/healthz/x",
		} {
			if a := h.get(t, path); a.status != 404 && a.status != 400 || a.AccessToken != "" || a.Code != "invalid_request" {
				t.Errorf("%s: %d %s", path, a.status, a.text)
			}
		}
		for _, method := range []string{"DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "FOO"} {
			if a := h.do(t, method, "/v1/tokens/crm", ""); a.status != 405 || a.header.Get("Allow") != "GET, POST" {
				t.Errorf("%s: %d", method, a.status)
			}
		}
		for body, code := range map[string]string{
			"grant_type=password":                               "unsupported_grant_type",
			"grant_type=client_credentials&grant_type=password": "invalid_request",
			"{}": "invalid_request", "scope=api": "invalid_request", "%zz": "invalid_request", strings.Repeat("a",
				9<<10): "invalid_request",
		} {
			if a := h.do(t, "POST", "/v1/tokens/crm", body); a.status != 400 || a.Code != code {
				t.Errorf("%.20s: %d %s", body, a.status, a.Code)
			}
		}
		if n := len(h.Requests()); n != 0 {
			t.Errorf("%d requests to the API", n)
		}
	})
}

// raw opens a connection and sends text.
func (h *harness) raw(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := h.Network.DialContext(t.Context(), "tcp", agentHost)
	h.Must(err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, text)
	h.Must(err)
	return conn
}

// Requests that a client library would not send.
func TestMalformedRequests(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		const good = "Authorization: Bearer " + agentToken + "\r\n"
		const head = "GET /v1/tokens/crm HTTP/1.1\r\nHost: " + agentHost + "\r\n"
		for name, text := range map[string]string{
			"no Host":               "GET /v1/tokens/crm HTTP/1.1\r\n" + good + "\r\n",
			"HTTP/1.0 without Host": "GET /v1/tokens/crm HTTP/1.0\r\n" + good + "\r\n",
			"two Hosts":             head + "Host: evil.example\r\n" + good + "\r\n",
			"another host as URL":   strings.Replace(head, "/v1", "http://evil.example/v1", 1) + good + "\r\n",
			"CONNECT":               "CONNECT 127.0.0.1:7373 HTTP/1.1\r\nHost: 127.0.0.1:7373\r\n" + good + "\r\n",
			"a long header":         head + "X: " + strings.Repeat("x", 64<<10) + "\r\n" + good + "\r\n",
			"a folded header":       head + "X-Forwarded-For : 1\r\n" + good + "\r\n",
		} {
			conn := h.rawAsync(t, text)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				continue // the connection was closed
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode < 400 || strings.Contains(string(body), "access_token") {
				t.Errorf("%s: %d", name, resp.StatusCode)
			}
		}
	})
}

// rawAsync is raw for a text that the server may not read to its end.
func (h *harness) rawAsync(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := h.Network.DialContext(t.Context(), "tcp", agentHost)
	h.Must(err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() { _, _ = io.WriteString(conn, text) }()
	return conn
}

// Clients that send or read slowly keep no connection for long, and others do not wait for them.
func TestSlowClients(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		const head = "POST /v1/tokens/crm HTTP/1.1\r\nHost: " + agentHost + "\r\nAuthorization: Bearer " + agentToken + "\r\n"
		begun := time.Now()
		closed := make(chan time.Duration)
		slow := 0
		idle := strings.Replace(head, "POST", "GET", 1) + "\r\n"
		for _, text := range []string{"", "GET", head, head + "Content-Length: 100\r\n\r\ngrant", idle} {
			for range 50 {
				slow++
				conn := h.raw(t, text)
				go func() {
					_, _ = io.Copy(io.Discard, conn)
					closed <- time.Since(begun)
				}()
			}
		}
		before := time.Now()
		if h.token(t, ""); time.Since(before) > 0 {
			t.Errorf("another client waits for %s", time.Since(before))
		}
		for range slow {
			if after := <-closed; after > 3*time.Minute {
				t.Errorf("a connection was closed after %s", after)
			}
		}
	})
}

// Requests in progress end before the agent does, and no new ones are accepted.
func TestShutdown(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		second := h.serveAt(t, h.newAgent(agent.Config{Token: sfoauth.NewSecret(agentToken)}), "127.0.0.1:7374")
		h.SetDelay(5 * time.Second)
		got := make(chan string)
		go func() {
			req, _ := http.NewRequestWithContext(
				context.Background(),
				http.MethodGet,
				"http://127.0.0.1:7374/v1/tokens/crm",
				nil,
			)
			req.Header.Set("Authorization", "Bearer "+agentToken)
			resp, err := h.Client.Do(req)
			if err != nil {
				got <- err.Error()
				return
			}
			defer resp.Body.Close()
			got <- fmt.Sprint(resp.StatusCode)
		}()
		time.Sleep(time.Second)
		begun := time.Now()
		second.stop()
		time.Sleep(time.Millisecond)
		if conn, err := h.Network.DialContext(t.Context(), "tcp", "127.0.0.1:7374"); err == nil {
			_ = conn.Close()
			t.Error("a connection was accepted")
		}
		if status := <-got; status != "200" {
			t.Errorf("the request in progress: %s", status)
		}
		if err := <-second.ended; err != nil || time.Since(begun) > 5*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}
