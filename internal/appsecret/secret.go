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
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Client is the part of Secrets Manager that changing a secret needs; *secretsmanager.Client implements it.
type Client interface {
	Getter
	DescribeSecret(context.Context, *sm.DescribeSecretInput, ...func(*sm.Options)) (*sm.DescribeSecretOutput, error)
	PutSecretValue(context.Context, *sm.PutSecretValueInput, ...func(*sm.Options)) (*sm.PutSecretValueOutput, error)
	UpdateSecretVersionStage(
		context.Context, *sm.UpdateSecretVersionStageInput, ...func(*sm.Options),
	) (*sm.UpdateSecretVersionStageOutput, error)
	TagResource(context.Context, *sm.TagResourceInput, ...func(*sm.Options)) (*sm.TagResourceOutput, error)
}

// Secret is one app's secret as DescribeSecret or ListSecrets returned it. It follows no later change, not even one
// made through it: see Reopen.
type Secret struct {
	client Client

	ARN              string
	Name             string
	App              string
	RotationEnabled  bool
	RotationFunction string // ARN; empty: none
	Schedule         string // rate(30 days), cron(…); empty: none
	Created          time.Time
	Deleted          time.Time           // when it will be deleted; zero: never
	LastChanged      time.Time           // zero: never
	LastRotated      time.Time           // zero: never
	NextRotation     time.Time           // zero: none is due; in the past: one has failed or was missed
	Labels           map[string][]string // of each version, including those without a value
	Tags             map[string]string
	PrimaryRegion    string    // of a secret that has replicas or is one; empty: neither
	Replicas         []Replica // as Open found them, by region; List leaves them out
}

// ErrNotAnApp is in the error of opening a secret whose name is not that of an app's secret.
var ErrNotAnApp = errors.New("not an app's secret")

// Open describes the secret with this ARN or name, which must belong to an app under the prefix.
func Open(ctx context.Context, client Client, prefix, id string) (*Secret, error) {
	out, err := client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return nil, &Error{Secret: id, Kind: kindOf(err), Err: err}
	}
	s := &Secret{
		client: client, ARN: aws.ToString(out.ARN), Name: aws.ToString(out.Name),
		RotationEnabled: aws.ToBool(out.RotationEnabled), RotationFunction: aws.ToString(out.RotationLambdaARN),
		Schedule: schedule(out.RotationRules), Created: aws.ToTime(out.CreatedDate), Deleted: aws.ToTime(out.DeletedDate),
		LastChanged: aws.ToTime(out.LastChangedDate), LastRotated: aws.ToTime(out.LastRotatedDate),
		NextRotation: aws.ToTime(out.NextRotationDate), Labels: out.VersionIdsToStages, Tags: tags(out.Tags),
		PrimaryRegion: aws.ToString(out.PrimaryRegion), Replicas: replicas(out.ReplicationStatus),
	}
	if !s.setApp(prefix) {
		return nil, fmt.Errorf("secret %s: %w: its name must be %s<app>", s.Name, ErrNotAnApp, prefix)
	}
	return s, nil
}

// Reopen returns the secret as it is now.
func (s *Secret) Reopen(ctx context.Context) (*Secret, error) {
	return Open(ctx, s.client, strings.TrimSuffix(s.Name, s.App), s.ARN)
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

// Overdue reports whether the rotation should have happened a day ago: NextRotation is the end of the rotation window,
// and a failed rotation is retried for a while.
func (s *Secret) Overdue(now time.Time) bool {
	return !s.NextRotation.IsZero() && now.After(s.NextRotation.Add(24*time.Hour))
}

// HasLabel reports whether the version has the label.
func (s *Secret) HasLabel(version, label string) bool {
	return slices.Contains(s.Labels[version], label)
}

// VersionWithLabel returns the ID of the version that has the label; empty: none has it.
func (s *Secret) VersionWithLabel(label string) string {
	for _, version := range slices.Sorted(maps.Keys(s.Labels)) {
		if s.HasLabel(version, label) {
			return version
		}
	}
	return ""
}

// Read returns the version with this ID. Its errors are of type *Error; the Kind of a version without a value is
// NotFound.
func (s *Secret) Read(ctx context.Context, version string) (*Version, error) {
	v, err := read(ctx, s.client, s.Name, version, &sm.GetSecretValueInput{SecretId: &s.ARN, VersionId: &version})
	if err != nil {
		return nil, err
	}
	v.App = s.App
	return v, nil
}

// ReadAll returns every labelled version that is readable as an app's secret. It skips those without a value and
// malformed ones.
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

// Put stores a value under the version ID token and gives it the label. Repeating it with the same value changes
// nothing; with another value it fails. rotationToken is the one that came with a rotation step; empty: none.
func (s *Secret) Put(ctx context.Context, token, rotationToken, label, value string) error {
	input := &sm.PutSecretValueInput{
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

// MoveLabel moves the label to the version from the one that had it when the secret was opened. If the label has moved
// to a third version since, Secrets Manager rejects the request, and nothing changes.
func (s *Secret) MoveLabel(ctx context.Context, label, version string) error {
	from := s.VersionWithLabel(label)
	if from == version {
		return nil
	}
	input := &sm.UpdateSecretVersionStageInput{SecretId: &s.ARN, VersionStage: &label, MoveToVersionId: &version}
	if from != "" {
		input.RemoveFromVersionId = &from
	}
	if err := s.update(ctx, input); err != nil {
		return fmt.Errorf("moving %s of secret %s to version %s: %w", label, s.Name, version, err)
	}
	return nil
}

// RemoveLabel removes the label from the version. If the version does not have it, nothing changes.
func (s *Secret) RemoveLabel(ctx context.Context, label, version string) error {
	input := &sm.UpdateSecretVersionStageInput{SecretId: &s.ARN, VersionStage: &label, RemoveFromVersionId: &version}
	if err := s.update(ctx, input); err != nil {
		return fmt.Errorf("removing %s from version %s of secret %s: %w", label, version, s.Name, err)
	}
	return nil
}

// update changes a label. Secrets Manager rejects a change that was already made, by another invocation of the function
// or by a request whose response was lost. Here that is no error.
func (s *Secret) update(ctx context.Context, input *sm.UpdateSecretVersionStageInput) error {
	_, err := s.client.UpdateSecretVersionStage(ctx, input)
	if _, rejected := errors.AsType[*types.InvalidParameterException](err); !rejected {
		return err
	}
	now, failed := s.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &s.ARN})
	if failed != nil {
		return err
	}
	has := func(version *string) bool {
		return slices.Contains(now.VersionIdsToStages[*version], *input.VersionStage)
	}
	moved := input.MoveToVersionId == nil || has(input.MoveToVersionId)
	removed := input.RemoveFromVersionId == nil || !has(input.RemoveFromVersionId)
	if moved && removed {
		return nil
	}
	return err
}
