package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Health is what the daily check found out about one app.
type Health struct {
	App     string
	Version string        // AWSCURRENT
	Age     time.Duration // of the version that holds the pair; zero: it could not be read
	Overdue bool          // its rotation should have happened
	Err     error         // why the current pair does not log in; nil: it does
	Outage  bool          // Err says nothing of the pair: Salesforce or Secrets Manager is down, slow or limiting
	Warning string        // there is no pair yet to log in with, and how to store one; then Age and Err are zero
}

// Check logs in with the current pair of every app under the prefix, and changes nothing. What fails for one app is in its
// Health; the error is for failing to list them.
func (r *Rotator) Check(ctx context.Context, lister secretsmanager.ListSecretsAPIClient) ([]Health, error) {
	var found []Health
	pages := secretsmanager.NewListSecretsPaginator(lister, &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{r.Prefix}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return found, fmt.Errorf("listing the secrets under %s: %w", r.Prefix, err)
		}
		for _, entry := range page.SecretList {
			app, ok := strings.CutPrefix(aws.ToString(entry.Name), r.Prefix)
			if ok && appsecret.ValidName(app) {
				health := r.checkApp(ctx, app)
				health.Outage = isOutage(health.Err)
				found = append(found, health)
			}
		}
	}
	return found, nil
}

func (r *Rotator) checkApp(ctx context.Context, app string) Health {
	h := Health{App: app}
	secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, r.Prefix+app)
	if err != nil {
		h.Err = err
		return h
	}
	h.Overdue = secret.Overdue(time.Now())
	h.Version = secret.Holder(appsecret.Current)
	version, err := secret.Read(ctx, h.Version)
	switch {
	case err != nil:
		h.Err = err
		return h
	case version.IsPlaceholder():
		h.Warning = fill(app)
		return h
	}
	h.Age = time.Since(version.Created)
	h.Err = r.try(ctx, version)
	return h
}

func isOutage(err error) bool {
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
		return refused.Kind == sfoauth.Passing || refused.Kind == sfoauth.Limiting
	}
	return appsecret.IsProblem(err, appsecret.Unavailable)
}
