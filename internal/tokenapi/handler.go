package tokenapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/vending"
)

// handler handles API Gateway's events. It is a lambda.Handler, which receives the event as bytes, and safe for
// concurrent use.
type handler struct {
	vendor               *vending.Vendor
	log                  *telemetry.Log
	allowUnauthenticated bool // requests without an identity are served: only under the SAM CLI
}

// Invoke never returns an error, which API Gateway would turn into a 502 without an explanation.
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	e := auditEvent{name: "vend"}
	h.serve(ctx, payload, &e)
	if e.requestID == "" {
		e.requestID = e.lambdaRequestID
	}
	e.write(h.log, slog.LevelInfo)
	return e.response(), nil
}

// serve fills in the audit event. A panic becomes a server_error, so that the process and its cached tokens survive.
func (h *handler) serve(ctx context.Context, payload []byte, e *auditEvent) {
	defer func() {
		if cause := recover(); cause != nil {
			e.err = vending.InternalError(telemetry.RecoveredError(cause))
		}
	}()
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		e.lambdaRequestID = lc.AwsRequestID
	}
	event, bad := parseEvent(payload)
	if bad != nil {
		e.err = bad
		return
	}
	e.method, e.app, e.caller, e.requestID = event.method, event.app, event.caller, event.requestID
	e.err = h.dispatch(ctx, &event, e)
}

func (h *handler) dispatch(ctx context.Context, event *event, e *auditEvent) error {
	switch event.method {
	case http.MethodGet, http.MethodPost, http.MethodDelete:
	default:
		return &vending.Error{Code: methodNotAllowed, Description: "the allowed methods are " + allowedMethods}
	}
	if event.stage == testStage {
		return denied("a test invocation from the API Gateway console gets no token: IAM has not authorized it")
	}
	if event.caller.arn == "" && !h.allowUnauthenticated {
		return denied("the request has no IAM identity: every method of the API must use AWS_IAM authorization")
	}
	req, bad := event.request()
	if bad != nil {
		return bad
	}
	var err error
	if event.method == http.MethodDelete {
		e.name = "revoke"
		e.grant.TokenID, err = h.vendor.Revoke(ctx, req, &e.stats)
	} else {
		e.grant, err = h.vendor.Vend(ctx, req, &e.stats)
	}
	return err
}

func denied(description string) *vending.Error {
	return &vending.Error{Code: vending.AccessDenied, Description: description}
}
