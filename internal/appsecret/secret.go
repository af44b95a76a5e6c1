package appsecret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Client is the part of Secrets Manager that changing a secret takes; *secretsmanager.Client has it.
type Client interface {
	Getter
	DescribeSecret(context.Context, *secretsmanager.DescribeSecretInput, ...func(*secretsmanager.Options)) (*secretsmanager.DescribeSecretOutput, error)
	PutSecretValue(context.Context, *secretsmanager.PutSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error)
	UpdateSecretVersionStage(context.Context, *secretsmanager.UpdateSecretVersionStageInput, ...func(*secretsmanager.Options)) (*secretsmanager.UpdateSecretVersionStageOutput, error)
}

// Secret is one app's secret as DescribeSecret saw it. It does not follow changes made elsewhere, nor those made through
// it: open it again for those.
type Secret struct {
	client Client

	ARN             string
	Name            string
	App             string
	RotationEnabled bool
	Schedule        string // rate(30 days), cron(…); empty: none
	Created         time.Time
	Deleted         time.Time           // when it is going to be deleted; zero: never
	LastChanged     time.Time           // zero: never
	LastRotated     time.Time           // zero: never
	NextRotation    time.Time           // zero: none is due; in the past: one has failed or was missed
	Labels          map[string][]string // of each version, those without a value included
}

// ErrNotAnApp is in the error of opening a secret whose name is not an app's.
var ErrNotAnApp = errors.New("it is not an app's")

// Open describes the secret with this ARN or name, which must belong to an app under the prefix.
func Open(ctx context.Context, client Client, prefix, id string) (*Secret, error) {
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return nil, &Error{Secret: id, Kind: kindOf(err), Err: err}
	}
	s := &Secret{
		client: client, ARN: aws.ToString(out.ARN), Name: aws.ToString(out.Name), RotationEnabled: aws.ToBool(out.RotationEnabled),
		Created: aws.ToTime(out.CreatedDate), LastChanged: aws.ToTime(out.LastChangedDate), LastRotated: aws.ToTime(out.LastRotatedDate),
		NextRotation: aws.ToTime(out.NextRotationDate), Labels: out.VersionIdsToStages,
		Schedule: schedule(out.RotationRules), Deleted: aws.ToTime(out.DeletedDate),
	}
	app, ok := strings.CutPrefix(s.Name, prefix)
	if !ok || !ValidName(app) {
		return nil, fmt.Errorf("secret %s: %w: its name must be %s<app>", s.Name, ErrNotAnApp, prefix)
	}
	s.App = app
	return s, nil
}

func schedule(rules *types.RotationRulesType) string {
	switch {
	case rules == nil:
		return ""
	case rules.ScheduleExpression == nil && rules.AutomaticallyAfterDays != nil:
		return fmt.Sprintf("rate(%d days)", *rules.AutomaticallyAfterDays)
	}
	return aws.ToString(rules.ScheduleExpression)
}

// Overdue says whether the rotation should have happened a day ago: NextRotation is the end of the rotation window, and a
// failed rotation is tried again for a while.
func (s *Secret) Overdue(now time.Time) bool {
	return !s.NextRotation.IsZero() && now.After(s.NextRotation.Add(24*time.Hour))
}

// HasLabel says whether the version has the label.
func (s *Secret) HasLabel(version, label string) bool {
	return slices.Contains(s.Labels[version], label)
}

// VersionWithLabel returns the id of the version that has the label; empty: none.
func (s *Secret) VersionWithLabel(label string) string {
	for _, version := range slices.Sorted(maps.Keys(s.Labels)) {
		if s.HasLabel(version, label) {
			return version
		}
	}
	return ""
}

// Read returns the version with this id. Its errors are of type *Error; a version without a value is Unknown.
func (s *Secret) Read(ctx context.Context, version string) (*Version, error) {
	v, err := read(ctx, s.client, s.Name, version, &secretsmanager.GetSecretValueInput{SecretId: &s.ARN, VersionId: &version})
	if err != nil {
		return nil, err
	}
	v.App = s.App
	return v, nil
}

// ReadAll returns every labelled version that can be read as an app's secret, and leaves out the others.
func (s *Secret) ReadAll(ctx context.Context) ([]*Version, error) {
	var versions []*Version
	for _, id := range slices.Sorted(maps.Keys(s.Labels)) {
		version, err := s.Read(ctx, id)
		switch {
		case IsKind(err, NotFound) || IsKind(err, Malformed):
		case err != nil:
			return nil, err
		default:
			versions = append(versions, version)
		}
	}
	return versions, nil
}

// Put stores a value under the version id token and gives it the label. Doing it again with the same value changes nothing;
// with another value it fails. rotationToken is what Secrets Manager sent along with a rotation step, if anything.
func (s *Secret) Put(ctx context.Context, token, rotationToken, label, value string) error {
	input := &secretsmanager.PutSecretValueInput{
		SecretId: &s.ARN, ClientRequestToken: &token, SecretString: &value, VersionStages: []string{label},
	}
	if rotationToken != "" {
		input.RotationToken = &rotationToken
	}
	if _, err := s.client.PutSecretValue(ctx, input); err != nil {
		return fmt.Errorf("storing version %s of secret %s: %w", token, s.Name, err)
	}
	return nil
}

// MoveLabel moves the label to the version, from the one that had it when the secret was opened. Where somebody else has moved
// it to a third one since, Secrets Manager refuses, and nothing changes.
func (s *Secret) MoveLabel(ctx context.Context, label, version string) error {
	from := s.VersionWithLabel(label)
	if from == version {
		return nil
	}
	input := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.ARN, VersionStage: &label, MoveToVersionId: &version}
	if from != "" {
		input.RemoveFromVersionId = &from
	}
	if err := s.update(ctx, input); err != nil {
		return fmt.Errorf("moving %s of secret %s to version %s: %w", label, s.Name, version, err)
	}
	return nil
}

// RemoveLabel takes the label off the version. Where it is off already, nothing changes.
func (s *Secret) RemoveLabel(ctx context.Context, label, version string) error {
	input := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.ARN, VersionStage: &label, RemoveFromVersionId: &version}
	if err := s.update(ctx, input); err != nil {
		return fmt.Errorf("taking %s off version %s of secret %s: %w", label, version, s.Name, err)
	}
	return nil
}

// update changes a label. What has happened already, by another invocation of the function or by a request whose answer was lost,
// Secrets Manager refuses; here it is no error.
func (s *Secret) update(ctx context.Context, input *secretsmanager.UpdateSecretVersionStageInput) error {
	_, err := s.client.UpdateSecretVersionStage(ctx, input)
	if _, refused := errors.AsType[*types.InvalidParameterException](err); !refused {
		return err
	}
	now, failed := s.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.ARN})
	if failed != nil {
		return err
	}
	has := func(version *string) bool {
		return slices.Contains(now.VersionIdsToStages[*version], *input.VersionStage)
	}
	if (input.MoveToVersionId == nil || has(input.MoveToVersionId)) && (input.RemoveFromVersionId == nil || !has(input.RemoveFromVersionId)) {
		return nil
	}
	return err
}
