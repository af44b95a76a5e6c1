package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// TestScripts runs the scripts under testdata/script, each with a stack of its own, as a caller in another account. The
// stack of a script put-*.txtar has no functions, so that nothing reacts to what is stored.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := startStack(env.T().(testing.TB), stack.Config{
				Log: io.Discard, Env: []string{"SECRET_TTL=1s", "PROPAGATION=0s"}, Timeout: 4 * time.Second,
				NoFunctions: strings.HasPrefix(filepath.Base(env.WorkDir), "script-put-"),
			})
			env.Values["stack"] = s
			env.Setenv("GOOS", runtime.GOOS)
			env.Setenv("ORG_URL", s.OrgURL)
			env.Setenv("API_HOST", strings.TrimSuffix(s.URL, "/v1"))
			for name, value := range s.env(billingKey) {
				env.Setenv(name, value)
			}
			return nil
		},
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as": scriptAs, "api": scriptAPI, "exits": scriptExits, "fault": scriptFault, "kms": scriptKMS,
			"label": scriptLabel, "login": scriptLogin, "regions": scriptRegions, "settle": scriptSettle,
			"setup": scriptSetup, "tag": scriptTag, "token": scriptToken, "value": scriptValue,
		},
	})
}

func stackOf(ts *testscript.TestScript) *testStack { return ts.Value("stack").(*testStack) }

// scriptAs sets who runs the commands that follow: as owner|billing|stranger|probe.
func scriptAs(ts *testscript.TestScript, _ bool, args []string) {
	keys := map[string]localaws.Principal{
		"owner": ownerKey, "billing": billingKey, "stranger": strangerKey, "probe": probeKey,
	}
	for name, value := range stackOf(ts).env(keys[args[0]]) {
		ts.Setenv(name, value)
	}
}

// scriptAPI makes the commands that follow use an API that responds with a status, and with a file: api STATUS [FILE].
func scriptAPI(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	body := ""
	if len(args) > 1 {
		body = ts.ReadFile(args[1])
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	ts.Defer(api.Close)
	ts.Setenv("SFTOKEN_URL", api.URL+"/v1")
}

// scriptExits runs a command that must exit with a code: exits CODE COMMAND [ARGUMENT …].
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// scriptFault injects a fault into an endpoint of the org, by default until it is cleared: fault none, or
// fault forbidden|unavailable|maintenance|reset ENDPOINT [TIMES].
func scriptFault(ts *testscript.TestScript, _ bool, args []string) {
	org := stackOf(ts).Org
	if args[0] == "none" {
		org.ClearFaults()
		return
	}
	fault, ok := map[string]sfoauthtest.Fault{
		"forbidden":   sfoauthtest.ErrorResponse(403, "INSUFFICIENT_ACCESS", "no"),
		"unavailable": sfoauthtest.Unavailable(), "maintenance": sfoauthtest.Maintenance(), "reset": sfoauthtest.Reset(),
	}[args[0]]
	if !ok {
		ts.Fatalf("unknown fault %s", args[0])
	}
	at := sfoauthtest.Endpoint(args[1])
	if !slices.Contains(append(sfoauthtest.Endpoints(), sfoauthtest.AllEndpoints), at) {
		ts.Fatalf("unknown endpoint %s", at)
	}
	times := 0
	if len(args) > 2 {
		var err error
		times, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	org.InjectFault(at, fault, times)
}

// scriptKMS checks the key that encrypts an app's secret: kms APP KEY.
func scriptKMS(ts *testscript.TestScript, _ bool, args []string) {
	id := aws.String(prefix + args[0])
	out, err := stackOf(ts).Secrets.DescribeSecret(context.Background(), &secretsmanager.DescribeSecretInput{SecretId: id})
	ts.Check(err)
	if key := aws.ToString(out.KmsKeyId); key != args[1] {
		ts.Fatalf("the key is %q", key)
	}
}

// scriptLabel sets a variable to the version with a label, or to none: label VARIABLE LABEL. With a third argument, it
// checks that this is the version that has the label: [!] label VARIABLE LABEL VERSION.
func scriptLabel(ts *testscript.TestScript, neg bool, args []string) {
	secret, err := stackOf(ts).Secret(context.Background())
	ts.Check(err)
	version := cmp.Or(secret.VersionWithLabel(args[1]), "none")
	ts.Setenv(args[0], version)
	if len(args) > 2 && (version == args[2]) == neg {
		ts.Fatalf("%s is on version %s", args[1], version)
	}
}

// scriptLogin checks whether the credentials in a file log in at Salesforce: [!] login FILE.
func scriptLogin(ts *testscript.TestScript, neg bool, args []string) {
	var c struct{ ConsumerKey, ConsumerSecret string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &c))
	if stackOf(ts).Org.CanLogin(c.ConsumerKey, c.ConsumerSecret) == neg {
		ts.Fatalf("the credentials log in: %t", neg)
	}
}

// scriptRegions gives the commands that follow a Secrets Manager in two regions, in place of the stack's: us-east-1 has
// a copy of the secret, and us-west-2, which becomes AWS_REGION, a replica of the copy: regions.
func scriptRegions(ts *testscript.TestScript, _ bool, _ []string) {
	const standby = "us-west-2"
	ctx, id := context.Background(), aws.String(prefix+"crm")
	value, err := stackOf(ts).Secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
	ts.Check(err)
	replication := &localaws.Replication{}
	serve := func(region string) http.Handler {
		return localaws.NewSecretsManager(localaws.SecretsManagerConfig{
			Account: owner, Region: region, Replication: replication,
		})
	}
	east, west := serve(region), serve(standby)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "/"+standby+"/secretsmanager/") {
			west.ServeHTTP(w, r)
			return
		}
		east.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	client := secretsmanager.New(secretsmanager.Options{
		Region: region, BaseEndpoint: &server.URL, Credentials: ownerKey.Credentials(),
	})
	_, err = client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: id, SecretString: value.SecretString, ClientRequestToken: aws.String(stack.FirstVersion),
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(standby)}},
	})
	ts.Check(err)
	ts.Setenv("AWS_ENDPOINT_URL", server.URL)
	ts.Setenv("AWS_REGION", standby)
}

// scriptSettle waits until the functions have handled all events: settle.
func scriptSettle(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(stackOf(ts).WaitIdle(context.Background()))
}

// scriptSetup writes credentials to a file as JSON: the app's, its staged ones, new ones of the app or those of another
// app: setup show|staged|regenerate|another FILE.
func scriptSetup(ts *testscript.TestScript, _ bool, args []string) {
	s := stackOf(ts)
	key, secret := s.App.Credentials()
	switch args[0] {
	case "staged":
		key, secret = s.App.Staged()[0].Key, s.App.Staged()[0].Secret
	case "regenerate":
		key, secret = s.App.Regenerate()
	case "another":
		key, secret = s.Org.AddApp(sfoauthtest.AppOptions{Name: "Another"}).Credentials()
	}
	text := fmt.Appendf(nil, `{"consumerKey":%q,"consumerSecret":%q}`, key, secret)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// scriptTag tags the secret with the result of a daily check: tag ok|failed.
func scriptTag(ts *testscript.TestScript, _ bool, args []string) {
	secret, err := stackOf(ts).Secret(context.Background())
	ts.Check(err)
	ts.Check(secret.TagChecked(context.Background(), time.Now().Add(-3*time.Hour), args[0] == "ok"))
}

// scriptToken checks whether the token in a file is active at Salesforce: [!] token FILE.
func scriptToken(ts *testscript.TestScript, neg bool, args []string) {
	if stackOf(ts).Org.TokenActive(strings.TrimSpace(ts.ReadFile(args[0]))) == neg {
		ts.Fatalf("the token is active: %t", neg)
	}
}

// scriptValue reads or writes the secret directly, as other tools do: value read|write FILE, or value delete.
func scriptValue(ts *testscript.TestScript, _ bool, args []string) {
	secrets, id, ctx := stackOf(ts).Secrets, aws.String(prefix+"crm"), context.Background()
	switch args[0] {
	case "read":
		out, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(aws.ToString(out.SecretString)), 0o600))
	case "write":
		value := ts.ReadFile(args[1])
		_, err := secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: &value})
		ts.Check(err)
	case "delete":
		_, err := secrets.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id})
		ts.Check(err)
	}
}
