// Bench measures the speed of the token function as ratios to a no-op function. Both run in processes under the same
// simulated Runtime API, with only the environment that Lambda gives, and take turns, so that a busy machine slows
// both. A missed target is reported and is not a failure.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const (
	rounds  = 30  // in which each function has a turn
	perTurn = 200 // invocations
	starts  = 40
	firsts  = 15
	latency = 20 * time.Millisecond // of Secrets Manager and of Salesforce, for a first vend
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the functions are measured with.
type bench struct {
	dir    string
	output *os.File
	form   string // of a token request
	env    map[string]string
	event  []byte
	org    *sfoauthtest.Org
	aws    *localaws.SecretsManager
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
		dir:    dir,
		output: output,
		org:    sfoauthtest.New(sfoauthtest.Config{LoginsPerHour: 1 << 30}),
		aws:    localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"}),
	}
	org, secrets := httptest.NewServer(b.org), httptest.NewServer(b.aws)
	defer org.Close()
	defer secrets.Close()
	b.env = map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.URL,
		"SALESFORCE_HOSTS":                 strings.TrimPrefix(org.URL, "http://"),
	}
	if b.event, err = os.ReadFile("events/get.json"); err != nil {
		return fmt.Errorf("%w: run this from the top of the project", err)
	}
	if err := b.store(ctx, org.URL, secrets.URL); err != nil {
		return err
	}
	binaries := map[string]string{}
	for name, pkg := range map[string]string{
		"no-op": "./internal/bench/testdata/noop", "raw no-op": "./internal/bench/testdata/raw",
		"sftoken": "./functions/token", "naive": "./internal/bench/testdata/naive",
	} {
		if binaries[name], err = build(ctx, pkg, dir); err != nil {
			return err
		}
	}
	fmt.Printf("%-34s %12s %12s %12s %9s   %s\n", "", "no-op", "raw no-op", "sftoken", "ratio", "target")
	return errors.Join(b.warm(ctx, binaries), b.start(ctx, binaries), b.first(ctx, binaries))
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
func (b *bench) function(binary string) *localaws.Function {
	return localaws.NewFunction(localaws.FunctionConfig{
		Name: "bench", Binary: binary, Account: "111111111111", Region: "us-east-1", Env: b.env, Environments: 1,
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
func (b *bench) warm(ctx context.Context, binaries map[string]string) error {
	functions, p50, p99 := map[string]*localaws.Function{}, map[string][]float64{}, map[string][]float64{}
	names := []string{"no-op", "raw no-op", "sftoken", "naive"}
	for _, name := range names {
		functions[name] = b.function(binaries[name])
		defer functions[name].Close()
	}
	for round := range rounds + 3 { // the first three warm everything up
		for _, name := range names {
			n := perTurn
			if name == "naive" {
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
	for what, values := range map[string]map[string][]float64{"p50 (µs)": p50, "memory (MB)": memory} {
		fmt.Printf("%-34s %38.1f %9.2f   for comparison\n",
			"naive function, "+what, median(values["naive"]), ratio(values["naive"], values["no-op"]))
	}
	return nil
}

// start compares how long a process takes until it asks for its first event.
func (b *bench) start(ctx context.Context, binaries map[string]string) error {
	took := map[string][]float64{}
	for range starts {
		for _, name := range []string{"no-op", "raw no-op", "sftoken"} {
			f := b.function(binaries[name])
			ready, err := f.Start(ctx)
			f.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			took[name] = append(took[name], micros(ready)/1000)
		}
	}
	compare("process start to ready (ms)", took, 2)
	return nil
}

// first measures the first vend of a process, with a slow Secrets Manager and a slow Salesforce.
func (b *bench) first(ctx context.Context, binaries map[string]string) error {
	b.aws.InjectFault("", localaws.Fault{Delay: latency}, 0)
	b.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Latency(latency), 0)
	calls := b.aws.Calls()["GetSecretValue"] + b.org.Stats().Calls[sfoauthtest.Token]
	took := map[string][]float64{}
	var trips []float64
	for range firsts {
		trip, err := b.roundTrips(ctx)
		if err != nil {
			return err
		}
		trips = append(trips, micros(trip)/1000)
		for _, name := range []string{"no-op", "sftoken"} {
			f := b.function(binaries[name])
			_, err := f.Start(ctx)
			var d time.Duration
			if err == nil {
				d, err = b.invoke(ctx, f)
			}
			f.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			took[name] = append(took[name], micros(d)/1000)
		}
	}
	calls = b.aws.Calls()["GetSecretValue"] + b.org.Stats().Calls[sfoauthtest.Token] - calls
	if calls != 4*firsts {
		return fmt.Errorf("%d first vends took %d round trips, not two each", firsts, calls-2*firsts)
	}
	over := median(took["sftoken"]) - median(trips)
	const mostOver = 2.0
	fmt.Printf("%-34s %12.2f %12s %12.2f %9s   ≤ %.2f: %s\n",
		"first vend, over 2 round trips (ms)", median(took["no-op"]), "", over, "", mostOver, verdict(over, mostOver))
	return nil
}

// roundTrips returns how long the same two requests take without a function: each on a new connection, one after the
// other.
func (b *bench) roundTrips(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	for _, trip := range []struct{ url, header, value, body string }{
		{
			b.env["AWS_ENDPOINT_URL_SECRETS_MANAGER"], "X-Amz-Target", "secretsmanager.GetSecretValue",
			`{"SecretId":"sftoken/crm"}`,
		},
		{
			"http://" + b.env["SALESFORCE_HOSTS"] + "/services/oauth2/token", "Content-Type",
			"application/x-www-form-urlencoded", b.form,
		},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, trip.url, strings.NewReader(trip.body))
		if err != nil {
			return 0, err
		}
		req.Header.Set(trip.header, trip.value)
		transport := &http.Transport{}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if err != nil || resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("%s: %s", trip.url, resp.Status)
		}
	}
	return time.Since(begun), nil
}

// compare prints a line of results by function. The target is the highest ratio of sftoken to the no-op.
func compare(what string, values map[string][]float64, target float64) {
	r := ratio(values["sftoken"], values["no-op"])
	fmt.Printf("%-34s %12.1f %12.1f %12.1f %9.2f   ≤ %.2f: %s\n", what, median(values["no-op"]),
		median(values["raw no-op"]), median(values["sftoken"]), r, target, verdict(r, target))
}

func verdict(value, target float64) string {
	if value > target {
		return "MISSED"
	}
	return "met"
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of the ratios of each round.
func ratio(ours, noop []float64) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / noop[i]
	}
	return median(ratios)
}

// resident returns a process's resident memory, in MB.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(fields[1], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}
