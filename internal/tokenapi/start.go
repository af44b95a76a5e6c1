// Package tokenapi is the token function behind its entry point: it reads an API Gateway event, authorizes and vends
// with internal/vending, writes the HTTP response, and logs one audit event per request.
package tokenapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/settings"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// prefetchTimeout bounds what is done before the first request: Lambda allows 10 seconds for the init phase. Source:
// Lambda Developer Guide, "Understanding the Lambda execution environment lifecycle".
const prefetchTimeout = 8 * time.Second

// Run starts the token function on AWS Lambda, and returns only if it cannot start. It reads its settings with getenv.
func Run(ctx context.Context, getenv func(string) string, version string) error {
	h, apps, err := newHandler(ctx, getenv, version)
	if err != nil {
		return err
	}
	h.prefetch(ctx, apps)
	lambda.StartWithOptions(h, lambda.WithContext(ctx))
	return nil
}

// newHandler validates every setting and wires the function. It makes no network calls. It also returns the apps to
// prefetch.
func newHandler(ctx context.Context, getenv func(string) string, version string) (*handler, []string, error) {
	env := settings.FromEnv(getenv)
	prefix, namespace, level := env.Prefix(), env.Namespace(), env.Level("LOG_LEVEL")
	hosts, prefetch := env.Hosts("SALESFORCE_HOSTS"), env.Apps("PREFETCH")
	secretTTL := env.Duration("SECRET_TTL", vending.DefaultSecretTTL, time.Second, 24*time.Hour)
	minTTL := env.Duration("MIN_TTL", vending.DefaultMinTTL, time.Second, vending.MinSessionTimeout-time.Minute)
	confirmEvery := env.Duration("CONFIRM_EVERY", vending.DefaultIntrospectInterval, minTTL+time.Second, 24*time.Hour)
	logins, table, standby := env.Budget(), env.Table("TOKEN_TABLE"), env.Bool("STANDBY")
	if err := env.Err(); err != nil {
		return nil, nil, fmt.Errorf("settings: %w", err)
	}
	if getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		return nil, nil, errors.New("this program must be started by AWS Lambda; " +
			"to try it, run `sftoken local` or `sam local invoke TokenFunction`")
	}
	// The in-region mode gives up on a connection after 1.1 seconds, not 30.
	cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultsMode(aws.DefaultsModeInRegion))
	if err != nil {
		return nil, nil, fmt.Errorf("AWS configuration: %w", err)
	}
	secrets := secretsmanager.NewFromConfig(cfg)
	warmUp(ctx, secrets)
	var shared tokenstore.Store
	if table != "" {
		warmUpTable(ctx, cfg, table)
		shared = tokenstore.NewBypass(tokenstore.NewDynamoDB(cfg, table))
	}
	log := telemetry.New(os.Stdout, level, namespace, version)
	log.Started("secret_prefix", prefix, "salesforce_hosts", hosts, "secret_ttl", secretTTL.String(),
		"min_ttl", minTTL.String(), "confirm_every", confirmEvery.String(), "prefetch", prefetch,
		"login_budget", logins.String(), "token_table", table, "standby", standby)
	return &handler{
		vendor: vending.New(vending.Config{
			Secrets:            appsecret.Reader{Client: secrets, Prefix: prefix},
			Hosts:              hosts,
			HTTPClient:         &http.Client{Transport: sfoauth.NewTransport()},
			Table:              shared,
			Standby:            standby,
			Logins:             logins,
			SecretTTL:          secretTTL,
			MinTTL:             minTTL,
			IntrospectInterval: confirmEvery,
		}),
		log:                  log,
		allowUnauthenticated: samLocal(getenv),
	}, prefetch, nil
}

// warmUp runs both clients once with a stubbed response, so that the first request does not pay for page faults and
// lazy initialization. Lambda gives the init phase a full vCPU.
func warmUp(ctx context.Context, secrets *secretsmanager.Client) {
	input := &secretsmanager.GetSecretValueInput{SecretId: aws.String("warm-up")}
	_, _ = secrets.GetSecretValue(ctx, input, func(o *secretsmanager.Options) {
		o.HTTPClient, o.Retryer = stubTransport{}, aws.NopRetryer{}
		o.Credentials = credentials.NewStaticCredentialsProvider("warm-up", "warm-up", "")
	})
	stubbed := &http.Client{Transport: stubTransport{}}
	_, _ = (&sfoauth.Client{BaseURL: "https://warm-up.my.salesforce.com", HTTPClient: stubbed}).Token(ctx)
}

// warmUpTable does the same for the token table, whose calls may take only tokenstore.Timeout.
func warmUpTable(ctx context.Context, cfg aws.Config, table string) {
	_, _ = tokenstore.NewDynamoDB(cfg, table, func(o *dynamodb.Options) {
		o.HTTPClient = stubTransport{}
		o.Credentials = credentials.NewStaticCredentialsProvider("warm-up", "warm-up", "")
	}).Get(ctx, "warm-up")
}

// stubTransport responds to requests without sending them.
type stubTransport struct{}

func (s stubTransport) Do(r *http.Request) (*http.Response, error) { return s.RoundTrip(r) }

func (stubTransport) RoundTrip(*http.Request) (*http.Response, error) {
	body := io.NopCloser(strings.NewReader("{}"))
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body}, nil
}

// samLocal reports whether the SAM CLI runs the function on a developer's machine, where requests have no identity.
// In the cloud it is false: there the name of the log stream consists of the date and an id, and a function's
// settings cannot overwrite it. Source: Lambda Developer Guide, "Defined runtime environment variables".
func samLocal(getenv func(string) string) bool {
	return getenv("AWS_SAM_LOCAL") == "true" && getenv("AWS_LAMBDA_LOG_STREAM_NAME") == "$LATEST"
}

// prefetch gets tokens for the apps before the first request. A failure is logged; the first request tries again.
func (h *handler) prefetch(ctx context.Context, apps []string) {
	ctx, cancel := context.WithTimeout(ctx, prefetchTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, app := range apps {
		wg.Go(func() {
			e := auditEvent{name: "prefetch", app: app}
			e.grant, e.err = h.vendor.Prefetch(ctx, app, &e.stats)
			level := slog.LevelInfo
			if e.err != nil {
				level = slog.LevelWarn
			}
			e.write(h.log, level)
		})
	}
	wg.Wait()
}
