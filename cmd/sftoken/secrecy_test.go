package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestNothingSecretIsWritten injects every fault into real processes and collects all output of the functions and the
// commands. With -short it injects every eighth fault.
func TestNothingSecretIsWritten(t *testing.T) {
	t.Parallel()
	var written localaws.SyncBuffer
	s := newTestStack(t, &written, "SECRET_TTL=1s", "PROPAGATION=0s", "LOG_LEVEL=debug")
	credentials := s.credentialsJSON()
	least := 50_000 // bytes of output
	step := 1
	if testing.Short() {
		least, step = 5_000, 8
	}
	n := 0
	for _, fault := range sfoauthtest.AllFaults() {
		for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Token, sfoauthtest.Introspect, sfoauthtest.PrimaryCredentials} {
			// A rotation that hangs takes minutes, and writes no more than one that is cut off.
			if !fault.AppliesTo(at) || at == sfoauthtest.PrimaryCredentials && isSlow(fault) {
				continue
			}
			if n++; n%step == 0 {
				s.writeWithFault(t, &written, at, fault)
			}
		}
	}
	s.record(t, &written, ownerKey, "", "secret", "status", "crm")
	s.record(t, &written, ownerKey, "", "secret", "status", "crm", "--json")
	s.record(t, &written, ownerKey, "", "list")
	if code := s.record(t, &written, ownerKey, credentials, "secret", "put", "crm"); code != 0 {
		t.Errorf("secret put: exit %d", code)
	}
	text := written.String()
	for _, service := range []string{s.URL, s.AWSURL, s.OrgURL} {
		if !strings.Contains(text, " "+service+"/") {
			t.Errorf("--debug shows no request to %s", service)
		}
	}
	if len(text) < least {
		t.Errorf("only %d bytes were written", len(text))
	}
	keys := []string{functionKey.SecretAccessKey, functionKey.SessionToken, ownerKey.SecretAccessKey,
		billingKey.SecretAccessKey}
	found := 0
	for _, secret := range append(s.Org.Secrets(), keys...) {
		if len(secret) >= 8 && strings.Contains(text, secret) {
			found++
		}
	}
	if found > 0 {
		t.Errorf("%d of %d secrets, tokens and signatures are in the output", found, len(s.Org.Secrets()))
	}
	if violations := s.Org.Violations(); len(violations) > 0 {
		t.Errorf("invalid requests to Salesforce: %q", violations)
	}
}

// writeWithFault runs the commands that call the endpoint while the fault is injected.
func (s *testStack) writeWithFault(t *testing.T, to io.Writer, at sfoauthtest.Endpoint, fault sfoauthtest.Fault) {
	t.Helper()
	s.Org.InjectFault(at, fault, 0)
	defer s.Org.ClearFaults()
	const timeout = "--timeout=1s" // a 503 is not retried
	switch at {
	case sfoauthtest.Token:
		s.Token.Kill() // a cold start
		s.record(t, to, billingKey, "", "get", "crm", "-o", "none", timeout)
	case sfoauthtest.Introspect:
		s.Org.ClearFaults(sfoauthtest.Token)
		id := "0123456789abcdef"
		if token, err := s.SourceFor(billingKey).Fetch(t.Context()); err == nil {
			id = token.ID
		}
		s.record(t, to, billingKey, "", "get", "crm", "-o", "none", "--rejected", id, timeout)
		s.record(t, to, ownerKey, "", "revoke", "crm", timeout)
	default:
		s.record(t, to, ownerKey, "", "rotate", "crm")
	}
	if !isSlow(fault) {
		s.record(t, to, ownerKey, "", "doctor", "crm", timeout)
	}
}

// record runs a command as p with --debug, writes its output to a writer, and returns its exit code.
func (s *testStack) record(t *testing.T, to io.Writer, p localaws.Principal, stdin string, args ...string) int {
	t.Helper()
	stdout, stderr, code := s.command(t, p, stdin, append(args, "--debug")...)
	fmt.Fprint(to, stdout, stderr)
	return code
}

func isSlow(fault sfoauthtest.Fault) bool {
	for _, name := range []string{"hang", "latency", "trickling"} {
		if strings.HasPrefix(fault.String(), name) {
			return true
		}
	}
	return false
}
