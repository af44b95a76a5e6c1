package main

import (
	"errors"
	"io/fs"
	"net/url"
	"strings"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// agentRefused is the error if the address is an agent's and must be the API's.
func (f *apiFlags) agentRefused(text string) error {
	err := usagef("%s", text)
	if f.isLoopback() {
		err = withHint(err, unsetAgentToken)
	}
	return withHint(err, "pass --url: the deployment's output ApiUrl")
}

const (
	unsetAgentToken = "to call `sftoken local`, unset SFTOKEN_AGENT_TOKEN and SFTOKEN_AGENT_TOKEN_FILE: they make http " +
		"at a loopback address an agent's"
	setAgentToken = "for an agent, set SFTOKEN_AGENT_TOKEN_FILE; for `sftoken local`, export the variables that it prints"
)

// isLoopback reports whether the address is localhost or a loopback address, where an agent or `sftoken local` listens.
func (f *apiFlags) isLoopback() bool {
	u, err := url.Parse(strings.TrimSpace(f.address()))
	return err == nil && sfoauth.IsLoopback(u.Hostname())
}

// withAgentHint adds a hint to an error of a client of an agent, and to one that is due to settings of such a client.
func (f *apiFlags) withAgentHint(err error) error {
	response, isResponse := errors.AsType[*sftoken.Error](err)
	_, isWithoutCredentials := errors.AsType[*noCredentialsError](err)
	_, isUsage := errors.AsType[*usageError](err)
	switch {
	case err == nil:
		return nil
	case !sftoken.UsesAgent(f.address()) && f.isLoopback() && (isWithoutCredentials || isUsage):
		return withHint(err, setAgentToken)
	case !sftoken.UsesAgent(f.address()):
		return err
	case isResponse && response.Code == "" && f.isLoopback(): // API Gateway, as in `sftoken local`
		return withHint(err, unsetAgentToken)
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "run this as the user that runs the agent: no other can open its socket or token file")
	case !isResponse && sftoken.IsTemporary(err):
		return withHint(err, "is `sftoken serve` running?")
	}
	return err
}
