// The sftoken command gets tokens, manages the secrets behind them, and runs all of sftoken on one machine.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

// version is set by the build.
var version = "dev"

func main() {
	stack.RunFunction(version)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if message := userMessage(err); message != "" {
		fmt.Fprintln(stderr, message)
	}
	return exitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sftoken",
		Short: "Salesforce access tokens for any AWS principal that your IAM policies allow",
		Long: `sftoken gets Salesforce access tokens from the sftoken API. Callers need no
secret, only AWS credentials. The API's owner manages the secrets behind it.

Start with "sftoken doctor APP" to check your setup; it suggests a fix for each
problem.`,
		Example: `  export SFTOKEN_URL=https://<id>.execute-api.<region>.amazonaws.com/v1
  sftoken get crm
  sftoken exec crm -- python report.py`,
		Annotations: environment("SFTOKEN_URL", "URL of the API: the deployment's output ApiUrl",
			"SECRET_PREFIX", "precedes an app's name in the name of its secret",
			awsVariables, awsMeaning).exits(map[int]string{0: "done", 1: "failed", 3: deniedHelp, 4: retryHelp, 5: configHelp}),
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetHelpTemplate(helpTemplate)
	root.AddGroup(&cobra.Group{ID: callerGroup, Title: "For callers:"},
		&cobra.Group{ID: ownerGroup, Title: "For the API's owner:"}, &cobra.Group{ID: localGroup, Title: "On this machine:"})
	root.SetHelpCommandGroupID(localGroup)
	root.SetCompletionCommandGroupID(localGroup)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		newGet(), newExec(), newServe(), newRevoke(), newDoctor(), newSecret(), newRotate(), newLocal(), newDemo(),
		newVersion())
	return root
}

// The groups of commands in the help.
const (
	callerGroup = "caller"
	ownerGroup  = "owner"
	localGroup  = "local"
)

// helpOrUnknown runs a command that only has subcommands.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	err := usagef("unknown command %q", args[0])
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		return withHint(err, "do you mean "+strings.Join(similar, " or ")+"?")
	}
	return err
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", GroupID: localGroup, Short: "Print the version",
		Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: sections{}.exits(map[int]string{0: "done"}),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd, map[string]string{
					"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func addJSONFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print one JSON object")
}

// printJSON prints a value for --json.
func printJSON(cmd *cobra.Command, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	indented, err := indentedJSON(text.String())
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), indented)
	return err
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// appArg requires the app's name as the only argument.
func appArg(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("want one argument, the app's name; got %d", len(args))
	}
	if !appsecret.ValidName(args[0]) {
		return withHint(usagef("invalid app name %q", args[0]),
			"use lower-case letters, digits and hyphens, like crm or erp-eu")
	}
	return nil
}
