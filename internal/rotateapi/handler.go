package rotateapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// answerTime is kept free at the end of an invocation, to say what happened before Lambda kills the process.
const answerTime = 2 * time.Second

// handler answers three kinds of event. It is a lambda.Handler, and safe for concurrent use.
type handler struct {
	rotator *rotation.Rotator
	log     *telemetry.Log
}

// event is what the three kinds of event have. RotationToken is sensitive: the event is never logged.
type event struct {
	// From Secrets Manager.
	Step               string
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	RotationToken      string

	// From EventBridge.
	Source     string    `json:"source"`
	DetailType string    `json:"detail-type"`
	Time       eventTime `json:"time"`
	Resources  []string  `json:"resources"`
	Detail     struct {
		Name         string `json:"name"`
		LabelUpdated string `json:"labelUpdated"`
		VersionID    string `json:"versionId"`
	} `json:"detail"`
}

// eventTime is when EventBridge says that an event happened; zero where it is not a time. Source: EventBridge User Guide, "Events".
type eventTime struct{ time.Time }

func (t *eventTime) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &t.Time) != nil {
		t.Time = time.Time{}
	}
	return nil
}

// Invoke does what the event asks for. Its error is the only thing that Secrets Manager and EventBridge hear, and makes them
// try again.
func (h *handler) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(answerTime, time.Until(deadline)/4)))
		defer cancel()
	}
	defer func() {
		if cause := recover(); cause != nil {
			panicked := telemetry.RecoveredError(cause)
			h.log.Event(slog.LevelError, "panic", []slog.Attr{slog.String("cause", panicked.Error())},
				telemetry.Metric{Name: "RotationFailures", Unit: "Count", Value: 1})
			answer, err = nil, errors.New("the rotate function failed: its log says where")
		}
	}()
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, h.refuse(ctx, errors.New("the event is not a JSON object"))
	}
	return done, h.dispatch(ctx, e, payload)
}

// done is the answer to every event: there is nothing to say.
var done = []byte("null")

func (h *handler) dispatch(ctx context.Context, e event, payload []byte) error {
	switch {
	case e.Step != "" && e.SecretID != "" && e.ClientRequestToken != "":
		return h.step(ctx, e)
	case e.Source == "aws.secretsmanager" && e.DetailType == "Secret Label Updated":
		return h.labelMoved(ctx, e)
	case e.DetailType == "Scheduled Event":
		return h.check(ctx)
	default:
		return h.refuse(ctx, fmt.Errorf("want a rotation step, a Secret Label Updated event or a Scheduled Event, not %s", describe(payload)))
	}
}

// refuse writes the line of an event that nothing can be done about.
func (h *handler) refuse(ctx context.Context, err error) error {
	h.write(ctx, "unknown", rotation.Outcome{}, err, 0)
	return err
}

// describe names an event's fields, since its values may be anything.
func describe(payload []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil || len(fields) == 0 {
		return "an event without fields"
	}
	var names []string
	for name := range fields {
		names = append(names, fmt.Sprintf("%.40q", name))
	}
	slices.Sort(names)
	return "an event with " + strings.Join(names[:min(len(names), 10)], ", ")
}

func (h *handler) step(ctx context.Context, e event) error {
	begun := time.Now()
	out, err := h.rotator.Step(ctx, rotation.Step{
		Name: e.Step, SecretID: e.SecretID, VersionID: e.ClientRequestToken, RotationToken: e.RotationToken,
	})
	h.write(ctx, "rotation", out, err, time.Since(begun), slog.String("step", e.Step))
	return err
}

func (h *handler) labelMoved(ctx context.Context, e event) error {
	id := e.Detail.Name
	if len(e.Resources) > 0 {
		id = e.Resources[0]
	}
	if id == "" || e.Detail.LabelUpdated == "" || e.Detail.VersionID == "" {
		return h.refuse(ctx, errors.New("the Secret Label Updated event does not name a secret, a label and a version"))
	}
	begun := time.Now()
	out, err := h.rotator.LabelMoved(ctx, rotation.LabelMoved{
		SecretID: id, Label: e.Detail.LabelUpdated, VersionID: e.Detail.VersionID, Time: e.Time.Time,
	})
	h.write(ctx, "label", out, err, time.Since(begun), slog.String("label", e.Detail.LabelUpdated))
	return err
}

// check writes a line for each app. It fails only where it could not be done at all.
func (h *handler) check(ctx context.Context) error {
	found, err := h.rotator.Check(ctx)
	for _, health := range found {
		h.writeHealth(ctx, health)
	}
	attrs := appendRequest(ctx, []slog.Attr{slog.Float64("apps", float64(len(found)))})
	if err != nil {
		h.log.Event(slog.LevelError, "checked", append(attrs, slog.String("outcome", "failed"), slog.String("cause", err.Error())))
		return err
	}
	h.log.Event(slog.LevelInfo, "checked", append(attrs, slog.String("outcome", "ok")), telemetry.Metric{Name: "ChecksCompleted", Unit: "Count", Value: 1})
	return nil
}

// writeHealth writes an app's line. A number that is not known is left out: it would pass for a good one.
func (h *handler) writeHealth(ctx context.Context, health rotation.Health) {
	level, outcome := slog.LevelInfo, "ok"
	attrs := appendRequest(ctx, []slog.Attr{slog.String("app", health.App), slog.String("secret_version", health.VersionID)})
	overdue, refused := 0.0, 0.0
	switch {
	case health.Warning != "":
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("warning", health.Warning))
	case health.Skipped:
		outcome = "skipped"
		attrs = append(attrs, slog.String("warning", "not checked again: it was found well less than an hour ago"))
	case health.Transient:
		level, outcome = slog.LevelWarn, "not_checked"
	case health.Err != nil:
		level, outcome, refused = slog.LevelError, "login_failed", 1
	}
	if health.Err != nil {
		attrs = append(attrs, slog.String("cause", health.Err.Error()))
		attrs = appendCode(attrs, health.Err)
	}
	if health.Overdue {
		level, overdue = slog.LevelError, 1
		attrs = append(attrs, slog.Bool("overdue", true))
	}
	var metrics []telemetry.Metric
	if health.Known {
		metrics = append(metrics, telemetry.Metric{Name: "RotationOverdue", Unit: "Count", Value: overdue, Dimensions: byApp})
	}
	if age := health.Age.Truncate(time.Second); age > 0 {
		metrics = append(metrics, telemetry.Metric{Name: "PairAge", Unit: "Seconds", Value: age.Seconds(), Dimensions: byApp})
	}
	if !health.Transient && !health.Skipped && health.Warning == "" {
		metrics = append(metrics, telemetry.Metric{Name: "LoginFailed", Unit: "Count", Value: refused, Dimensions: byApp})
	}
	if appsecret.IsKind(health.Err, appsecret.Denied) {
		metrics = append(metrics, telemetry.Metric{Name: "SecretAccessDenied", Unit: "Count", Value: 1, Dimensions: byApp})
	}
	if health.PrincipalsErr != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("principals_error", health.PrincipalsErr.Error()))
	}
	metrics = append(metrics, common(health.Usage, health.PrincipalsErr, health.Err, true)...)
	h.log.Event(level, "check", append(attrs, slog.String("outcome", outcome)), metrics...)
}

func appendRequest(ctx context.Context, attrs []slog.Attr) []slog.Attr {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return append(attrs, slog.String("lambda_request_id", lc.AwsRequestID))
	}
	return attrs
}

// appendCode adds what Salesforce answered, where it did.
func appendCode(attrs []slog.Attr, err error) []slog.Attr {
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok && refused.Code != "" {
		return append(attrs, slog.String("salesforce_error", refused.Code))
	}
	return attrs
}

var byApp = []string{"app"}

// write writes the event's line.
func (h *handler) write(ctx context.Context, name string, out rotation.Outcome, err error, took time.Duration, what ...slog.Attr) {
	level, outcome := slog.LevelInfo, "ok"
	attrs := appendRequest(ctx, append(what, slog.String("app", out.App), slog.String("secret_version", out.VersionID)))
	if out.Action != "" {
		attrs = append(attrs, slog.String("did", out.Action))
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
	h.log.Event(level, name, attrs, metrics(out, err)...)
}

func metrics(out rotation.Outcome, err error) []telemetry.Metric {
	var metrics []telemetry.Metric
	for _, m := range []struct {
		name    string
		happens bool
	}{
		{"Rotations", out.Rotated}, {"RotationFailures", err != nil || out.LockedOut}, {"CandidatesRefused", out.Rejected}, {"RolledBack", out.RolledBack},
	} {
		if m.happens && out.App != "" {
			metrics = append(metrics, telemetry.Metric{Name: m.name, Unit: "Count", Value: 1, Dimensions: byApp})
		} else if m.happens {
			metrics = append(metrics, telemetry.Metric{Name: m.name, Unit: "Count", Value: 1})
		}
	}
	return append(metrics, common(out.Usage, out.PrincipalsErr, cmp.Or(err, out.Rejection), out.App != "")...)
}

// common are the metrics that an event of any kind may have.
func common(usage rotation.Usage, principals, err error, known bool) []telemetry.Metric {
	refused, _ := errors.AsType[*sfoauth.Error](err)
	var metrics []telemetry.Metric
	for _, m := range []struct {
		name  string
		value int
	}{
		{"Logins", usage.Logins}, {"LoginBudgetExhausted", count(usage.BudgetExhausted)}, {"PrincipalsUnreadable", count(principals != nil)},
		{"RunAsUserBlocked", count(refused != nil && refused.IsSessionBlocked())},
	} {
		if m.value > 0 && known {
			metrics = append(metrics, telemetry.Metric{Name: m.name, Unit: "Count", Value: float64(m.value), Dimensions: byApp})
		}
	}
	return metrics
}

func count(happened bool) int {
	if happened {
		return 1
	}
	return 0
}
