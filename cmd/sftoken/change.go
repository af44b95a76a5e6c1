package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// load is a crowd of callers who never pause.
type load struct {
	mu       sync.Mutex
	took     []time.Duration
	failures []error
	held     map[string]bool // tokens handed out since holding was last called
	dead     atomic.Int64    // tokens that did not work when they were handed out
	leaks    atomic.Int64    // odd while a leak is handled: a token may then die between the answer and the check
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// callers is how many they are.
const callers = 8

func (d *demo) load(ctx context.Context) *load {
	l := &load{held: map[string]bool{}}
	ctx, l.stop = context.WithCancel(ctx)
	for range callers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				begun, leak := time.Now(), l.leaks.Load()
				token, err := d.get(ctx, billingKey)
				if ctx.Err() != nil {
					return
				}
				l.mu.Lock()
				l.took = append(l.took, time.Since(begun))
				if err != nil {
					l.failures = append(l.failures, err)
				} else {
					l.held[token.AccessToken.Reveal()] = true
				}
				l.mu.Unlock()
				if err == nil && !d.stack.org.TokenActive(token.AccessToken.Reveal()) && leak%2 == 0 && l.leaks.Load() == leak {
					l.dead.Add(1)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return l
}

// holding returns the tokens that are handed out now: every instance of the token function hands out one.
func (l *load) holding() map[string]bool {
	time.Sleep(1200 * time.Millisecond) // SECRET_TTL of the demo: by then each has the present pair's
	l.mu.Lock()
	l.held = map[string]bool{}
	l.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.held)
}

// end stops the callers and returns how long their requests took, in order.
func (l *load) end() []time.Duration {
	l.stop()
	l.wg.Wait()
	return slices.Sorted(slices.Values(l.took))
}

// change rotates, takes a staged pair, survives a wrong one and handles a leak, while callers go on asking.
func (d *demo) change(ctx context.Context) error {
	before := d.logins()
	l := d.load(ctx)
	defer l.stop()
	for _, tell := range []func(context.Context, *load) error{d.rotateOnSchedule, d.takeCandidate, d.rollBack, d.handleLeak} {
		if err := tell(ctx, l); err != nil {
			return err
		}
		if err := d.stack.settle(ctx); err != nil {
			return err
		}
	}
	time.Sleep(1200 * time.Millisecond) // SECRET_TTL of the demo
	took := l.end()
	if len(l.failures) > 0 {
		return fmt.Errorf("%w: %d of %d callers failed, the first with: %w", errNotAsTold, len(l.failures), len(took), l.failures[0])
	}
	rotations := 0
	for _, line := range d.log.Lines() {
		if strings.Contains(line, `"Rotations":1`) {
			rotations++
		}
	}
	if err := d.told(l.dead.Load() == 0, "%d callers went on asking all the while. Nobody failed, and every token worked when it was handed out (in the leak: as soon as it was dealt with):", callers); err != nil {
		return err
	}
	table := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "      vends\tfailures\trotations\tlogins\tp50\tp99\t\n")
	fmt.Fprintf(table, "      %d\t%d\t%d\t%d\t%s\t%s\t\n", len(took), len(l.failures), rotations, d.logins()-before, percentile(took, 50), percentile(took, 99))
	return table.Flush()
}

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(10 * time.Microsecond)
}

func (d *demo) secret(ctx context.Context) (*appsecret.Secret, error) {
	return appsecret.Open(ctx, d.stack.secrets, prefix, prefix+"crm")
}

// until waits until the secret is as it should be.
func (d *demo) until(ctx context.Context, so func(*appsecret.Secret) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		secret, err := d.secret(ctx)
		if err != nil {
			return err
		}
		if so(secret) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the secret did not become so in time", errNotAsTold)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *demo) rotateOnSchedule(ctx context.Context, _ *load) error {
	secret, err := d.secret(ctx)
	if err != nil {
		return err
	}
	old := secret.VersionWithLabel(appsecret.Current)
	oldKey, oldSecret := d.stack.app.Credentials()
	early := d.stack.aws.RunDue(ctx)
	d.stack.behind.Store(0)
	due := d.stack.aws.RunDue(ctx)
	if secret, err = d.secret(ctx); err != nil {
		return err
	}
	newKey, newSecret := d.stack.app.Credentials()
	slot := d.stack.app.Staged()
	rotated := len(early) == 0 && len(due) == 1 && secret.VersionWithLabel(appsecret.Current) != old && newKey != oldKey && d.stack.org.CanLogin(newKey, newSecret)
	grace := len(slot) == 1 && slot[0].Key == oldKey && slot[0].State == "Rotated" && d.stack.org.CanLogin(oldKey, oldSecret)
	return d.told(rotated && grace,
		"%d days pass, and the schedule rotates the pair: staged at Salesforce, tried, made the main one, made AWSCURRENT. The old one works on, in its grace.", rotationDays)
}

func (d *demo) takeCandidate(ctx context.Context, _ *load) error {
	oldKey, oldSecret := d.stack.app.Credentials()
	key, pair := d.stack.app.Regenerate()
	version, err := d.store(ctx, key, pair, appsecret.Candidate)
	if err != nil {
		return err
	}
	if err := d.until(ctx, func(s *appsecret.Secret) bool { return s.HasLabel(version, appsecret.Current) }); err != nil {
		return err
	}
	return d.told(!d.stack.org.CanLogin(oldKey, oldSecret) && d.stack.org.CanLogin(key, pair), "A person makes a new pair in Setup, which kills the old one, and stores it as CANDIDATE. It works, and becomes AWSCURRENT.")
}

func (d *demo) rollBack(ctx context.Context, _ *load) error {
	before, err := d.secret(ctx)
	if err != nil {
		return err
	}
	version, err := d.store(ctx, "3MVG9-pasted-wrongly", "pasted-wrongly", appsecret.Current)
	if err != nil {
		return err
	}
	if err := d.until(ctx, func(s *appsecret.Secret) bool {
		return s.HasLabel(version, appsecret.Rejected) && s.HasLabel(before.VersionWithLabel(appsecret.Current), appsecret.Current)
	}); err != nil {
		return err
	}
	return d.told(true, "A person pastes a wrong secret over the current one. It is refused, labelled REJECTED, and rolled back.")
}

// handleLeak does what `sftoken rotate crm --compromised --url …` does.
func (d *demo) handleLeak(ctx context.Context, l *load) error {
	tokens := l.holding()
	leakedKey, leakedSecret := d.stack.app.Credentials()
	secret, err := d.secret(ctx)
	if err != nil {
		return err
	}
	l.leaks.Add(1)
	r := &rotation{client: d.stack.secrets, secret: secret, Leaked: secret.VersionWithLabel(appsecret.Current), timeout: defaultWait, out: io.Discard, progress: io.Discard}
	if err := r.rotateCompromised(ctx); err != nil {
		return err
	}
	if err := d.as(ownerKey).Revoke(ctx); err != nil {
		return err
	}
	// Each instance of the token function revokes its own token when it sees the new version.
	live := func(token string) bool { return d.stack.org.TokenActive(token) }
	deadline := time.Now().Add(15 * time.Second)
	for time.Now().Before(deadline) && (d.stack.org.CanLogin(leakedKey, leakedSecret) || slices.ContainsFunc(slices.Collect(maps.Keys(tokens)), live)) {
		time.Sleep(50 * time.Millisecond)
	}
	l.leaks.Add(1)
	gone := !d.stack.org.CanLogin(leakedKey, leakedSecret) && !slices.ContainsFunc(slices.Collect(maps.Keys(tokens)), live)
	return d.told(len(tokens) > 0 && gone,
		"The pair leaks. `sftoken rotate --compromised` rotates and deletes the leaked pair at Salesforce, and the tokens made with it are revoked, in each instance.")
}

// store writes a new version with this pair under the label.
func (d *demo) store(ctx context.Context, key, pair, label string) (version string, err error) {
	out, err := d.stack.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(prefix + "crm")})
	if err != nil {
		return "", err
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(*out.SecretString), &fields); err != nil {
		return "", err
	}
	fields["consumerKey"], fields["consumerSecret"] = key, pair
	value, err := json.Marshal(fields)
	if err != nil {
		return "", err
	}
	version = newRequestToken()
	_, err = d.stack.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(prefix + "crm"), SecretString: aws.String(string(value)), ClientRequestToken: &version, VersionStages: []string{label},
	})
	return version, err
}
