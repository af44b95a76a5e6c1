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
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Health is what the daily check found out about one app.
type Health struct {
	Usage
	App       string
	VersionID string        // AWSCURRENT
	Age       time.Duration // of the version that holds the pair; zero: it could not be read
	Known     bool          // false: nothing is known of the secret
	Overdue   bool          // its rotation should have happened
	Err       error         // why the current pair does not log in; nil: it does
	Transient bool          // Err says nothing of the pair: Salesforce or Secrets Manager is down, slow or limiting, or the pair too new to work
	Skipped   bool          // it was found to log in less than an hour ago, and is not tried again; Age and Err are zero
	Warning   string        // there is no pair yet to log in with, and how to store one; then Age and Err are zero

	PrincipalsErr error // why the version's allowedPrincipals cannot be read
}

// checkInterval is how long a check that found an app well is good for. Each check costs a login, and anyone who may
// invoke the function can forge its event.
const checkInterval = time.Hour

// Check logs in with the current credentials of every app under the prefix, and changes nothing. What fails for one app is in its
// Health; the error is for failing to list them.
func (r *Rotator) Check(ctx context.Context) ([]Health, error) {
	apps, err := r.apps(ctx)
	var found []Health
	for i, app := range apps {
		run := r.begin()
		health := run.checkWithBudget(ctx, app, len(apps)-i)
		health.Usage = run.usage
		found = append(found, health)
	}
	return found, err
}

// apps lists the apps, or those that came before the error.
func (r *Rotator) apps(ctx context.Context) (apps []string, err error) {
	pages := secretsmanager.NewListSecretsPaginator(r.Lister, &secretsmanager.ListSecretsInput{
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

// checkWithBudget gives an app its share of the time that is left for so many: one whose org or secret does not answer must not take
// that of those behind it.
func (r *run) checkWithBudget(ctx context.Context, app string, left int) Health {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	return r.checkApp(ctx, app)
}

func (r *run) checkApp(ctx context.Context, app string) Health {
	h := Health{App: app}
	secret, err := appsecret.Open(ctx, r.Secrets, r.Prefix, r.Prefix+app)
	if err != nil {
		h.Err, h.Transient = err, isOutage(err)
		return h
	}
	h.Known, h.Overdue = true, secret.Overdue(time.Now())
	h.VersionID = secret.VersionWithLabel(appsecret.Current)
	version, err := secret.Read(ctx, h.VersionID)
	switch {
	case err != nil:
		h.Err, h.Transient = err, isOutage(err)
		return h
	case version.IsPlaceholder():
		h.Warning = placeholderHint(app)
		return h
	}
	h.PrincipalsErr = version.PrincipalsErr
	if h.Skipped = r.recentlyChecked(version); h.Skipped {
		return h
	}
	h.Age = time.Since(version.Created)
	token, err := r.try(ctx, version)
	if err == nil {
		err = checkSignature(secret, token)
	}
	if err == nil {
		r.noteChecked(version)
	}
	h.Err = err
	h.Transient = isOutage(err) || isInvalidClient(err) && time.Now().Before(r.propagationDeadline(version))
	return h
}

// checked is a check that found a version well.
type checked struct {
	version string
	at      time.Time
}

func (r *Rotator) recentlyChecked(version *appsecret.Version) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.checked[version.App]
	return ok && last.version == version.ID && time.Since(last.at) < checkInterval
}

func (r *Rotator) noteChecked(version *appsecret.Version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checked == nil {
		r.checked = map[string]checked{}
	}
	r.checked[version.App] = checked{version.ID, time.Now()}
}

func isOutage(err error) bool {
	if _, spent := errors.AsType[*loginbudget.ExhaustedError](err); spent {
		return true
	}
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
		return refused.Kind == sfoauth.Temporary || refused.Kind == sfoauth.RateLimited
	}
	return appsecret.IsKind(err, appsecret.Unavailable)
}
