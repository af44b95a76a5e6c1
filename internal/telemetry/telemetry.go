// Package telemetry writes what an auditor and an on-call engineer read: one JSON line for each event, which carries
// CloudWatch metrics in the embedded metric format. What goes into a line is up to the caller; types that hold secrets
// print as "[redacted]" by themselves.
//
// Source of the format: CloudWatch User Guide, "Specification: Embedded metric format".
package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// Log writes lines. It is safe for concurrent use; each line is written with one call to the writer.
type Log struct {
	*slog.Logger // for what is not an event: obeys the level
	w            *oneAtATime
	lines        sync.Pool // of *line
	namespace    string
}

// line is where an event's line is put together.
type line struct {
	bytes.Buffer
	handler slog.Handler // writes to the buffer
}

type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
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
	l := &Log{w: &oneAtATime{w: w}, namespace: namespace}
	handler := func(w io.Writer, level slog.Level) slog.Handler {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}).WithAttrs([]slog.Attr{slog.String("version", version)})
	}
	l.Logger = slog.New(handler(l.w, level))
	l.lines.New = func() any {
		next := &line{}
		next.handler = handler(&next.Buffer, slog.LevelDebug)
		return next
	}
	return l
}

// Event writes one line, whatever the level.
func (l *Log) Event(ctx context.Context, level slog.Level, name string, attrs []slog.Attr, metrics ...Metric) {
	now := time.Now()
	record := slog.NewRecord(now, level, name, 0)
	record.AddAttrs(attrs...)
	for _, m := range metrics {
		record.AddAttrs(slog.Float64(m.Name, m.Value))
	}
	next := l.lines.Get().(*line)
	defer l.lines.Put(next)
	next.Reset()
	_ = next.handler.Handle(ctx, record) // a buffer takes everything
	if len(metrics) > 0 {
		next.Truncate(next.Len() - len("}\n"))
		next.Write(l.directive(next.AvailableBuffer(), now, metrics))
		next.WriteString("}\n")
	}
	_, _ = l.w.Write(next.Bytes()) // standard output is all there is to complain on
}

// directive tells CloudWatch which of the line's numbers are metrics: one metric directive for each, which is the way to give
// each its own dimensions. It is written by hand, since encoding/json takes longer for it than everything else in a line.
func (l *Log) directive(b []byte, now time.Time, metrics []Metric) []byte {
	b = append(b, `,"_aws":{"Timestamp":`...)
	b = strconv.AppendInt(b, now.UnixMilli(), 10)
	b = append(b, `,"CloudWatchMetrics":[`...)
	for i, m := range metrics {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"Namespace":`...)
		b = strconv.AppendQuote(b, l.namespace) // names are plain letters, which Go and JSON quote alike
		b = append(b, `,"Dimensions":[[`...)
		for j, name := range m.By {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendQuote(b, name)
		}
		b = append(b, `]],"Metrics":[{"Name":`...)
		b = strconv.AppendQuote(b, m.Name)
		b = append(b, `,"Unit":`...)
		b = strconv.AppendQuote(b, m.Unit)
		b = append(b, `}]}`...)
	}
	return append(b, `]}`...)
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
