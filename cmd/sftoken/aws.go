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
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/printable"
)

// configLoader returns a function that finds the AWS configuration as the AWS CLI does, with the global flags. If the
// profile requires an MFA code, it prompts for one, after calling beforePrompt, which may be nil. The SDK's log is off:
// its errors say the same.
func configLoader(cmd *cobra.Command, beforePrompt func()) func(context.Context) (aws.Config, error) {
	return func(ctx context.Context) (aws.Config, error) {
		withMFA := config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			o.TokenProvider = func() (string, error) {
				return promptMFA(cmd, aws.ToString(o.SerialNumber), beforePrompt)
			}
		})
		cfg, err := config.LoadDefaultConfig(ctx, append(awsOptions(cmd), config.WithLogger(logging.Nop{}), withMFA)...)
		if client, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
			if log := debugLogOf(cmd.Context()); log != nil {
				cfg.HTTPClient = &debugClient{client, log}
			}
		}
		return cfg, err
	}
}

// promptMFA prompts for the code of an MFA device.
func promptMFA(cmd *cobra.Command, device string, beforePrompt func()) (string, error) {
	if inputTerminal(cmd) == nil {
		return "", withHint(errors.New("the AWS profile requires an MFA code, and there is no terminal to prompt for it"),
			"use credentials from `aws sts get-session-token` or `aws sso login`")
	}
	if beforePrompt != nil {
		beforePrompt()
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "MFA code of %s: ", printable.Line(device))
	return interruptible(cmd, func() (string, error) {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		return strings.TrimSpace(line), err
	})
}

// awsConfig returns the AWS configuration. Its credentials fail with noCredentialsError if there are none.
func awsConfig(cmd *cobra.Command) (aws.Config, error) {
	cfg, err := configLoader(cmd, nil)(cmd.Context())
	if missing, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return cfg, withHint(fmt.Errorf("AWS configuration: there is no profile %q", missing.Profile),
			"choose one of `aws configure list-profiles`")
	}
	if err != nil {
		return cfg, fmt.Errorf("AWS configuration: %w", err)
	}
	provider := cfg.Credentials
	cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		credentials, err := provider.Retrieve(ctx)
		if err != nil && ctx.Err() == nil {
			err = &noCredentialsError{err}
		}
		return credentials, err
	})
	return cfg, nil
}

// apiHTTPClient returns a client that trusts the same certificates as AWS's clients: AWS_CA_BUNDLE, or ca_bundle of the
// profile. With --debug it prints its requests.
func apiHTTPClient(cfg aws.Config) *http.Client {
	switch client := cfg.HTTPClient.(type) {
	case *awshttp.BuildableClient:
		return &http.Client{Transport: client.GetTransport()}
	case *debugClient:
		return &http.Client{Transport: &debugTransport{client.GetTransport(), client.log}}
	default:
		return http.DefaultClient
	}
}

// callerAccount returns the account of the AWS credentials, or "unknown". It is for messages only.
func callerAccount(ctx context.Context, cfg aws.Config) string {
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "unknown"
	}
	return aws.ToString(out.Account)
}
