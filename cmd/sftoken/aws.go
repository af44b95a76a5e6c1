package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// loadQuietly finds the configuration as the AWS CLI does. What the SDK would log of its search is in the error, where it fails.
func loadQuietly(ctx context.Context) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
}

// awsConfig is the configuration, with errors that say what to do where there are no credentials.
func awsConfig(ctx context.Context) (aws.Config, error) {
	cfg, err := loadQuietly(ctx)
	if err != nil {
		return cfg, fmt.Errorf("AWS configuration: %w", err)
	}
	found := cfg.Credentials
	cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		credentials, err := found.Retrieve(ctx)
		if err != nil && ctx.Err() == nil {
			err = &noCredentials{err}
		}
		return credentials, err
	})
	return cfg, nil
}

// noCredentials is that there are none, or that they have ended.
type noCredentials struct{ error }

func (e *noCredentials) Unwrap() error { return e.error }

// ofAWS is an error of AWS without the words of the SDK, and with what a person can do about it; empty: it is another error.
func ofAWS(err error) string {
	if none, ok := errors.AsType[*noCredentials](err); ok {
		return "no AWS credentials: log in with `aws sso login` or `aws configure`, or set AWS_PROFILE: " + none.Error()
	}
	operation, ok := errors.AsType[*smithy.OperationError](err)
	api, answered := errors.AsType[smithy.APIError](err)
	if !ok || !answered {
		return ""
	}
	doing, _, _ := strings.Cut(err.Error(), "operation error ")
	text := doing + operation.Operation() + ": " + api.ErrorCode() + ": " + api.ErrorMessage()
	switch {
	case strings.Contains(api.ErrorMessage(), "marked for deletion"):
		text += " Bring it back with `aws secretsmanager restore-secret --secret-id NAME`"
	case api.ErrorCode() == "ResourceNotFoundException":
		text += " Check the app's name, --prefix, and that AWS_PROFILE and AWS_REGION are those of the API's owner"
	case api.ErrorCode() == "AccessDeniedException":
		text += ": this command is for the API's owner, whose AWS credentials it needs"
	}
	return text
}
