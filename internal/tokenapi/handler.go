package tokenapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/vending"
)

// handler answers API Gateway's events. It is a lambda.Handler, which is handed the event as bytes, and safe for
// concurrent use.
type handler struct {
	vendor    *vending.Vendor
	log       *telemetry.Log
	anonymous bool // requests without an identity are served: under the SAM CLI alone
}

// Invoke never returns an error: API Gateway would turn it into a 502 that says nothing.
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	e := entry{event: "vend"}
	h.serve(ctx, payload, &e)
	if e.requestID == "" {
		e.requestID = e.lambdaRequestID
	}
	e.write(h.log, slog.LevelInfo)
	return e.answer(), nil
}

// serve fills in the entry. A panic becomes a server_error, so that the process lives on with its tokens.
func (h *handler) serve(ctx context.Context, payload []byte, e *entry) {
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

func (h *handler) dispatch(ctx context.Context, event *event, e *entry) error {
	switch event.method {
	case http.MethodGet, http.MethodPost, http.MethodDelete:
	default:
		return &vending.Error{Code: methodNotAllowed, Description: "the methods are " + allow}
	}
	if event.isTest {
		return &vending.Error{
			Code:        vending.AccessDenied,
			Description: "a test invocation from the API Gateway console gets no token: IAM has not decided on it",
		}
	}
	if event.caller.arn == "" && !h.anonymous {
		return &vending.Error{Code: vending.AccessDenied, Description: "the request has no IAM identity: every method of the API must be authorised by AWS_IAM"}
	}
	req, bad := event.request()
	if bad != nil {
		return bad
	}
	var err error
	if event.method == http.MethodDelete {
		e.event = "revoke"
		e.grant.TokenID, err = h.vendor.Revoke(ctx, req, &e.cost)
	} else {
		e.grant, err = h.vendor.Vend(ctx, req, &e.cost)
	}
	return err
}
