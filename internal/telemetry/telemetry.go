// Package telemetry writes what an auditor and an on-call engineer read: one JSON line for each event, which carries
// CloudWatch metrics in the embedded metric format. What goes into a line is up to the caller; types that hold secrets
// print as "[redacted]" by themselves.
//
// Source of the format: CloudWatch User Guide, "Specification: Embedded metric format".
package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// Log writes lines. It is safe for concurrent use; each line is written with one call to the writer.
type Log struct {
	*slog.Logger // for what is not an event: obeys the level
	audit        slog.Handler
	namespace    string
}

// Metric is one number for CloudWatch.
type Metric struct {
	Name  string
	Unit  string // one of CloudWatch's StandardUnit names: Count, Milliseconds, …
	Value float64
	// By names the line's top-level attributes that the number is broken down by. Empty: none.
	By []string
}

// New returns a Log that writes to w. Lines of Logger below level are dropped; events never are. Version is in every
// line.
func New(w io.Writer, level slog.Level, namespace, version string) *Log {
	everything := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
	audit := everything.WithAttrs([]slog.Attr{slog.String("version", version)})
	return &Log{Logger: slog.New(atLeast{audit, level}), audit: audit, namespace: namespace}
}

// Event writes one line, whatever the level.
func (l *Log) Event(ctx context.Context, level slog.Level, name string, attrs []slog.Attr, metrics ...Metric) {
	now := time.Now()
	record := slog.NewRecord(now, level, name, 0)
	record.AddAttrs(attrs...)
	if len(metrics) > 0 {
		for _, m := range metrics {
			record.AddAttrs(slog.Float64(m.Name, m.Value))
		}
		record.AddAttrs(slog.Any("_aws", directive{now, l.namespace, metrics}))
	}
	_ = l.audit.Handle(ctx, record) // standard output is all there is to complain on
}

// directive tells CloudWatch which of the line's numbers are metrics.
type directive struct {
	now       time.Time
	namespace string
	metrics   []Metric
}

// MarshalJSON writes one metric directive for each metric, which is the way to give each its own dimensions.
func (d directive) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 128+128*len(d.metrics))
	b = append(b, `{"Timestamp":`...)
	b = strconv.AppendInt(b, d.now.UnixMilli(), 10)
	b = append(b, `,"CloudWatchMetrics":[`...)
	for i, m := range d.metrics {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"Namespace":`...)
		b = appendString(b, d.namespace)
		b = append(b, `,"Dimensions":[[`...)
		for j, name := range m.By {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendString(b, name)
		}
		b = append(b, `]],"Metrics":[{"Name":`...)
		b = appendString(b, m.Name)
		b = append(b, `,"Unit":`...)
		b = appendString(b, m.Unit)
		b = append(b, `}]}`...)
	}
	return append(b, `]}`...), nil
}

func appendString(b []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // a string always can be
	return append(b, quoted...)
}

// atLeast drops what is below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(attrs), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}

// Panic turns the cause of a panic into an error with the stack. Only a runtime error's text is known to hold no secret; of
// anything else the type is kept.
func Panic(cause any) error {
	text := fmt.Sprintf("panic of type %T", cause)
	if err, ok := cause.(runtime.Error); ok {
		text = "panic: " + err.Error()
	}
	return fmt.Errorf("%s\n%s", text, debug.Stack())
}
