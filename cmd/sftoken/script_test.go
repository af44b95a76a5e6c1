package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// TestScripts runs the scripts under testdata/script, each with a stack of its own, as a caller in another account.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := newTestStack(env.T().(testing.TB), io.Discard, "SECRET_TTL=1s", "PROPAGATION=1s")
			env.Values["stack"] = s
			env.Setenv("ORG_URL", s.OrgURL)
			env.Setenv("API_HOST", strings.TrimSuffix(s.URL, "/v1"))
			for name, value := range s.env(billingKey) {
				env.Setenv(name, value)
			}
			return nil
		},
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as": scriptAs, "exits": scriptExits, "token": scriptToken, "login": scriptLogin, "setup": scriptSetup,
			"delete": scriptDelete,
			"settle": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check(stackOf(ts).WaitIdle(context.Background()))
			},
		},
	})
}

func stackOf(ts *testscript.TestScript) *testStack { return ts.Value("stack").(*testStack) }

// scriptAs runs the commands that follow as one of the principals of the stack: as owner|billing|stranger.
func scriptAs(ts *testscript.TestScript, _ bool, args []string) {
	p, ok := map[string]localaws.Principal{"owner": ownerKey, "billing": billingKey,
		"stranger": strangerKey}[strings.Join(args, " ")]
	if !ok {
		ts.Fatalf("usage: as owner|billing|stranger")
	}
	for name, value := range stackOf(ts).env(p) {
		ts.Setenv(name, value)
	}
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

// scriptToken checks whether the token in a file is active at Salesforce: [!] token active FILE.
func scriptToken(ts *testscript.TestScript, neg bool, args []string) {
	if stackOf(ts).Org.TokenActive(strings.TrimSpace(ts.ReadFile(args[1]))) == neg {
		ts.Fatalf("the token is active: %t", neg)
	}
}

// scriptSetup writes the app's credentials to a file as JSON, after making new ones or not: setup show|regenerate FILE.
func scriptSetup(ts *testscript.TestScript, _ bool, args []string) {
	key, secret := stackOf(ts).App.Credentials()
	if args[0] == "regenerate" {
		key, secret = stackOf(ts).App.Regenerate()
	}
	text := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, secret)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// scriptLogin checks whether the credentials in a file log in at Salesforce: [!] login FILE.
func scriptLogin(ts *testscript.TestScript, neg bool, args []string) {
	var key, secret string
	_, err := fmt.Sscanf(ts.ReadFile(args[0]), `{"consumerKey":%q,"consumerSecret":%q}`, &key, &secret)
	ts.Check(err)
	if stackOf(ts).Org.CanLogin(key, secret) == neg {
		ts.Fatalf("the credentials log in: %t", neg)
	}
}

// scriptDelete schedules the secret for deletion: delete.
func scriptDelete(ts *testscript.TestScript, _ bool, _ []string) {
	_, err := stackOf(ts).Secrets.DeleteSecret(context.Background(),
		&secretsmanager.DeleteSecretInput{SecretId: aws.String(prefix + "crm")})
	ts.Check(err)
}
