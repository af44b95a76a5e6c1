package tokenapi

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// entry is one request as the audit log tells it.
type entry struct {
	event, method, app         string
	requestID, lambdaRequestID string
	caller                     caller
	grant                      vending.Grant // with an id alone: the token that was revoked
	cost                       vending.CallStats
	err                        error
}

// failure returns the error as the caller is told it; nil: none.
func (e *entry) failure() *vending.Error {
	if e.err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*vending.Error](e.err); ok {
		return failed
	}
	return vending.InternalError(e.err)
}

// write writes the audit line, with the request's metrics.
func (e *entry) write(log *telemetry.Log, level slog.Level) {
	outcome, failed := "ok", e.failure()
	if failed != nil {
		outcome = string(failed.Code)
	}
	attrs := make([]slog.Attr, 0, 24)
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("app", e.app[:min(len(e.app), 64)])
	add("method", e.method[:min(len(e.method), 16)])
	add("outcome", outcome)
	attrs = append(attrs, slog.GroupAttrs("caller",
		slog.String("arn", e.caller.arn), slog.String("account", e.caller.account), slog.String("source_ip", e.caller.sourceIP)))
	add("request_id", e.requestID)
	add("lambda_request_id", e.lambdaRequestID)
	add("cache", string(e.grant.CacheStatus))
	add("token_id", e.grant.TokenID)
	if token := e.grant.Token; token != nil {
		add("org", token.OrganizationID)
		add("user", token.UserID)
	}
	add("secret_version", e.grant.VersionID)
	attrs = append(attrs, slog.Float64("secretsmanager_ms", milliseconds(e.cost.SecretsManager)),
		slog.Float64("salesforce_ms", milliseconds(e.cost.Salesforce)))
	if failed != nil {
		add("error", string(failed.Code))
		add("cause", failed.Error())
	}
	if e.cost.Err != nil {
		add("call_error", e.cost.Err.Error())
	}
	add("salesforce_error", e.salesforceError(failed))
	add("warning", e.warning())
	log.Event(level, e.event, attrs, e.metrics(failed)...)
}

// warning is what an auditor should know though the caller has got an answer.
func (e *entry) warning() string {
	notes := e.cost.Notes
	if e.grant.RefreshErr != nil {
		notes = append(slices.Clip(notes), "not renewed: "+e.grant.RefreshErr.Error())
	}
	return strings.Join(notes, "; ")
}

// met reports whether the request met a failure of the kind that is tells, itself or as one that is remembered.
func (e *entry) met(failed *vending.Error, is func(error) bool) bool {
	return is(e.cost.Err) || is(e.grant.RefreshErr) || failed != nil && is(failed)
}

func isExhausted(err error) bool {
	_, ok := errors.AsType[*loginbudget.ExhaustedError](err)
	return ok
}

func isDenied(err error) bool { return appsecret.IsKind(err, appsecret.Denied) }

// salesforceError is the code that Salesforce answered to this request, or to the one that is remembered.
func (e *entry) salesforceError(failed *vending.Error) string {
	if refused, ok := errors.AsType[*sfoauth.Error](e.cost.Err); ok {
		return refused.Code
	}
	if failed != nil {
		if refused, ok := errors.AsType[*sfoauth.Error](failed.Err); ok {
			return refused.Code
		}
	}
	return ""
}

var (
	byApp         = []string{"app"}
	byAppAndError = []string{"app", "error"}
	byError       = []string{"error"}
)

func (e *entry) metrics(failed *vending.Error) []telemetry.Metric {
	var metrics []telemetry.Metric
	switch {
	case failed == nil && e.grant.Token != nil && e.event == "vend":
		metrics = append(metrics, telemetry.Metric{Name: "Vends", Unit: "Count", Value: 1, Dimensions: byApp})
		if e.grant.CacheStatus == vending.Hit {
			metrics = append(metrics, telemetry.Metric{Name: "CacheHits", Unit: "Count", Value: 1, Dimensions: byApp})
		}
	case failed != nil && e.event == "prefetch" && errors.Is(failed.Err, vending.ErrPlaceholder): // nobody is refused anything yet
	case failed != nil && failed.AppExists:
		metrics = append(metrics, telemetry.Metric{Name: "Refusals", Unit: "Count", Value: 1, Dimensions: byAppAndError})
	case failed != nil: // the app's name is whatever the caller wrote, and each name would be a metric to pay for
		metrics = append(metrics, telemetry.Metric{Name: "Refusals", Unit: "Count", Value: 1, Dimensions: byError})
	}
	if e.met(failed, isExhausted) {
		metrics = append(metrics, telemetry.Metric{Name: "LoginBudgetExhausted", Unit: "Count", Value: 1, Dimensions: byApp})
	}
	if failed != nil && errors.Is(failed, vending.ErrPrincipalsUnreadable) {
		metrics = append(metrics, telemetry.Metric{Name: "PrincipalsUnreadable", Unit: "Count", Value: 1, Dimensions: byApp})
	}
	if e.met(failed, isDenied) { // without the app, whose name is the caller's
		metrics = append(metrics, telemetry.Metric{Name: "SecretAccessDenied", Unit: "Count", Value: 1})
	}
	if len(e.cost.Logins) > 0 {
		var total time.Duration
		for _, took := range e.cost.Logins {
			total += took
		}
		metrics = append(metrics,
			telemetry.Metric{Name: "Logins", Unit: "Count", Value: float64(len(e.cost.Logins)), Dimensions: byApp},
			telemetry.Metric{Name: "LoginLatency", Unit: "Milliseconds", Value: milliseconds(total) / float64(len(e.cost.Logins)), Dimensions: byApp})
	}
	return metrics
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
