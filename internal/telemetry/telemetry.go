// Package telemetry writes the log: one JSON line for each event, which carries CloudWatch metrics in the embedded
// metric format. The caller decides what a line holds; types that hold secrets print as "[redacted]" by themselves.
//
// Source of the format: CloudWatch User Guide, "Specification: Embedded metric format".
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"
)

// Log writes lines. It is safe for concurrent use; each line is one call to the writer.
type Log struct {
	*slog.Logger // for lines that are not events; obeys the level
	namespace    string
}

// Metric is one number for CloudWatch.
type Metric struct {
	Name  string
	Unit  string // one of CloudWatch's StandardUnit names: Count, Milliseconds, …
	Value float64
	// Dimensions names the line's top-level attributes that the number is broken down by. Empty: none.
	Dimensions []string
}

// New returns a Log that writes to w. Lines of Logger below level are dropped; events never are. The version is in
// every line.
func New(w io.Writer, level slog.Level, namespace, version string) *Log {
	handler := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	return &Log{Logger: slog.New(handler).With("version", version), namespace: namespace}
}

// Started writes the line of a process that has just started: the version that is in every line, what it was built with
// and for, and its settings in pairs of name and value. It obeys the level.
func (l *Log) Started(settings ...any) {
	l.With("go", runtime.Version(), "arch", runtime.GOARCH).Info("started", settings...)
}

// Event writes one line, whatever the level. It may append to attrs.
func (l *Log) Event(level slog.Level, name string, attrs []slog.Attr, metrics ...Metric) {
	now := time.Now()
	record := slog.NewRecord(now, level, name, 0)
	for _, m := range metrics {
		attrs = append(attrs, slog.Float64(m.Name, m.Value))
	}
	if len(metrics) > 0 {
		attrs = append(attrs, slog.Any("_aws", l.directive(now, metrics)))
	}
	record.AddAttrs(attrs...)
	// Handle does not ask for the level, as Logger does. An error could only be reported on the same output.
	_ = l.Handler().Handle(context.Background(), record)
}

// directive is the part of a line that declares its metrics to CloudWatch.
type directive struct {
	Timestamp         int64 // in milliseconds
	CloudWatchMetrics []declaration
}

type declaration struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []definition
}

type definition struct{ Name, Unit string }

// directive declares each metric on its own, so that each has its own dimensions.
func (l *Log) directive(now time.Time, metrics []Metric) directive {
	d := directive{Timestamp: now.UnixMilli(), CloudWatchMetrics: make([]declaration, len(metrics))}
	for i, m := range metrics {
		dimensions := m.Dimensions
		if dimensions == nil {
			dimensions = []string{} // which is [] in JSON; nil is null
		}
		d.CloudWatchMetrics[i] = declaration{l.namespace, [][]string{dimensions}, []definition{{m.Name, m.Unit}}}
	}
	return d
}

// RecoveredError returns the cause of a panic as an error with the stack. Of a cause that is not a runtime error it has
// only the type, since the text may hold a secret.
func RecoveredError(cause any) error {
	text := fmt.Sprintf("panic of type %T", cause)
	if err, ok := cause.(runtime.Error); ok {
		text = "panic: " + err.Error()
	}
	return fmt.Errorf("%s\n%s", text, debug.Stack())
}
