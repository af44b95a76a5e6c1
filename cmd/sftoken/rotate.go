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

// rotateFlags are those of `sftoken rotate` alone.
type rotateFlags struct {
	wait, compromised, yes, asJSON bool
	version, label                 string // of the version that has leaked; both empty: AWSCURRENT
}

// check refuses flags that make no sense together.
func (f *rotateFlags) check(api *apiFlags) error {
	switch {
	case (f.version != "" || f.label != "") && !f.compromised:
		return &usageError{errors.New("--version-id and --label name the version that has leaked: they need --compromised")}
	case f.version != "" && f.label != "":
		return &usageError{errors.New("give --version-id or --label, and not both")}
	case f.compromised && api.address() != "":
		return api.check()
	}
	return requirePositive("--timeout", api.timeout)
}

func newRotate() *cobra.Command {
	var secrets secretFlags
	var api apiFlags
	var flags rotateFlags
	cmd := &cobra.Command{
		Use: "rotate APP", GroupID: ownerGroup,
		Short: "Rotate the app's credentials now",
		Long: `Rotate the app's consumer key and secret now. Callers notice nothing: the old
ones work until the new ones do. A rotation that has begun and not ended is
continued.

With --compromised the old credentials are deleted at Salesforce as soon as the
new ones are current, and the tokens that are known are revoked: the one cached
behind --url at once, those that other instances of the token function hold when
they next read the secret, within SECRET_TTL (5 minutes). It asks for a
confirmation, unless --yes is given.

It labels the version that has leaked COMPROMISED: AWSCURRENT, or that of
--version-id or --label. A version whose credentials are not current any more
has them deleted without a rotation. If the command fails or is interrupted
before anything was rotated, it takes the label off again.

Secrets Manager rotates in the background and gives no reason for a failure.
Where nothing happens for a minute, --wait says so and where to look.`,
		Example: `  sftoken rotate crm --wait
  sftoken rotate crm --compromised --url "$SFTOKEN_URL"
  sftoken rotate crm --compromised --label AWSPREVIOUS --yes`,
		Annotations: environment("SFTOKEN_URL", "the API's address, where --url does not give it", "SECRET_PREFIX", "as --prefix", awsVariables, awsMeaning).
			exits(map[int]string{0: "begun; with --wait or --compromised: done", 1: "failed; with --compromised: or a token may not be revoked"}),
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
			if err != nil {
				return err
			}
			r := &rotation{
				target: targetOf(secret.Name, secret.ARN), Before: secret.VersionWithLabel(appsecret.Current),
				client: client, secret: secret, timeout: api.timeout, out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(),
			}
			if flags.asJSON {
				r.out = io.Discard
			}
			err = r.run(ctx, cmd, &flags, func() error { return r.revokeKnown(ctx, &api, cfg) })
			if flags.asJSON && (err == nil || r.Current != "" || r.Compromised) {
				return errors.Join(printJSON(cmd, r), err)
			}
			return err
		},
	}
	secrets.add(cmd)
	api.add(cmd)
	timeout := cmd.Flags().Lookup("timeout")
	timeout.Usage, timeout.DefValue, api.timeout = "how long to wait for the new credentials", defaultWait.String(), defaultWait
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "wait until the new credentials are current")
	cmd.Flags().BoolVar(&flags.compromised, "compromised", false, "the credentials have leaked: wait, delete them at Salesforce, revoke known tokens")
	cmd.Flags().StringVar(&flags.version, "version-id", "", "with --compromised: the `ID` of the version that has leaked (default: that of AWSCURRENT)")
	cmd.Flags().StringVar(&flags.label, "label", "", "with --compromised: a `LABEL` of the version that has leaked, like AWSPREVIOUS")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "with --compromised: do not ask for a confirmation")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "for machines: one JSON object")
	return cmd
}

// run does what the flags say.
func (r *rotation) run(ctx context.Context, cmd *cobra.Command, flags *rotateFlags, revoke func() error) error {
	if flags.compromised {
		if err := r.findCompromised(ctx, flags); err != nil {
			return err
		}
		what := fmt.Sprintf("Version %s of secret %s will be labelled COMPROMISED: its credentials are deleted at Salesforce, and its tokens revoked.", r.Leaked, r.target)
		if err := confirm(cmd, flags.yes, what); err != nil {
			return err
		}
	} else if err := r.checkRotatable(ctx, false); err != nil {
		return err
	}
	fmt.Fprintln(r.progress, "rotating", r.target)
	switch {
	case flags.compromised:
		if err := r.rotateCompromised(ctx); err != nil {
			return err
		}
		return revoke()
	case flags.wait:
		return r.rotate(ctx)
	}
	failure, err := startRotation(ctx, r.client, r.secret.ARN)
	if err != nil {
		return err
	}
	if failure != "" {
		newTerminal(r.progress).column("warning: ", 9, "the rotate function has failed: "+failure)
	}
	fmt.Fprintf(r.out, "the rotation of %s has begun: see `sftoken secret status %s`\n", r.secret.Name, r.secret.App)
	return nil
}

// revokeTime is how long the API is asked to revoke the cached token.
const revokeTime = 30 * time.Second

// revokeKnown revokes the token that the API has cached.
func (r *rotation) revokeKnown(ctx context.Context, api *apiFlags, cfg aws.Config) error {
	if api.address() == "" {
		newTerminal(r.progress).column("", 0, "no --url: the tokens that the API has cached are revoked when it next reads the secret, within SECRET_TTL")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(revokeTime, api.timeout))
	defer cancel()
	if err := api.tokenSource(cfg, r.secret.App).Revoke(ctx); err != nil { // the API's own exit codes would say that nothing was done
		return &exitError{fmt.Sprintf("the credentials are changed, and the cached token is not revoked: try `sftoken revoke %s`, and not this again: %s", r.secret.App, userMessage(err)), exitFailed}
	}
	r.Revoked = true
	fmt.Fprintln(r.out, "the cached token is revoked")
	return nil
}
