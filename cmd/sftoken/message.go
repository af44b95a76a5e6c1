package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// Exit codes, as `sftoken --help` lists them.
const (
	exitFailed = 1
	exitUsage  = 2
	exitDenied = 3
	exitRetry  = 4
	exitConfig = 5
	exitOpen   = 6
)

// usageError is an error in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitError makes the process exit with a code. A nil err means that nothing is to be printed.
type exitError struct {
	err  error
	code int
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	failed, ok := errors.AsType[*sftoken.Error](err)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return exitFailed
	case sftoken.IsTemporary(err):
		return exitRetry
	case !ok:
		return exitFailed
	case failed.Status == 401 || failed.Status == 403 || failed.Status == 404:
		return exitDenied
	case failed.Status == 502:
		return exitConfig
	default:
		return exitFailed
	}
}

// hintError adds to an error what the person who reads it can do about it.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

func withHint(err error, hint string) error { return &hintError{err, hint} }

// subject is what a command is about, for hints.
type subject struct {
	app     string
	secret  string // its name
	profile string // of the AWS configuration; empty: the default
}

// subjectOf returns the subject of a command that has run.
func subjectOf(cmd *cobra.Command) subject {
	s := subject{app: "APP", secret: "NAME"}
	if app := cmd.Flags().Arg(0); appsecret.ValidName(app) {
		s = subject{app: app, secret: prefix + app}
	}
	if flag := cmd.Flag("prefix"); flag != nil {
		s.secret = flag.Value.String() + s.app
	}
	flag, _ := cmd.Flags().GetString("profile") // "" before cobra has found the command
	s.profile = cmp.Or(flag, os.Getenv("AWS_PROFILE"))
	return s
}

// userMessage formats an error for a person: a line "error: …", and a line "hint: …" for each hint. It returns ""
// if there is nothing to print.
func userMessage(err error, about subject) string {
	if err == nil || err.Error() == "" {
		return ""
	}
	text := err.Error()
	var hints []string
	for inner := err; ; {
		hinted, ok := errors.AsType[*hintError](inner)
		if !ok {
			break
		}
		hints, inner = append(hints, hinted.hint), hinted.error
	}
	if message, hint := awsMessage(err, about); message != "" {
		text = message
		if len(hints) == 0 {
			hints = append(hints, hint)
		}
	}
	failed, ok := errors.AsType[*sftoken.Error](err)
	if ok && failed.Code == "" && failed.Status != 429 && len(hints) == 0 {
		// API Gateway's message, unlike the token function's, does not say what to do.
		hints = append(hints, "run `sftoken doctor "+about.app+"` to find the cause")
	}
	// AWS follows its message on a wrong signature with the request to be signed, the session token included.
	text, _, _ = strings.Cut(text, "\n\nThe Canonical String")
	text = strings.ReplaceAll(strings.TrimPrefix(text, "sftoken: "), ": sftoken: ", ": ") // the prefix of package sftoken
	lines := []string{"error: " + printable.Line(singleLine.Replace(text))}
	for _, hint := range hints {
		if hint != "" {
			lines = append(lines, "hint: "+printable.Line(singleLine.Replace(hint)))
		}
	}
	return strings.Join(lines, "\n")
}

// singleLine joins the lines of an error, and replaces Go's names of context errors.
var singleLine = strings.NewReplacer(
	"\n\n", "; ", "\n", "; ", "context deadline exceeded", "timed out", "context canceled", "interrupted")

// noCredentialsError is the error if there are no AWS credentials, or they have expired.
type noCredentialsError struct{ error }

func (e *noCredentialsError) Error() string { return printable.CredentialsError(e.error) }

func (e *noCredentialsError) Unwrap() error { return e.error }

// awsMessage returns the message of an error from AWS without the SDK's wrapping, and a hint or "". For other errors
// the message is empty.
func awsMessage(err error, about subject) (message, hint string) {
	if none, ok := errors.AsType[*noCredentialsError](err); ok {
		hint = "log in with `aws sso login` or `aws configure`, or pass --profile"
		if about.profile != "" {
			hint = "log in with `aws sso login --profile " + about.profile + "`, or correct the profile"
		}
		return "no AWS credentials: " + none.Error(), hint
	}
	operation, ok := errors.AsType[*smithy.OperationError](err)
	api, isResponse := errors.AsType[smithy.APIError](err)
	if !ok || !isResponse {
		return "", ""
	}
	switch {
	case strings.Contains(api.ErrorMessage(), "marked for deletion"):
		hint = "restore it with `aws secretsmanager restore-secret --secret-id " + about.secret + "`"
	case api.ErrorCode() == "ResourceNotFoundException":
		hint = "check the app's name, --prefix, --profile and --region"
	case api.ErrorCode() == "AccessDeniedException":
		hint = "this command needs the AWS credentials of the API's owner"
	}
	short := operation.Operation() + ": " + api.ErrorCode() + ": " + api.ErrorMessage()
	return strings.Replace(err.Error(), operation.Error(), short, 1), hint
}
