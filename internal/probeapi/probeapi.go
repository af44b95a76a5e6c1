// Package probeapi is the probe function: on a schedule it probes the deployed API with internal/probe, and logs one
// line with metrics for each probe.
package probeapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sftoken/sftoken/internal/probe"
	"github.com/sftoken/sftoken/internal/settings"
	"github.com/sftoken/sftoken/internal/telemetry"
)

// timeout bounds each call, with its retries. API Gateway gives up on the function after 29 seconds.
const timeout = 30 * time.Second

// Run starts the probe function on AWS Lambda, with settings from getenv. It returns only if it cannot start.
func Run(ctx context.Context, getenv func(string) string, version string) error {
	h, err := newHandler(ctx, getenv, version)
	if err != nil {
		return err
	}
	lambda.StartWithOptions(h.handle, lambda.WithContext(ctx))
	return nil
}

// handler handles the schedule's events. What an event says does not matter.
type handler struct {
	probe probe.Config
	log   *telemetry.Log
}

// newHandler validates every setting and wires the function. It makes no network calls.
func newHandler(ctx context.Context, getenv func(string) string, version string) (*handler, error) {
	env := settings.FromEnv(getenv)
	namespace, level := env.Namespace(), env.Level("LOG_LEVEL")
	url, app, denied := env.URL("API_URL"), env.RequiredApp("APP"), env.RequiredApp("DENIED_APP")
	err := env.Err()
	if err == nil && app == denied {
		err = fmt.Errorf("APP and DENIED_APP are both %q: the probe expects a token of one and none of the other", app)
	}
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		return nil, errors.New("this program is started by AWS Lambda: to probe an API, run `sftoken probe`")
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	log := telemetry.New(os.Stdout, level, namespace, version)
	log.Started("api_url", url, "app", app, "denied_app", denied)
	return &handler{
		probe: probe.Config{
			AWS: cfg, URL: url, App: app, DeniedApp: denied,
			UserAgent: "sftoken-probe/" + version, Timeout: timeout,
		},
		log: log,
	}, nil
}

// handle probes the API. It returns the report for a person who invokes the function, and no error: Lambda would invoke
// the function again, and the next probe comes anyway.
func (h *handler) handle(ctx context.Context) (probe.Report, error) {
	begun := time.Now()
	report := probe.Run(ctx, h.probe)
	h.write(ctx, report, time.Since(begun))
	return report, nil
}

// write logs a probe with its metrics.
func (h *handler) write(ctx context.Context, report probe.Report, took time.Duration) {
	level := slog.LevelInfo
	if report.Outcome != probe.OK {
		level = slog.LevelError
	}
	var attrs []slog.Attr
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("app", report.App)
	add("denied_app", report.DeniedApp)
	add("outcome", string(report.Outcome))
	allowed, unsigned, denied := report.Checks[0], report.Checks[1], report.Checks[2]
	add("allowed", string(allowed.Outcome))
	add("unsigned", string(unsigned.Outcome))
	add("denied", string(denied.Outcome))
	add("cause", cause(report))
	add("request_id", allowed.RequestID)
	add("token_id", allowed.TokenID)
	add("cache", allowed.Cache)
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		add("lambda_request_id", lc.AwsRequestID)
	}
	attrs = append(attrs, slog.Float64("duration_ms", float64(took.Microseconds())/1000))
	h.log.Event(level, "probe", attrs, metrics(report)...)
}

// cause returns what was observed of each call with a wrong result.
func cause(report probe.Report) string {
	var causes []string
	for _, result := range report.Checks {
		if result.Outcome != probe.OK {
			causes = append(causes, string(result.Check)+": "+result.Observed)
		}
	}
	return strings.Join(causes, "; ")
}

// metrics returns the metrics of a probe. What it could not check has none: a zero would end the alarm of an earlier
// probe.
func metrics(report probe.Report) []telemetry.Metric {
	var metrics []telemetry.Metric
	count := func(name string, happened bool) {
		value := 0.0
		if happened {
			value = 1
		}
		metrics = append(metrics, telemetry.Metric{Name: name, Unit: "Count", Value: value, Dimensions: []string{"app"}})
	}
	count("ProbeFailures", report.Has(probe.Failed))
	unchecked := report.Has(probe.Unchecked)
	if notRefused := report.Has(probe.NotRefused); notRefused || !unchecked {
		count("ProbesNotRefused", notRefused)
	}
	count("ProbesCompleted", !unchecked)
	return metrics
}
