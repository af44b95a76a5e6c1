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

// TestAnEventIsWrittenAsSlogWouldWriteIt compares both, with values of every kind that is logged.
func TestAnEventIsWrittenAsSlogWouldWriteIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that both happen at the same time
		var ours, theirs bytes.Buffer
		attrs := []slog.Attr{
			slog.String(
				"plain",
				"text",
			), slog.String("odd", "\"\\\n\x00ü\xff<&>"), slog.Float64("ms", 12.345), slog.Float64("whole", 3), slog.Bool("overdue", true),
			slog.Group("caller", slog.String("arn", "arn:aws:iam::222222222222:role/x"), slog.String("account", "")),
			slog.Any("secret", sfoauth.NewSecret("never")),
		}
		New(&ours, slog.LevelError, "ns", "1.2.3").Event(slog.LevelWarn, "vend", attrs)
		slog.New(
			slog.NewJSONHandler(&theirs, nil),
		).With(
			"version",
			"1.2.3",
		).LogAttrs(
			t.Context(),
			slog.LevelWarn,
			"vend",
			attrs...)
		if diff := cmp.Diff(decode(t, theirs.String()), decode(t, ours.String())); diff != "" {
			t.Errorf("(-slog +ours):\n%s", diff)
		}
		if strings.Contains(ours.String(), "never") || strings.Count(ours.String(), "\n") != 1 {
			t.Errorf("the line is %s", ours.String())
		}
	})
}

// TestMetricsAreDeclared checks the line against the embedded metric format.
func TestMetricsAreDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		New(
			&out,
			0,
			"ns",
			"v",
		).Event(
			slog.LevelInfo,
			"vend",
			[]slog.Attr{slog.String("app", "crm"), slog.String("error", "x")},
			Metric{
				Name:       "Vends",
				Unit:       "Count",
				Value:      1,
				Dimensions: []string{"app"},
			},
			Metric{Name: "Refusals", Unit: "Count", Value: 2, Dimensions: []string{"app", "error"}},
			Metric{Name: "Latency", Unit: "Milliseconds", Value: 0.5},
		)
		line := decode(t, out.String())
		metric := func(name, unit string, by ...any) any {
			if by == nil {
				by = []any{}
			}
			return map[string]any{
				"Namespace":  "ns",
				"Dimensions": []any{by},
				"Metrics":    []any{map[string]any{"Name": name, "Unit": unit}},
			}
		}
		want := map[string]any{
			"Timestamp": float64(time.Now().UnixMilli()),
			"CloudWatchMetrics": []any{
				metric("Vends", "Count", "app"),
				metric("Refusals", "Count", "app", "error"),
				metric("Latency", "Milliseconds"),
			},
		}
		if diff := cmp.Diff(want, line["_aws"]); diff != "" || line["Vends"] != 1.0 || line["Refusals"] != 2.0 ||
			line["Latency"] != 0.5 {
			t.Errorf("(-want +got):\n%s\n%v", diff, line)
		}
	})
}

func TestTheLevelIsNotForEvents(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, slog.LevelError, "ns", "v")
	log.Info("not this")
	log.Event(slog.LevelDebug, "but this", nil)
	log.Error("and this")
	if text := out.String(); strings.Contains(text, "not this") || strings.Count(text, `"version":"v"`) != 2 {
		t.Errorf("written: %s", text)
	}
}

// alone is a writer that notices when two write at once.
type alone struct{ writers, collisions atomic.Int32 }

func (a *alone) Write(p []byte) (int, error) {
	if a.writers.Add(1) > 1 {
		a.collisions.Add(1)
	}
	for range 100 {
		runtime.Gosched()
	}
	a.writers.Add(-1)
	return len(p), nil
}

func TestLinesAreWrittenOneAtATime(t *testing.T) {
	var out alone
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

func TestAPanicSaysWhereAndNotWhat(t *testing.T) {
	for _, c := range []struct {
		cause func()
		says  string
	}{{func() { panic("a secret") }, "panic of type string"}, {func() { panic(errors.New("a secret")) }, "panic of type *errors.errorString"},
		{func() { _ = strings.Fields("one")[1] }, "index out of range"}} {
		func() {
			defer func() {
				text := RecoveredError(recover()).Error()
				if !strings.Contains(text, c.says) || !strings.Contains(text, "telemetry_test.go") ||
					strings.Contains(text, "a secret") {
					t.Errorf("it says %s", text)
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
