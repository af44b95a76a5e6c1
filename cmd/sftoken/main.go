// The sftoken command gets tokens, manages the secrets behind them, and runs all of sftoken on one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

func main() {
	stack.RunFunction(buildinfo.Version())
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
	cmd, err := root.ExecuteContextC(ctx)
	if message := userMessage(err, subjectOf(cmd)); message != "" {
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
			"SFTOKEN_PREFIX", "precedes an app's name in the name of its secret",
			awsVariables, awsMeaning).exits(map[int]string{
			0: "done", exitFailed: "failed", exitDenied: deniedHelp, exitRetry: retryHelp, exitConfig: configHelp,
			exitOpen: openHelp,
		}),
		Version:       buildinfo.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetHelpTemplate(helpTemplate)
	root.AddGroup(&cobra.Group{ID: callerGroup, Title: "For callers:"},
		&cobra.Group{ID: ownerGroup, Title: "For the API's owner:"}, &cobra.Group{ID: localGroup, Title: "On this machine:"})
	root.SetHelpCommand(newHelp())
	root.SetCompletionCommandGroupID(localGroup)
	addGlobalFlags(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if _, ok := errors.AsType[*pflag.NotExistError](err); ok {
			return seeHelp(cmd, &usageError{err})
		}
		return &usageError{err}
	})
	root.AddCommand(
		newGet(), newExec(), newServe(), newRevoke(), newDoctor(), newProbe(), newList(), newSecret(), newRotate(),
		newLocal(), newDemo(), newVersion())
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = cobra.ArbitraryArgs, helpOrUnknown // cobra's exits with 0
	}
	return root
}

// The groups of commands in the help.
const (
	callerGroup = "caller"
	ownerGroup  = "owner"
	localGroup  = "local"
)

func newVersion() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "version", GroupID: localGroup, Short: "Print the version",
		Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: sections{}.exits(map[int]string{0: "done"}),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out.isJSON() {
				return printJSON(cmd, map[string]string{
					"version": buildinfo.Version(), "revision": buildinfo.Revision(),
					"go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), buildinfo.Version())
			return err
		},
	}
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// appArg requires the app's name as the only argument.
func appArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return seeHelp(cmd, usagef("want one argument, the app's name; got %d", len(args)))
	}
	return checkApp(args[0])
}

// checkApp returns an error if the name cannot be an app's.
func checkApp(name string) error {
	if appsecret.ValidName(name) {
		return nil
	}
	return withHint(usagef("invalid app name %q", name), "use lower-case letters, digits and hyphens, like crm or erp-eu")
}
