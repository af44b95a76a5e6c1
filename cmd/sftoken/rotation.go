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

// rotation is one that a person waits for, and what --json prints of it.
type rotation struct {
	target
	Before      string `json:"before"`            // the version that was current
	Current     string `json:"current,omitempty"` // the one that now is; empty: the command has not waited for it
	Leaked      string `json:"leaked,omitempty"`  // the version that has leaked
	Compromised bool   `json:"compromised"`       // that one is labelled so
	Revoked     bool   `json:"revoked"`           // the token that the API had cached is dead

	client        *secretsmanager.Client
	secret        *appsecret.Secret // as it was before
	timeout       time.Duration
	out, progress io.Writer
}

// startRotation asks for a rotation, or for an unfinished one to be tried again. Secrets Manager answers before the rotate
// function runs, so that its error is not known; the stand-in of `sftoken local` answers afterwards, and then failure
// is that error.
func startRotation(ctx context.Context, client *secretsmanager.Client, arn string) (failure string, err error) {
	out, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: aws.String(newRequestToken()), RotateImmediately: aws.Bool(true)})
	if err == nil {
		response, _ := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
		return rotationError(response), nil
	}
	if unfinished, ok := errors.AsType[*types.InvalidRequestException](err); ok && strings.Contains(unfinished.ErrorMessage(), "previous rotation") {
		if answered, ok := errors.AsType[*awshttp.ResponseError](err); ok {
			failure = rotationError(answered.Response)
		}
		return failure, nil // Secrets Manager goes on with it
	} else if ok && strings.Contains(unfinished.ErrorMessage(), "No Lambda rotation function") {
		return "", fmt.Errorf("the secret's rotation is not switched on: set RotationSchedule in its deployment, or change the pair by `sftoken secret stage`: %w", err)
	}
	return "", err
}

func rotationError(response *smithyhttp.Response) string {
	if response == nil || response.Response == nil {
		return ""
	}
	return printable.Line(response.Header.Get(localaws.RotationErrorHeader))
}

// checkRotatable says at once what the rotate function would say in its log alone: that a person must make the new pair.
func (r *rotation) checkRotatable(ctx context.Context, compromised bool) error {
	current, err := r.secret.Read(ctx, r.secret.VersionWithLabel(appsecret.Current))
	if err != nil || current.CanSelfRotate() || current.IsPlaceholder() || r.secret.VersionWithLabel(appsecret.Candidate) != "" && !compromised {
		return nil
	}
	app := r.secret.App
	then := "then `sftoken secret stage " + app + " --wait`"
	if compromised {
		then = "which ends the leaked one, then `sftoken secret put " + app + "` and `sftoken revoke " + app + "`"
	}
	return fmt.Errorf("the secret of app %s has no appId and consumerId, so that a person must make its new pair: in Salesforce's Setup, %s", app, then)
}

// open describes the secret as it is now.
func (r *rotation) open(ctx context.Context) (*appsecret.Secret, error) {
	return appsecret.Open(ctx, r.client, strings.TrimSuffix(r.secret.Name, r.secret.App), r.secret.ARN)
}

// rotate starts it and waits until another version is current.
func (r *rotation) rotate(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	failure, err := startRotation(limited, r.client, r.secret.ARN)
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return fmt.Errorf("no answer of Secrets Manager within %s", r.timeout)
	case err != nil:
		return err
	}
	fmt.Fprintln(r.progress, "waiting for the new credentials to become current; it may take 10 minutes")
	watch := &stallDetector{since: time.Now()}
	return poll(ctx, r.timeout, func(ctx context.Context) (bool, error) {
		now, err := r.open(ctx)
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
			return false, fmt.Errorf("the rotate function has failed: %s", failure)
		}
		if pending := now.VersionWithLabel(appsecret.Pending); pending != "" && pending != version {
			if watch.stalled(now) {
				newTerminal(r.progress).column("", 0, r.stallMessage(ctx, now, pending))
			}
			return false, nil
		}
		// It was given up: another one begins.
		if err := (&rotation{secret: now}).checkRotatable(ctx, r.Compromised); err != nil {
			return false, fmt.Errorf("the rotation was given up, as `sftoken secret status %s` shows: %w", now.App, err)
		}
		failure, err = startRotation(ctx, r.client, r.secret.ARN)
		return false, err
	})
}

// stillCurrent reports whether the version is the one that was current before or, where that has leaked, another one with
// its pair, as is made when a person changes who may have tokens.
func (r *rotation) stillCurrent(ctx context.Context, now *appsecret.Secret, version string) bool {
	before := r.secret.VersionWithLabel(appsecret.Current)
	if version == before || !r.Compromised {
		return version == before
	}
	leaked, err := now.Read(ctx, before)
	if err != nil {
		return false
	}
	current, err := now.Read(ctx, version)
	return err == nil && current.SameCredentials(leaked)
}

// stallDetector notices that nothing happens.
type stallDetector struct {
	seen     string    // what was last different
	since    time.Time // when that was
	reported bool
}

// stallTime is how long a rotation may stand still before it is mentioned.
const stallTime = time.Minute

// stalled reports, once for each standstill, that the secret has not changed for a minute.
func (w *stallDetector) stalled(now *appsecret.Secret) bool {
	if seen := fmt.Sprint(now.Labels, now.LastChanged); seen != w.seen {
		*w = stallDetector{seen: seen, since: time.Now()}
	}
	if w.reported || time.Since(w.since) < stallTime {
		return false
	}
	w.reported = true
	return true
}

// stallMessage returns what it may mean that nothing happens, and where to look. Secrets Manager gives no reason.
func (r *rotation) stallMessage(ctx context.Context, now *appsecret.Secret, pending string) string {
	state := "new credentials are stored as AWSPENDING and are not current yet. Salesforce may take 10 minutes to accept them everywhere; or the rotate function fails"
	if _, err := now.Read(ctx, pending); appsecret.IsKind(err, appsecret.NotFound) {
		state = "the rotate function has made no new credentials, so it fails or does not run"
	}
	function := ""
	if out, err := r.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &r.secret.ARN}); err == nil {
		arn := aws.ToString(out.RotationLambdaARN)
		function = " of " + printable.Line(arn[strings.LastIndex(arn, ":")+1:])
	}
	return fmt.Sprintf("nothing has changed for a minute: %s. Its log%s says why (the stack's log group RotateLogs), and `sftoken doctor %s` checks what it needs. Still waiting",
		state, function, now.App)
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}
