// Bench measures the speed of the token function as ratios to a no-op function, with and without the token table. They
// run in processes under the same simulated Runtime API, with only the environment that Lambda gives, and take turns,
// so that a busy machine slows all of them. A missed target is reported and is not a failure.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	rounds  = 30  // in which each function has a turn
	perTurn = 200 // invocations
	starts  = 40
	firsts  = 15
	latency = 20 * time.Millisecond // of Secrets Manager, of the token table and of Salesforce, for a first vend

	tableName = "tokens"
)

// The functions that are measured.
const (
	noop    = "no-op"     // decodes the event
	raw     = "raw no-op" // does not even do that
	sftoken = "sftoken"
	shared  = "shared" // sftoken with the token table
	naive   = "naive"  // reads the secret and logs in each time
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the functions are measured with.
type bench struct {
	dir      string
	output   *os.File
	binaries map[string]string // of each function
	form     string            // of a token request
	env      map[string]string
	table    map[string]string // further variables, for the token table
	event    []byte
	org      *sfoauthtest.Org
	secrets  *localaws.SecretsManager
	tokens   *localaws.DynamoDB
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "sftoken-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return err
	}
	defer output.Close()
	b := &bench{
		dir: dir, output: output, binaries: map[string]string{},
		org:     sfoauthtest.New(sfoauthtest.Config{LoginsPerHour: 1 << 30}),
		secrets: localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"}),
		tokens:  localaws.NewDynamoDB(localaws.DynamoDBConfig{Table: tableName, Key: tokenstore.Key}),
	}
	org, secrets, tokens := httptest.NewServer(b.org), httptest.NewServer(b.secrets), httptest.NewServer(b.tokens)
	defer org.Close()
	defer secrets.Close()
	defer tokens.Close()
	b.env = map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.URL,
		"SALESFORCE_HOSTS":                 strings.TrimPrefix(org.URL, "http://"),
	}
	b.table = map[string]string{"TOKEN_TABLE": tableName, "AWS_ENDPOINT_URL_DYNAMODB": tokens.URL}
	if b.event, err = os.ReadFile("events/get.json"); err != nil {
		return fmt.Errorf("%w: run this from the top of the project", err)
	}
	if err := b.store(ctx, org.URL, secrets.URL); err != nil {
		return err
	}
	for name, pkg := range map[string]string{
		noop: "./internal/bench/testdata/noop", raw: "./internal/bench/testdata/raw",
		sftoken: "./functions/token", naive: "./internal/bench/testdata/naive",
	} {
		if b.binaries[name], err = build(ctx, pkg, dir); err != nil {
			return err
		}
	}
	b.binaries[shared] = b.binaries[sftoken]
	fmt.Printf(line, "", noop, raw, sftoken, "ratio", "target")
	return errors.Join(b.warm(ctx), b.start(ctx), b.first(ctx))
}

// build builds a function for this machine with the flags of a release, and returns the executable's path.
func build(ctx context.Context, pkg, dir string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg), "bootstrap")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc",
		"-ldflags", "-s -w -buildid=", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

func (b *bench) store(ctx context.Context, org, secrets string) error {
	key, secret := b.org.AddApp(sfoauthtest.AppOptions{}).Credentials()
	value, err := json.Marshal(map[string]any{
		"consumerKey": key, "consumerSecret": secret, "baseUri": org,
		"allowedPrincipals": []string{"arn:aws:iam::222222222222:role/billing"},
	})
	if err != nil {
		return err
	}
	b.form = url.Values{"grant_type": {"client_credentials"}, "client_id": {key}, "client_secret": {secret}}.Encode()
	client := secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: &secrets,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	})
	_, err = client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("sftoken/crm"), SecretString: aws.String(string(value)),
	})
	return err
}

// function returns a function whose output goes to a file, since on Lambda it is read outside the process's CPU time.
func (b *bench) function(name string) *localaws.Function {
	env := maps.Clone(b.env)
	if name == shared {
		maps.Copy(env, b.table)
	}
	return localaws.NewFunction(localaws.FunctionConfig{
		Name: "bench", Binary: b.binaries[name], Account: "111111111111", Region: "us-east-1", Env: env, Environments: 1,
		Stdout: b.output, Stderr: b.output,
	})
}

// invoke sends the event and checks the response.
func (b *bench) invoke(ctx context.Context, f *localaws.Function) (time.Duration, error) {
	begun := time.Now()
	response, err := f.Invoke(ctx, b.event)
	took := time.Since(begun)
	if err == nil && !strings.Contains(string(response), `"statusCode":200`) {
		err = errors.New("the function did not respond with 200")
	}
	return took, err
}

// warm compares cached vends: latency, and memory at the end.
func (b *bench) warm(ctx context.Context) error {
	functions, p50, p99 := map[string]*localaws.Function{}, map[string][]float64{}, map[string][]float64{}
	names := []string{noop, raw, sftoken, shared, naive}
	for _, name := range names {
		functions[name] = b.function(name)
		defer functions[name].Close()
	}
	for round := range rounds + 3 { // the first three warm everything up
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) // a turn affects the next one
		for _, name := range names {
			n := perTurn
			if name == naive {
				n /= 10
			}
			took := make([]time.Duration, n)
			for i := range took {
				var err error
				if took[i], err = b.invoke(ctx, functions[name]); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			slices.Sort(took)
			if round >= 3 {
				p50[name] = append(p50[name], micros(took[n/2]))
				p99[name] = append(p99[name], micros(took[n*99/100]))
			}
		}
	}
	compare("cached vend, p50 (µs)", p50, 0.95)
	compareShared(p50)
	compare("cached vend, p99 (µs)", p99, 1)
	memory := map[string][]float64{}
	for _, name := range names {
		megabytes, err := resident(functions[name].PIDs()[0])
		if err != nil {
			return err
		}
		memory[name] = []float64{megabytes}
	}
	compare("resident memory (MB)", memory, 1.35)
	note("with the token table", shared, memory)
	note("naive function, p50 (µs)", naive, p50)
	note("naive function, memory (MB)", naive, memory)
	return nil
}

// start compares how long a process takes until it asks for its first event.
func (b *bench) start(ctx context.Context) error {
	took := map[string][]float64{}
	for range starts {
		for _, name := range []string{noop, raw, sftoken, shared} {
			f := b.function(name)
			ready, err := f.Start(ctx)
			f.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			took[name] = append(took[name], micros(ready)/1000)
		}
	}
	compare("process start to ready (ms)", took, 2)
	note("with the token table", shared, took)
	return nil
}
