package sftoken

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Environment variables with the agent token, which authenticates clients to an agent (`sftoken serve`). They apply
// only to an agent's address: http at a loopback address, or at localhost, which is 127.0.0.1 here.
const (
	// AgentTokenVariable holds the agent token.
	AgentTokenVariable = "SFTOKEN_AGENT_TOKEN"
	// AgentTokenFileVariable holds the path of a file with the agent token. It is read for each request, since an agent
	// writes another token when it restarts. AgentTokenVariable takes precedence.
	AgentTokenFileVariable = "SFTOKEN_AGENT_TOKEN_FILE" // #nosec G101 -- a variable's name
)

// UsesAgent reports whether apiURL is the address of an agent: a Unix socket (unix:///run/sftoken/agent.sock), or
// http at localhost or a loopback address while the environment has an agent token. Several addresses are the API's.
func UsesAgent(apiURL string) bool {
	addresses := Addresses(apiURL)
	if len(addresses) != 1 {
		return false
	}
	u, err := url.Parse(addresses[0])
	return err == nil && (u.Scheme == unixScheme || u.Scheme == "http" && sfoauth.IsLoopback(u.Hostname()) &&
		environmentToken() != nil)
}

const unixScheme = "unix"

// agent is how a source authenticates to an agent.
type agent struct {
	socket string                         // path of the Unix socket, which needs no token; empty: TCP
	token  func() (sfoauth.Secret, error) // nil with a socket
}

// environmentToken returns how to read the agent token of the environment, or nil if there is none.
func environmentToken() func() (sfoauth.Secret, error) {
	if token := strings.TrimSpace(os.Getenv(AgentTokenVariable)); token != "" {
		return fixedToken(token)
	}
	path := os.Getenv(AgentTokenFileVariable)
	if path == "" {
		return nil
	}
	return func() (sfoauth.Secret, error) {
		text, err := os.ReadFile(path) // #nosec G304 G703 -- the path is the caller's own setting
		if err != nil {
			return sfoauth.Secret{}, fmt.Errorf("%s: %w", AgentTokenFileVariable, err)
		}
		token := sfoauth.NewSecret(strings.TrimSpace(string(text)))
		if token.IsZero() {
			return token, fmt.Errorf("%s: %s is empty", AgentTokenFileVariable, path)
		}
		return token, nil
	}
}

func fixedToken(token string) func() (sfoauth.Secret, error) {
	secret := sfoauth.NewSecret(token)
	return func() (sfoauth.Secret, error) { return secret, nil }
}

// newAgent returns the agent at this address, or nil if it is the API's. given is that of WithAgentToken, or nil.
func newAgent(u *url.URL, given *agent) (*agent, error) {
	if u.Scheme == unixScheme {
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return nil, errors.New("sftoken: the address of a Unix socket must be like unix:///run/sftoken/agent.sock")
		}
		return &agent{socket: u.Path}, nil
	}
	isLocal := u.Scheme == "http" && sfoauth.IsLoopback(u.Hostname())
	if given != nil {
		if !isLocal {
			return nil, fmt.Errorf("sftoken: the agent token is sent to http at a loopback address only, not to %s", u.Host)
		}
		return given, nil
	}
	if token := environmentToken(); isLocal && token != nil {
		return &agent{token: token}, nil
	}
	return nil, nil //nolint:nilnil // the API's address
}

// client returns a client whose requests go through the Unix socket.
func (a *agent) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, unixScheme, a.socket)
		},
	}}
}

// authenticate adds the agent token to the request.
func (a *agent) authenticate(req *http.Request) error {
	if a.token == nil {
		return nil
	}
	token, err := a.token()
	if err != nil { // perhaps the agent is starting
		return newTransportError("no agent token", err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	return nil
}
