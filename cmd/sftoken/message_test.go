package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// AWS responds to a wrong signature with the request to be signed, the session token included.
func TestUserMessageHidesSessionToken(t *testing.T) {
	t.Parallel()
	err := errors.New("operation error STS: GetCallerIdentity, api error SignatureDoesNotMatch: The request " +
		"signature we calculated does not match the signature you provided." +
		"\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:the-token\n'")
	text := userMessage(err, subject{})
	if strings.Contains(text, "the-token") || !strings.HasSuffix(text, "you provided.") {
		t.Errorf("%q", text)
	}
}

// API Gateway's messages do not say what to do. The token function's do.
func TestUserMessageSuggestsDoctor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     sftoken.Error
		suggest bool
	}{
		{sftoken.Error{Status: 403, Description: "Forbidden"}, true},
		{sftoken.Error{Status: 502, Description: "Internal server error"}, true},
		{sftoken.Error{Status: 429, Description: "Too Many Requests"}, false},
		{sftoken.Error{Status: 404, Code: "unknown_app", Description: "there is no app"}, false},
	} {
		text := userMessage(fmt.Errorf("a token: %w", &c.err), subject{app: "crm"})
		if strings.Contains(text, "\nhint: run `sftoken doctor crm`") != c.suggest {
			t.Errorf("%q", text)
		}
	}
}

func TestUserMessageHints(t *testing.T) {
	t.Parallel()
	err := withHint(fmt.Errorf("nothing was stored: %w", withHint(errors.New("first\nsecond"), "do this")), "or that")
	want := "error: nothing was stored: first; second\nhint: or that\nhint: do this"
	if got := userMessage(err, subject{}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The message of an error from AWS replaces the SDK's text and keeps what is around it.
func TestUserMessageFromAWS(t *testing.T) {
	t.Parallel()
	denied := &smithy.OperationError{ServiceID: "Secrets Manager", OperationName: "RotateSecret", Err: fmt.Errorf(
		"https response error StatusCode: 400, RequestID: x, %w",
		&smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized"})}
	failed := errors.New("the rotate function failed")
	err := fmt.Errorf("cannot remove COMPROMISED from version 1 (%w): %w", denied, failed)
	want := "error: cannot remove COMPROMISED from version 1 (RotateSecret: AccessDeniedException: not authorized): " +
		"the rotate function failed\nhint: this command needs the AWS credentials of the API's owner"
	if got := userMessage(err, subject{}); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
