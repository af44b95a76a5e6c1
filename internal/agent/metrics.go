package agent

import (
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sftoken/sftoken/internal/printable"
)

// metrics are what /metrics shows, with those of the Go runtime and the process. The label app is empty for an app of
// which there is no token: its name is the client's choice, and each name would be another time series.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec // by app and outcome: ok, or the code of the error
	apiRequests *prometheus.CounterVec // by app and outcome: the HTTP status, or error
	refused     *prometheus.CounterVec // by reason
	expiry      *prometheus.GaugeVec   // by app
	duration    prometheus.Histogram
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sftoken_agent_requests_total", Help: "Token requests of clients, by outcome: ok, or the code of the error.",
		}, []string{"app", "outcome"}),
		apiRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sftoken_agent_api_requests_total",
			Help: "Requests to the sftoken API, by outcome: the HTTP status, or error without a response.",
		}, []string{"app", "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sftoken_agent_refused_requests_total",
			Help: "Requests that were refused before their path was read, by reason.",
		}, []string{"reason"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sftoken_agent_token_expiry_timestamp_seconds", Help: "When the cached token expires, as a Unix time.",
		}, []string{"app"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sftoken_agent_request_duration_seconds", Help: "Duration of clients' token requests.",
			Buckets: []float64{.0001, .001, .01, .1, .5, 1, 5, 20},
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sftoken_agent_build_info", Help: "Always 1; the labels describe the build.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(m.requests, m.apiRequests, m.refused, m.expiry, m.duration, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// apiObserver counts and logs an app's requests to the API.
type apiObserver struct {
	*app
	base http.RoundTripper // nil: http.DefaultTransport
}

// RoundTrip implements http.RoundTripper.
func (o *apiObserver) RoundTrip(req *http.Request) (*http.Response, error) {
	base := o.base
	if base == nil {
		base = http.DefaultTransport
	}
	begun := time.Now()
	resp, err := base.RoundTrip(req)
	outcome, level := "error", slog.LevelWarn
	attrs := []slog.Attr{
		slog.String("app", o.name), slog.String("host", req.URL.Host),
		slog.Float64("ms", float64(time.Since(begun).Microseconds())/1000),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", printable.TransportError(err)))
	} else {
		outcome = strconv.Itoa(resp.StatusCode)
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
		if id := resp.Header.Get("X-Amzn-Requestid"); id != "" {
			attrs = append(attrs, slog.String("request_id", id))
		}
		if resp.StatusCode == http.StatusOK {
			level = slog.LevelInfo
		}
	}
	o.agent.metrics.apiRequests.WithLabelValues(o.label(), outcome).Inc()
	o.agent.log.LogAttrs(req.Context(), level, "api_request", attrs...)
	return resp, err
}
