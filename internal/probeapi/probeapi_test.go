package probeapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/probe"
	"github.com/sftoken/sftoken/internal/probeapi"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

func TestMain(m *testing.M) {
	stack.RunFunction("test")
	os.Exit(m.Run())
}

// start starts the probe function in a process, as the principal, with these settings.
func start(t *testing.T, by localaws.Principal, env map[string]string) (*localaws.Function, *localaws.SyncBuffer) {
	t.Helper()
	settings := map[string]string{"APP": "crm", "DENIED_APP": "probe-denied"}
	maps.Copy(settings, env)
	var log localaws.SyncBuffer
	f := localaws.NewFunction(localaws.FunctionConfig{
		Name: "sftoken-probe", Main: stack.ProbeMain, Account: stack.Account, Region: stack.Region, Env: settings,
		Credentials: by, Timeout: time.Minute, Stdout: &log, Stderr: &log,
	})
	t.Cleanup(f.Close)
	return f, &log
}

// line is the line that a probe logs.
type line struct {
	Level, Msg, App, Outcome, Allowed, Unsigned, Denied, Cause string
	DeniedApp                                                  string `json:"denied_app"`
	TokenID                                                    string `json:"token_id"`
	RequestID                                                  string `json:"request_id"`
	Cache                                                      string
	DurationMS                                                 float64 `json:"duration_ms"`
	ProbeFailures, ProbesNotRefused, ProbesCompleted           *float64
	AWS                                                        struct {
		CloudWatchMetrics []struct{ Dimensions [][]string }
	} `json:"_aws"`
}

// run has the function probe once, and returns its report and the line that it logged.
func run(t *testing.T, f *localaws.Function, log *localaws.SyncBuffer) (probe.Report, line) {
	t.Helper()
	before := len(log.String())
	raw, err := f.Invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
	if err != nil {
		t.Fatal(err)
	}
	var report probe.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatal(err)
	}
	var got line
	if err := json.Unmarshal([]byte(logged(t, log, before)), &got); err != nil {
		t.Fatal(err)
	}
	return report, got
}

// logged returns the line of a probe after this many bytes of the log, which arrives by a pipe.
func logged(t *testing.T, log *localaws.SyncBuffer, before int) string {
	t.Helper()
	for range 500 {
		lines := strings.Split(log.String()[before:], "\n")
		for _, text := range lines[:len(lines)-1] {
			if strings.Contains(text, `"msg":"probe"`) {
				return text
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the log has no line of the probe: %s", log.String())
	return ""
}

// want checks what a line says, and its metrics: failures, not refused, completed, each 0 or 1, or - without a value.
func want(t *testing.T, got line, outcomes, metrics string) {
	t.Helper()
	if text := fmt.Sprintf("%s: %s,%s,%s", got.Outcome, got.Allowed, got.Unsigned, got.Denied); text != outcomes {
		t.Errorf("got %s, want %s", text, outcomes)
	}
	if (got.Level == "INFO") != (got.Outcome == "ok") || (got.Cause == "") != (got.Outcome == "ok") {
		t.Errorf("outcome %s has level %s and cause %q", got.Outcome, got.Level, got.Cause)
	}
	var text []string
	for _, value := range []*float64{got.ProbeFailures, got.ProbesNotRefused, got.ProbesCompleted} {
		if value == nil {
			text = append(text, "-")
		} else {
			text = append(text, fmt.Sprint(*value))
		}
	}
	if strings.Join(text, " ") != metrics {
		t.Errorf("the metrics are %s, want %s", text, metrics)
	}
	for _, m := range got.AWS.CloudWatchMetrics {
		if fmt.Sprint(m.Dimensions) != "[[app]]" {
			t.Errorf("dimensions %s", m.Dimensions)
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	s, err := stack.Start(t.Context(), stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)

	f, log := start(t, s.Keys.Probe, map[string]string{"API_URL": s.URL})
	report, got := run(t, f, log)
	want(t, got, "ok: ok,ok,ok", "0 0 1")
	if report.Outcome != probe.OK || got.App != "crm" || got.DeniedApp != "probe-denied" || got.DurationMS <= 0 ||
		got.TokenID != report.Checks[0].TokenID || got.Cache != "miss" {
		t.Errorf("%+v\n%+v", report, got)
	}
	_, got = run(t, f, log) // the same process probes again, without a token of the first time
	want(t, got, "ok: ok,ok,ok", "0 0 1")
	for _, secret := range append(s.Org.Secrets(), s.Keys.Probe.SecretAccessKey, s.Keys.Probe.SessionToken) {
		if strings.Contains(log.String(), secret) {
			t.Error("the log has a secret")
		}
	}

	wide, log := start(t, s.Keys.Billing, map[string]string{"API_URL": s.URL})
	_, got = run(t, wide, log)
	want(t, got, "not_refused: ok,ok,not_refused", "0 1 1")
	if got.Cause != "denied: HTTP 404 unknown_app: the request reached the token function" {
		t.Errorf("cause: %s", got.Cause)
	}

	stranger, log := start(t, s.Keys.Stranger, map[string]string{"API_URL": s.URL, "DENIED_APP": "crm", "APP": "nosuch"})
	_, got = run(t, stranger, log)
	want(t, got, "failed: failed,ok,ok", "1 0 1")
	if got.RequestID == "" {
		t.Error("the line does not name the request that failed")
	}
}

func TestProbeUnreachable(t *testing.T) {
	t.Parallel()
	keys := stack.SimulatedKeys()
	down, log := start(t, keys.Probe, map[string]string{"API_URL": "http://127.0.0.1:1/v1"})
	_, got := run(t, down, log)
	want(t, got, "failed: failed,unchecked,unchecked", "1 - 0")

	// One refused call could not be checked, and the other was not refused: that counts.
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusOK)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(api.Close)
	open, log := start(t, keys.Probe, map[string]string{"API_URL": api.URL})
	_, got = run(t, open, log)
	want(t, got, "not_refused: failed,not_refused,unchecked", "1 1 0")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	valid := map[string]string{
		"API_URL": "https://a.execute-api.us-east-1.amazonaws.com/v1", "APP": "crm", "DENIED_APP": "probe-denied",
	}
	for name, change := range map[string]map[string]string{
		"API_URL": {"API_URL": ""}, "APP": {"APP": "a b"}, "DENIED_APP": {"DENIED_APP": ""},
		"METRICS_NAMESPACE": {"METRICS_NAMESPACE": "a b"}, "LOG_LEVEL": {"LOG_LEVEL": "loud"},
		"APP and DENIED_APP": {"DENIED_APP": "crm"}, "sftoken probe": {},
	} {
		env := maps.Clone(valid)
		maps.Copy(env, change)
		err := probeapi.Run(t.Context(), func(name string) string { return env[name] }, "test")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}
