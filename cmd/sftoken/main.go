// The command-line tool: tokens for people and scripts, the secret's life, and the whole of sftoken on one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// version is set by the build.
var version = "dev"

// Exit codes, as `sftoken --help` lists them.
const (
	exitFailed        = 1
	exitUsage         = 2
	exitRefused       = 3
	exitLater         = 4
	exitMisconfigured = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	if err != nil {
		fmt.Fprintf(stderr, "sftoken: %s\n", strings.TrimPrefix(err.Error(), "sftoken: ")) // package sftoken says it too
	}
	return exitCode(err)
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// exitError makes the process exit with the code of a command that it ran.
type exitError struct {
	error
	code int
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	failed, ok := errors.AsType[*sftoken.Error](err)
	switch {
	case err == nil:
		return 0
	case !ok:
		return exitFailed
	case failed.Status == 403 || failed.Status == 404:
		return exitRefused
	case failed.Status == 503:
		return exitLater
	case failed.Status == 502:
		return exitMisconfigured
	default:
		return exitFailed
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sftoken",
		Short: "Salesforce access tokens for whoever IAM lets in",
		Long: `sftoken asks the sftoken API for Salesforce access tokens, with your AWS credentials and nothing else.

The API's address is --url or SFTOKEN_URL; credentials and region are found as the AWS CLI finds them.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by IAM or allowedPrincipals, or no such app,
4 try again later, 5 the app is set up wrongly.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newGet(), newRevoke(), newExec(), newSecret(), newRotate(), newLocal(), newDemo(), newVersion())
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// oneApp wants the app's name as the only argument.
func oneApp(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &usageError{fmt.Errorf("want one argument, the app's name; got %d", len(args))}
	}
	return nil
}
