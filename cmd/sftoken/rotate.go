package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// rotateFlags are the flags of "sftoken rotate" alone.
type rotateFlags struct {
	wait, compromised, yes bool
	format                 output
	version, label         string // identify the compromised version; if both are empty, it is AWSCURRENT
}

func (f *rotateFlags) check(api *apiFlags) error {
	switch {
	case (f.version != "" || f.label != "") && !f.compromised:
		return usagef("--version-id and --label identify the compromised version: they require --compromised")
	case f.version != "" && f.label != "":
		return usagef("--version-id and --label cannot be used together")
	case f.compromised && api.address() != "":
		if err := api.requireAPI(noRevocation); err != nil {
			return err
		}
	}
	return requirePositiveTimeout(api.timeout)
}

func newRotate() *cobra.Command {
	var secrets secretFlags
	var api apiFlags
	var flags rotateFlags
	cmd := &cobra.Command{
		Use: "rotate APP", GroupID: ownerGroup,
		Short: "Rotate the app's credentials now",
		Long: `Rotate the app's consumer key and secret now. Callers are not interrupted: the
old credentials keep working. An unfinished rotation is continued.

With --compromised, the old credentials are deleted at Salesforce as soon as the
new ones are current, and known tokens are revoked: the one cached by the API at
--url immediately, those of other instances of the token function when they next
read the secret, within SECRET_TTL (5 minutes). You are asked to confirm, unless
you pass --yes.

The compromised version is AWSCURRENT, or the one that --version-id or --label
identifies. It is labelled COMPROMISED. If its credentials are not current, they
are deleted without a rotation. If the command fails or is interrupted before
new credentials exist, it removes the label.

Secrets Manager rotates in the background and reports no reason for a failure.
If nothing changes for a minute, --wait prints where to find the cause.`,
		Example: `  sftoken rotate crm --wait
  sftoken rotate crm --compromised --url "$SFTOKEN_URL"
  sftoken rotate crm --compromised --label AWSPREVIOUS --yes`,
		Annotations: environment(
			"SFTOKEN_URL", apiURLHelp, "SFTOKEN_PREFIX", "default of --prefix", awsVariables, awsMeaning,
		).exits(map[int]string{
			0: "started; with --wait or --compromised: done",
			1: "failed; with --compromised: or a token may not be revoked",
		}),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(&api); err != nil {
				return err
			}
			client, cfg, err := secrets.client(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			secret, err := appsecret.Open(ctx, client, secrets.prefix, secrets.prefix+args[0])
			if err == nil {
				err = checkPrimary(secret)
			}
			if err != nil {
				return err
			}
			r := &rotation{
				target: targetOf(secret.Name, secret.ARN), Before: secret.VersionWithLabel(appsecret.Current),
				client: client, secret: secret, timeout: api.timeout, out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(),
			}
			if flags.format.isJSON() {
				r.out = io.Discard
			}
			err = r.run(ctx, cmd, &flags)
			if err == nil && flags.compromised {
				err = r.revokeCached(ctx, &api, cfg)
			}
			if flags.format.isJSON() && (err == nil || r.Current != "" || r.Compromised) {
				return errors.Join(printJSON(cmd, r), err)
			}
			return err
		},
	}
	secrets.add(cmd)
	api.add(cmd)
	timeout := cmd.Flags().Lookup("timeout")
	timeout.Usage = "how long to wait for the new credentials"
	timeout.DefValue, api.timeout = defaultWait.String(), defaultWait
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "wait until the new credentials are current")
	cmd.Flags().BoolVar(&flags.compromised, "compromised", false,
		"the credentials have leaked: wait, delete them at Salesforce, revoke known tokens")
	cmd.Flags().StringVar(&flags.version, "version-id", "",
		"with --compromised: the `ID` of the compromised version (default: that of AWSCURRENT)")
	cmd.Flags().StringVar(&flags.label, "label", "",
		"with --compromised: a `LABEL` of the compromised version, like AWSPREVIOUS")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "with --compromised: do not ask to confirm")
	flags.format.add(cmd, formatTable, formatJSON)
	return cmd
}

// run starts the rotation that the flags ask for, and waits for it if they do.
func (r *rotation) run(ctx context.Context, cmd *cobra.Command, flags *rotateFlags) error {
	if flags.compromised {
		if err := r.findCompromised(ctx, flags); err != nil {
			return err
		}
		action := fmt.Sprintf("Version %s of secret %s will be labelled COMPROMISED. Its credentials are deleted at "+
			"Salesforce, and its tokens are revoked.", r.Leaked, r.target)
		if err := confirm(cmd, flags.yes, action); err != nil {
			return err
		}
	} else if err := checkRotatable(ctx, r.secret, false); err != nil {
		return err
	}
	r.target.print(r.progress, "rotating")
	switch {
	case flags.compromised:
		return r.rotateCompromised(ctx)
	case flags.wait:
		return r.rotate(ctx)
	}
	failure, err := startRotation(ctx, r.client, r.secret.ARN)
	if err != nil {
		return err
	}
	if failure != "" {
		newTerminal(r.progress).warn("the rotate function failed: " + failure)
	}
	fmt.Fprintf(r.out, "started the rotation of %s; follow it with `sftoken secret status %s`\n",
		r.secret.Name, r.secret.App)
	return nil
}

// revokeTimeout bounds the request to revoke the cached token.
const revokeTimeout = 30 * time.Second

// revokeCached revokes the token that the API has cached.
func (r *rotation) revokeCached(ctx context.Context, api *apiFlags, cfg aws.Config) error {
	if api.address() == "" {
		newTerminal(r.progress).column("", 0, "without --url, the API's cached tokens are revoked when it "+
			"next reads the secret, within SECRET_TTL")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(revokeTimeout, api.timeout))
	defer cancel()
	if err := api.tokenSource(cfg, r.secret.App).Revoke(ctx); err != nil {
		err = withHint(fmt.Errorf("the credentials are rotated, but the cached token is not revoked: %w", err),
			"run `sftoken revoke "+r.secret.App+"`; do not repeat this command")
		return &exitError{err, exitFailed} // the exit codes for the API's errors would mean that nothing was done
	}
	r.Revoked = true
	fmt.Fprintln(r.out, "the cached token is revoked")
	return nil
}
