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
	App       string
	Version   string        // AWSCURRENT
	Age       time.Duration // of the version that holds the pair; zero: it could not be read
	Described bool          // false: nothing is known of the secret
	Overdue   bool          // its rotation should have happened
	Err       error         // why the current pair does not log in; nil: it does
	Outage    bool          // Err says nothing of the pair: Salesforce or Secrets Manager is down, slow or limiting, or the pair too new to work
	Warning   string        // there is no pair yet to log in with, and how to store one; then Age and Err are zero
}

// Check logs in with the current pair of every app under the prefix, and changes nothing. What fails for one app is in its
// Health; the error is for failing to list them.
func (r *Rotator) Check(ctx context.Context, lister secretsmanager.ListSecretsAPIClient) ([]Health, error) {
	apps, err := r.apps(ctx, lister)
	var found []Health
	for i, app := range apps {
		found = append(found, r.checkInTime(ctx, app, len(apps)-i))
	}
	return found, err
}

// apps lists the apps, or those that came before the error.
func (r *Rotator) apps(ctx context.Context, lister secretsmanager.ListSecretsAPIClient) (apps []string, err error) {
	pages := secretsmanager.NewListSecretsPaginator(lister, &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{r.Prefix}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return apps, fmt.Errorf("listing the secrets under %s: %w", r.Prefix, err)
		}
		for _, entry := range page.SecretList {
			app, ok := strings.CutPrefix(aws.ToString(entry.Name), r.Prefix)
			if ok && appsecret.ValidName(app) {
				apps = append(apps, app)
			}
		}
	}
	return apps, nil
}

// checkInTime gives an app its share of the time that is left for so many: one whose org or secret does not answer must not take
// that of those behind it.
func (r *Rotator) checkInTime(ctx context.Context, app string, left int) Health {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	return r.checkApp(ctx, app)
}

func (r *Rotator) checkApp(ctx context.Context, app string) Health {
	h := Health{App: app}
	secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, r.Prefix+app)
	if err != nil {
		h.Err, h.Outage = err, isOutage(err)
		return h
	}
	h.Described, h.Overdue = true, secret.Overdue(time.Now())
	h.Version = secret.Holder(appsecret.Current)
	version, err := secret.Read(ctx, h.Version)
	switch {
	case err != nil:
		h.Err, h.Outage = err, isOutage(err)
		return h
	case version.IsPlaceholder():
		h.Warning = fill(app)
		return h
	}
	h.Age = time.Since(version.Created)
	h.Err = r.try(ctx, version)
	h.Outage = isOutage(h.Err) || refusesPair(h.Err) && time.Now().Before(r.settled(version))
	return h
}

func isOutage(err error) bool {
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
		return refused.Kind == sfoauth.Passing || refused.Kind == sfoauth.Limiting
	}
	return appsecret.IsProblem(err, appsecret.Unavailable)
}
