package appsecret

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// ListClient is the part of Secrets Manager that listing secrets needs; *secretsmanager.Client implements it.
type ListClient interface {
	Client
	sm.ListSecretsAPIClient
}

// List returns the apps' secrets under the prefix by name, including those that are to be deleted. It skips secrets
// whose names are not those of apps.
func List(ctx context.Context, client ListClient, prefix string) ([]*Secret, error) {
	input := &sm.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}
	if prefix != "" {
		input.Filters = []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}
	}
	var secrets []*Secret
	pages := sm.NewListSecretsPaginator(client, input)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the secrets: %w", err)
		}
		for _, e := range page.SecretList {
			s := &Secret{
				client: client, ARN: aws.ToString(e.ARN), Name: aws.ToString(e.Name),
				RotationEnabled: aws.ToBool(e.RotationEnabled), RotationFunction: aws.ToString(e.RotationLambdaARN),
				Schedule: schedule(e.RotationRules), Created: aws.ToTime(e.CreatedDate), Deleted: aws.ToTime(e.DeletedDate),
				LastChanged: aws.ToTime(e.LastChangedDate), LastRotated: aws.ToTime(e.LastRotatedDate),
				NextRotation: aws.ToTime(e.NextRotationDate), Labels: e.SecretVersionsToStages, Tags: tags(e.Tags),
				PrimaryRegion: aws.ToString(e.PrimaryRegion),
			}
			if s.setApp(prefix) {
				secrets = append(secrets, s)
			}
		}
	}
	slices.SortFunc(secrets, func(a, b *Secret) int { return cmp.Compare(a.App, b.App) })
	return secrets, nil
}

// setApp derives the app's name, and reports whether the secret is an app's.
func (s *Secret) setApp(prefix string) bool {
	app, ok := strings.CutPrefix(s.Name, prefix)
	s.App = app
	return ok && ValidName(app)
}

func tags(list []types.Tag) map[string]string {
	tags := map[string]string{}
	for _, tag := range list {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags
}

// Dates returns when each version with a value was created. It leaves out versions without labels.
func Dates(ctx context.Context, client sm.ListSecretVersionIdsAPIClient, arn string) (map[string]time.Time, error) {
	dates := map[string]time.Time{}
	pages := sm.NewListSecretVersionIdsPaginator(client, &sm.ListSecretVersionIdsInput{SecretId: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("the dates of the versions: %w", err)
		}
		for _, version := range page.Versions {
			dates[aws.ToString(version.VersionId)] = aws.ToTime(version.CreatedDate)
		}
	}
	return dates, nil
}
