package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/printable"
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
		"`URL` of the API: the deployment's output ApiUrl (default $SFTOKEN_URL)")
}

const urlVariableHelp = "the API's address, or an agent's, if --url is not passed"

// apiSections returns the sections of help of a command that calls the API. The command's own meanings of exit codes
// are added to the common ones, or replace them.
func apiSections(own map[int]string) sections {
	meanings := map[int]string{
		0: "done", exitFailed: "failed", exitDenied: deniedHelp, exitRetry: retryHelp, exitConfig: configHelp,
	}
	maps.Copy(meanings, own)
	return environment("SFTOKEN_URL", urlVariableHelp, awsVariables, awsMeaning).exits(meanings)
}

// address returns the API's address, or "" if it is not set.
func (f *apiFlags) address() string { return cmp.Or(f.url, os.Getenv("SFTOKEN_URL")) }

// config checks the address and returns the AWS configuration for it.
func (f *apiFlags) config(cmd *cobra.Command) (aws.Config, error) {
	if err := f.checkAddress(); err != nil {
		return aws.Config{}, err
	}
	cfg, err := awsConfig(cmd)
	if err == nil && cfg.Region == "" && sftoken.RegionFromURL(f.address()) == "" && !sftoken.UsesAgent(f.address()) {
		err = withHint(usagef("no region: the API's address does not name it"), "set AWS_REGION to the API's region")
	}
	return cfg, err
}

func (f *apiFlags) checkAddress() error {
	if f.address() == "" {
		return withHint(usagef("the API's address is not set"),
			"pass --url or set SFTOKEN_URL: the deployment's output ApiUrl")
	}
	u, err := url.Parse(strings.TrimSpace(f.address()))
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return nil
	case (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "":
		return nil
	}
	return usagef("the API's address must be a URL, like https://<id>.execute-api.<region>.amazonaws.com/v1")
}

// checkRevokes checks the address of an API that is to revoke a token.
func (f *apiFlags) checkRevokes() error {
	if err := f.checkAddress(); err != nil {
		return err
	}
	if sftoken.UsesAgent(f.address()) {
		return withHint(usagef("an agent does not revoke tokens"), "pass --url: the deployment's output ApiUrl")
	}
	return nil
}

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
	return do(ctx, f.tokenSource(cfg, app))
}

func (f *apiFlags) tokenSource(cfg aws.Config, app string) *sftoken.TokenSource {
	return sftoken.NewTokenSource(cfg, f.address(), app, sftoken.WithHTTPClient(apiHTTPClient(cfg)),
		sftoken.WithUserAgent("sftoken-cli/"+version))
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
	var output, rejected string
	cmd := &cobra.Command{
		Use: "get APP", GroupID: callerGroup,
		Short: "Print an access token for the app",
		Long: `Print an access token for the app, and the URL of its org.

The API caches tokens, so call this as often as you need a token. If Salesforce
rejects a token (HTTP 401 INVALID_SESSION_ID), pass its ID with --rejected: the
API then introspects the token and replaces it if it is inactive.`,
		Example: `  sftoken get crm
  sftoken get crm -o header | curl -H @- \
      https://acme.my.salesforce.com/services/data/v65.0/limits
  eval "$(sftoken get crm -o env)"`,
		Annotations:       apiSections(nil),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(outputs, output) {
				return usagef("--output %q: want json, token, header, env or none", output)
			}
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			token, err := flags.fetch(cmd, cfg, args[0], rejected)
			if err != nil {
				return err
			}
			return printToken(cmd.OutOrStdout(), token, output)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "json",
		"`FORMAT`: json, token, header (Authorization: Bearer …), env (export lines for a shell) or none")
	cmd.Flags().StringVar(&rejected, "rejected", "", "the `TOKEN_ID` of a token that Salesforce has rejected")
	completion := cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("output", completion) // fails only for unknown flags
	return cmd
}

// outputs are the values of --output. With none the command only checks that a token is available.
var outputs = []string{"json", "token", "header", "env", "none"}

func printToken(w io.Writer, token *sftoken.Token, output string) error {
	access := token.AccessToken.Reveal()
	if output != "json" && (printable.Safe(access) != access || printable.Safe(token.InstanceURL) != token.InstanceURL) {
		return errMalformed
	}
	var text string
	switch output {
	case "json":
		indented, err := indentedJSON(token.JSON.Reveal())
		if err != nil {
			return err
		}
		text = indented
	case "token":
		text = access
	case "header":
		if strings.ContainsFunc(access, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errMalformed
		}
		text = "Authorization: Bearer " + access
	case "env":
		var lines []string
		for _, variable := range tokenVariables(token) {
			name, value, _ := strings.Cut(variable, "=")
			lines = append(lines, "export "+name+"="+quote(value))
		}
		text = strings.Join(lines, "\n")
	case "none":
		return nil
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// errMalformed is the error for a token that could, for example, add another header to a request.
var errMalformed = errors.New("access_token or instance_url has white space or unprintable characters")

// indentedJSON indents JSON and escapes what a terminal could interpret as a command.
func indentedJSON(text string) (string, error) {
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(text), "", "  "); err != nil {
		return "", err
	}
	var escaped strings.Builder
	for _, r := range indented.String() {
		if r != '\t' && printable.Safe(string(r)) != string(r) {
			fmt.Fprintf(&escaped, `\u%04x`, r)
		} else {
			escaped.WriteRune(r)
		}
	}
	return escaped.String(), nil
}

// tokenVariables returns the environment variables for a program that calls Salesforce.
func tokenVariables(token *sftoken.Token) []string {
	return []string{"SF_ACCESS_TOKEN=" + token.AccessToken.Reveal(), "SF_INSTANCE_URL=" + token.InstanceURL}
}

// quote quotes text for a POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func newRevoke() *cobra.Command {
	var flags apiFlags
	cmd := &cobra.Command{
		Use: "revoke APP", GroupID: callerGroup,
		Short: "Revoke the app's cached token for all its callers",
		Long: `Revoke the API's cached token at Salesforce. Every caller that holds it loses
access, and the next request gets a new token. This is for emergencies and
needs permission to invoke DELETE on the app's path.

Each instance of the token function caches its own token, and the request
reaches only one of them. If the app's credentials are compromised, use
"sftoken rotate APP --compromised", which reaches all of them.`,
		Example:           `  sftoken revoke crm`,
		Annotations:       apiSections(map[int]string{0: "done: the API has no cached token"}),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.checkRevokes(); err != nil {
				return err
			}
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			return flags.call(cmd, cfg, args[0], func(ctx context.Context, source *sftoken.TokenSource) error {
				return source.Revoke(ctx)
			})
		},
	}
	flags.add(cmd)
	return cmd
}
