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

// store is one version being stored.
type store struct {
	cmd              *cobra.Command
	client           *secretsmanager.Client
	app, name, label string
	login            login
	account          func(context.Context) string // that of the credentials, for a secret that is not there yet

	noVerify bool   // do not log in with the credentials
	force    bool   // store though the last version that works may lose its last label
	replace  bool   // drop the fields that are stored and not given
	create   bool   // make the secret where there is none
	kmsKey   string // that a new secret is encrypted with; empty: the account's default key

	to       target             // what is written
	stored   *appsecret.Version // as it was sent
	verified bool               // its credentials have logged in
	lost     []string           // what --replace has dropped
	keep     string             // the version that must keep AWSPREVIOUS; empty: it follows AWSCURRENT, as Secrets Manager has it
}

// snapshot is what a secret holds before a version is stored.
type snapshot struct {
	secret *appsecret.Secret // nil: there is no such secret
	base   string            // the version that is AWSCURRENT; empty: none
	fields fields            // of that version; nil: it cannot be read
	err    error             // why it cannot be read
	named  []string          // the fields that it seems to have, where it cannot be read
}

// store stores a version and returns its id. Where it fails, nothing was stored.
func (s *store) store(file string) (version string, err error) {
	ctx := s.cmd.Context()
	version, err = s.try(ctx, file)
	if err != nil && version == "" {
		if _, usage := errors.AsType[*usageError](err); usage {
			return "", err
		}
		return "", fmt.Errorf("nothing was stored: %w", err)
	}
	return version, err
}

func (s *store) try(ctx context.Context, file string) (string, error) {
	now, err := s.load(ctx)
	if err == nil {
		err = s.checkMergeable(now)
	}
	if err != nil {
		return "", err
	}
	given, err := interruptible(s.cmd, func() (fields, error) { return s.readInput(file, s.keptFields(now)) })
	if err == nil {
		err = requireBoth(given)
	}
	if err != nil {
		return "", err
	}
	// Once more: what was read before somebody typed may be the pair before by now.
	if now, err = s.load(ctx); err == nil {
		err = s.checkMergeable(now)
	}
	if err != nil {
		return "", err
	}
	value, err := s.merge(now, given)
	if err != nil {
		return "", err
	}
	if err := s.check(ctx, now, value); err != nil {
		return "", err
	}
	return s.write(ctx, now, value)
}

// requireBoth refuses half of what logs in: the other half that is stored belongs to other credentials.
func requireBoth(given fields) error {
	_, key := given["consumerKey"]
	_, secret := given["consumerSecret"]
	switch {
	case key && !secret:
		return errors.New("consumerSecret is missing: consumerKey and consumerSecret must be given together")
	case secret && !key:
		return errors.New("consumerKey is missing: consumerKey and consumerSecret must be given together")
	}
	return nil
}

// load reads what the secret holds now.
func (s *store) load(ctx context.Context) (*snapshot, error) {
	secret, err := appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
	if isNotFound(err) {
		return &snapshot{fields: fields{}}, nil
	}
	if err != nil {
		return nil, err
	}
	now := &snapshot{secret: secret, base: secret.VersionWithLabel(appsecret.Current), fields: fields{}}
	s.to = targetOf(s.name, secret.ARN)
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.name})
	switch {
	case isNotFound(err): // a secret without a value
		return now, nil
	case err != nil:
		return nil, err
	}
	now.base = aws.ToString(out.VersionId)
	if out.SecretString == nil {
		now.fields, now.err = nil, errors.New("it is binary")
		return now, nil
	}
	if now.fields, now.err = appsecret.Fields(*out.SecretString); now.err != nil {
		now.fields, now.named = nil, seeming(*out.SecretString)
	}
	return now, nil
}

// quotedName is what a field's name looks like in a value that is not JSON as a whole.
var quotedName = regexp.MustCompile(`"([A-Za-z_ -]{1,40})"\s*:`)

// seeming returns the known fields that a value names which cannot be read. What else it holds may be secret.
func seeming(value string) []string {
	var names []string
	for _, match := range quotedName.FindAllStringSubmatch(value, -1) {
		if _, near := appsecret.NearMiss(match[1]); (near || appsecret.IsField(match[1])) && !slices.Contains(names, match[1]) {
			names = append(names, match[1])
		}
	}
	slices.Sort(names)
	return names
}

// checkMergeable refuses what would be lost or made without anybody having asked for it.
func (s *store) checkMergeable(now *snapshot) error {
	switch {
	case now.secret == nil && s.label != appsecret.Current:
		return fmt.Errorf("there is no secret %s: begin with `sftoken secret put %s --create`", s.missingTarget(), s.app)
	case now.secret == nil && !s.create:
		return fmt.Errorf("there is no secret %s. Check the app's name, --prefix and AWS_PROFILE; --create makes it", s.missingTarget())
	case now.secret != nil && s.kmsKey != "":
		return &usageError{fmt.Errorf("--kms-key-id is for a secret that --create makes: %s is there already", s.to)}
	case now.err != nil && !s.replace:
		return fmt.Errorf("the stored value cannot be read (%w), and storing would lose %s. To replace it, give every field, with --replace", now.err, losses(now, nil))
	}
	return nil
}

// missingTarget names the secret that there is not, and where it was looked for.
func (s *store) missingTarget() target {
	s.to = target{Secret: s.name, Region: s.client.Options().Region, Account: "unknown"}
	if s.account != nil {
		s.to.Account = s.account(s.cmd.Context())
	}
	return s.to
}

// losses names what is stored and not among the given fields.
func losses(now *snapshot, given fields) string {
	return strings.Join(lostFields(now, given), ", ")
}

func lostFields(now *snapshot, given fields) []string {
	names := slices.DeleteFunc(append(slices.Collect(maps.Keys(now.fields)), now.named...), func(name string) bool {
		_, kept := given[name]
		return kept
	})
	slices.Sort(names)
	if now.err == nil {
		return names
	}
	return append([]string{"the whole value"}, names...)
}

// keptFields are the stored fields that stay as they are where they are not given.
func (s *store) keptFields(now *snapshot) fields {
	if s.replace {
		return fields{}
	}
	return maps.Clone(now.fields)
}

// merge returns the value to store, and refuses one that the functions could not use as it is meant.
func (s *store) merge(now *snapshot, given fields) (string, error) {
	merged := s.keptFields(now)
	maps.Copy(merged, given)
	value, parsed, err := usableValue(merged)
	if err != nil && !s.replace && now.base != "" {
		if _, _, stored := usableValue(now.fields); stored != nil && !errors.Is(stored, errPlaceholder) {
			err = fmt.Errorf("%w. The stored value has a fault already: to replace it, give every field, with --replace, which drops those that are not given: %s",
				err, losses(now, given))
		}
	}
	if err != nil {
		return "", err
	}
	s.stored = parsed
	if s.replace {
		s.lost = lostFields(now, given)
	}
	return value, nil
}

var errPlaceholder = errors.New("this is still the placeholder")

// usableValue is a value of these fields, if the functions can use it as it is meant.
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

// check is what is made sure of before a value is stored that has been read already.
func (s *store) check(ctx context.Context, now *snapshot, value string) error {
	s.warn(value)
	if s.label != appsecret.Current { // the rotate function tries it
		return nil
	}
	if !s.noVerify {
		if err := s.verify(ctx, s.stored, now.secret != nil); err != nil {
			return err
		}
		s.verified = true
	}
	if now.secret == nil {
		return nil
	}
	if !s.force {
		keep, err := s.protectLastWorking(ctx, now.secret, s.stored)
		if err != nil {
			return err
		}
		s.keep = keep
	}
	again, err := appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
	if err == nil && again.VersionWithLabel(appsecret.Current) != now.base {
		err = errors.New("another version has become AWSCURRENT meanwhile: try again")
	}
	return err
}

// warn prints what looks wrong with a value. It is stored all the same: what the functions accept is their setting.
func (s *store) warn(value string) {
	for _, odd := range doctor.Examine(value, s.login.hosts) {
		s.warning(odd.Found + ": " + odd.Fix)
	}
	if len(s.lost) > 0 {
		s.warning("--replace drops what is stored: " + strings.Join(s.lost, ", "))
	}
}

func (s *store) warning(text string) {
	newTerminal(s.cmd.ErrOrStderr()).column("warning: ", 9, text)
}

// write stores the value. Its error leaves it open whether it is stored.
func (s *store) write(ctx context.Context, now *snapshot, value string) (version string, err error) {
	// The token is made once, so that the SDK's retries after a lost answer find the version there.
	token := newRequestToken()
	if now.secret != nil {
		s.announce("writing", s.to)
		_, err = s.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &s.to.ARN, SecretString: &value, ClientRequestToken: &token, VersionStages: []string{s.label},
		})
		if err == nil {
			s.restorePrevious(ctx, s.keep)
		}
		return token, err
	}
	s.announce("creating", s.missingTarget())
	input := &secretsmanager.CreateSecretInput{Name: &s.name, SecretString: &value, ClientRequestToken: &token}
	if s.kmsKey != "" {
		input.KmsKeyId = &s.kmsKey
	} else {
		s.warning("the secret is encrypted with the account's default key, aws/secretsmanager; the deployment's own is its output KeyArn: --kms-key-id")
	}
	s.warning("nothing rotates a secret that is made so, and no alarm watches it: a deployment of app.yaml makes one with both")
	out, err := s.client.CreateSecret(ctx, input)
	if err == nil {
		s.to = targetOf(s.name, aws.ToString(out.ARN))
	}
	return token, err
}

func (s *store) announce(doing string, to target) {
	fmt.Fprintln(s.cmd.ErrOrStderr(), doing, to)
}

// waitForResult waits until the candidate has been made current or refused, and returns the label that it then has: empty
// where that is not known.
func (s *store) waitForResult(version string, timeout time.Duration) (label string, err error) {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "waiting for the rotate function to try it; it may take 10 minutes")
	seen := false
	err = poll(s.cmd.Context(), timeout, func(ctx context.Context) (bool, error) {
		secret, err := appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
		if err != nil {
			return false, err
		}
		switch {
		case secret.HasLabel(version, appsecret.Current):
			label = appsecret.Current
		case secret.HasLabel(version, appsecret.Rejected):
			label = appsecret.Rejected
		case !seen || secret.HasLabel(version, appsecret.Candidate):
			seen = secret.HasLabel(version, appsecret.Candidate)
			return false, nil
		// A rotation that takes a candidate stores its pair as a version of its own.
		case s.hasCredentialsOf(ctx, secret, appsecret.Current):
			label = appsecret.Current
		case s.hasCredentialsOf(ctx, secret, appsecret.Rejected):
			label = appsecret.Rejected
		default:
			return false, fmt.Errorf("another pair has been stored in place of this one: see `sftoken secret status %s`", s.app)
		}
		if label == appsecret.Rejected {
			return false, errors.New("the pair is refused by Salesforce: it is labelled REJECTED, and the current one stays; the rotate function's log says why")
		}
		return true, nil
	})
	return label, err
}

// hasCredentialsOf says whether the version with the label holds the pair that was stored.
func (s *store) hasCredentialsOf(ctx context.Context, secret *appsecret.Secret, label string) bool {
	holder := secret.VersionWithLabel(label)
	if holder == "" {
		return false
	}
	version, err := secret.Read(ctx, holder)
	return err == nil && version.SameCredentials(s.stored)
}
