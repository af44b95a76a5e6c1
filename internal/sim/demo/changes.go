package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// changes rotates, stages new credentials, rolls wrong ones back and handles a leak, while callers fetch tokens.
func (d *demo) changes(ctx context.Context) error {
	loginsBefore := d.logins()
	l := d.startLoad(ctx)
	defer l.stop()
	for _, step := range []func(context.Context, *load) error{d.rotateOnSchedule, d.takeCandidate, d.rollBack,
		d.handleLeak} {
		if err := step(ctx, l); err != nil {
			return err
		}
		if err := d.stack.WaitIdle(ctx); err != nil {
			return err
		}
	}
	time.Sleep(secretTTL + 200*time.Millisecond) // every instance reads the last version
	took := l.end()
	if len(l.failures) > 0 {
		return fmt.Errorf("%w: %d of %d requests failed, the first with: %w", errCheckFailed, len(l.failures), len(took),
			l.failures[0])
	}
	rotations := 0
	for _, line := range d.log.Lines() {
		if strings.Contains(line, `"Rotations":1`) {
			rotations++
		}
	}
	if err := d.check(l.dead.Load() == 0,
		"Meanwhile %d callers fetched tokens. No request failed, and every token worked when it was returned. "+
			"Tokens returned while the leak was handled are not checked, because they may be revoked:", callers); err != nil {
		return err
	}
	table := tabwriter.NewWriter(d.Out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "      vends\tfailures\trotations\tlogins\tp50\tp99\t\n")
	fmt.Fprintf(table, "      %d\t%d\t%d\t%d\t%s\t%s\t\n",
		len(took), len(l.failures), rotations, d.logins()-loginsBefore, percentile(took, 50), percentile(took, 99))
	return table.Flush()
}

// waitForSecret waits until condition holds for the secret.
func (d *demo) waitForSecret(ctx context.Context, what string, condition func(*appsecret.Secret) bool) error {
	return waitFor(ctx, what, func() (bool, error) {
		secret, err := d.stack.Secret(ctx)
		return err == nil && condition(secret), err
	})
}

func (d *demo) rotateOnSchedule(ctx context.Context, _ *load) error {
	secret, err := d.stack.Secret(ctx)
	if err != nil {
		return err
	}
	old := secret.VersionWithLabel(appsecret.Current)
	oldKey, oldSecret := d.stack.App.Credentials()
	early := d.stack.AWS.RunDue(ctx)
	d.stack.SetClockOffset(0)
	due := d.stack.AWS.RunDue(ctx)
	if secret, err = d.stack.Secret(ctx); err != nil {
		return err
	}
	newKey, newSecret := d.stack.App.Credentials()
	rotated := len(early) == 0 && len(due) == 1 && secret.VersionWithLabel(appsecret.Current) != old && newKey != oldKey &&
		d.stack.Org.CanLogin(newKey, newSecret)
	staged := d.stack.App.Staged()
	grace := len(staged) == 1 && staged[0].Key == oldKey && staged[0].State == "Rotated" &&
		d.stack.Org.CanLogin(oldKey, oldSecret)
	return d.check(rotated && grace,
		"After %d days the schedule rotates the credentials: new ones are staged at Salesforce, tested, "+
			"promoted, and labelled AWSCURRENT. The old ones work for a grace period.", stack.RotationDays)
}

func (d *demo) takeCandidate(ctx context.Context, _ *load) error {
	oldKey, oldSecret := d.stack.App.Credentials()
	key, secret := d.stack.App.Regenerate()
	version, err := d.store(ctx, key, secret, appsecret.Candidate)
	if err != nil {
		return err
	}
	if err := d.waitForSecret(ctx, "the candidate to be current", func(s *appsecret.Secret) bool {
		return s.HasLabel(version, appsecret.Current)
	}); err != nil {
		return err
	}
	return d.check(!d.stack.Org.CanLogin(oldKey, oldSecret) && d.stack.Org.CanLogin(key, secret),
		"An administrator creates new credentials in Setup, which invalidates the old ones, and stores them as CANDIDATE. "+
			"They work, and become AWSCURRENT.")
}

func (d *demo) rollBack(ctx context.Context, _ *load) error {
	before, err := d.stack.Secret(ctx)
	if err != nil {
		return err
	}
	version, err := d.store(ctx, "3MVG9-pasted-wrongly", "pasted-wrongly", appsecret.Current)
	if err != nil {
		return err
	}
	if err := d.waitForSecret(ctx, "the wrong credentials to be rolled back", func(s *appsecret.Secret) bool {
		return s.HasLabel(version, appsecret.Rejected) && s.HasLabel(before.VersionWithLabel(appsecret.Current),
			appsecret.Current)
	}); err != nil {
		return err
	}
	return d.check(true, "An administrator overwrites the current credentials with wrong ones. They are labelled "+
		"REJECTED and rolled back.")
}

// handleLeak does what `sftoken rotate crm --compromised --url …` does.
func (d *demo) handleLeak(ctx context.Context, l *load) error {
	tokens := l.liveTokens()
	leakedKey, leakedSecret := d.stack.App.Credentials()
	l.leaks.Add(1)
	if err := d.RotateCompromised(ctx, d.stack); err != nil {
		return err
	}
	if err := d.stack.SourceFor(d.stack.Keys.Owner).Revoke(ctx); err != nil {
		return err
	}
	// Each instance of the token function revokes its own token when it reads the new version.
	if err := waitFor(ctx, "the leaked credentials and their tokens to be revoked", func() (bool, error) {
		return !d.stack.Org.CanLogin(leakedKey, leakedSecret) && !slices.ContainsFunc(tokens, d.stack.Org.TokenActive), nil
	}); err != nil {
		return err
	}
	l.leaks.Add(1)
	return d.check(len(tokens) > 0,
		"The credentials leak. `sftoken rotate --compromised` rotates them and deletes the leaked ones at "+
			"Salesforce. Each instance revokes the token that it got with them.")
}

// store writes a new version with these credentials under the label.
func (d *demo) store(ctx context.Context, key, secret, label string) (version string, err error) {
	s, err := d.stack.Secret(ctx)
	if err != nil {
		return "", err
	}
	current, err := s.Read(ctx, s.VersionWithLabel(appsecret.Current))
	if err != nil {
		return "", err
	}
	value := current.WithCredentials(sfoauth.ConsumerCredentials{
		ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
	})
	put, err := d.stack.Secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &s.ARN, SecretString: aws.String(value.Reveal()), VersionStages: []string{label},
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(put.VersionId), nil
}
