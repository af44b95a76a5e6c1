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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// snapshot is what a secret holds before a version is stored.
type snapshot struct {
	secret  *appsecret.Secret // nil if the secret does not exist
	current string            // the version with AWSCURRENT; may be empty
	fields  fields            // of that version; nil if it cannot be parsed
	err     error             // of parsing it
	named   []string          // known field names found in a value that cannot be parsed
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
			"check the app's name, --prefix and --profile, or create the secret with --create")
	case now.secret != nil && now.secret.IsReplica():
		return nil, checkPrimary(now.secret)
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
