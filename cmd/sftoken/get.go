package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
	return describe("SFTOKEN_URL", "the API's address, where --url does not give it", awsVariables, awsMeaning).
		exits(map[int]string{0: done, exitFailed: "failed", exitRefused: refused, exitLater: later, exitMisconfigured: misconfigured})
}

// address is the API's, empty where it is not given.
func (f *apiFlags) address() string { return cmp.Or(f.url, os.Getenv("SFTOKEN_URL")) }

// source returns a source of the app's tokens, and a context that ends with the time-out.
func (f *apiFlags) source(ctx context.Context, app string) (*sftoken.Source, context.Context, context.CancelFunc, error) {
	url := f.address()
	if url == "" {
		return nil, nil, nil, &usageError{errors.New("no API: give --url or set SFTOKEN_URL to the ApiUrl of the deployment")}
	}
	cfg, err := awsConfig(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	return sftoken.NewTokenSource(cfg, url, app), ctx, cancel, nil
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
		Args:              oneApp,
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
	source, ctx, cancel, err := f.source(cmd.Context(), app)
	if err != nil {
		return nil, err
	}
	defer cancel()
	progress := newPatience(cmd.ErrOrStderr())
	progress.wait("waiting for the API")
	defer progress.done()
	return source.Replace(ctx, rejected)
}

// outputs are what --output takes. The last prints nothing: to see whether a token is to be had.
var outputs = []string{"json", "token", "header", "env", "none"}

func printToken(w io.Writer, token *sftoken.Token, output string) error {
	var text string
	switch output {
	case "json":
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(token.JSON.Reveal()), "", "  "); err != nil {
			return err
		}
		text = indented.String()
	case "token":
		text = token.AccessToken.Reveal()
	case "header":
		text = "Authorization: Bearer " + token.AccessToken.Reveal()
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
		Args:              oneApp,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			source, ctx, cancel, err := flags.source(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer cancel()
			progress := newPatience(cmd.ErrOrStderr())
			progress.wait("waiting for the API")
			defer progress.done()
			return source.Revoke(ctx)
		},
	}
	flags.add(cmd)
	return cmd
}
