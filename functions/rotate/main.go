// The rotate function: a rotation step, a moved label or the daily check in, a changed secret out.
package main

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

// version is set by the build.
var version = "dev"

func main() {
	ctx := context.Background()
	h, err := wire(ctx, os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "rotate function: %v\n", err)
		os.Exit(1)
	}
	lambda.StartWithOptions(h, lambda.WithContext(ctx))
}

// wire reads and checks every setting and puts the function together. It calls nothing on the network.
func wire(ctx context.Context, getenv func(string) string) (*handler, error) {
	env := settings.From(getenv)
	prefix, namespace, level, hosts := env.Prefix(), env.Namespace(), env.Level("LOG_LEVEL"), env.Hosts("SALESFORCE_HOSTS")
	admin := env.App("ADMIN_APP")
	propagation := env.Duration("PROPAGATION", rotation.DefaultPropagation, 0, 14*time.Minute)
	logins := env.Budget()
	if err := env.Err(); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		return nil, errors.New("this program is started by AWS Lambda: try it with `sftoken local` or `sam local invoke RotateFunction`")
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultsMode(aws.DefaultsModeInRegion))
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	secrets := secretsmanager.NewFromConfig(cfg)
	log := telemetry.New(os.Stdout, level, namespace, version)
	log.Info("started", "secret_prefix", prefix, "salesforce_hosts", hosts, "admin_app", admin, "propagation", propagation.String())
	return &handler{
		rotator: &rotation.Rotator{
			Secrets: secrets, Lister: secrets, Prefix: prefix, AdminApp: admin, Hosts: hosts,
			HTTPClient: &http.Client{Transport: sfoauth.NewTransport()}, Propagation: propagation, Logins: logins,
		},
		log: log,
	}, nil
}
