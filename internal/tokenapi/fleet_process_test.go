package tokenapi

import (
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// emulator starts a DynamoDB with an empty token table. kill ends it in the middle of its responses.
type emulator func(t *testing.T) (url string, kill func())

// fleet is several processes of the function that share tokens.
type fleet struct {
	*running
	size     int
	problems []string
}

func (f *fleet) errorf(format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

const (
	fleetSecretTTL = time.Second
	loginTime      = 400 * time.Millisecond
	// stagger is the time between two requests. Processes that all start to work at once share this machine's
	// processors, unlike on Lambda, and may then wait for the table for too long. All requests arrive during one login.
	stagger = 25 * time.Millisecond
)

func startFleet(t *testing.T, size int, tableURL string) *fleet {
	t.Helper()
	f := &fleet{size: size, running: start(t, localaws.FunctionConfig{Environments: size, Env: map[string]string{
		"TOKEN_TABLE": simtest.TableName, "AWS_ENDPOINT_URL_DYNAMODB": tableURL, "SECRET_TTL": fleetSecretTTL.String(),
	}})}
	f.org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(loginTime), 0)
	for range size {
		if _, err := f.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fleet) logins() int { return f.org.Stats().Calls[sfoauthtest.Token] }

// vendAtOnce sends a request to each process, and returns the ids of the different tokens.
func (f *fleet) vendAtOnce(t *testing.T) []string {
	t.Helper()
	ids := make([]string, f.size)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i] = f.vend(t) })
		time.Sleep(stagger)
	}
	wg.Wait()
	slices.Sort(ids)
	return slices.Compact(ids)
}

// changeSecret stores new credentials, and waits until the processes read them.
func (f *fleet) changeSecret(t *testing.T) {
	t.Helper()
	f.app.Regenerate()
	if _, err := f.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(simtest.SecretName), SecretString: f.value(),
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(fleetSecretTTL)
}

func oneLogin(t *testing.T, size int, start emulator) *fleet {
	url, _ := start(t)
	f := startFleet(t, size, url)
	for i, when := range []string{"cold", "after a change of the secret", "after another"} {
		if i > 0 {
			f.changeSecret(t)
		}
		before := f.logins()
		ids := f.vendAtOnce(t)
		if n := f.logins() - before; n != 1 || len(ids) != 1 {
			f.errorf("%s: %d logins, %d tokens", when, n, len(ids))
		}
	}
	if n := len(f.PIDs()); n != size {
		f.errorf("%d processes", n)
	}
	return f
}

// bypassed reports whether a process met an error of the table.
func (f *fleet) bypassed() bool {
	return slices.ContainsFunc(f.log.Lines(), func(line string) bool { return strings.Contains(line, `"SharedErrors"`) })
}

func refusedCredentials(t *testing.T, size int, start emulator) *fleet {
	url, _ := start(t)
	f := startFleet(t, size, url)
	f.app.Regenerate() // what is stored is refused
	for range 3 {
		var wg sync.WaitGroup
		for range size {
			wg.Go(func() {
				if status, body, err := f.invoke(t, f.Function); err != nil || status < 500 {
					t.Errorf("HTTP %d: %s: %v", status, body, err)
				}
			})
			time.Sleep(stagger)
		}
		wg.Wait()
		time.Sleep(fleetSecretTTL / 2)
	}
	if n := f.logins(); n < 1 || n > 2 {
		f.errorf("%d logins", n)
	}
	return f
}

// leaseTime is how long a lease lasts. internal/vending does not export it.
const leaseTime = 7 * time.Second

func holderKilled(t *testing.T, size int, start emulator) *fleet {
	url, _ := start(t)
	f := startFleet(t, size-1, url)
	config := f.config
	config.Environments = 1
	holder := localaws.NewFunction(config)
	t.Cleanup(holder.Close)
	f.org.ClearFaults()
	f.org.InjectFault(sfoauthtest.Token, sfoauthtest.Hang(), 1)
	killed := make(chan error)
	go func() { _, _, err := f.invoke(t, holder); killed <- err }()
	for f.logins() == 0 {
		time.Sleep(time.Millisecond)
	}
	var ids []string
	var others sync.WaitGroup
	others.Go(func() { ids = f.vendAtOnce(t) })
	time.Sleep(300 * time.Millisecond) // they wait for the holder
	process, err := os.FindProcess(holder.PIDs()[0])
	if err != nil || process.Kill() != nil {
		t.Fatalf("the holder cannot be killed: %v", err)
	}
	died := time.Now()
	if err := <-killed; err == nil {
		t.Error("the killed process has responded")
	}
	others.Wait()
	if took := time.Since(died); took > leaseTime+4*time.Second { // a poll, and what a slow machine needs
		f.errorf("the others waited %s", took)
	}
	if n := f.logins(); n != 2 || len(ids) != 1 {
		f.errorf("%d logins, %d tokens", n, len(ids))
	}
	return f
}

// tableKilled ends the table at several moments of a cold start.
func tableKilled(t *testing.T, size int, start emulator) *fleet {
	for _, ms := range []int{0, 10, 50, 100, 200, 350, 400, 450, 600} {
		moment := time.Duration(ms) * time.Millisecond
		t.Run(moment.String(), func(t *testing.T) {
			url, kill := start(t)
			f := startFleet(t, size, url)
			var requests sync.WaitGroup
			requests.Go(func() { f.vendAtOnce(t) })
			time.Sleep(moment)
			kill()
			requests.Wait()
			f.vendAtOnce(t)
			f.changeSecret(t)
			f.vendAtOnce(t)
			if n := f.logins(); n > 2*size {
				t.Errorf("%d logins of %d processes", n, size)
			}
		})
	}
	return &fleet{}
}

// fleetRules hold with each emulator.
var fleetRules = []struct {
	name  string
	slow  bool
	check func(t *testing.T, size int, start emulator) *fleet
}{
	{"one login", false, oneLogin},
	{"refused credentials", false, refusedCredentials},
	{"the holder is killed", true, holderKilled},
	{"the table is killed", true, tableKilled},
}

// checkRule checks a rule. It tries again if the table was slower than the function allows: that is this machine's
// fault, and processes that then work alone follow no rule of a fleet.
func checkRule(t *testing.T, check func(*testing.T, int, emulator) *fleet, size int, start emulator) {
	t.Helper()
	for range 3 {
		f := check(t, size, start)
		if len(f.problems) == 0 {
			return
		}
		if !f.bypassed() {
			t.Fatal(strings.Join(f.problems, "; "))
		}
		t.Logf("the table was too slow, or failed: %q", f.problems)
	}
	t.Error("the table was too slow, or failed, each time")
}

func TestFleet(t *testing.T) {
	t.Parallel()
	for _, rule := range fleetRules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			if rule.slow && testing.Short() {
				t.Skip("skipped: -short")
			}
			checkRule(t, rule.check, 10, simulatedTable)
		})
	}
}

// TestFleetConformanceOfMoto checks the same rules with moto_server as the table.
func TestFleetConformanceOfMoto(t *testing.T) {
	if os.Getenv("SFTOKEN_MOTO_SERVER") == "" {
		t.Skip("skipped: there is no moto_server: see make conformance")
	}
	for _, rule := range fleetRules {
		t.Run(rule.name, func(t *testing.T) { checkRule(t, rule.check, 12, motoTable) })
	}
}

func simulatedTable(t *testing.T) (url string, kill func()) {
	t.Helper()
	server := httptest.NewServer(localaws.NewDynamoDB(localaws.DynamoDBConfig{
		Table: simtest.TableName, Key: tokenstore.Key,
	}))
	t.Cleanup(server.Close)
	return server.URL, func() {
		_ = server.Listener.Close()
		server.CloseClientConnections()
	}
}

// motoTable starts a moto_server. Requests reach it one at a time: DynamoDB's writes are atomic, and those of moto's
// threads are not.
func motoTable(t *testing.T) (url string, kill func()) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	moto := exec.CommandContext(t.Context(), os.Getenv("SFTOKEN_MOTO_SERVER"), "-H", host, "-p", port)
	if err := moto.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = moto.Process.Kill()
		_ = moto.Wait()
	}
	t.Cleanup(kill)
	proxy := httptest.NewServer(simtest.OneAtATime("http://" + host + ":" + port))
	t.Cleanup(proxy.Close)
	client := dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: &proxy.URL, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	})
	for range 600 { // a minute
		if err = localaws.CreateTable(t.Context(), client, simtest.TableName, tokenstore.Key); err == nil {
			return proxy.URL, kill
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("moto_server: %v", err)
	return "", nil
}
