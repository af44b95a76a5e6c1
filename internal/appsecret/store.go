package appsecret

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

// ErrorKind is why a version could not be read.
type ErrorKind int

const (
	// Unavailable: Secrets Manager is down, slow or limiting requests. What was read before is still valid.
	Unavailable ErrorKind = iota
	// NotFound: there is no such secret, it is scheduled for deletion, or no version has the label. GetSecretValue does
	// not distinguish them.
	NotFound
	// Denied: IAM or the key's policy does not let this function read the secret.
	Denied
	// Malformed: the value is not that of an app's secret.
	Malformed
)

// Error is why a version could not be read. It holds no value of the secret.
type Error struct {
	Secret  string // the secret's name
	Version string // the label or ID of the requested version; empty: the secret itself
	Kind    ErrorKind
	Err     error
}

func (e *Error) Error() string {
	if e.Version == "" {
		return fmt.Sprintf("secret %s: %v", e.Secret, e.Err)
	}
	return fmt.Sprintf("secret %s, version %s: %v", e.Secret, e.Version, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// IsKind reports whether err is an *Error of this kind.
func IsKind(err error, kind ErrorKind) bool {
	failed, ok := errors.AsType[*Error](err)
	return ok && failed.Kind == kind
}

// kindOf classifies errors of GetSecretValue. Source: the operation's page in the Secrets Manager API Reference,
// "Errors".
func kindOf(err error) ErrorKind {
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return NotFound
	}
	if _, ok := errors.AsType[*types.InvalidRequestException](err); ok { // scheduled for deletion
		return NotFound
	}
	if _, ok := errors.AsType[*types.DecryptionFailure](err); ok { // the key is disabled, deleted or not accessible
		return Denied
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "AccessDeniedException" {
		return Denied
	}
	return Unavailable
}

// Getter is the part of Secrets Manager that reading needs; *secretsmanager.Client implements it.
type Getter interface {
	GetSecretValue(context.Context, *sm.GetSecretValueInput, ...func(*sm.Options)) (*sm.GetSecretValueOutput, error)
}

// Reader reads apps' secrets. It is safe for concurrent use.
type Reader struct {
	Client Getter
	Prefix string // in front of an app's name: "sftoken/"
}

// Read returns the version of the app's secret that has the label. Its errors are of type *Error.
func (r Reader) Read(ctx context.Context, app, label string) (*Version, error) {
	name := r.Prefix + app
	version, err := read(ctx, r.Client, name, label, &sm.GetSecretValueInput{SecretId: &name, VersionStage: &label})
	if err != nil {
		return nil, err
	}
	version.App = app
	return version, nil
}

func read(ctx context.Context, client Getter, secret, version string, input *sm.GetSecretValueInput) (*Version, error) {
	failed := func(kind ErrorKind, err error) (*Version, error) {
		return nil, &Error{Secret: secret, Version: version, Kind: kind, Err: err}
	}
	out, err := client.GetSecretValue(ctx, input)
	if err != nil {
		return failed(kindOf(err), redactQuoted(err))
	}
	switch {
	case out.SecretString != nil:
	case out.SecretBinary != nil:
		err := errors.New("the value is binary: store it as a string")
		return failed(Malformed, &valueError{mentionsPrincipals(string(out.SecretBinary)), err})
	default: // AWS returns an error for a version without a value; an emulator may not
		return failed(NotFound, errors.New("the version has no value yet"))
	}
	parsed, err := Parse(aws.ToString(out.VersionId), *out.SecretString)
	if err != nil {
		return failed(Malformed, err)
	}
	parsed.Created = aws.ToTime(out.CreatedDate)
	return parsed, nil
}

// redactQuoted removes what net/http quotes of a response that is not HTTP, which may be the secret.
func redactQuoted(err error) error {
	for _, begins := range []string{"malformed HTTP", "malformed MIME header"} {
		if before, _, found := strings.Cut(err.Error(), begins); found {
			return errors.New(before + begins)
		}
	}
	return err
}
