package rotateapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/telemetry"
)

// responseReserve is kept free at the end of an invocation, to log the result before Lambda kills the process.
const responseReserve = 2 * time.Second

// Handler handles the three kinds of event. It is a lambda.Handler, and safe for concurrent use.
type Handler struct {
	Rotator *rotation.Rotator
	Log     *telemetry.Log
}

// event is the union of the three kinds. It is never logged, because RotationToken is sensitive.
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

// eventTime is when an event happened; zero where the field is not a time. Source: EventBridge User Guide, "Events".
type eventTime struct{ time.Time }

func (t *eventTime) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &t.Time) != nil {
		t.Time = time.Time{}
	}
	return nil
}

// noContent is the response to every event that succeeds.
var noContent = []byte("null")

// Invoke handles one event. Its error is the only thing that Secrets Manager and EventBridge see, and makes them retry.
func (h *Handler) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(responseReserve, time.Until(deadline)/4)))
		defer cancel()
	}
	defer func() {
		if cause := recover(); cause != nil {
			attrs := []slog.Attr{slog.String("cause", telemetry.RecoveredError(cause).Error())}
			h.Log.Event(slog.LevelError, "panic", attrs, metric("RotationFailures", 1, ""))
			response, err = nil, errors.New("the rotate function failed: see its log")
		}
	}()
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, h.reject(ctx, errors.New("the event is not a JSON object"))
	}
	return noContent, h.dispatch(ctx, e, payload)
}

func (h *Handler) dispatch(ctx context.Context, e event, payload []byte) error {
	switch {
	case e.Step != "" && e.SecretID != "" && e.ClientRequestToken != "":
		return h.step(ctx, e)
	case e.Source == "aws.secretsmanager" && e.DetailType == "Secret Label Updated":
		return h.labelMoved(ctx, e)
	case e.DetailType == "Scheduled Event":
		return h.check(ctx)
	default:
		return h.reject(ctx, fmt.Errorf(
			"want a rotation step, a Secret Label Updated event or a Scheduled Event, not %s", describe(payload)))
	}
}

// reject logs an event that cannot be handled.
func (h *Handler) reject(ctx context.Context, err error) error {
	h.logOutcome(ctx, "unknown", rotation.Outcome{}, err, 0)
	return err
}

// describe lists an event's fields. It leaves out their values, which may be sensitive.
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

func (h *Handler) step(ctx context.Context, e event) error {
	begun := time.Now()
	out, err := h.Rotator.Step(ctx, rotation.Step{
		Name: e.Step, SecretID: e.SecretID, VersionID: e.ClientRequestToken, RotationToken: e.RotationToken,
	})
	h.logOutcome(ctx, "rotation", out, err, time.Since(begun), slog.String("step", e.Step))
	return err
}

func (h *Handler) labelMoved(ctx context.Context, e event) error {
	id := e.Detail.Name
	if len(e.Resources) > 0 {
		id = e.Resources[0]
	}
	if id == "" || e.Detail.LabelUpdated == "" || e.Detail.VersionID == "" {
		return h.reject(ctx, errors.New("the Secret Label Updated event does not name a secret, a label and a version"))
	}
	begun := time.Now()
	out, err := h.Rotator.LabelMoved(ctx, rotation.LabelMoved{
		SecretID: id, Label: e.Detail.LabelUpdated, VersionID: e.Detail.VersionID, Time: e.Time.Time,
	})
	h.logOutcome(ctx, "label", out, err, time.Since(begun), slog.String("label", e.Detail.LabelUpdated))
	return err
}

// check logs a line for each app. It fails only if the apps cannot be listed.
func (h *Handler) check(ctx context.Context) error {
	results, err := h.Rotator.Check(ctx)
	for _, health := range results {
		h.logHealth(ctx, health)
	}
	attrs := appendRequestID(ctx, []slog.Attr{slog.Float64("apps", float64(len(results)))})
	if err != nil {
		attrs = append(attrs, slog.String("outcome", "failed"), slog.String("cause", err.Error()))
		h.Log.Event(slog.LevelError, "checked", attrs)
		return err
	}
	h.Log.Event(slog.LevelInfo, "checked", append(attrs, slog.String("outcome", "ok")), metric("ChecksCompleted", 1, ""))
	return nil
}
