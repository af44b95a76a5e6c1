package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// What a shell exits with where it cannot run a command, and above which it says that a signal ended one. Source: POSIX.1-2024,
// Shell Command Language, "Exit Status for Commands".
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128
)

func newExec() *cobra.Command {
	var flags apiFlags
	cmd := &cobra.Command{
		Use: "exec APP [flags] -- COMMAND [ARGUMENT …]", GroupID: callerGroup, DisableFlagsInUseLine: true,
		Short: "Run a command with a token in its environment",
		Long: `Run a command with a token of the app in its environment: SF_ACCESS_TOKEN, and
SF_INSTANCE_URL, the address of its org. The token is in no command line, which
every user of a machine can read.

The token is fetched once. A command that outlives it asks for another with
"sftoken get". Signals are passed on.`,
		Example: `  sftoken exec crm -- python report.py
  sftoken exec crm -- sh -c '
      printf "Authorization: Bearer %s" $SF_ACCESS_TOKEN |
      curl -H @- $SF_INSTANCE_URL/services/data/v65.0/limits'`,
		Annotations: apiSections("").exits(map[int]string{
			0: "the command succeeded; otherwise what it exits with", exitFailed: "no token, or:", exitDenied: deniedHelp, exitRetry: retryHelp, exitConfig: configHelp,
			exitCannotRun: "the command cannot be run", exitNotFound: "there is no such command", exitSignal: "and above: a signal has ended the command",
		}),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() != 1 {
				return &usageError{errors.New("want: sftoken exec APP -- COMMAND")}
			}
			return appArg(cmd, args[:1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := flags.fetch(cmd, args[0], "")
			if err != nil {
				return err
			}
			// Not with cmd.Context(): a signal that ends it is the command's to deal with.
			child := exec.CommandContext(context.WithoutCancel(cmd.Context()), args[1], args[2:]...)
			child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			child.Env = append(os.Environ(), variables(token)...)
			return runChild(child)
		},
	}
	flags.add(cmd)
	return cmd
}

// runChild runs the command and returns its exit code as an error. Of what it says itself nothing is repeated.
func runChild(child *exec.Cmd) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		code := exitCannotRun
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			code = exitNotFound
		}
		return &exitError{err.Error(), code}
	}
	ended := make(chan struct{})
	go forwardSignals(signals, child.Process, ended)
	err := child.Wait()
	close(ended)
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch status, waited := waitStatus(exit); {
	case !ok:
		return err
	case waited && status.Signaled():
		return &exitError{"", exitSignal + int(status.Signal())}
	}
	return &exitError{"", exit.ExitCode()}
}

func waitStatus(exit *exec.ExitError) (status syscall.WaitStatus, ok bool) {
	if exit != nil {
		status, ok = exit.Sys().(syscall.WaitStatus)
	}
	return status, ok
}

// forwardSignals hands signals to the process until it has ended. A terminal sends Ctrl-C to the process by itself, whichever of its streams are
// redirected; many programs take a second one as the order to give up without tidying.
func forwardSignals(signals <-chan os.Signal, to *os.Process, ended <-chan struct{}) {
	terminal := slices.ContainsFunc([]*os.File{os.Stdin, os.Stdout, os.Stderr}, func(f *os.File) bool {
		_, is := columns(f)
		return is
	})
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			if s != os.Interrupt || !terminal {
				_ = to.Signal(s) // fails where it has just ended
			}
		}
	}
}
