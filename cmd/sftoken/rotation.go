package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// rotation is a rotation that a command starts. Its exported fields are the output of --json.
type rotation struct {
	target
	Before      string `json:"before"`            // the version that was current
	Current     string `json:"current,omitempty"` // the version that is current now; empty if not waited for
	Leaked      string `json:"leaked,omitempty"`  // the compromised version
	Compromised bool   `json:"compromised"`       // it is labelled COMPROMISED
	Revoked     bool   `json:"revoked"`           // the API's cached token is revoked

	client        *secretsmanager.Client
	secret        *appsecret.Secret // as it was before
	timeout       time.Duration
	out, progress io.Writer
}

// startRotation starts a rotation, or retries an unfinished one. Secrets Manager responds before the rotate function
// runs. The simulator responds afterwards, and failure is then the function's error.
func startRotation(ctx context.Context, client *secretsmanager.Client, arn string) (failure string, err error) {
	out, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
		SecretId: &arn, ClientRequestToken: aws.String(newRequestToken()), RotateImmediately: aws.Bool(true),
	})
	if err == nil {
		response, _ := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
		return rotationError(response), nil
	}
	invalid, ok := errors.AsType[*types.InvalidRequestException](err)
	switch {
	case ok && strings.Contains(invalid.ErrorMessage(), "previous rotation"): // which Secrets Manager continues
		if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
			failure = rotationError(response.Response)
		}
		return failure, nil
	case ok && strings.Contains(invalid.ErrorMessage(), "No Lambda rotation function"):
		return "", withHint(errors.New("rotation is not switched on for the secret"),
			"set RotationSchedule in its deployment, or change the credentials with `sftoken secret stage`")
	}
	return "", err
}

// rotationError returns the simulator's header with the error of the rotate function.
func rotationError(response *smithyhttp.Response) string {
	if response == nil || response.Response == nil {
		return ""
	}
	return printable.Line(response.Header.Get(localaws.RotationErrorHeader))
}

// checkRotatable returns an error if a person must make the new credentials. The rotate function reports this only in
// its log.
func checkRotatable(ctx context.Context, secret *appsecret.Secret, compromised bool) error {
	current, err := secret.Read(ctx, secret.VersionWithLabel(appsecret.Current))
	isManual := err == nil && !current.CanSelfRotate() && !current.IsPlaceholder()
	if !isManual {
		return nil
	}
	if secret.VersionWithLabel(appsecret.Candidate) != "" && !compromised {
		return nil // a rotation can use the candidate
	}
	app := secret.App
	hint := "make new credentials in Setup, then run `sftoken secret stage " + app + " --wait`"
	if compromised {
		hint = "make new credentials in Setup, which invalidates the compromised ones, then run `sftoken secret put " + app +
			"` and `sftoken revoke " + app + "`"
	}
	return withHint(
		fmt.Errorf("the secret of app %s has no appId and consumerId: a person must make new credentials", app), hint)
}

// rotate starts the rotation and waits until another version is current.
func (r *rotation) rotate(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	failure, err := startRotation(limited, r.client, r.secret.ARN)
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return fmt.Errorf("no response from Secrets Manager within %s", r.timeout)
	case err != nil:
		return err
	}
	fmt.Fprintln(r.progress, "waiting until the new credentials are current, which may take 10 minutes")
	detector := &stallDetector{since: time.Now()}
	return poll(ctx, r.timeout, r.secret.App, func(ctx context.Context) (bool, error) {
		now, err := r.secret.Reopen(ctx)
		if err != nil {
			return false, err
		}
		version := now.VersionWithLabel(appsecret.Current)
		if !r.stillCurrent(ctx, now, version) {
			r.Current = version
			fmt.Fprintf(r.out, "version %s is AWSCURRENT\n", version)
			return true, nil
		}
		if failure != "" {
			return false, fmt.Errorf("the rotate function failed: %s", failure)
		}
		if pending := now.VersionWithLabel(appsecret.Pending); pending != "" && pending != version {
			if detector.stalled(now) {
				newTerminal(r.progress).column("", 0, stallMessage(ctx, now, pending))
			}
			return false, nil
		}
		// The rotate function has abandoned the rotation: start another one.
		if err := checkRotatable(ctx, now, r.Compromised); err != nil {
			return false, fmt.Errorf("the rotation was abandoned, as `sftoken secret status %s` shows: %w", now.App, err)
		}
		failure, err = startRotation(ctx, r.client, r.secret.ARN)
		return false, err
	})
}

// stillCurrent reports whether version is the one that was current before the rotation. If that one is compromised,
// another version with its credentials counts as well: changing allowedPrincipals creates one.
func (r *rotation) stillCurrent(ctx context.Context, now *appsecret.Secret, version string) bool {
	before := r.secret.VersionWithLabel(appsecret.Current)
	if version == before || !r.Compromised {
		return version == before
	}
	compromised, err := now.Read(ctx, before)
	if err != nil {
		return false
	}
	current, err := now.Read(ctx, version)
	return err == nil && current.SameCredentials(compromised)
}

// stallDetector notices that a secret does not change.
type stallDetector struct {
	state    string    // the last state seen
	since    time.Time // when it was first seen
	reported bool
}

// stallTime is how long a rotation may make no progress before the command mentions it.
const stallTime = time.Minute

// stalled reports, once for each state, that the secret has not changed for stallTime.
func (d *stallDetector) stalled(now *appsecret.Secret) bool {
	if state := fmt.Sprint(now.Labels, now.LastChanged); state != d.state {
		*d = stallDetector{state: state, since: time.Now()}
	}
	if d.reported || time.Since(d.since) < stallTime {
		return false
	}
	d.reported = true
	return true
}

// stallMessage returns the possible reasons for a stall, and where to look. Secrets Manager reports no reason.
func stallMessage(ctx context.Context, now *appsecret.Secret, pending string) string {
	state := "New credentials are stored as AWSPENDING and are not current yet: Salesforce may take 10 minutes " +
		"to accept them everywhere, or the rotate function fails."
	if _, err := now.Read(ctx, pending); appsecret.IsKind(err, appsecret.NotFound) {
		state = "The rotate function has made no new credentials: it fails or does not run."
	}
	function := now.RotationFunction[strings.LastIndex(now.RotationFunction, ":")+1:]
	return fmt.Sprintf("Nothing has changed for a minute. %s See the log of %s (the stack's log group RotateLogs) for "+
		"errors, and run `sftoken doctor %s` to check its permissions. Still waiting.",
		state, printable.Line(function), now.App)
}
