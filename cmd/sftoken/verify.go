package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// login verifies credentials as the rotate function does: it logs in, compares the org and user with those in the
// secret, and calls the REST API.
type login struct {
	hosts      sfoauth.AllowedHosts
	httpClient *http.Client // nil means http.DefaultClient
}

// loginTimeout bounds the verification of one version.
const loginTimeout = 30 * time.Second

// refusedError is the error for credentials that fail permanently. Other errors of login.verify are inconclusive.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func isRefused(err error) bool {
	_, refused := errors.AsType[*refusedError](err)
	return refused
}

// verify returns nil if the version's credentials work.
func (l login) verify(ctx context.Context, version *appsecret.Version) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	client := version.Client(l.hosts, l.httpClient)
	for retry := true; ; retry = false {
		token, err := l.token(ctx, client)
		if err != nil {
			return classify(err)
		}
		if err := version.VerifyIdentity(token); err != nil {
			return &refusedError{err}
		}
		err = client.Ping(ctx, token)
		rejected, ok := errors.AsType[*sfoauth.Error](err)
		if err == nil || !retry || !ok || rejected.Status != http.StatusUnauthorized {
			return classify(err)
		}
		// The session may have ended between the two calls: an administrator ended it, or the same token was revoked.
	}
}

// token logs in. It tries up to four times while Salesforce processes another token request of the same app.
func (l login) token(ctx context.Context, client *sfoauth.Client) (*sfoauth.Token, error) {
	for attempt := 1; ; attempt++ {
		token, err := client.Token(ctx)
		failed, ok := errors.AsType[*sfoauth.Error](err)
		if !ok || !failed.IsBusy() || attempt == 4 {
			return token, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Duration(attempt) * time.Second):
		}
	}
}

// classify returns a refusedError for a permanent error of the credentials. An outage, a limit or an IP range that
// excludes this machine says nothing about them.
func classify(err error) error {
	failed, ok := errors.AsType[*sfoauth.Error](err)
	ipRestricted := ok && strings.Contains(strings.ToLower(failed.Description), "ip restricted")
	if err == nil || !ok || failed.Kind != sfoauth.Permanent || ipRestricted {
		return err
	}
	if hint := failed.Hint(); hint != "" {
		err = withHint(err, hint)
	}
	return &refusedError{err}
}

// verify verifies the credentials that are about to be stored.
func (s *store) verify(ctx context.Context, exists bool) error {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "logging in with these credentials before they are stored")
	err := s.login.verify(ctx, s.version)
	stage := "`sftoken secret stage " + s.app + " --wait`"
	switch refused, _ := errors.AsType[*sfoauth.Error](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errInterrupted
	case isRefused(err) && refused != nil && refused.IsInvalidClient() && exists:
		return withHint(fmt.Errorf("the credentials are rejected by Salesforce: %w", err),
			"if they are less than 10 minutes old, "+stage+" waits until they work")
	case isRefused(err):
		return fmt.Errorf("the credentials do not work: %w", err)
	}
	err = withHint(fmt.Errorf("cannot verify the credentials from this machine: %w", err),
		"--no-verify stores them without the check")
	if exists {
		err = withHint(err, stage+" has the rotate function try them, from its own address and "+
			"for as long as a new key may take")
	}
	return err
}

// protectLastWorking makes sure that storing a version does not remove the last label of the last working version.
// Secrets Manager moves AWSPREVIOUS to the version that is AWSCURRENT now. If that one is not known to work and the
// one with AWSPREVIOUS may, verified credentials are stored and keep is the version that must get AWSPREVIOUS back
// afterwards. Unverified ones are refused. If keep is empty, there is nothing to do.
func (s *store) protectLastWorking(ctx context.Context, secret *appsecret.Secret) (keep string, err error) {
	id := secret.VersionWithLabel(appsecret.Previous)
	for _, label := range secret.Labels[id] {
		if label != appsecret.Previous && label != appsecret.Pending { // AWSPENDING comes off when a person stores a version
			return "", nil
		}
	}
	previous, err := s.readUsable(ctx, secret, id)
	switch {
	case err != nil && s.verified:
		return id, nil
	case err != nil:
		return "", withHint(fmt.Errorf("cannot find out whether AWSPREVIOUS works: %w", err), "--force stores nevertheless")
	case previous == nil || s.verified && previous.SameCredentials(s.version):
		return "", nil
	}
	bothRefused, problem := s.currentProblem(ctx, secret, previous)
	if problem == nil || bothRefused || isRefused(s.login.verify(ctx, previous)) {
		return "", nil
	}
	switch {
	case ctx.Err() != nil:
		return "", errInterrupted
	case s.verified:
		return id, nil
	}
	return "", withHint(
		fmt.Errorf("AWSCURRENT is not known to work (%w), and version %s, AWSPREVIOUS, may be the last one that does. "+
			"It would lose its last label", problem, id),
		"wait up to 10 minutes until the rotate function has restored it, store credentials that log in, or pass --force")
}

// currentProblem returns no problem if AWSCURRENT is known to work, or else the reason why not. It also reports whether
// AWSPREVIOUS has the same credentials and both are refused.
func (s *store) currentProblem(
	ctx context.Context, secret *appsecret.Secret, previous *appsecret.Version,
) (bothRefused bool, problem error) {
	current, err := s.readUsable(ctx, secret, secret.VersionWithLabel(appsecret.Current))
	switch {
	case err != nil:
		return false, err
	case current == nil:
		return false, errors.New("its value is not usable")
	case s.verified && current.SameCredentials(s.version):
		return false, nil
	}
	problem = s.login.verify(ctx, current)
	return previous.SameCredentials(current) && isRefused(problem), problem
}

// restorePrevious gives AWSPREVIOUS back to the version that must keep it.
func (s *store) restorePrevious(ctx context.Context) {
	if s.keepPrevious == "" {
		return
	}
	now, err := s.open(ctx)
	if err == nil {
		err = now.MoveLabel(ctx, appsecret.Previous, s.keepPrevious)
	}
	if err != nil {
		s.warn(fmt.Sprintf("version %s, which may work, has lost its last label, AWSPREVIOUS, "+
			"to one that is not known to work: %v",
			s.keepPrevious, err))
	}
}

// readUsable reads a version. It returns nil if there is none, or if its value cannot work.
func (s *store) readUsable(ctx context.Context, secret *appsecret.Secret, id string) (*appsecret.Version, error) {
	if id == "" {
		return nil, nil
	}
	version, err := secret.Read(ctx, id)
	switch {
	case appsecret.IsKind(err, appsecret.NotFound), appsecret.IsKind(err, appsecret.Malformed):
		return nil, nil
	case err != nil || version.IsPlaceholder():
		return nil, err
	}
	return version, nil
}
