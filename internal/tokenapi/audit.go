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

// auditEvent is what the log records of one request.
type auditEvent struct {
	name                       string // vend, revoke or prefetch
	method, app                string
	requestID, lambdaRequestID string
	caller                     caller
	grant                      vending.Grant // with only a TokenID: the token that was revoked
	stats                      vending.CallStats
	err                        error
}

// callerError returns the error of the response; nil: the request succeeded.
func (e *auditEvent) callerError() *vending.Error {
	if e.err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*vending.Error](e.err); ok {
		return failed
	}
	return vending.InternalError(e.err)
}

// Limits of fields that a caller or the writer of a secret chooses, in bytes.
const (
	maxAppField       = 64
	maxMethodField    = 16
	maxUserAgentField = 256
	maxAllowedByField = 1024 // the ARN of a role with the longest path and name has about 620
)

// truncate returns the first bytes of the text, without a character that is cut.
func truncate(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}

// write logs the event, with the request's metrics.
func (e *auditEvent) write(log *telemetry.Log, level slog.Level) {
	outcome, failed := "ok", e.callerError()
	if failed != nil {
		outcome = string(failed.Code)
	}
	attrs := make([]slog.Attr, 0, 27)
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("app", truncate(e.app, maxAppField))
	add("method", truncate(e.method, maxMethodField))
	add("outcome", outcome)
	attrs = append(attrs, slog.GroupAttrs("caller", slog.String("arn", e.caller.arn),
		slog.String("account", e.caller.account), slog.String("source_ip", e.caller.sourceIP),
		slog.String("user_agent", truncate(e.caller.userAgent, maxUserAgentField))))
	add("allowed_by", truncate(e.stats.AllowedBy, maxAllowedByField))
	add("request_id", e.requestID)
	add("lambda_request_id", e.lambdaRequestID)
	add("cache", string(e.grant.CacheStatus))
	add("token_id", e.grant.TokenID)
	if token := e.grant.Token; token != nil {
		add("org", token.OrganizationID)
		add("user", token.UserID)
	}
	add("secret_version", e.grant.VersionID)
	attrs = append(attrs, slog.Float64("secretsmanager_ms", milliseconds(e.stats.SecretsManager)),
		slog.Float64("salesforce_ms", milliseconds(e.stats.Salesforce)))
	if e.stats.Table > 0 {
		attrs = append(attrs, slog.Float64("table_ms", milliseconds(e.stats.Table)))
	}
	if e.shared() {
		attrs = append(attrs, slog.Bool("shared", true))
	}
	if failed != nil {
		add("error", string(failed.Code))
		add("cause", failed.Error())
	}
	if e.stats.Err != nil {
		add("upstream_error", e.stats.Err.Error())
	}
	add("salesforce_error", e.salesforceError())
	add("warning", e.warning())
	log.Event(level, e.name, attrs, e.metrics(failed)...)
}

// shared reports whether the request's token was adopted from the token table.
func (e *auditEvent) shared() bool {
	return e.stats.Adopted && (e.grant.CacheStatus == vending.Hit || e.grant.CacheStatus == vending.Stale)
}

// warning is what an auditor should know about a request even if it succeeded.
func (e *auditEvent) warning() string {
	notes := e.stats.Notes
	if e.grant.RefreshErr != nil {
		notes = append(slices.Clip(notes), "not renewed: "+e.grant.RefreshErr.Error())
	}
	return strings.Join(notes, "; ")
}

// salesforceError returns the error code that Salesforce sent in response to this request, or to the one that failed
// before and is still in backoff.
func (e *auditEvent) salesforceError() string {
	for _, err := range []error{e.stats.Err, e.err} {
		if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
			return refused.Code
		}
	}
	return ""
}

var (
	appDimension      = []string{"app"}
	appErrorDimension = []string{"app", "error"}
	errorDimension    = []string{"error"}
)

// metrics returns the request's metrics. They have the dimension app only if the app is known to exist: its name is the
// caller's choice, and CloudWatch bills each new name as a metric.
func (e *auditEvent) metrics(failed *vending.Error) []telemetry.Metric {
	var metrics []telemetry.Metric
	count := func(name string, value int, dimensions []string) {
		metrics = append(metrics, telemetry.Metric{
			Name: name, Unit: "Count", Value: float64(value), Dimensions: dimensions,
		})
	}
	switch {
	case failed == nil && e.grant.Token != nil && e.name == "vend":
		count("Vends", 1, appDimension)
		if e.grant.CacheStatus == vending.Hit {
			count("CacheHits", 1, appDimension)
		}
		if e.shared() {
			count("SharedHits", 1, appDimension)
		}
	case failed == nil:
	case e.name == "prefetch" && errors.Is(failed, vending.ErrPlaceholder): // a new deployment; no caller is refused
	case failed.AppExists:
		count("Refusals", 1, appErrorDimension)
	default:
		count("Refusals", 1, errorDimension)
	}
	if e.involves(loginbudget.IsExhausted) {
		count("LoginBudgetExhausted", 1, appDimension)
	}
	if errors.Is(e.err, vending.ErrPrincipalsUnreadable) {
		count("PrincipalsUnreadable", 1, appDimension)
	}
	if e.involves(isSecretDenied) {
		count("SecretAccessDenied", 1, nil)
	}
	if e.stats.TableErrors > 0 {
		count("SharedErrors", e.stats.TableErrors, nil)
	}
	if e.stats.LeasesLost > 0 {
		count("LeasesLost", e.stats.LeasesLost, appDimension)
	}
	if logins := len(e.stats.Logins); logins > 0 {
		var total time.Duration
		for _, took := range e.stats.Logins {
			total += took
		}
		count("Logins", logins, appDimension)
		metrics = append(metrics, telemetry.Metric{
			Name: "LoginLatency", Unit: "Milliseconds", Value: milliseconds(total) / float64(logins), Dimensions: appDimension,
		})
	}
	return metrics
}

// involves reports whether a failure of this kind affected the request: its own, or one that is still in backoff.
func (e *auditEvent) involves(is func(error) bool) bool {
	return is(e.stats.Err) || is(e.grant.RefreshErr) || is(e.err)
}

func isSecretDenied(err error) bool { return appsecret.IsKind(err, appsecret.Denied) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
