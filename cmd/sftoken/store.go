package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
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

// snapshot is what a secret holds before a version is stored.
type snapshot struct {
	secret  *appsecret.Secret // nil if the secret does not exist
	current string            // the version with AWSCURRENT; may be empty
	fields  fields            // of that version; nil if it cannot be parsed
	err     error             // of parsing it
	named   []string          // known field names found in a value that cannot be parsed
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

// load reads what the secret holds now, and checks that a version may be stored in it.
func (s *store) load(ctx context.Context) (*snapshot, error) {
	now, err := s.loadCurrent(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case now.secret == nil && s.label != appsecret.Current:
		return nil, withHint(fmt.Errorf("there is no secret %s", s.missingTarget()),
			"create it first with `sftoken secret put "+s.app+" --create`")
	case now.secret == nil && !s.create:
		return nil, withHint(fmt.Errorf("there is no secret %s", s.missingTarget()),
			"check the app's name, --prefix and AWS_PROFILE, or create the secret with --create")
	case now.secret != nil && s.kmsKey != "":
		return nil, usagef("--kms-key-id is for a new secret: %s exists already", s.target)
	case now.err != nil && !s.replace:
		return nil, withHint(
			fmt.Errorf("cannot read the stored value (%w). Storing would lose %s", now.err, droppedText(now, nil)),
			"to replace it, pass every field, with --replace")
	}
	return now, nil
}

func (s *store) loadCurrent(ctx context.Context) (*snapshot, error) {
	secret, err := s.open(ctx)
	if isNotFound(err) {
		return &snapshot{fields: fields{}}, nil
	}
	if err != nil {
		return nil, err
	}
	now := &snapshot{secret: secret, current: secret.VersionWithLabel(appsecret.Current), fields: fields{}}
	s.target = targetOf(s.name, secret.ARN)
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.name})
	switch {
	case isNotFound(err): // the secret has no value
		return now, nil
	case err != nil:
		return nil, err
	}
	now.current = aws.ToString(out.VersionId)
	if out.SecretString == nil {
		now.fields, now.err = nil, errors.New("it is binary")
		return now, nil
	}
	if now.fields, now.err = appsecret.Fields(*out.SecretString); now.err != nil {
		now.fields, now.named = nil, fieldNames(*out.SecretString)
	}
	return now, nil
}

// quotedName matches what looks like the name of a field.
var quotedName = regexp.MustCompile(`"([A-Za-z_ -]{1,40})"\s*:`)

// fieldNames returns the known field names in a value that is not valid JSON. Anything else in the value may be secret.
func fieldNames(value string) []string {
	var names []string
	for _, match := range quotedName.FindAllStringSubmatch(value, -1) {
		name := match[1]
		if _, near := appsecret.NearMiss(name); (near || appsecret.IsField(name)) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// missingTarget identifies the secret that does not exist.
func (s *store) missingTarget() target {
	s.target = target{Secret: s.name, Region: s.client.Options().Region, Account: "unknown"}
	if s.account != nil {
		s.target.Account = s.account(s.cmd.Context())
	}
	return s.target
}

// droppedFields returns the stored fields that are not given.
func droppedFields(now *snapshot, given fields) []string {
	names := append(slices.Collect(maps.Keys(now.fields)), now.named...)
	names = slices.DeleteFunc(names, func(name string) bool { _, kept := given[name]; return kept })
	slices.Sort(names)
	if now.err != nil {
		names = append([]string{"the whole value"}, names...)
	}
	return names
}

func droppedText(now *snapshot, given fields) string {
	return strings.Join(droppedFields(now, given), ", ")
}

// keptFields returns the stored fields that stay as they are unless they are given.
func (s *store) keptFields(now *snapshot) fields {
	if s.replace {
		return fields{}
	}
	return maps.Clone(now.fields)
}

// merge returns the value to store. It returns an error if the functions could not use it.
func (s *store) merge(now *snapshot, given fields) (string, error) {
	merged := s.keptFields(now)
	maps.Copy(merged, given)
	value, version, err := usableValue(merged)
	if err != nil {
		if !s.replace && now.current != "" {
			if _, _, stored := usableValue(now.fields); stored != nil && !errors.Is(stored, errPlaceholder) {
				err = withHint(fmt.Errorf("%w. The stored value is invalid already", err), "to replace it, pass every field, "+
					"with --replace, which drops those that you do not pass: "+droppedText(now, given))
			}
		}
		return "", err
	}
	s.version = version
	if s.replace {
		s.dropped = droppedFields(now, given)
	}
	return value, nil
}

var errPlaceholder = errors.New("this is still the placeholder")

// usableValue returns the value of these fields, or an error if the functions could not use it.
func usableValue(all fields) (string, *appsecret.Version, error) {
	value, err := json.Marshal(all)
	if err != nil {
		return "", nil, err
	}
	version, err := appsecret.Parse("", string(value))
	switch {
	case err != nil:
		return "", nil, err
	case version.PrincipalsErr != nil:
		return "", nil, version.PrincipalsErr
	case version.IsPlaceholder():
		return "", nil, errPlaceholder
	}
	return string(value), version, nil
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
		if err := s.verify(ctx, s.version, before.secret != nil); err != nil {
			return err
		}
		s.verified = true
	}
	if before.secret == nil {
		return nil
	}
	if !s.force {
		keep, err := s.protectLastWorking(ctx, before.secret, s.version)
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
	fmt.Fprintln(s.cmd.ErrOrStderr(), "writing", s.target)
	_, err = s.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &s.target.ARN, SecretString: &value, ClientRequestToken: &token, VersionStages: []string{s.label},
	})
	if err == nil {
		s.restorePrevious(ctx)
	}
	return token, err
}

func (s *store) createSecret(ctx context.Context, value, token string) error {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "creating", s.missingTarget())
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
	err = poll(s.cmd.Context(), timeout, func(ctx context.Context) (bool, error) {
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
			return false, withHint(errors.New("Salesforce rejects the credentials: they are labelled REJECTED, and the current "+
				"ones stay"), "see the rotate function's log for the reason")
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
