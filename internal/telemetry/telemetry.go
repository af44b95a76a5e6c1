// Package telemetry writes what an auditor and an on-call engineer read: one JSON line for each event, which carries
// CloudWatch metrics in the embedded metric format. What goes into a line is up to the caller; types that hold secrets
// print as "[redacted]" by themselves.
//
// Source of the format: CloudWatch User Guide, "Specification: Embedded metric format".
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/jsontext"
)

// Log writes lines. It is safe for concurrent use; each line is written with one call to the writer.
type Log struct {
	*slog.Logger // for what is not an event: obeys the level
	w            *oneAtATime
	lines        sync.Pool // of *jsontext.Object, for events' lines
	namespace    string
	version      string
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
	// Dimensions names the line's top-level attributes that the number is broken down by. Empty: none.
	Dimensions []string
}

// New returns a Log that writes to w. Lines of Logger below level are dropped; events never are. Version is in every
// line.
func New(w io.Writer, level slog.Level, namespace, version string) *Log {
	l := &Log{w: &oneAtATime{w: w}, namespace: namespace, version: version}
	l.Logger = slog.New(slog.NewJSONHandler(l.w, &slog.HandlerOptions{Level: level})).With("version", version)
	l.lines.New = func() any { return new(jsontext.Object) }
	return l
}

// Event writes one line, whatever the level, in the form of slog's JSON handler, which would take three times as long. The names
// of attributes and metrics are plain letters.
func (l *Log) Event(level slog.Level, name string, attrs []slog.Attr, metrics ...Metric) {
	now := time.Now()
	buffer := l.lines.Get().(*jsontext.Object)
	line := append((*buffer)[:0], '{')
	line = now.AppendFormat(append(line.Name("time"), '"'), time.RFC3339Nano)
	line = append(line, '"')
	line = line.String("level", level.String()).String("msg", name).String("version", l.version)
	line = appendAttrs(line, attrs)
	for _, m := range metrics {
		line = line.Float(m.Name, m.Value)
	}
	if len(metrics) > 0 {
		line = l.directive(line, now, metrics)
	}
	line = append(line.Close(), '\n')
	_, _ = l.w.Write(line) // standard output is all there is to complain on
	*buffer = line
	l.lines.Put(buffer)
}

func appendAttrs(line jsontext.Object, attrs []slog.Attr) jsontext.Object {
	for _, attr := range attrs {
		switch value := attr.Value.Resolve(); value.Kind() {
		case slog.KindFloat64:
			line = line.Float(attr.Key, value.Float64())
		case slog.KindBool:
			line = strconv.AppendBool(line.Name(attr.Key), value.Bool())
		case slog.KindGroup:
			line = appendAttrs(line.Open(attr.Key), value.Group()).Close()
		default:
			line = line.String(attr.Key, value.String())
		}
	}
	return line
}

// directive tells CloudWatch which of the line's numbers are metrics: one metric directive for each, which is the way to give
// each its own dimensions.
func (l *Log) directive(line jsontext.Object, now time.Time, metrics []Metric) jsontext.Object {
	line = append(line.Open("_aws").Int("Timestamp", now.UnixMilli()).Name("CloudWatchMetrics"), '[')
	for i, m := range metrics {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(append(line, '{').String("Namespace", l.namespace).Name("Dimensions"), "[["...)
		for j, name := range m.Dimensions {
			if j > 0 {
				line = append(line, ',')
			}
			line = jsontext.AppendString(line, name)
		}
		line = append(append(line, "]]"...).Name("Metrics"), "[{"...)
		line = append(line.String("Name", m.Name).String("Unit", m.Unit), "}]}"...)
	}
	return append(line, ']').Close()
}

// RecoveredError turns the cause of a panic into an error with the stack. Only a runtime error's text is known to hold no secret; of
// anything else the type is kept.
func RecoveredError(cause any) error {
	text := fmt.Sprintf("panic of type %T", cause)
	if err, ok := cause.(runtime.Error); ok {
		text = "panic: " + err.Error()
	}
	return fmt.Errorf("%s\n%s", text, debug.Stack())
}
