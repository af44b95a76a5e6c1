package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// findCompromised finds the version that has leaked, and refuses one about which nothing can be done.
func (r *rotation) findCompromised(ctx context.Context, flags *rotateFlags) error {
	r.Leaked = r.secret.VersionWithLabel(appsecret.Current)
	switch {
	case flags.version != "":
		r.Leaked = flags.version
	case flags.label != "":
		if r.Leaked = r.secret.VersionWithLabel(flags.label); r.Leaked == "" {
			return fmt.Errorf("no version of secret %s has the label %q: see `sftoken secret status %s`", r.secret.Name, flags.label, r.secret.App)
		}
	}
	if flags.version != "" && r.secret.Labels[r.Leaked] == nil { // DescribeSecret does not show versions without labels
		if _, err := r.secret.Read(ctx, r.Leaked); appsecret.IsKind(err, appsecret.NotFound) {
			return fmt.Errorf("secret %s has no version %q: see `sftoken secret status %s`", r.secret.Name, flags.version, r.secret.App)
		}
	}
	if r.compromisedIsCurrent(ctx) {
		return r.checkRotatable(ctx, true)
	}
	return nil
}

// compromisedIsCurrent reports whether the credentials that have leaked are those that are current. Where it cannot be
// found out, they are.
func (r *rotation) compromisedIsCurrent(ctx context.Context) bool {
	holder := r.secret.VersionWithLabel(appsecret.Current)
	if holder == r.Leaked {
		return true
	}
	leaked, err := r.secret.Read(ctx, r.Leaked)
	current, err2 := r.secret.Read(ctx, holder)
	return err != nil || err2 != nil || leaked.SameCredentials(current)
}

// rotateCompromised labels the leaked version COMPROMISED first: the rotate function then deletes its credentials at
// Salesforce once others are current, and the token function revokes the tokens made with them. If nothing is
// rotated, the label comes off again.
func (r *rotation) rotateCompromised(ctx context.Context) error {
	before := r.secret.VersionWithLabel(appsecret.Compromised)
	needed := r.compromisedIsCurrent(ctx)
	err := r.secret.MoveLabel(ctx, appsecret.Compromised, r.Leaked)
	if err == nil {
		r.Compromised = true
		fmt.Fprintf(r.out, "version %s is labelled COMPROMISED\n", r.Leaked)
		if !needed {
			fmt.Fprintln(r.out, "its credentials are not current: the rotate function deletes them at Salesforce now, and nothing is rotated")
			return nil
		}
		err = r.replace(ctx)
	}
	if err == nil || before == r.Leaked {
		return err
	}
	return r.removeLabel(ctx, before, err)
}

// replace gives up a rotation that was begun before, and rotates.
func (r *rotation) replace(ctx context.Context) error {
	// Who had these credentials may have read those that were staged beside them.
	if pending := r.secret.VersionWithLabel(appsecret.Pending); pending != "" && pending != r.secret.VersionWithLabel(appsecret.Current) {
		if err := r.secret.RemoveLabel(ctx, appsecret.Pending, pending); err != nil {
			return err
		}
	}
	return r.rotate(ctx)
}

// undoTime bounds what is done after Ctrl-C. A second one ends the process at once.
const undoTime = 10 * time.Second

// removeLabel takes the label off again, after err, if nothing was rotated: later on, a forgotten label would have
// credentials deleted unexpectedly.
func (r *rotation) removeLabel(ctx context.Context, before string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	now, failed := r.open(ctx)
	if failed != nil {
		return fmt.Errorf("%w; version %s may still be labelled COMPROMISED, which could not be looked at: %w", err, r.Leaked, failed)
	}
	if !now.HasLabel(r.Leaked, appsecret.Compromised) {
		r.Compromised = false
		return err
	}
	if r.hasNewCredentials(ctx, now) {
		return fmt.Errorf("%w; new credentials have been made, and version %s stays labelled COMPROMISED: continue with `sftoken rotate %s --compromised`", err, r.Leaked, now.App)
	}
	if now.Labels[before] != nil {
		failed = now.MoveLabel(ctx, appsecret.Compromised, before)
	} else {
		failed = now.RemoveLabel(ctx, appsecret.Compromised, r.Leaked)
	}
	if failed != nil {
		return errors.Join(err, failed)
	}
	r.Compromised = false
	return fmt.Errorf("%w; nothing was rotated, and the label COMPROMISED is off version %s again", err, r.Leaked)
}

// hasNewCredentials reports whether the rotation has got anywhere: other credentials are current, or are stored as AWSPENDING.
// Where it cannot be found out, it has.
func (r *rotation) hasNewCredentials(ctx context.Context, now *appsecret.Secret) bool {
	current, pending := now.VersionWithLabel(appsecret.Current), now.VersionWithLabel(appsecret.Pending)
	if !r.stillCurrent(ctx, now, current) {
		return true
	}
	if pending == "" || pending == current {
		return false
	}
	_, err := now.Read(ctx, pending)
	return !appsecret.IsKind(err, appsecret.NotFound)
}
