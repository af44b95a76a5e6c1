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

// login tries credentials as the rotate function does: it logs in, compares who they log in as with what the secret
// pins, and calls the REST API.
type login struct {
	hosts      sfoauth.AllowedHosts
	httpClient *http.Client // nil: http.DefaultClient
}

// loginTime bounds one try of credentials.
const loginTime = 30 * time.Second

// refusedError is that credentials do not work, and will not until a person changes something. Other errors of try
// are inconclusive.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// verify returns nil where the version works.
func (l login) verify(ctx context.Context, version *appsecret.Version) error {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	client := version.Client(l.hosts, l.httpClient)
	for again := true; ; again = false {
		token, err := l.token(ctx, client)
		if err != nil {
			return classify(err)
		}
		if err := version.VerifyIdentity(token); err != nil {
			return &refusedError{err}
		}
		err = client.Ping(ctx, token)
		ended, ok := errors.AsType[*sfoauth.Error](err)
		if err == nil || !again || !ok || ended.Status != http.StatusUnauthorized {
			return classify(err)
		}
		// The session may have been ended between the two calls: by an administrator, or a revocation of the same
		// token.
	}
}

// token logs in, and again for some seconds while Salesforce still works on another request for a token of the same
// app.
func (l login) token(ctx context.Context, client *sfoauth.Client) (*sfoauth.Token, error) {
	for tries := time.Duration(1); ; tries++ {
		token, err := client.Token(ctx)
		busy, ok := errors.AsType[*sfoauth.Error](err)
		if !ok || busy.Code != "invalid_grant" || busy.Kind != sfoauth.Temporary || tries == 4 {
			return token, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(tries * time.Second):
		}
	}
}

// classify tells a refusal from what says nothing about the credentials: an outage, a limit, an address from which
// alone they are refused.
func classify(err error) error {
	failed, ok := errors.AsType[*sfoauth.Error](err)
	if err == nil || !ok || failed.Kind != sfoauth.Permanent || strings.Contains(strings.ToLower(failed.Description), "ip restricted") {
		return err
	}
	if advice := failed.Hint(); advice != "" {
		return &refusedError{fmt.Errorf("%w: %s", err, advice)}
	}
	return &refusedError{err}
}

func isRefused(err error) bool {
	_, refused := errors.AsType[*refusedError](err)
	return refused
}

// verify tries the credentials that are about to be stored.
func (s *store) verify(ctx context.Context, version *appsecret.Version, exists bool) error {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "logging in with these credentials before they are stored")
	err := s.login.verify(ctx, version)
	stage := ""
	if exists {
		stage = "`sftoken secret stage " + s.app + " --wait` has the rotate function try them, from its own address and for as long as a new key may take; "
	}
	switch refused, _ := errors.AsType[*sfoauth.Error](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errInterrupted
	case isRefused(err) && refused != nil && refused.IsInvalidClient() && exists:
		return fmt.Errorf("the credentials are refused: %w. If they are less than 10 minutes old, `sftoken secret stage %s --wait` waits for them", err, s.app)
	case isRefused(err):
		return fmt.Errorf("the credentials do not work: %w", err)
	}
	return fmt.Errorf("whether the credentials work could not be found out from here: %w. %s--no-verify stores them untried", err, stage)
}

// protectLastWorking looks after the last version that is known to work. Secrets Manager moves AWSPREVIOUS to the version
// that is AWSCURRENT now; the one that has had it may then vanish. If AWSCURRENT is not known to work and AWSPREVIOUS
// may, credentials that have logged in are stored all the same, and keep is the version that must get AWSPREVIOUS
// back afterwards; others are refused. An empty keep: nothing is to be done.
func (s *store) protectLastWorking(ctx context.Context, secret *appsecret.Secret, value *appsecret.Version) (keep string, err error) {
	holder := secret.VersionWithLabel(appsecret.Previous)
	for _, label := range secret.Labels[holder] {
		if label != appsecret.Previous && label != appsecret.Pending { // AWSPENDING is taken off when a person stores a version
			return "", nil
		}
	}
	previous, err := s.readUsable(ctx, secret, holder)
	switch {
	case err != nil && s.verified:
		return holder, nil
	case err != nil:
		return "", fmt.Errorf("whether AWSPREVIOUS works cannot be found out: %w. --force stores all the same", err)
	case previous == nil || s.verified && previous.SameCredentials(value):
		return "", nil
	}
	why, fate := s.currentWorks(ctx, secret, value, previous)
	if why == nil || fate || isRefused(s.login.verify(ctx, previous)) {
		return "", nil
	}
	switch {
	case ctx.Err() != nil:
		return "", errInterrupted
	case s.verified:
		return holder, nil
	}
	return "", fmt.Errorf("AWSCURRENT is not known to work (%w), and version %s, AWSPREVIOUS, may be the last one that does: it would lose its last label. "+
		"Wait until the rotate function has gone back to it, 10 minutes at the most; store credentials that log in; or store with --force", why, holder)
}

// currentWorks returns nil where AWSCURRENT works, and otherwise why that is not known; refused reports that
// AWSPREVIOUS has the same credentials and is refused with it.
func (s *store) currentWorks(ctx context.Context, secret *appsecret.Secret, value, previous *appsecret.Version) (why error, refused bool) {
	current, err := s.readUsable(ctx, secret, secret.VersionWithLabel(appsecret.Current))
	switch {
	case err != nil:
		return err, false
	case current == nil:
		return errors.New("its value cannot be used"), false
	case s.verified && current.SameCredentials(value):
		return nil, false
	}
	why = s.login.verify(ctx, current)
	return why, previous.SameCredentials(current) && isRefused(why)
}

// restorePrevious gives AWSPREVIOUS back to the version that must keep it.
func (s *store) restorePrevious(ctx context.Context, keep string) {
	if keep == "" {
		return
	}
	now, err := appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
	if err == nil {
		err = now.MoveLabel(ctx, appsecret.Previous, keep)
	}
	if err != nil {
		s.warning(fmt.Sprintf("version %s, which may work, has lost its last label, AWSPREVIOUS, to one that is not known to: %v", keep, err))
	}
}

// readUsable reads a version; nil: there is none, or its value cannot have worked.
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
