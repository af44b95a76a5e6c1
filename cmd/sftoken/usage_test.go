package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/stack"
)

// A usage error is one line "error: …" and perhaps lines "hint: …" on standard error, and nothing on standard output.
func TestUsageErrors(t *testing.T) {
	s := &testStack{&stack.Stack{URL: "http://127.0.0.1:1/v1", AWSURL: "http://127.0.0.1:1"}}
	s.useKey(t, ownerKey)
	check := func(want, args string) {
		t.Helper()
		stdout, stderr, code := command(t, "{}", strings.Fields(args)...)
		lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
		isNoHint := func(line string) bool { return !strings.HasPrefix(line, "hint: ") }
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) || !strings.HasPrefix(lines[0], "error: ") ||
			slices.ContainsFunc(lines[1:], isNoHint) {
			t.Errorf("sftoken %s: exit %d: %s%s", args, code, stdout, stderr)
		}
	}
	for args, want := range map[string]string{
		"gte crm":                    "hint: did you mean get?",
		"nonsense":                   `unknown command "nonsense"`,
		"secret nonsense":            "nonsense",
		"completion nonsense":        "nonsense",
		"help nonsense":              `unknown command "nonsense"`,
		"help sercet":                "hint: did you mean serve or secret?",
		"help secret nonsense":       "hint: see `sftoken secret --help`",
		"help get crm":               `unknown command "crm"`,
		"secret help nonsense":       `unknown command "help"`,
		"version -o token":           "want table or json",
		"revoke crm --json=maybe":    "maybe",
		"--nonsense":                 "hint: see `sftoken --help`",
		"get crm --nonsense":         "hint: see `sftoken get --help`",
		"agent":                      "serve",
		"version crm":                "unexpected argument",
		"get":                        "hint: see `sftoken get --help`",
		"get a b":                    "the app's name",
		"doctor":                     "the app's name",
		"doctor crm erp":             "one argument",
		"doctor CRM":                 "invalid app name",
		"rotate CRM":                 "invalid app name",
		"get CRM":                    "lower-case letters",
		"get crm -o xml":             "want json, table, env, header, token or none",
		"get crm --url foo":          "must be a URL",
		"revoke crm --url foo":       "must be a URL",
		"exec crm --url foo -- true": "must be a URL",
		"rotate crm --compromised --yes --url foo": "must be a URL",
		"get crm --timeout soon":                   "soon",
		"get crm --timeout -1s":                    "--timeout -1s: want more than 0",
		"get crm --timeout 0s":                     "--timeout 0s: want more than 0",
		"exec crm --timeout -1s -- true":           "want more than 0",
		"revoke crm --timeout -1s":                 "want more than 0",
		"doctor crm --timeout -1s":                 "want more than 0",
		"rotate crm --timeout -1s":                 "want more than 0",
		"secret stage crm --wait --timeout -1s":    "want more than 0",
		"doctor crm --salesforce-hosts https://x":  "--salesforce-hosts",
		"doctor crm --egress-addresses nat":        `--egress-addresses: "nat" is not an IP address`,
		"doctor crm --egress-addresses 0.0.0.0/0":  "is every address",
	} {
		check(want, args)
	}
	t.Setenv("SFTOKEN_URL", "http://api.example/v1")
	check("must be https", "get crm")
	t.Setenv("SFTOKEN_URL", " ")
	check("must be a URL", "get crm")
	t.Setenv("SFTOKEN_URL", "")
	check("hint: pass --url or set SFTOKEN_URL", "get crm")
	t.Setenv("SFTOKEN_URL", s.URL)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for _, args := range []string{"get crm", "revoke crm", "secret status crm", "secret put crm", "secret stage crm",
		"rotate crm"} {
		check("no region", args)
	}
	t.Setenv("AWS_REGION", region)
	t.Setenv("SFTOKEN_HOSTS", "https://x/y")
	check("SFTOKEN_HOSTS", "secret put crm")
}
