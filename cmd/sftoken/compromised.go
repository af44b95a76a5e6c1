package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// findCompromised finds the compromised version. It returns an error if there is none, or if its credentials cannot be
// rotated.
func (r *rotation) findCompromised(ctx context.Context, flags *rotateFlags) error {
	status := "see `sftoken secret status " + r.secret.App + "`"
	r.Leaked = r.secret.VersionWithLabel(appsecret.Current)
	switch {
	case flags.version != "":
		r.Leaked = flags.version
	case flags.label != "":
		if r.Leaked = r.secret.VersionWithLabel(flags.label); r.Leaked == "" {
			return withHint(fmt.Errorf("no version of secret %s has the label %q", r.secret.Name, flags.label), status)
		}
	}
	if flags.version != "" && r.secret.Labels[r.Leaked] == nil { // DescribeSecret omits versions without labels
		if _, err := r.secret.Read(ctx, r.Leaked); appsecret.IsKind(err, appsecret.NotFound) {
			return withHint(fmt.Errorf("secret %s has no version %q", r.secret.Name, flags.version), status)
		}
	}
	if r.compromisedIsCurrent(ctx) {
		return checkRotatable(ctx, r.secret, true)
	}
	return nil
}

// compromisedIsCurrent reports whether the compromised credentials are current. If that cannot be found out, it
// returns true.
func (r *rotation) compromisedIsCurrent(ctx context.Context) bool {
	id := r.secret.VersionWithLabel(appsecret.Current)
	if id == r.Leaked {
		return true
	}
	compromised, err := r.secret.Read(ctx, r.Leaked)
	current, err2 := r.secret.Read(ctx, id)
	return err != nil || err2 != nil || compromised.SameCredentials(current)
}

// rotateCompromised first labels the version COMPROMISED. The rotate function then deletes its credentials at
// Salesforce once others are current, and the token function revokes the tokens issued to them. If nothing is
// rotated, the label is removed.
func (r *rotation) rotateCompromised(ctx context.Context) error {
	before := r.secret.VersionWithLabel(appsecret.Compromised)
	isCurrent := r.compromisedIsCurrent(ctx)
	err := r.secret.MoveLabel(ctx, appsecret.Compromised, r.Leaked)
	if err == nil {
		r.Compromised = true
		fmt.Fprintf(r.out, "version %s is labelled COMPROMISED\n", r.Leaked)
		if !isCurrent {
			fmt.Fprintln(r.out, "its credentials are not current: the rotate function deletes them at Salesforce, "+
				"without a rotation")
			return nil
		}
		err = r.replace(ctx)
	}
	if err == nil || before == r.Leaked {
		return err
	}
	return r.removeLabel(ctx, before, err)
}

// replace abandons an unfinished rotation, and rotates: a person who has the compromised credentials may have read
// those that were staged with them.
func (r *rotation) replace(ctx context.Context) error {
	pending := r.secret.VersionWithLabel(appsecret.Pending)
	if pending != "" && pending != r.secret.VersionWithLabel(appsecret.Current) {
		if err := r.secret.RemoveLabel(ctx, appsecret.Pending, pending); err != nil {
			return err
		}
	}
	return r.rotate(ctx)
}

// cleanupTimeout bounds the cleanup after Ctrl-C. A second Ctrl-C ends the process at once.
const cleanupTimeout = 10 * time.Second

// removeLabel removes COMPROMISED after the error err if nothing was rotated: a forgotten label would later delete
// credentials unexpectedly. If another version had the label before, it gets it back.
func (r *rotation) removeLabel(ctx context.Context, before string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	now, failed := r.secret.Reopen(ctx)
	if failed != nil {
		return fmt.Errorf("version %s may still be labelled COMPROMISED, because its labels cannot be read (%w): %w",
			r.Leaked, failed, err)
	}
	if !now.HasLabel(r.Leaked, appsecret.Compromised) {
		r.Compromised = false
		return err
	}
	if r.hasNewCredentials(ctx, now) {
		return withHint(
			fmt.Errorf("new credentials exist, and version %s stays labelled COMPROMISED: %w", r.Leaked, err),
			"continue with `sftoken rotate "+now.App+" --compromised`")
	}
	if now.Labels[before] != nil {
		failed = now.MoveLabel(ctx, appsecret.Compromised, before)
	} else {
		failed = now.RemoveLabel(ctx, appsecret.Compromised, r.Leaked)
	}
	if failed != nil {
		return fmt.Errorf("cannot remove COMPROMISED from version %s (%w): %w", r.Leaked, failed, err)
	}
	r.Compromised = false
	return fmt.Errorf("nothing was rotated, and version %s is no longer labelled COMPROMISED: %w", r.Leaked, err)
}

// hasNewCredentials reports whether the rotation has made credentials: others are current, or are stored as
// AWSPENDING. If that cannot be found out, it returns true.
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
