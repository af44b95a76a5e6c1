package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/agent"
	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// serveFlags are the flags of "sftoken serve".
type serveFlags struct {
	api       apiFlags
	listen    string
	socket    string
	tokenFile string
	apps      []string
}

func newServe() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use: "serve", GroupID: callerGroup, SuggestFor: []string{"agent", "server"},
		Short: "Serve tokens to programs on this host, until Ctrl-C",
		Long: `Serve tokens to programs on this host, until Ctrl-C or SIGTERM. This agent has
the AWS credentials; the programs need none, and sign nothing. It keeps the
tokens in memory, and replaces them before they expire or when Salesforce has
rejected them. While the API is down, it serves a token until it expires.

It listens on a Unix socket that only its user can open (--socket), or on a
loopback address. There a client must send the agent token, which is written to
a file that only the user can read (--token-file). Each start makes a new one.
Clients are configured with environment variables:

  SFTOKEN_URL=unix:///run/sftoken/agent.sock
or
  SFTOKEN_URL=http://127.0.0.1:7373/v1
  SFTOKEN_AGENT_TOKEN_FILE=/run/sftoken/token

"sftoken get" and the client libraries use them by themselves. Other programs
send the agent token as a Bearer token, and OAuth clients as the client secret,
with SFTOKEN_URL/tokens/APP as the token endpoint.

GET /metrics returns Prometheus metrics. GET /healthz reports whether the agent
runs. The log is JSON, on standard error.`,
		Example: `  sftoken serve --socket /run/sftoken/agent.sock
  sftoken serve --token-file "$XDG_RUNTIME_DIR/sftoken-token" --app crm
  curl -sS --unix-socket /run/sftoken/agent.sock http://localhost/v1/tokens/crm`,
		Annotations: environment("SFTOKEN_URL", clientURLHelp, awsVariables, awsMeaning).
			exits(map[int]string{0: "ended by Ctrl-C or SIGTERM", exitFailed: "failed"}),
		Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd) },
	}
	flags.api.addURL(cmd)
	cmd.Flags().StringVar(&flags.socket, "socket", "", "listen on a Unix socket at this `PATH`, with mode 0600")
	cmd.Flags().StringVar(&flags.listen, "listen", "127.0.0.1:7373", "loopback `HOST:PORT` where the agent listens")
	cmd.Flags().StringVar(&flags.tokenFile, "token-file", "",
		"the `FILE` to which the agent token is written, with mode 0600; required without --socket")
	cmd.Flags().StringArrayVar(&flags.apps, "app", nil,
		"serve only this `APP`, and fetch its token at the start; may be repeated (default: all that IAM allows)")
	return cmd
}

// check checks the flags, and makes the paths absolute for the clients, which may run elsewhere.
func (f *serveFlags) check(cmd *cobra.Command) error {
	switch {
	case f.socket == "" && f.tokenFile == "":
		return withHint(usagef("neither --socket nor --token-file is set"),
			"pass --socket PATH for a Unix socket, or --token-file FILE for a loopback address")
	case f.socket != "" && (f.tokenFile != "" || cmd.Flags().Changed("listen")):
		return usagef("--socket cannot be used together with --token-file or --listen")
	}
	for _, app := range f.apps {
		if err := checkApp(app); err != nil {
			return err
		}
	}
	for _, path := range []*string{&f.socket, &f.tokenFile} {
		if *path != "" {
			absolute, err := filepath.Abs(*path)
			if err != nil {
				return err
			}
			*path = absolute
		}
	}
	own := "http://" + f.listen + "/v1"
	if f.socket != "" {
		own = "unix://" + f.socket
	}
	normal := strings.NewReplacer("//localhost:", "//127.0.0.1:")
	for _, address := range sftoken.Addresses(f.api.address()) {
		address, _, _ = strings.Cut(address, "#")
		if normal.Replace(own) == normal.Replace(strings.TrimRight(address, "/")) {
			return withHint(usagef("the API's address is that of this agent"),
				"pass --url: the deployment's output ApiUrl. SFTOKEN_URL may be set for the agent's clients")
		}
	}
	return nil
}

func (f *serveFlags) run(cmd *cobra.Command) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	cfg, err := f.api.config(cmd)
	if err != nil {
		return err
	}
	listener, token, stop, err := f.open()
	_, isUsage := errors.AsType[*agent.AddressError](err)
	switch {
	case isUsage:
		return &usageError{err}
	case errors.Is(err, syscall.EADDRINUSE):
		return withHint(err, "another agent may be running: choose another address with --listen")
	case errors.Is(err, fs.ErrNotExist):
		return withHint(err, "create the directory, for this user only, or choose another, like $XDG_RUNTIME_DIR")
	case err != nil:
		return err
	}
	defer stop()
	log := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)).With("version", buildinfo.Version())
	a := agent.New(agent.Config{
		APIURL: f.api.address(), AWS: cfg, HTTPClient: apiHTTPClient(cfg), Apps: f.apps, Token: token, Log: log,
		Version: buildinfo.Version(),
	})
	log.Info("serving", "address", f.clientURL(listener), "api", f.api.address(), "apps", f.apps)
	if isTerminal(cmd.OutOrStdout()) {
		f.printUsage(cmd, listener)
	}
	go a.Prefetch(cmd.Context())
	if err := a.Serve(cmd.Context(), listener); err != nil {
		return err
	}
	log.Info("ended")
	return nil
}

// open listens and writes the agent token. The token is zero for a Unix socket.
func (f *serveFlags) open() (listener net.Listener, token sfoauth.Secret, stop func(), err error) {
	if f.socket != "" {
		listener, err = agent.ListenUnix(f.socket)
		return listener, token, func() {}, err
	}
	listener, err = agent.ListenTCP(f.listen)
	if err != nil {
		return nil, token, nil, err
	}
	token = agent.NewToken()
	stop, err = agent.WriteToken(f.tokenFile, token)
	if err != nil {
		_ = listener.Close()
	}
	return listener, token, stop, err
}

// clientURL returns the value of SFTOKEN_URL for clients.
func (f *serveFlags) clientURL(listener net.Listener) string {
	if f.socket != "" {
		text := (&url.URL{Scheme: "unix", Path: f.socket}).String()
		return strings.ReplaceAll(text, ",", "%2C") // a comma separates addresses
	}
	return "http://" + listener.Addr().String() + "/v1"
}

// printUsage prints how to use the agent.
func (f *serveFlags) printUsage(cmd *cobra.Command, listener net.Listener) {
	variables := "  export SFTOKEN_URL=" + quote(f.clientURL(listener)) + "\n"
	if f.tokenFile != "" {
		variables += "  export " + sftoken.AgentTokenFileVariable + "=" + quote(f.tokenFile) + "\n"
	}
	app := "APP"
	if len(f.apps) > 0 {
		app = f.apps[0]
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\nThe agent serves tokens on this host until Ctrl-C. In another shell:\n\n%s"+
		"  sftoken get %s\n\nIts log follows.\n\n", variables, app)
}
