package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/doctor"
)

// store stores one version of a secret.
type store struct {
	cmd              *cobra.Command
	client           *secretsmanager.Client
	app, name, label string
	login            login
	account          func(context.Context) string // the caller's, for messages about a secret that does not exist

	noVerify bool   // do not log in with the credentials
	force    bool   // store even if the last working version may lose its last label
	replace  bool   // drop the stored fields that are not passed
	create   bool   // create the secret if it does not exist
	kmsKey   string // encrypts a new secret; empty means the account's default key

	target       target             // the secret that is written
	version      *appsecret.Version // as stored
	verified     bool               // its credentials have logged in
	dropped      []string           // the fields that --replace drops
	keepPrevious string             // the version that must keep AWSPREVIOUS; empty means that AWSCURRENT gets it
}

// store stores a version and returns its ID. If it returns an error and no ID, nothing was stored.
func (s *store) store(file string) (version string, err error) {
	version, err = s.tryStore(s.cmd.Context(), file)
	if err != nil && version == "" {
		if _, usage := errors.AsType[*usageError](err); usage {
			return "", err
		}
		return "", fmt.Errorf("nothing was stored: %w", err)
	}
	return version, err
}

func (s *store) tryStore(ctx context.Context, file string) (string, error) {
	before, err := s.load(ctx)
	if err != nil {
		return "", err
	}
	given, err := interruptible(s.cmd, func() (fields, error) { return s.readInput(file, s.keptFields(before)) })
	if err == nil {
		err = requireBoth(given)
	}
	if err != nil {
		return "", err
	}
	// Load it again: the credentials may have been rotated during the prompt.
	if before, err = s.load(ctx); err != nil {
		return "", err
	}
	value, err := s.merge(before, given)
	if err != nil {
		return "", err
	}
	if err := s.check(ctx, before, value); err != nil {
		return "", err
	}
	return s.write(ctx, before, value)
}

// requireBoth returns an error if only the key or the secret is given: the stored other half belongs to other
// credentials.
func requireBoth(given fields) error {
	_, key := given["consumerKey"]
	_, secret := given["consumerSecret"]
	missing := "consumerSecret"
	if secret {
		missing = "consumerKey"
	}
	if key != secret {
		return fmt.Errorf("%s is missing: consumerKey and consumerSecret must be passed together", missing)
	}
	return nil
}

func (s *store) open(ctx context.Context) (*appsecret.Secret, error) {
	return appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
}

// check verifies a value before it is stored. The rotate function verifies a candidate.
func (s *store) check(ctx context.Context, before *snapshot, value string) error {
	for _, problem := range doctor.Examine(value, s.login.hosts) { // stored nevertheless: the functions accept it
		s.warn(problem.Found + ": " + problem.Fix)
	}
	if len(s.dropped) > 0 {
		s.warn("--replace drops stored fields: " + strings.Join(s.dropped, ", "))
	}
	if s.label != appsecret.Current {
		return nil
	}
	if !s.noVerify {
		if err := s.verify(ctx, before.secret != nil); err != nil {
			return err
		}
		s.verified = true
	}
	if before.secret == nil {
		return nil
	}
	if !s.force {
		keep, err := s.protectLastWorking(ctx, before.secret)
		if err != nil {
			return err
		}
		s.keepPrevious = keep
	}
	now, err := s.open(ctx)
	if err == nil && now.VersionWithLabel(appsecret.Current) != before.current {
		err = errors.New("another version has become AWSCURRENT in the meantime: try again")
	}
	return err
}

func (s *store) warn(text string) { newTerminal(s.cmd.ErrOrStderr()).warn(text) }

// write stores the value. If it returns an error, the value may be stored nevertheless.
func (s *store) write(ctx context.Context, before *snapshot, value string) (version string, err error) {
	// One token for all of the SDK's retries, so that a retry after a lost response adds no second version.
	token := newRequestToken()
	if before.secret == nil {
		return token, s.createSecret(ctx, value, token)
	}
	s.target.print(s.cmd.ErrOrStderr(), "writing")
	_, err = s.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &s.target.ARN, SecretString: &value, ClientRequestToken: &token, VersionStages: []string{s.label},
	})
	if err == nil {
		s.restorePrevious(ctx)
	}
	return token, err
}

func (s *store) createSecret(ctx context.Context, value, token string) error {
	s.missingTarget().print(s.cmd.ErrOrStderr(), "creating")
	input := &secretsmanager.CreateSecretInput{Name: &s.name, SecretString: &value, ClientRequestToken: &token}
	if s.kmsKey != "" {
		input.KmsKeyId = &s.kmsKey
	} else {
		s.warn("the account's default key, aws/secretsmanager, encrypts the secret. To use the deployment's own key, " +
			"pass its output KeyArn with --kms-key-id")
	}
	s.warn("this secret is not rotated, and no alarm watches it. A deployment of app.yaml creates a secret with both")
	out, err := s.client.CreateSecret(ctx, input)
	if err == nil {
		s.target = targetOf(s.name, aws.ToString(out.ARN))
	}
	return err
}

// waitForResult waits until the candidate is current or rejected, and returns its label: AWSCURRENT, REJECTED, or ""
// if that is not known.
func (s *store) waitForResult(version string, timeout time.Duration) (label string, err error) {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "waiting for the rotate function to try the credentials, which may take 10 minutes")
	seen := false
	err = poll(s.cmd.Context(), timeout, s.app, func(ctx context.Context) (bool, error) {
		secret, err := s.open(ctx)
		if err != nil {
			return false, err
		}
		isCandidate := secret.HasLabel(version, appsecret.Candidate)
		switch {
		case secret.HasLabel(version, appsecret.Current):
			label = appsecret.Current
		case secret.HasLabel(version, appsecret.Rejected):
			label = appsecret.Rejected
		case !seen || isCandidate: // the label may not be visible at once
			seen = isCandidate
			return false, nil
		// A rotation that uses a candidate stores its credentials in a version of its own.
		case s.hasCredentialsOf(ctx, secret, appsecret.Current):
			label = appsecret.Current
		case s.hasCredentialsOf(ctx, secret, appsecret.Rejected):
			label = appsecret.Rejected
		default:
			return false, withHint(errors.New("other credentials have been staged in place of these"),
				"see `sftoken secret status "+s.app+"`")
		}
		if label == appsecret.Rejected {
			return false, withHint(errors.New("the credentials are rejected by Salesforce: they are labelled REJECTED, and the "+
				"current ones stay"), "see the rotate function's log for the reason")
		}
		return true, nil
	})
	return label, err
}

// hasCredentialsOf reports whether the version with the label has the credentials that were stored.
func (s *store) hasCredentialsOf(ctx context.Context, secret *appsecret.Secret, label string) bool {
	id := secret.VersionWithLabel(label)
	if id == "" {
		return false
	}
	version, err := secret.Read(ctx, id)
	return err == nil && version.SameCredentials(s.version)
}
