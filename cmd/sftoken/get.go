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
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// apiFlags are those of the commands that call the API.
type apiFlags struct {
	url     string
	timeout time.Duration
}

func (f *apiFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "url", "", "the API's address, the ApiUrl of the deployment (default $SFTOKEN_URL)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to try")
}

// address is the API's, empty where it is not given.
func (f *apiFlags) address() string { return cmp.Or(f.url, os.Getenv("SFTOKEN_URL")) }

// source returns a source of the app's tokens, and a context that ends with the time-out.
func (f *apiFlags) source(ctx context.Context, app string) (*sftoken.Source, context.Context, context.CancelFunc, error) {
	url := f.address()
	if url == "" {
		return nil, nil, nil, &usageError{errors.New("no API: give --url or set SFTOKEN_URL to the ApiUrl of the deployment")}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("AWS configuration: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	return sftoken.NewTokenSource(cfg, url, app), ctx, cancel, nil
}

func newGet() *cobra.Command {
	var flags apiFlags
	var output, rejected string
	cmd := &cobra.Command{
		Use:   "get APP",
		Short: "Print a token of the app",
		Example: `  sftoken get crm
  curl -H "$(sftoken get crm -o header)" https://acme.my.salesforce.com/services/data/v65.0/limits
  eval "$(sftoken get crm -o env)"`,
		Args: oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(outputs, output) {
				return &usageError{fmt.Errorf("--output %q: want json, token, header, env or none", output)}
			}
			source, ctx, cancel, err := flags.source(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer cancel()
			token, err := source.Replace(ctx, rejected)
			if err != nil {
				return err
			}
			return printToken(cmd.OutOrStdout(), token, output)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "json", "json, token, header (Authorization: Bearer …), env (export lines for a shell) or none")
	cmd.Flags().StringVar(&rejected, "rejected", "", "the token_id of a token that Salesforce has refused")
	return cmd
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
		Use:   "revoke APP",
		Short: "Revoke the app's cached token at Salesforce, for everybody who holds it",
		Args:  oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			source, ctx, cancel, err := flags.source(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer cancel()
			return source.Revoke(ctx)
		},
	}
	flags.add(cmd)
	return cmd
}

func newExec() *cobra.Command {
	var flags apiFlags
	cmd := &cobra.Command{
		Use:     "exec APP -- COMMAND [ARGUMENT …]",
		Short:   "Run a command with SF_ACCESS_TOKEN and SF_INSTANCE_URL in its environment",
		Example: `  sftoken exec crm -- python report.py`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() != 1 {
				return &usageError{errors.New("want: sftoken exec APP -- COMMAND")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			source, ctx, cancel, err := flags.source(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer cancel()
			token, err := source.Get(ctx)
			if err != nil {
				return err
			}
			child := exec.CommandContext(cmd.Context(), args[1], args[2:]...)
			child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			child.Env = append(os.Environ(), variables(token)...)
			err = child.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return &exitError{fmt.Errorf("%s: %w", args[1], err), max(exit.ExitCode(), 1)}
			}
			return err
		},
	}
	flags.add(cmd)
	return cmd
}
