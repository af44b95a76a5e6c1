package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// newStackWithoutFunctions starts an org and AWS only: nothing reacts to what is stored.
func newStackWithoutFunctions(t *testing.T) *testStack {
	t.Helper()
	s := startStack(t, stack.Config{NoFunctions: true})
	s.useKey(t, ownerKey)
	return s
}

// value returns the current value of crm.
func (s *testStack) value(t *testing.T) map[string]any {
	t.Helper()
	out, err := s.Secrets.GetSecretValue(t.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String(prefix + "crm")})
	must(t, err)
	found := map[string]any{}
	_ = json.Unmarshal([]byte(strings.TrimPrefix(aws.ToString(out.SecretString), "\ufeff")), &found)
	return found
}

// overwrite stores a value unchecked, as other tools do.
func (s *testStack) overwrite(t *testing.T, input *secretsmanager.PutSecretValueInput) {
	t.Helper()
	input.SecretId = aws.String(prefix + "crm")
	if _, err := s.Secrets.PutSecretValue(t.Context(), input); err != nil {
		t.Fatal(err)
	}
}

func (s *testStack) credentialsJSON() string {
	key, secret := s.App.Credentials()
	return fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, secret)
}

func TestPutKeepsStoredFields(t *testing.T) {
	s := newStackWithoutFunctions(t)
	good, err := json.Marshal(s.value(t))
	must(t, err)
	text := func(value string) *secretsmanager.PutSecretValueInput {
		return &secretsmanager.PutSecretValueInput{SecretString: &value}
	}
	for name, c := range map[string]struct {
		stored *secretsmanager.PutSecretValueInput
		says   string // empty if it is stored, with all fields
	}{
		"a byte order mark":     {text("\ufeff" + string(good)), ""},
		"truncated JSON":        {text(string(good[:len(good)-1])), "the whole value, allowedPrincipals, appId, baseUri"},
		"text that is not JSON": {text("hello"), "would lose the whole value\n"},
		"a binary value": {&secretsmanager.PutSecretValueInput{SecretBinary: good},
			"would lose the whole value\n"},
		"a misspelt field": {text(strings.Replace(string(good), "allowedPrincipals", "AllowedPrincipals", 1)),
			"did you mean allowedPrincipals"},
		"an invalid list": {text(strings.Replace(string(good), `["111111111111"`, `["11111111"`, 1)),
			"allowedPrincipals: entry 1"},
		"a field that is not a string": {text(strings.Replace(string(good), `"orgId":"`, `"orgId":7,"was":"`, 1)),
			"orgId is not a string"},
		"an unknown field": {text(strings.Replace(string(good), `"orgId"`, `"note":"kept","orgId"`, 1)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.overwrite(t, c.stored)
			before := s.current(t)
			for _, verb := range []string{"put", "stage"} {
				_, stderr, code := command(t, s.credentialsJSON(), "secret", verb, "crm")
				if c.says == "" && code != 0 || c.says != "" &&
					(code != exitFailed || !strings.Contains(stderr, c.says) || !strings.Contains(stderr, "--replace")) {
					t.Errorf("%s: exit %d: %s", verb, code, stderr)
				}
			}
			if c.says != "" {
				if s.current(t) != before {
					t.Error("something is stored")
				}
				return
			}
			if now := s.value(t); now["orgId"] != s.Org.ID() || len(now["allowedPrincipals"].([]any)) != 2 ||
				name == "an unknown field" && now["note"] != "kept" {
				t.Errorf("fields are missing: %d are left", len(now))
			}
		})
	}
	t.Run("replaced", func(t *testing.T) {
		s.overwrite(t, text(string(good[:len(good)-1])))
		key, secret := s.App.Credentials()
		all := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q}`, key, secret, s.OrgURL)
		stdout, stderr, code := command(t, all, "secret", "put", "crm", "--replace", "--json")
		if code != 0 || !strings.Contains(stderr, "--replace drops stored fields: the whole value, allowedPrincipals") ||
			!strings.Contains(stdout, `"dropped": [`) {
			t.Errorf("exit %d: %s%s", code, stdout, stderr)
		}
		if now := s.value(t); len(now) != 3 {
			t.Errorf("%d fields are stored", len(now))
		}
	})
}

func encoded(order binary.AppendByteOrder, text string) (out []byte) {
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return out
}

func TestInputEncodings(t *testing.T) {
	s := newStackWithoutFunctions(t)
	text := strings.TrimSuffix(s.credentialsJSON(), "}") + `,"note":"Zürich 🙂"}` + "\r\n"
	for name, c := range map[string]struct {
		file []byte
		says string // empty if it is stored
	}{
		"UTF-8":                 {[]byte(text), ""},
		"UTF-8 with a mark":     {[]byte("\ufeff" + text), ""},
		"UTF-16LE with a mark":  {append([]byte{0xff, 0xfe}, encoded(binary.LittleEndian, text)...), ""},
		"UTF-16BE with a mark":  {append([]byte{0xfe, 0xff}, encoded(binary.BigEndian, text)...), ""},
		"UTF-16 without a mark": {encoded(binary.LittleEndian, text), "looks like UTF-16 without a byte order mark"},
		"truncated UTF-16": {append([]byte{0xff, 0xfe}, encoded(binary.LittleEndian, text)[:31]...),
			"ends within a character"},
		"truncated JSON in UTF-16": {append([]byte{0xff, 0xfe}, encoded(binary.LittleEndian, `{"note":"`)...),
			"not one JSON object"},
		"UTF-32": {[]byte("\xff\xfe\x00\x00{\x00\x00\x00}\x00\x00\x00"), "UTF-32"},
		"Latin-1": {[]byte(strings.ReplaceAll(strings.ReplaceAll(text, "ü", "\xfc"), "🙂", "")),
			"not UTF-8 (from byte"},
		"two values":                 {[]byte(text + text), "not one JSON object"},
		"a list":                     {[]byte("[" + text + "]"), "not one JSON object"},
		"too long a value":           {[]byte(`{"note":"` + strings.Repeat("x", maxInput) + `"}`), "longer than"},
		"a lone surrogate in UTF-16": {append([]byte{0xff, 0xfe}, 0x00, 0xd8, '{', 0), "not valid UTF-16"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "credentials.json")
			must(t, os.WriteFile(file, c.file, 0o600))
			before := s.current(t)
			_, stderr, code := command(t, "", "secret", "put", "crm", "--file", file)
			if c.says == "" && (code != 0 || s.value(t)["note"] != "Zürich 🙂") ||
				c.says != "" && (code != exitFailed || !strings.Contains(stderr, c.says) || s.current(t) != before) {
				t.Errorf("exit %d: %s", code, stderr)
			}
			if _, stderr, code := command(t, string(c.file), "secret", "put", "crm"); (code == 0) != (c.says == "") {
				t.Errorf("standard input: exit %d: %s", code, stderr)
			}
		})
	}
}

func TestInvalidUTF8Position(t *testing.T) {
	for text, want := range map[string]string{
		"\xfc": "from byte 1 on", "{ü\xfc\xfcü": "from byte 4 on", "\ufffd\xfc": "from byte 4 on",
	} {
		if _, err := decodeText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestPutVerifies(t *testing.T) {
	const wrong = `{"consumerKey":"3MVG9wrong","consumerSecret":"wrong"}`
	org := func(change func(*sfoauthtest.AppOptions)) func(*testStack) {
		return func(s *testStack) { s.App.Change(change) }
	}
	fault := func(at sfoauthtest.Endpoint, f sfoauthtest.Fault, times int) func(*testStack) {
		return func(s *testStack) { s.Org.InjectFault(at, f, times) }
	}
	for name, c := range map[string]struct {
		change func(*testStack)
		given  string // empty means the app's own credentials
		says   string // empty if it is stored
		also   string
	}{
		"credentials that work": {func(*testStack) {}, "", "", ""},
		"wrong credentials": {func(*testStack) {}, wrong, "the credentials are rejected by Salesforce",
			"sftoken secret stage crm --wait"},
		"an inactive user": {func(s *testStack) {
			s.App.User.Change(func(u *sfoauthtest.UserOptions) { u.Inactive = true })
		}, "", "the credentials do not work", "activate the run-as user"},
		"a frozen user": {func(s *testStack) { s.App.User.Change(func(u *sfoauthtest.UserOptions) { u.Frozen = true }) },
			"", "the credentials do not work", "INVALID_SESSION_ID"},
		"another org's": {func(s *testStack) {
			key, secret := s.App.Credentials()
			value := fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q,"baseUri":%q,"orgId":"00D000000000001AAA"}`,
				key, secret, s.OrgURL)
			s.overwrite(t, &secretsmanager.PutSecretValueInput{SecretString: &value})
		}, "", "the credentials do not work", "orgId is 00D000000000001AAA"},
		"an address outside the IP ranges": {org(func(o *sfoauthtest.AppOptions) { o.IPRestricted = true }),
			"", "cannot verify the credentials from this machine", "sftoken secret stage crm --wait"},
		"an outage": {fault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0), "",
			"cannot verify the credentials from this machine", "--no-verify"},
		"a login limit": {fault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded"), 0),
			"", "cannot verify the credentials from this machine", "login rate"},
		"no network": {fault(sfoauthtest.AllEndpoints, sfoauthtest.Reset(), 0), "",
			"cannot verify the credentials from this machine", "sftoken secret stage crm --wait"},
		"an outage of the REST API": {fault(sfoauthtest.REST, sfoauthtest.Unavailable(), 0), "",
			"cannot verify the credentials from this machine", ""},
		"a session that ended in between": {fault(sfoauthtest.REST,
			sfoauthtest.ErrorResponse(401, "INVALID_SESSION_ID", "Session expired or invalid"), 1), "", "", ""},
		"another request in progress": {fault(sfoauthtest.Token,
			sfoauthtest.ErrorResponse(400, "invalid_grant", "token request is already being processed"), 1), "", "", ""},
		"a host outside Salesforce": {func(*testStack) {}, `{"baseUri":"https://acme.lightning.force.com"}`,
			"the credentials do not work", "not a My Domain"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStackWithoutFunctions(t)
			c.change(s)
			before, given := s.current(t), c.given
			if given == "" {
				given = s.credentialsJSON()
			}
			stdout, stderr, code := command(t, given, "secret", "put", "crm")
			switch {
			case c.says == "" && (code != 0 || s.current(t) == before):
				t.Errorf("exit %d: %s%s", code, stdout, stderr)
			case c.says != "" && (code != exitFailed || s.current(t) != before || !strings.Contains(stderr, c.says) ||
				!strings.Contains(stderr, "error: nothing was stored: ") || !strings.Contains(stderr, c.also)):
				t.Errorf("exit %d: %s%s", code, stdout, stderr)
			}
			logins := s.Org.Stats().Calls[sfoauthtest.Token]
			stdout, stderr, code = command(t, given, "secret", "put", "crm", "--no-verify", "--force", "--json")
			if code != 0 || !strings.Contains(stdout, `"verified": false`) {
				t.Errorf("--no-verify: exit %d: %s", code, stderr)
			}
			if _, stderr, code := command(t, given, "secret", "stage", "crm"); code != 0 {
				t.Errorf("stage: exit %d: %s", code, stderr)
			}
			if s.Org.Stats().Calls[sfoauthtest.Token] != logins {
				t.Error("--no-verify or stage has logged in")
			}
		})
	}
}

// The safe way comes first.
func TestVerifyHints(t *testing.T) {
	s := newStackWithoutFunctions(t)
	s.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
	_, stderr, _ := command(t, s.credentialsJSON(), "secret", "put", "crm")
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if n := len(lines); n < 3 || !strings.HasPrefix(lines[n-2], "hint: `sftoken secret stage crm --wait` ") ||
		!strings.HasPrefix(lines[n-1], "hint: --no-verify ") {
		t.Errorf("%s", stderr)
	}
}

// The profile may select the wrong account: every command that writes prints its target.
func TestTargetIsPrinted(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=0s")
	const arn = "arn:aws:secretsmanager:us-east-1:111111111111:secret:sftoken/crm-"
	for _, args := range [][]string{{"secret", "put", "crm"}, {"secret", "stage", "crm"}, {"rotate", "crm"},
		{"rotate", "crm", "--wait"}, {"rotate", "crm", "--compromised", "--yes"}} {
		stdout, stderr, code := s.command(t, ownerKey, s.credentialsJSON(), args...)
		const want = "sftoken/crm in account 111111111111, region us-east-1 (" + arn
		if code != 0 || !strings.Contains(strings.Join(strings.Fields(stderr), " "), want) {
			t.Errorf("%q: exit %d: %s%s", args, code, stdout, stderr)
		}
		stdout, stderr, code = s.command(t, ownerKey, s.credentialsJSON(), append(args, "--json")...)
		var got target
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || !strings.HasPrefix(got.ARN, arn) ||
			got.Account != owner || got.Region != region || got.Secret != "sftoken/crm" {
			t.Errorf("%q --json: exit %d: %s%s", args, code, stdout, stderr)
		}
	}
}
