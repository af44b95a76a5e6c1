package rotateapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// logOutcome logs what came of a rotation step or a moved label.
func (h *Handler) logOutcome(
	ctx context.Context, name string, out rotation.Outcome, err error, took time.Duration, extra ...slog.Attr,
) {
	level, outcome := slog.LevelInfo, "ok"
	attrs := append(extra, slog.String("app", out.App), slog.String("secret_version", out.VersionID))
	attrs = appendRequestID(ctx, attrs)
	if out.Action != "" {
		attrs = append(attrs, slog.String("action", out.Action))
	}
	if out.Warning != "" {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("warning", out.Warning))
	}
	attrs = appendCode(attrs, cmp.Or(err, out.Rejection))
	if out.PrincipalsErr != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("principals_error", out.PrincipalsErr.Error()))
	}
	if out.LockedOut {
		level, outcome = slog.LevelError, "stuck"
	}
	if err != nil {
		level, outcome = slog.LevelError, "failed"
		attrs = append(attrs, slog.String("cause", err.Error()))
	}
	attrs = append(attrs, slog.String("outcome", outcome), slog.Float64("duration_ms", float64(took.Microseconds())/1000))
	h.Log.Event(level, name, attrs, outcomeMetrics(out, err)...)
}

func outcomeMetrics(out rotation.Outcome, err error) []telemetry.Metric {
	metrics := nonZero(out.App, []namedCount{
		{"Rotations", count(out.Rotated)},
		{"RotationFailures", count(err != nil || out.LockedOut)},
		{"CandidatesRefused", count(out.Rejected)},
		{"RolledBack", count(out.RolledBack)},
	})
	return append(metrics, commonMetrics(out.App, out.Usage, out.PrincipalsErr, cmp.Or(err, out.Rejection))...)
}

// logHealth logs the check of one app. A metric whose value is not known is left out, since zero would look healthy.
func (h *Handler) logHealth(ctx context.Context, health rotation.Health) {
	level, outcome := slog.LevelInfo, "ok"
	attrs := []slog.Attr{slog.String("app", health.App), slog.String("secret_version", health.VersionID)}
	attrs = appendRequestID(ctx, attrs)
	switch {
	case health.Warning != "":
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("warning", health.Warning))
	case health.Skipped:
		outcome = "skipped"
		attrs = append(attrs, slog.String("warning", "not checked again: it was healthy less than an hour ago"))
	case health.Transient:
		level, outcome = slog.LevelWarn, "not_checked"
	case health.Err != nil:
		level, outcome = slog.LevelError, "login_failed"
	}
	if health.TagErr != nil {
		level = max(level, slog.LevelWarn)
		attrs = append(attrs, slog.String("warning", health.TagErr.Error()))
	}
	if health.Err != nil {
		attrs = appendCode(append(attrs, slog.String("cause", health.Err.Error())), health.Err)
	}
	if health.Overdue {
		level = slog.LevelError
		attrs = append(attrs, slog.Bool("overdue", true))
	}
	if health.PrincipalsErr != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("principals_error", health.PrincipalsErr.Error()))
	}
	if health.PrimaryRegion != "" {
		attrs = append(attrs, slog.String("primary_region", health.PrimaryRegion))
	}
	if health.ReplicaErr != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("replication_error", health.ReplicaErr.Error()))
	}
	h.Log.Event(level, "check", append(attrs, slog.String("outcome", outcome)), healthMetrics(health)...)
}

func healthMetrics(health rotation.Health) []telemetry.Metric {
	var metrics []telemetry.Metric
	if health.Known {
		metrics = append(metrics, metric("RotationOverdue", count(health.Overdue), health.App))
	}
	if health.HasReplicas {
		metrics = append(metrics, metric("ReplicationFailed", count(health.ReplicaErr != nil), health.App))
	}
	if age := health.Age.Truncate(time.Second); age > 0 {
		m := metric("PairAge", age.Seconds(), health.App)
		m.Unit = "Seconds"
		metrics = append(metrics, m)
	}
	if !health.Transient && !health.Skipped && health.Warning == "" {
		metrics = append(metrics, metric("LoginFailed", count(health.Err != nil), health.App))
	}
	if appsecret.IsKind(health.Err, appsecret.Denied) {
		metrics = append(metrics, metric("SecretAccessDenied", 1, health.App))
	}
	return append(metrics, commonMetrics(health.App, health.Usage, health.PrincipalsErr, health.Err)...)
}

// commonMetrics are those that events of every kind may have.
func commonMetrics(app string, usage rotation.Usage, principals, err error) []telemetry.Metric {
	refused, ok := errors.AsType[*sfoauth.Error](err)
	return nonZero(app, []namedCount{
		{"Logins", float64(usage.Logins)},
		{"LoginBudgetExhausted", count(usage.BudgetExhausted)},
		{"PrincipalsUnreadable", count(principals != nil)},
		{"RunAsUserBlocked", count(ok && refused.IsSessionBlocked())},
	})
}

// namedCount is a metric without its app.
type namedCount struct {
	name  string
	value float64
}

// nonZero returns the app's metrics that are not zero.
func nonZero(app string, counts []namedCount) []telemetry.Metric {
	var metrics []telemetry.Metric
	for _, m := range counts {
		if m.value != 0 {
			metrics = append(metrics, metric(m.name, m.value, app))
		}
	}
	return metrics
}

// metric returns a count by app, or without a dimension where the app is not known.
func metric(name string, value float64, app string) telemetry.Metric {
	m := telemetry.Metric{Name: name, Unit: "Count", Value: value}
	if app != "" {
		m.Dimensions = []string{"app"}
	}
	return m
}

func count(happened bool) float64 {
	if happened {
		return 1
	}
	return 0
}

func appendRequestID(ctx context.Context, attrs []slog.Attr) []slog.Attr {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return append(attrs, slog.String("lambda_request_id", lc.AwsRequestID))
	}
	return attrs
}

// appendCode adds Salesforce's error code, if err has one.
func appendCode(attrs []slog.Attr, err error) []slog.Attr {
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok && refused.Code != "" {
		return append(attrs, slog.String("salesforce_error", refused.Code))
	}
	return attrs
}
