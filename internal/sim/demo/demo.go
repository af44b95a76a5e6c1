// Package demo is `sftoken demo`: it runs sftoken end to end on one machine, in a stack of internal/sim/stack, and
// checks each step.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// secretTTL is how long the demo's functions rely on a version of the secret: short, so that changes show soon.
const secretTTL = time.Second

var errCheckFailed = errors.New("demo check failed")

// Config configures a run of the demo.
type Config struct {
	// Out receives log lines and the table of results.
	Out io.Writer
	// Title prints the title of the steps that follow.
	Title func(text string)
	// Step prints a step whose check has passed.
	Step func(number int, text string)
	// RotateCompromised does what `sftoken rotate --compromised` does to the secret's current version.
	RotateCompromised func(context.Context, *stack.Stack) error
}

type demo struct {
	Config
	stack *stack.Stack
	log   *localaws.SyncBuffer
	steps int
}

// Run runs the demo, and returns an error at the first check that fails.
func Run(ctx context.Context, c Config) error {
	d := &demo{Config: c, log: &localaws.SyncBuffer{}}
	var err error
	d.stack, err = stack.Start(ctx, stack.Config{
		Log: d.log, Env: []string{"SECRET_TTL=" + secretTTL.String(), "PROPAGATION=1s"},
		ClockOffset: stack.RotationDays * 24 * time.Hour, // the secret was stored so long ago
	})
	if err != nil {
		return err
	}
	defer d.stack.Close()
	if err := d.stack.WaitIdle(ctx); err != nil {
		return err
	}
	for _, chapter := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"A caller gets a token with an IAM identity alone", d.vend},
		{"A token dies", d.deadToken},
		{"The credentials change while callers continue", d.changes},
		{"Salesforce has an outage", d.outage},
		{"Several processes share their tokens", d.shareTokens},
		{"The audit log", d.audit},
	} {
		d.Title(chapter.title)
		if err := chapter.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	fmt.Fprintln(d.Out, "\nTo try it yourself: sftoken local")
	return nil
}

// check prints a step if ok, and fails with its text if not.
func (d *demo) check(ok bool, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if !ok {
		return fmt.Errorf("%w: %s", errCheckFailed, text)
	}
	d.steps++
	d.Step(d.steps, text)
	return nil
}

// waitFor waits until condition holds, for 20 seconds at most.
func waitFor(ctx context.Context, what string, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: timed out waiting for %s", errCheckFailed, what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fetch gets a token as a caller that has none yet.
func (d *demo) fetch(ctx context.Context, p localaws.Principal) (*sftoken.Token, error) {
	return d.stack.SourceFor(p).Fetch(ctx)
}

func (d *demo) logins() int { return d.stack.Org.Stats().Calls[sfoauthtest.Token] }

func (d *demo) active(t *sftoken.Token) bool { return d.stack.Org.TokenActive(t.AccessToken.Reveal()) }

// audit prints lines that the functions have logged, without their metrics.
func (d *demo) audit(context.Context) error {
	shown := 0
	for _, kind := range []string{`"cache":"miss"`, `"cache":"stale"`, `"outcome":"access_denied"`, `"msg":"rotation"`} {
		for _, line := range d.log.Lines() {
			if !strings.Contains(line, kind) {
				continue
			}
			text, err := withoutMetrics(line)
			if err != nil {
				return err
			}
			fmt.Fprintf(d.Out, "      %s\n", text)
			shown++
			break
		}
	}
	if err := d.check(shown == 4, "The log has the caller, the entry that allowed it, the token's ID and the "+
		"secret's version. The same lines hold the metrics, left out here."); err != nil {
		return err
	}
	all, secrets := d.log.String(), d.stack.Org.Secrets()
	for _, secret := range secrets {
		if strings.Contains(all, secret) {
			return fmt.Errorf("%w: a secret is in the log", errCheckFailed)
		}
	}
	return d.check(len(d.stack.Org.Violations()) == 0,
		"None of the org's %d secrets, tokens and signatures is in any of the %d lines.",
		len(secrets), len(d.log.Lines()))
}

func withoutMetrics(line string) (string, error) {
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		return "", fmt.Errorf("a log line is not JSON: %w", err)
	}
	for name := range fields {
		if strings.ToLower(name) != name || name == "_aws" || name == "version" || name == "lambda_request_id" {
			delete(fields, name)
		}
	}
	text, err := json.Marshal(fields)
	return string(text), err
}
