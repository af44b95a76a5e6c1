// Package rotateapi is the rotate function: it decodes the three kinds of event that invoke it (a rotation step, a
// moved label, the daily check), leaves the work to internal/rotation, and logs one line for each.
package rotateapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/settings"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Run starts the rotate function on AWS Lambda, with settings from getenv. It returns only if it cannot start.
func Run(ctx context.Context, getenv func(string) string, version string) error {
	h, err := newHandler(ctx, getenv, version)
	if err != nil {
		return err
	}
	lambda.StartWithOptions(h, lambda.WithContext(ctx))
	return nil
}

// newHandler validates every setting and wires the function. It makes no network calls.
func newHandler(ctx context.Context, getenv func(string) string, version string) (*Handler, error) {
	env := settings.FromEnv(getenv)
	prefix, namespace, level := env.Prefix(), env.Namespace(), env.Level("LOG_LEVEL")
	hosts, admin := env.Hosts("SALESFORCE_HOSTS"), env.App("ADMIN_APP")
	propagation := env.Duration("PROPAGATION", rotation.DefaultPropagation, 0, 14*time.Minute)
	logins := env.Budget()
	if err := env.Err(); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		return nil, errors.New("this program is started by AWS Lambda: " +
			"try it with `sftoken local` or `sam local invoke RotateFunction`")
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultsMode(aws.DefaultsModeInRegion))
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	secrets := secretsmanager.NewFromConfig(cfg)
	log := telemetry.New(os.Stdout, level, namespace, version)
	log.Started("secret_prefix", prefix, "salesforce_hosts", hosts, "admin_app", admin,
		"propagation", propagation.String())
	return &Handler{
		Rotator: &rotation.Rotator{
			Secrets: secrets, Lister: secrets, Prefix: prefix, AdminApp: admin, Hosts: hosts,
			HTTPClient: &http.Client{Transport: sfoauth.NewTransport()}, Propagation: propagation, Logins: logins,
		},
		Log: log,
	}, nil
}
