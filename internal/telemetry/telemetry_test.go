package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // where the time is known
		var out bytes.Buffer
		New(&out, slog.LevelError, "ns", "1.2.3").Event(slog.LevelWarn, "vend", []slog.Attr{
			slog.String("plain", "text"), slog.String("odd", "\"\\\n\x00ü\xff<&>"), slog.Float64("ms", 12.345),
			slog.Float64("whole", 3), slog.Bool("overdue", true),
			slog.Group("caller", slog.String("arn", "arn:aws:iam::222222222222:role/x"), slog.String("account", "")),
			slog.Any("secret", sfoauth.NewSecret("never")),
		})
		want := map[string]any{
			"time": time.Now().Format(time.RFC3339Nano), "level": "WARN", "msg": "vend", "version": "1.2.3",
			"plain": "text", "odd": "\"\\\n\x00ü\ufffd<&>", "ms": 12.345, "whole": 3.0, "overdue": true,
			"caller": map[string]any{"arn": "arn:aws:iam::222222222222:role/x", "account": ""}, "secret": "[redacted]",
		}
		if diff := cmp.Diff(want, decode(t, out.String())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if strings.Contains(out.String(), "never") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("the line is %s", out.String())
		}
	})
}

// TestMetrics checks the line against the embedded metric format.
func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		New(&out, 0, "ns", "v").Event(slog.LevelInfo, "vend",
			[]slog.Attr{slog.String("app", "crm"), slog.String("error", "x")},
			Metric{Name: "Vends", Unit: "Count", Value: 1, Dimensions: []string{"app"}},
			Metric{Name: "Refusals", Unit: "Count", Value: 2, Dimensions: []string{"app", "error"}},
			Metric{Name: "Latency", Unit: "Milliseconds", Value: 0.5})
		metric := func(name, unit string, dimensions ...any) any {
			return map[string]any{
				"Namespace": "ns", "Dimensions": []any{append([]any{}, dimensions...)},
				"Metrics": []any{map[string]any{"Name": name, "Unit": unit}},
			}
		}
		want := map[string]any{
			"time": time.Now().Format(time.RFC3339Nano), "level": "INFO", "msg": "vend", "version": "v",
			"app": "crm", "error": "x", "Vends": 1.0, "Refusals": 2.0, "Latency": 0.5,
			"_aws": map[string]any{
				"Timestamp": float64(time.Now().UnixMilli()),
				"CloudWatchMetrics": []any{
					metric("Vends", "Count", "app"), metric("Refusals", "Count", "app", "error"),
					metric("Latency", "Milliseconds"),
				},
			},
		}
		if diff := cmp.Diff(want, decode(t, out.String())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestStarted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	New(&out, slog.LevelInfo, "ns", "v0.1.0").Started("secret_prefix", "sftoken/", "apps", []string{"crm"})
	want := map[string]any{
		"level": "INFO", "msg": "started", "version": "v0.1.0", "go": runtime.Version(), "arch": runtime.GOARCH,
		"secret_prefix": "sftoken/", "apps": []any{"crm"},
	}
	got := decode(t, out.String())
	delete(got, "time")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := New(&out, slog.LevelError, "ns", "v")
	log.Started("not", "this")
	log.Event(slog.LevelDebug, "but this", nil)
	log.Error("and this")
	if text := out.String(); strings.Contains(text, "started") || strings.Count(text, `"version":"v"`) != 2 {
		t.Errorf("written: %s", text)
	}
}

// collisionCounter is a writer that counts concurrent writes.
type collisionCounter struct{ writers, collisions atomic.Int32 }

func (a *collisionCounter) Write(p []byte) (int, error) {
	if a.writers.Add(1) > 1 {
		a.collisions.Add(1)
	}
	for range 100 {
		runtime.Gosched()
	}
	a.writers.Add(-1)
	return len(p), nil
}

func TestConcurrentLines(t *testing.T) {
	t.Parallel()
	var out collisionCounter
	log := New(&out, 0, "ns", "v")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { log.Event(slog.LevelInfo, "vend", nil) })
		wg.Go(func() { log.Info("started") })
	}
	wg.Wait()
	if n := out.collisions.Load(); n > 0 {
		t.Errorf("%d lines were written while another one was", n)
	}
}

func TestRecoveredError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cause func()
		want  string
	}{
		{func() { panic("a secret") }, "panic of type string"},
		{func() { panic(errors.New("a secret")) }, "panic of type *errors.errorString"},
		{func() { _ = strings.Fields("one")[1] }, "index out of range"},
	} {
		func() {
			defer func() {
				text := RecoveredError(recover()).Error()
				if !strings.Contains(text, c.want) || !strings.Contains(text, "telemetry_test.go") ||
					strings.Contains(text, "a secret") {
					t.Errorf("got %s", text)
				}
			}()
			c.cause()
		}()
	}
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return line
}
