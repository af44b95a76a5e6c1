package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// Health is the result of the daily check of one app.
type Health struct {
	Usage
	App       string
	VersionID string        // AWSCURRENT
	Age       time.Duration // of the version that holds the credentials; zero: it could not be read
	Known     bool          // the secret could be described
	Overdue   bool          // its rotation should have happened
	Err       error         // why the current credentials do not log in; nil: they do
	Transient bool          // Err says nothing about the credentials, or they may be too new to work
	Skipped   bool          // it was healthy less than an hour ago, and is not checked again; Age and Err are zero
	Warning   string        // there are no credentials yet, and how to store them; Age and Err are zero

	// PrimaryRegion is the region of the primary secret if this one is a replica; empty: it is not.
	PrimaryRegion string
	HasReplicas   bool  // other regions have replicas of the secret
	ReplicaErr    error // which replicas Secrets Manager has failed to update; nil: none

	PrincipalsErr error // why the version's allowedPrincipals cannot be read
	TagErr        error // why the secret's tag does not have the result
}

// checkInterval is how long the result of a check that found an app healthy stays valid. Each check costs a login, and
// anyone who may invoke the function can forge its event.
const checkInterval = time.Hour

// Check logs in with the current credentials of every app under the prefix, and tags each secret with the result,
// unless it is a replica. It changes nothing else. The failure of one app is in its Health. The error is about listing
// the apps.
func (r *Rotator) Check(ctx context.Context) ([]Health, error) {
	apps, err := r.apps(ctx)
	var results []Health
	for i, app := range apps {
		run := r.begin()
		health := run.checkWithTimeout(ctx, app, len(apps)-i)
		health.Usage = run.usage
		results = append(results, health)
	}
	return results, err
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

// checkWithTimeout gives an app its share of the time that is left, so that one whose org or secret does not respond
// takes none from the others. left is how many apps are still to be checked, including this one.
func (r *run) checkWithTimeout(ctx context.Context, app string, left int) Health {
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
		h.Err, h.Transient = err, isTransient(err)
		return h
	}
	r.checkSecret(ctx, secret, &h)
	// A check without a result leaves the last one in the tag, whose time tells how old it is.
	if !h.Transient && !h.Skipped && h.Warning == "" && !secret.IsReplica() {
		h.TagErr = secret.TagChecked(ctx, time.Now(), h.Err == nil)
	}
	return h
}

func (r *run) checkSecret(ctx context.Context, secret *appsecret.Secret, h *Health) {
	if secret.IsReplica() {
		h.PrimaryRegion = secret.PrimaryRegion // which knows the dates of the rotation
	} else {
		h.Known, h.Overdue = true, secret.Overdue(time.Now())
		h.HasReplicas, h.ReplicaErr = len(secret.Replicas) > 0, failedReplicas(secret)
	}
	h.VersionID = secret.VersionWithLabel(appsecret.Current)
	version, err := secret.Read(ctx, h.VersionID)
	if err != nil {
		h.Err, h.Transient = err, isTransient(err)
		return
	}
	if version.IsPlaceholder() {
		h.Warning = placeholderHint(secret.App)
		return
	}
	h.PrincipalsErr = version.PrincipalsErr
	if h.Skipped = r.recentlyChecked(version); h.Skipped {
		return
	}
	h.Age = time.Since(version.Created)
	token, err := r.try(ctx, version)
	// The primary credentials, which may have signed the token, may not have arrived in a replica yet.
	if err == nil && !secret.IsReplica() {
		err = checkSignature(secret, token)
	}
	if err == nil {
		r.noteChecked(version)
	}
	tooNew := isInvalidClient(err) && time.Now().Before(r.propagationDeadline(version))
	h.Err, h.Transient = err, isTransient(err) || tooNew
}

// checked is a check that found a version healthy.
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
