package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	var wait, compromised, asJSON bool
	cmd := &cobra.Command{
		Use: "rotate APP", GroupID: ownerGroup,
		Short: "Rotate the app's pair now",
		Long: `Rotate the app's pair now. Callers notice nothing: the old pair works until the
new one does. A rotation that has begun and not ended is continued.

With --compromised the old pair is deleted at Salesforce as soon as the new one
is current, and the tokens that are known are revoked: the one cached behind
--url at once, those that other instances of the token function hold when they
next read the secret, within SECRET_TTL (5 minutes).`,
		Example: `  sftoken rotate crm --wait
  sftoken rotate crm --compromised --url "$SFTOKEN_URL"`,
		Annotations: describe("SFTOKEN_URL", "the API's address, where --url does not give it", "SECRET_PREFIX", "as --prefix", awsVariables, awsMeaning).
			exits(map[int]string{0: "begun; with --wait or --compromised: done", 1: "failed; with --compromised: or a token may not be revoked"}),
		Args:              oneApp,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, err := flags.client(ctx)
			if err != nil {
				return err
			}
			secret, err := appsecret.Open(ctx, client, flags.prefix, flags.prefix+args[0])
			if err != nil {
				return err
			}
			r := &rotation{client: client, secret: secret, out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr()}
			if err := r.possible(ctx, compromised); err != nil {
				return err
			}
			if asJSON {
				r.out = io.Discard
			}
			switch {
			case compromised:
				if err = r.replaceLeaked(ctx); err == nil {
					err = r.revokeKnown(cmd, &api)
				}
			case wait:
				err = r.rotate(ctx)
			default:
				if err = start(ctx, client, secret.ARN); err == nil {
					fmt.Fprintf(r.out, "the rotation of %s has begun: see `sftoken secret status %s`\n", secret.Name, args[0])
				}
			}
			if asJSON && (err == nil || r.Current != "") {
				r.Secret, r.Before = secret.Name, secret.Holder(appsecret.Current)
				return errors.Join(printJSON(cmd, r), err)
			}
			return err
		},
	}
	flags.add(cmd)
	api.add(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the new pair is current")
	cmd.Flags().BoolVar(&compromised, "compromised", false, "the pair has leaked: wait, delete it at Salesforce, revoke known tokens")
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	return cmd
}

// start asks for a rotation, or for an unfinished one to be tried again.
func start(ctx context.Context, client *secretsmanager.Client, arn string) error {
	_, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: aws.String(newToken()), RotateImmediately: aws.Bool(true)})
	if unfinished, ok := errors.AsType[*types.InvalidRequestException](err); ok && strings.Contains(unfinished.ErrorMessage(), "previous rotation") {
		return nil // Secrets Manager goes on with it
	} else if ok && strings.Contains(unfinished.ErrorMessage(), "No Lambda rotation function") {
		return fmt.Errorf("the secret's rotation is not switched on: set RotationSchedule in its deployment, or change the pair by `sftoken secret stage`: %w", err)
	}
	return err
}

// rotation is one that somebody waits for, and what --json prints of it.
type rotation struct {
	Secret      string `json:"secret"`
	Before      string `json:"before"`            // the version that was current
	Current     string `json:"current,omitempty"` // the one that now is; empty: nobody has waited for it
	Compromised bool   `json:"compromised"`       // the version before is labelled so
	Revoked     bool   `json:"revoked"`           // the token that the API had cached is dead

	client        *secretsmanager.Client
	secret        *appsecret.Secret // as it was before
	out, progress io.Writer
}

// replaceLeaked labels the current version COMPROMISED first: the rotate function then deletes its pair at Salesforce once
// another is current, and the token function revokes the tokens made with it.
func (r *rotation) replaceLeaked(ctx context.Context) error {
	leaked := r.secret.Holder(appsecret.Current)
	if err := r.secret.Move(ctx, appsecret.Compromised, leaked); err != nil {
		return err
	}
	r.Compromised = true
	fmt.Fprintf(r.out, "version %s is labelled COMPROMISED\n", leaked)
	// Who had this pair may have read the one that was staged beside it: the rotation that staged it is given up.
	if pending := r.secret.Holder(appsecret.Pending); pending != "" && pending != leaked {
		if err := r.secret.Unlabel(ctx, appsecret.Pending, pending); err != nil {
			return err
		}
	}
	return r.rotate(ctx)
}

// possible says at once what the rotate function would say in its log alone: that a person must make the new pair.
func (r *rotation) possible(ctx context.Context, compromised bool) error {
	current, err := r.secret.Read(ctx, r.secret.Holder(appsecret.Current))
	if err != nil || current.Rotates() || current.IsPlaceholder() || r.secret.Holder(appsecret.Candidate) != "" && !compromised {
		return nil
	}
	app := r.secret.App
	then := "then `sftoken secret stage " + app + " --wait`"
	if compromised {
		then = "which ends the leaked one, then `sftoken secret put " + app + "` and `sftoken revoke " + app + "`"
	}
	return fmt.Errorf("the secret of app %s has no appId and consumerId, so that a person must make its new pair: in Salesforce's Setup, %s", app, then)
}

// rotate starts it and waits until another version is current.
func (r *rotation) rotate(ctx context.Context) error {
	if err := start(ctx, r.client, r.secret.ARN); err != nil {
		return err
	}
	fmt.Fprintln(r.progress, "waiting for the new pair to become current; it may take 10 minutes")
	return poll(ctx, func(ctx context.Context) (bool, error) {
		now, err := appsecret.Open(ctx, r.client, strings.TrimSuffix(r.secret.Name, r.secret.App), r.secret.ARN)
		if err != nil {
			return false, err
		}
		version := now.Holder(appsecret.Current)
		if r.isStill(ctx, now, version) {
			if pending := now.Holder(appsecret.Pending); pending != "" && pending != version {
				return false, nil
			}
			// It was given up: another one begins.
			if err := (&rotation{secret: now}).possible(ctx, r.Compromised); err != nil {
				return false, fmt.Errorf("the rotation was given up, as `sftoken secret status %s` shows: %w", now.App, err)
			}
			return false, start(ctx, r.client, r.secret.ARN)
		}
		r.Current = version
		fmt.Fprintf(r.out, "version %s is AWSCURRENT\n", version)
		return true, nil
	})
}

// isStill says whether the version is the one that was current before or, where that has leaked, another one with its pair, as somebody
// makes who changes who may have tokens.
func (r *rotation) isStill(ctx context.Context, now *appsecret.Secret, version string) bool {
	before := r.secret.Holder(appsecret.Current)
	if version == before || !r.Compromised {
		return version == before
	}
	leaked, err := now.Read(ctx, before)
	if err != nil {
		return false
	}
	current, err := now.Read(ctx, version)
	return err == nil && current.SamePair(leaked)
}

// revokeKnown revokes the token that the API has cached.
func (r *rotation) revokeKnown(cmd *cobra.Command, api *apiFlags) error {
	if api.address() == "" {
		newScreen(r.progress).column("", 0, "no --url: the tokens that the API has cached are revoked when it next reads the secret, within SECRET_TTL")
		return nil
	}
	source, ctx, cancel, err := api.source(cmd.Context(), r.secret.App)
	if err == nil {
		defer cancel()
		err = source.Revoke(ctx)
	}
	if err != nil { // the API's own exit codes would say that nothing was done
		return &exitError{fmt.Sprintf("the pair is changed, and the cached token is not revoked: try `sftoken revoke %s`, and not this again: %s", r.secret.App, complaint(err)), exitFailed}
	}
	r.Revoked = true
	fmt.Fprintln(r.out, "the cached token is revoked")
	return nil
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}
