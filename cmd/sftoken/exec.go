package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// The exit codes with which a shell reports that it cannot run a command, or that a signal has ended it. Source:
// POSIX.1-2024, Shell Command Language, "Exit Status for Commands".
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128
)

func newExec() *cobra.Command {
	var flags apiFlags
	cmd := &cobra.Command{
		Use: "exec APP [flags] -- COMMAND [ARGUMENT …]", GroupID: callerGroup, DisableFlagsInUseLine: true,
		Short: "Run a command with an access token in its environment",
		Long: `Run a command with an access token for the app in SF_ACCESS_TOKEN and the URL of
its org in SF_INSTANCE_URL. SF_TOKEN_ID, SF_TOKEN_EXPIRES_AT (RFC 3339) and
SF_TOKEN_EXPIRES_IN (seconds) describe the token. It does not appear on a
command line, where every user of the machine could read it.

The token in the environment is fetched once. A command that runs for longer
than the token is valid can get the next one from a private agent, which runs
as long as the command. It serves the apps that sftoken itself may use.
SFTOKEN_URL and SFTOKEN_AGENT_TOKEN point to it. "sftoken get" and the client
libraries use it by themselves, and

  GET $SFTOKEN_URL/tokens/APP
  Authorization: Bearer $SFTOKEN_AGENT_TOKEN

returns a token to any other program. Signals are forwarded to the command.`,
		Example: `  sftoken exec crm -- python report.py
  sftoken exec crm -- sh -c '
      printf "Authorization: Bearer %s" "$SF_ACCESS_TOKEN" |
      curl -H @- "$SF_INSTANCE_URL/services/data/v65.0/limits"'`,
		Annotations: clientSections(map[int]string{
			0: "the command succeeded; otherwise the command's exit code, or:", exitFailed: "no token",
			exitCannotRun: "the command cannot be run", exitNotFound: "the command was not found",
			exitSignal: "plus the number of the signal that ended the command",
		}),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() != 1 {
				return seeHelp(cmd, usagef("want: sftoken exec APP -- COMMAND"))
			}
			return appArg(cmd, args[:1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			token, err := flags.fetch(cmd, cfg, args[0], "")
			if err != nil {
				return err
			}
			// Without cancellation: signals go to the command, which decides what to do.
			child := exec.CommandContext(context.WithoutCancel(cmd.Context()), args[1], args[2:]...)
			child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			cmd.SetIn(strings.NewReader("")) // the terminal is the command's: no prompt for an MFA code may read from it
			variables, stop, err := startPrivateAgent(&flags, cfg)
			if err != nil {
				return err
			}
			defer stop()
			child.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
				return strings.HasPrefix(variable, sftoken.AgentTokenFileVariable+"=")
			})
			child.Env = slices.Concat(child.Env, tokenVariables(token), variables, noProxy())
			return runChild(child)
		},
	}
	flags.add(cmd)
	return cmd
}

// startPrivateAgent starts an agent that serves the holder of its token, and returns the environment variables with
// which clients find it. It serves all apps, since the command may use sftoken for several.
func startPrivateAgent(flags *apiFlags, cfg aws.Config) (variables []string, stop func(), err error) {
	listener, err := agent.ListenTCP("127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	token := agent.NewToken()
	a := agent.New(agent.Config{
		APIURL: flags.address(), AWS: cfg, HTTPClient: apiHTTPClient(cfg), Token: token,
		Version: buildinfo.Version(),
	})
	ctx, stop := context.WithCancel(context.Background())
	go func() { _ = a.Serve(ctx, listener) }() // if it fails, so do the command's requests
	return []string{
		"SFTOKEN_URL=http://" + listener.Addr().String() + "/v1", sftoken.AgentTokenVariable + "=" + token.Reveal(),
	}, stop, nil
}

// noProxy returns environment variables that keep requests to the private agent from a proxy, if one is configured. It
// would get the agent token.
func noProxy() []string {
	isSet := func(name string) bool { return os.Getenv(name) != "" }
	if !slices.ContainsFunc([]string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}, isSet) {
		return nil
	}
	hosts := cmp.Or(os.Getenv("no_proxy"), os.Getenv("NO_PROXY"))
	if hosts != "*" { // any host; in a list, curl and Python ignore the *
		hosts = strings.TrimPrefix(hosts+",127.0.0.1", ",")
	}
	return []string{"no_proxy=" + hosts, "NO_PROXY=" + hosts}
}

// runChild runs the command and returns its exit code as an exitError.
func runChild(child *exec.Cmd) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		code := exitCannotRun
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			code = exitNotFound
		}
		return &exitError{err, code}
	}
	exited := make(chan struct{})
	go forwardSignals(signals, child.Process, exited)
	err := child.Wait()
	close(exited)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exitError{code: exitSignal + int(status.Signal())}
	}
	return &exitError{code: exit.ExitCode()}
}

// forwardSignals forwards signals to the process until it has exited. A terminal sends Ctrl-C to the process by
// itself, even if some streams are redirected, and many programs take a second one as the order to quit without
// cleaning up.
func forwardSignals(signals <-chan os.Signal, to *os.Process, exited <-chan struct{}) {
	atTerminal := isTerminal(os.Stdin) || isTerminal(os.Stdout) || isTerminal(os.Stderr)
	for {
		select {
		case <-exited:
			return
		case s := <-signals:
			if s != os.Interrupt || !atTerminal {
				_ = to.Signal(s) // fails if it has just exited
			}
		}
	}
}
