package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// apiFlags are the flags of the commands that call the API.
type apiFlags struct {
	url     string
	timeout time.Duration
}

func (f *apiFlags) add(cmd *cobra.Command) {
	f.addURL(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "time limit, including retries")
}

func (f *apiFlags) addURL(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "url", "",
		"`URL` of the API: the deployment's output ApiUrl, or those of several regions, separated by commas, the preferred "+
			"one first (default $SFTOKEN_URL)")
}

// The meanings of SFTOKEN_URL: to a command that only the API can serve, and to one that an agent can serve too.
const (
	apiURLHelp    = "default of --url"
	clientURLHelp = "default of --url; may be the address of an agent"
)

// clientSections returns the sections of help of a command that calls the API or an agent. The command's own meanings
// of exit codes are added to the common ones, or replace them.
func clientSections(own map[int]string) sections {
	return environment("SFTOKEN_URL", clientURLHelp,
		sftoken.AgentTokenVariable, "the agent token, for an agent's loopback address",
		sftoken.AgentTokenFileVariable, "or a file that has it", awsVariables, awsMeaning).exits(apiExits(own))
}

// apiExits returns the meanings of the exit codes of a command that calls the API, its own included.
func apiExits(own map[int]string) map[int]string {
	meanings := map[int]string{
		0: "done", exitFailed: "failed", exitDenied: deniedHelp, exitRetry: retryHelp, exitConfig: configHelp,
	}
	maps.Copy(meanings, own)
	return meanings
}

// address returns the API's address, or "" if it is not set.
func (f *apiFlags) address() string { return cmp.Or(f.url, os.Getenv("SFTOKEN_URL")) }

// config checks the address and returns the AWS configuration for it.
func (f *apiFlags) config(cmd *cobra.Command) (aws.Config, error) {
	if err := f.checkAddress(); err != nil {
		return aws.Config{}, err
	}
	cfg, err := awsConfig(cmd)
	if sftoken.UsesAgent(f.address()) {
		return cfg, nil // without an error of a profile that is not needed
	}
	addresses := sftoken.Addresses(f.address())
	if err == nil && cfg.Region == "" && slices.ContainsFunc(addresses, hasNoRegion) {
		hint := "pass --region or set AWS_REGION: the API's region"
		if len(addresses) > 1 { // which are in several regions
			hint = "end each address whose name has no region with it, like https://tokens.example.com/v1#eu-west-1"
		}
		err = withHint(f.withAgentHint(usagef("no region: the API's address does not name it")), hint)
	}
	if err != nil {
		return cfg, err
	}
	if err := f.tokenSource(cfg, "any").Err(); err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}

// hasNoRegion reports whether an API's address does not name its region.
func hasNoRegion(address string) bool { return sftoken.RegionFromURL(address) == "" }

func (f *apiFlags) checkAddress() error {
	if f.address() == "" {
		return withHint(usagef("the API's address is not set"),
			"pass --url or set SFTOKEN_URL: the deployment's output ApiUrl")
	}
	addresses := sftoken.Addresses(f.address())
	if len(addresses) > 0 && !slices.ContainsFunc(addresses, isNoAddress) {
		return nil
	}
	err := usagef("the API's address must be a URL, like https://<id>.execute-api.<region>.amazonaws.com/v1")
	if strings.Contains(f.address(), ".sock") {
		return withHint(err, "an agent's address is like unix:///run/sftoken/agent.sock")
	}
	return err
}

// isNoAddress reports whether text cannot be the address of an API or of an agent.
func isNoAddress(text string) bool {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "":
		return true
	case u.Scheme == "unix":
		return u.Host != "" || !strings.HasPrefix(u.Path, "/")
	}
	return u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == ""
}

// requireAPI checks that the address is the API's and not an agent's, about which refusal is the error.
func (f *apiFlags) requireAPI(refusal string) error {
	if err := f.checkAddress(); err != nil {
		return err
	}
	if sftoken.UsesAgent(f.address()) {
		return f.agentRefused(refusal)
	}
	return nil
}

// noRevocation is the error if an agent is to revoke a token.
const noRevocation = "an agent does not revoke tokens"

func requirePositiveTimeout(d time.Duration) error {
	if d <= 0 {
		return usagef("--timeout %s: want more than 0, like 30s or 5m", d)
	}
	return nil
}

// call calls the API with a source of the app's tokens, within the timeout.
func (f *apiFlags) call(
	cmd *cobra.Command, cfg aws.Config, app string, do func(context.Context, *sftoken.TokenSource) error,
) error {
	if err := requirePositiveTimeout(f.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	progress := newProgress(cmd.ErrOrStderr())
	progress.start("waiting for the API")
	defer progress.stop()
	return f.withAgentHint(do(ctx, f.tokenSource(cfg, app)))
}

func (f *apiFlags) tokenSource(cfg aws.Config, app string) *sftoken.TokenSource {
	return sftoken.NewTokenSource(cfg, f.address(), app, sftoken.WithHTTPClient(apiHTTPClient(cfg)),
		sftoken.WithUserAgent("sftoken-cli/"+buildinfo.Version()))
}

// fetch gets a token from the API. If rejected is not empty, it is the ID of a token that Salesforce has rejected.
func (f *apiFlags) fetch(
	cmd *cobra.Command, cfg aws.Config, app, rejected string,
) (token *sftoken.Token, err error) {
	err = f.call(cmd, cfg, app, func(ctx context.Context, source *sftoken.TokenSource) error {
		token, err = source.Refresh(ctx, rejected)
		return err
	})
	return token, err
}

func newGet() *cobra.Command {
	var flags apiFlags
	var out output
	var rejected string
	cmd := &cobra.Command{
		Use: "get APP", GroupID: callerGroup, SuggestFor: []string{"token"},
		Short: "Print an access token for the app",
		Long: `Print an access token for the app, and the URL of its org.

The API caches tokens, so call this as often as you need a token. If Salesforce
rejects a token (HTTP 401 INVALID_SESSION_ID), pass its ID with --rejected: the
API then introspects the token and replaces it if it is inactive.

Formats:

  json    the API's response, with the time of expiry as expires_at
  table   the token's ID, org and expiry, without the token
  env     lines for a shell: export SF_ACCESS_TOKEN, SF_INSTANCE_URL,
          SF_TOKEN_ID, SF_TOKEN_EXPIRES_AT and SF_TOKEN_EXPIRES_IN (seconds)
  header  Authorization: Bearer …
  token   the token alone
  none    nothing: only check that a token is available`,
		Example: `  sftoken get crm
  sftoken get crm -o header | curl -H @- \
      https://acme.my.salesforce.com/services/data/v65.0/limits
  eval "$(sftoken get crm -o env)"`,
		Annotations:       clientSections(nil),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			token, err := flags.fetch(cmd, cfg, args[0], rejected)
			if err != nil {
				return err
			}
			return printToken(cmd.OutOrStdout(), token, out.format)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&rejected, "rejected", "", "the `ID` of a token that Salesforce has rejected")
	out.add(cmd, formatJSON, formatTable, formatEnv, formatHeader, formatToken, formatNone)
	return cmd
}

func newRevoke() *cobra.Command {
	var flags apiFlags
	var out output
	cmd := &cobra.Command{
		Use: "revoke APP", GroupID: callerGroup,
		Short: "Revoke the app's cached token for all its callers",
		Long: `Revoke the API's cached token at Salesforce. Every caller that holds it loses
access, and the next request gets a new token. This is for emergencies and
needs permission to invoke DELETE on the app's path.

Each instance of the token function caches its own token, and the request
reaches only one of them: one in each region, if there are several addresses.
If the app's credentials are compromised, use
"sftoken rotate APP --compromised", which reaches all of them.`,
		Example: `  sftoken revoke crm`,
		Annotations: environment("SFTOKEN_URL", apiURLHelp, awsVariables, awsMeaning).
			exits(apiExits(map[int]string{0: "done: the API has no cached token"})),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.requireAPI(noRevocation); err != nil {
				return err
			}
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			err = flags.call(cmd, cfg, args[0], func(ctx context.Context, source *sftoken.TokenSource) error {
				return source.Revoke(ctx)
			})
			switch {
			case err != nil:
				return err
			case out.isJSON():
				return printJSON(cmd, map[string]any{"app": args[0], "revoked": true})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the API has no cached token of app", args[0])
			return err
		},
	}
	flags.add(cmd)
	out.add(cmd, formatTable, formatJSON)
	return cmd
}
