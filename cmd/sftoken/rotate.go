package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
)

func newRotate() *cobra.Command {
	var flags secretFlags
	var api apiFlags
	var wait, compromised bool
	cmd := &cobra.Command{
		Use:   "rotate APP",
		Short: "Rotate the app's pair now",
		Long: `Rotate the app's pair now. Callers notice nothing.

With --compromised the old pair is deleted at Salesforce as soon as the new one is current, and the tokens that are known are
revoked: the one cached behind --url at once, those that other instances of the token function hold when they next read
the secret, within SECRET_TTL (5 minutes).`,
		Args: oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, err := flags.client(ctx, args[0])
			if err != nil {
				return err
			}
			secret, err := appsecret.Open(ctx, client, flags.prefix, flags.prefix+args[0])
			if err != nil {
				return err
			}
			old := secret.Holder(appsecret.Current)
			if compromised {
				if err := secret.Move(ctx, appsecret.Compromised, old); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "version %s is labelled COMPROMISED\n", old)
			}
			if err := start(ctx, client, secret.ARN); err != nil {
				return err
			}
			if !wait && !compromised {
				fmt.Fprintf(cmd.OutOrStdout(), "the rotation of %s has begun: see `sftoken secret status %s`\n", secret.Name, args[0])
				return nil
			}
			if err := awaitRotation(cmd, client, secret, old); err != nil {
				return err
			}
			if !compromised {
				return nil
			}
			return revokeKnown(cmd, &api, args[0])
		},
	}
	flags.add(cmd)
	api.add(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the new pair is current")
	cmd.Flags().BoolVar(&compromised, "compromised", false, "the pair has leaked: wait, delete it at Salesforce, revoke known tokens")
	return cmd
}

// start asks for a rotation, or for an unfinished one to be tried again.
func start(ctx context.Context, client *secretsmanager.Client, arn string) error {
	_, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: aws.String(newToken()), RotateImmediately: aws.Bool(true)})
	if unfinished, ok := errors.AsType[*types.InvalidRequestException](err); ok && strings.Contains(unfinished.ErrorMessage(), "previous rotation") {
		return nil // Secrets Manager goes on with it
	}
	return err
}

func awaitRotation(cmd *cobra.Command, client *secretsmanager.Client, secret *appsecret.Secret, old string) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "waiting for the new pair to become current; it may take 10 minutes to work everywhere")
	return poll(cmd.Context(), func(ctx context.Context) (bool, error) {
		now, err := appsecret.Open(ctx, client, strings.TrimSuffix(secret.Name, secret.App), secret.ARN)
		if err != nil {
			return false, err
		}
		version := now.Holder(appsecret.Current)
		if version == old {
			return false, nil
		}
		fmt.Fprintf(cmd.OutOrStdout(), "version %s is AWSCURRENT\n", version)
		return true, nil
	})
}

// revokeKnown revokes the token that the API has cached.
func revokeKnown(cmd *cobra.Command, api *apiFlags, app string) error {
	source, ctx, cancel, err := api.source(cmd.Context(), app)
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "no --url: the tokens that the API has cached are revoked when it next reads the secret, within SECRET_TTL")
		return nil
	}
	defer cancel()
	if err := source.Revoke(ctx); err != nil {
		return fmt.Errorf("the pair is changed; revoking the cached token: %w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), "the cached token is revoked")
	return nil
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}
