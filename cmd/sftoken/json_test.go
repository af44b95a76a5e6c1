package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

func TestJSONOutput(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=0s")
	ask := func(stdin string, want int, args ...string) map[string]any {
		t.Helper()
		stdout, stderr, code := s.command(t, ownerKey, stdin, append(args, "--json")...)
		var got map[string]any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != want {
			t.Fatalf("%q: exit %d, want %d: %v: %s%s", args, code, want, err, stdout, stderr)
		}
		return got
	}
	same := func(got map[string]any, want map[string]any) {
		t.Helper()
		for name, value := range want {
			if fmt.Sprint(got[name]) != fmt.Sprint(value) {
				t.Errorf("%s is %v, want %v", name, got[name], value)
			}
		}
	}
	same(ask("", 0, "version"), map[string]any{"version": version, "os": runtime.GOOS})
	status := ask("", 0, "secret", "status", "crm")
	same(status, map[string]any{"app": "crm", "secret": "sftoken/crm", "rotation": true, "schedule": "rate(30 days)",
		"overdue": false})
	if _, there := status["lastRotated"]; there || len(status["versions"].(map[string]any)) != 1 {
		t.Errorf("status: %v", status)
	}
	key, _ := s.App.Credentials()

	first := ask(s.credentialsJSON(), 0, "secret", "put", "crm")
	same(first, map[string]any{"secret": "sftoken/crm", "label": "AWSCURRENT"})
	same(ask("", 0, "rotate", "crm", "--wait"),
		map[string]any{"secret": "sftoken/crm", "before": first["version"], "compromised": false, "revoked": false})
	if newKey, _ := s.App.Credentials(); newKey == key {
		t.Error("rotate has not rotated")
	}
	s.App.Regenerate()
	staged := ask(s.credentialsJSON(), 0, "secret", "stage", "crm",
		"--wait")
	same(staged, map[string]any{"label": "AWSCURRENT"})
	same(ask(`{"consumerKey":"3MVG9wrong","consumerSecret":"wrong"}`, exitFailed, "secret", "stage", "crm", "--wait"),
		map[string]any{"label": "REJECTED"})
	leak := ask("", 0, "rotate", "crm", "--compromised", "--yes")
	same(leak, map[string]any{"before": staged["version"], "compromised": true, "revoked": true})
	if leak["current"] == staged["version"] || leak["current"] == nil {
		t.Errorf("rotate --compromised: %v", leak)
	}
	// The credentials are rotated, but the API does not respond: the output must show both.
	half := ask("", exitFailed, "rotate", "crm", "--compromised", "--yes", "--timeout", "4s", "--url",
		"http://127.0.0.1:1/v1")
	same(half, map[string]any{"compromised": true, "revoked": false})
	for _, status := range []int{403, 503} { // other exit codes than for get: the credentials are rotated
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, stderr, code := s.command(t, ownerKey, "", "rotate", "crm", "--compromised", "--yes", "--timeout", "3s", "--url",
			api.URL+"/v1")
		api.Close()
		if code != exitFailed || !strings.Contains(stderr, "hint: run `sftoken revoke crm`") {
			t.Errorf("the API returns %d: exit %d: %s", status, code, stderr)
		}
	}
}
