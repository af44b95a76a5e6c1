// The command-line tool: tokens for people and scripts, the secret's life, and the whole of sftoken on one machine.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
	simstack "github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// version is set by the build.
var version = "dev"

// Exit codes, as `sftoken --help` lists them.
const (
	exitFailed = 1
	exitUsage  = 2
	exitDenied = 3
	exitRetry  = 4
	exitConfig = 5
)

func main() {
	simstack.RunFunction(version)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once, whatever it still does
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
	if text := userMessage(err); text != "" {
		fmt.Fprintf(stderr, "sftoken: %s\n", text)
	}
	return exitCode(err)
}

// userMessage is an error as a person reads it; empty: there is nothing to say.
func userMessage(err error) string {
	if err == nil {
		return ""
	}
	text := cmp.Or(awsMessage(err), err.Error())
	// AWS follows its message on a wrong signature with the request that was to be signed, the session's token included.
	text, _, _ = strings.Cut(text, "\n\nThe Canonical String")
	text = strings.TrimPrefix(text, "sftoken: ") // package sftoken says it too
	if failed, ok := errors.AsType[*sftoken.Error](err); ok && failed.Code == "" && failed.Status != 429 {
		text += "; `sftoken doctor APP` says what to mend" // API Gateway's own words do not
	}
	return printable.Line(singleLine.Replace(text))
}

// singleLine has what is wrong in one line, and in words that are not Go's.
var singleLine = strings.NewReplacer("\n\n", "; ", "\n", "; ", "context deadline exceeded", "no answer in time", "context canceled", "interrupted")

// usageError is a command line that makes no sense.
type usageError struct{ error }

// exitError makes the process exit with a code. Where said is empty, what there is to say has been said.
type exitError struct {
	said string
	code int
}

func (e *exitError) Error() string { return e.said }

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
		return exitDenied
	case failed.Status == 503:
		return exitRetry
	case failed.Status == 502:
		return exitConfig
	default:
		return exitFailed
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sftoken",
		Short: "Salesforce access tokens for whoever IAM lets in",
		Long: `sftoken asks the sftoken API for Salesforce access tokens, with your AWS
credentials and nothing else. For those who own the API it stores and changes
the secrets behind it.

Begin with "sftoken doctor APP": it says what works, and what mends the rest.`,
		Example: `  export SFTOKEN_URL=https://<id>.execute-api.<region>.amazonaws.com/v1
  sftoken get crm
  sftoken exec crm -- python report.py`,
		Annotations: environment(
			"SFTOKEN_URL", "the API's address, the ApiUrl of the deployment", "SECRET_PREFIX", "in front of an app's name in its secret's name",
			awsVariables, awsMeaning,
		).exits(map[int]string{0: "done", 1: "failed", 3: deniedHelp, 4: retryHelp, 5: configHelp}),
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetHelpTemplate(helpTemplate)
	root.AddGroup(
		&cobra.Group{ID: callerGroup, Title: "For callers:"}, &cobra.Group{ID: ownerGroup, Title: "For the API's owner:"},
		&cobra.Group{ID: localGroup, Title: "On this machine:"},
	)
	root.SetHelpCommandGroupID(localGroup)
	root.SetCompletionCommandGroupID(localGroup)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newGet(), newExec(), newRevoke(), newDoctor(), newSecret(), newRotate(), newLocal(), newDemo(), newVersion())
	return root
}

// The groups of commands in the help.
const (
	callerGroup = "caller"
	ownerGroup  = "owner"
	localGroup  = "here"
)

// What the exit codes of the commands that call the API mean.
const (
	deniedHelp = "refused by IAM or by allowedPrincipals, or no such app"
	retryHelp  = "try again later"
	configHelp = "the app is set up wrongly: sftoken doctor says how"
)

// helpOrUnknown is what a command does that only has others below it.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		text += ": do you mean " + strings.Join(like, " or ") + "?"
	}
	return &usageError{errors.New(text)}
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", GroupID: localGroup, Short: "Print the version", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: sections{}.exits(map[int]string{0: "done"}),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd, map[string]string{"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	return cmd
}

// printJSON is what --json prints.
func printJSON(cmd *cobra.Command, value any) error {
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// appArg wants the app's name as the only argument.
func appArg(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &usageError{fmt.Errorf("want one argument, the app's name; got %d", len(args))}
	}
	if !appsecret.ValidName(args[0]) {
		return &usageError{fmt.Errorf("%q is no app's name: want lower-case letters, digits and hyphens, like crm or erp-eu", args[0])}
	}
	return nil
}
