package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/printable"
)

// configLoader returns a function that finds the AWS configuration as the AWS CLI does. A profile that asks for an MFA
// code has it asked for at the command's terminal, after before is called (nil: nothing is). What the SDK would log
// of its search is in the error, where it fails.
func configLoader(cmd *cobra.Command, before func()) func(context.Context) (aws.Config, error) {
	return func(ctx context.Context) (aws.Config, error) {
		return config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			o.TokenProvider = func() (string, error) { return askMFA(cmd, aws.ToString(o.SerialNumber), before) }
		}))
	}
}

// askMFA asks for the code of an MFA device. A prompt without a reader would wait forever, so it is shown only at a
// terminal.
func askMFA(cmd *cobra.Command, device string, before func()) (string, error) {
	if inputTerminal(cmd) == nil {
		return "", errors.New("the AWS profile wants an MFA code, and there is no terminal to ask for it: use credentials of `aws sts get-session-token`, or aws sso login")
	}
	if before != nil {
		before()
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "MFA code of %s: ", printable.Line(device))
	return interruptible(cmd, func() (string, error) {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		return strings.TrimSpace(line), err
	})
}

// awsConfig is the configuration, with errors that say what to do where there are no credentials.
func awsConfig(cmd *cobra.Command) (aws.Config, error) {
	cfg, err := configLoader(cmd, nil)(cmd.Context())
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

// apiHTTPClient is a client that trusts what the configuration has AWS's own clients trust: AWS_CA_BUNDLE, or ca_bundle of
// the profile.
func apiHTTPClient(cfg aws.Config) *http.Client {
	if client, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		return &http.Client{Transport: client.GetTransport()}
	}
	return http.DefaultClient
}

// noCredentials is that there are none, or that they have ended.
type noCredentials struct{ error }

func (e *noCredentials) Unwrap() error { return e.error }

// awsMessage is an error of AWS without the words of the SDK, and with what a person can do about it; empty: it is another
// error.
func awsMessage(err error) string {
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
