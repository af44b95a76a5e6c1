package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// apiFlags are those of the commands that call the API.
type apiFlags struct {
	url     string
	timeout time.Duration
}

func (f *apiFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "url", "", "the API's address: `URL` is the ApiUrl of the deployment (default $SFTOKEN_URL)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to try")
}

// apiSections are the sections of help of the commands that call the API.
func apiSections(done string) sections {
	return environment("SFTOKEN_URL", "the API's address, where --url does not give it", awsVariables, awsMeaning).
		exits(map[int]string{0: done, exitFailed: "failed", exitDenied: deniedHelp, exitRetry: retryHelp, exitConfig: configHelp})
}

// address is the API's, empty where it is not given.
func (f *apiFlags) address() string { return cmp.Or(f.url, os.Getenv("SFTOKEN_URL")) }

// check refuses flags that make no sense.
func (f *apiFlags) check() error {
	if err := requirePositive("--timeout", f.timeout); err != nil {
		return err
	}
	address := f.address()
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case address == "":
		return &usageError{errors.New("no API: give --url or set SFTOKEN_URL to the ApiUrl of the deployment")}
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return &usageError{errors.New("the API's address must be a URL, like https://<id>.execute-api.<region>.amazonaws.com/v1")}
	}
	return nil
}

// requirePositive refuses a duration that leaves no time.
func requirePositive(flag string, d time.Duration) error {
	if d <= 0 {
		return &usageError{fmt.Errorf("%s %s: want more than 0, like 30s or 5m", flag, d)}
	}
	return nil
}

// source returns a source of the app's tokens, and a context that ends with the time-out.
func (f *apiFlags) source(cmd *cobra.Command, app string) (*sftoken.TokenSource, context.Context, context.CancelFunc, error) {
	if err := f.check(); err != nil {
		return nil, nil, nil, err
	}
	cfg, err := awsConfig(cmd)
	if err != nil {
		return nil, nil, nil, err
	}
	if cfg.Region == "" && sftoken.RegionFromURL(f.address()) == "" {
		return nil, nil, nil, &usageError{errors.New("no region: the API's address names none, so set AWS_REGION to the API's region")}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	return f.tokenSource(cfg, app), ctx, cancel, nil
}

// tokenSource is a source that asks the API with this configuration.
func (f *apiFlags) tokenSource(cfg aws.Config, app string) *sftoken.TokenSource {
	return sftoken.NewTokenSource(cfg, f.address(), app, sftoken.WithHTTPClient(apiHTTPClient(cfg)))
}

func newGet() *cobra.Command {
	var flags apiFlags
	var output, rejected string
	cmd := &cobra.Command{
		Use: "get APP", GroupID: callerGroup,
		Short: "Print a token of the app",
		Long: `Print a token of the app, with the address of its org.

The API answers from its cache as long as a token lives, so this may be called
as often as a token is needed. When Salesforce refuses a token (HTTP 401
INVALID_SESSION_ID), --rejected TOKEN_ID makes the API check whether it is dead,
and replace it if it is.`,
		Example: `  sftoken get crm
  sftoken get crm -o header | curl -H @- \
      https://acme.my.salesforce.com/services/data/v65.0/limits
  eval "$(sftoken get crm -o env)"`,
		Annotations:       apiSections("done"),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(outputs, output) {
				return &usageError{fmt.Errorf("--output %q: want json, token, header, env or none", output)}
			}
			token, err := flags.fetch(cmd, args[0], rejected)
			if err != nil {
				return err
			}
			return printToken(cmd.OutOrStdout(), token, output)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "json", "`FORMAT`: json, token, header (Authorization: Bearer …), env (export lines for a shell) or none")
	cmd.Flags().StringVar(&rejected, "rejected", "", "the `TOKEN_ID` of a token that Salesforce has refused")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

// fetch asks the API for a token, in place of a rejected one where there is one.
func (f *apiFlags) fetch(cmd *cobra.Command, app, rejected string) (*sftoken.Token, error) {
	source, ctx, cancel, err := f.source(cmd, app)
	if err != nil {
		return nil, err
	}
	defer cancel()
	progress := newProgress(cmd.ErrOrStderr())
	progress.wait("waiting for the API")
	defer progress.done()
	return source.Refresh(ctx, rejected)
}

// outputs are what --output takes. The last prints nothing: to see whether a token is to be had.
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
		for _, variable := range variables(token) {
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

// errMalformed is a token that cannot be one. In a header it could add another header.
var errMalformed = errors.New("the API's answer is malformed: its token or address holds white space or characters that do not print")

// indentedJSON is JSON for a person. What a terminal would take for a command is escaped, which leaves its meaning as it is.
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

// variables are what a program that calls Salesforce needs.
func variables(token *sftoken.Token) []string {
	return []string{"SF_ACCESS_TOKEN=" + token.AccessToken.Reveal(), "SF_INSTANCE_URL=" + token.InstanceURL}
}

// quote quotes text for a POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func newRevoke() *cobra.Command {
	var flags apiFlags
	cmd := &cobra.Command{
		Use: "revoke APP", GroupID: callerGroup,
		Short: "Revoke the app's cached token, for everybody who holds it",
		Long: `Revoke the token that the API has cached, at Salesforce: everybody who holds it
loses it, and the next request gets another one. It is for emergencies, and
takes the right to invoke DELETE on the app's path.

A token function that runs in several instances has a token in each, and only
one of them is reached. If the app's pair has leaked, use
"sftoken rotate APP --compromised", which reaches all.`,
		Example:           `  sftoken revoke crm`,
		Annotations:       apiSections("done: there is no cached token any more"),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			source, ctx, cancel, err := flags.source(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			progress := newProgress(cmd.ErrOrStderr())
			progress.wait("waiting for the API")
			defer progress.done()
			return source.Revoke(ctx)
		},
	}
	flags.add(cmd)
	return cmd
}
