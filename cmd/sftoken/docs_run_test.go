package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// elsewhere are the commands that need AWS itself, or are run by CI as they are.
var elsewhere = regexp.MustCompile(`(?m)^\s*(?:[A-Z_]+=\S+ )*(?:sam|make|git|go (?:run|install)|sftoken (?:demo|local))\b|\baws (?:cloudformation|cloudtrail|kms|lambda|logs|sqs) `)

// TestDocumentedCommandBlocks runs what the README and the pages of docs/ say to type, in bash, as the owner of a
// local stack, with the real binary. Only addresses and what the text says to fill in are replaced.
func TestDocumentedCommandBlocks(t *testing.T) {
	dir := t.TempDir()
	for name, source := range map[string]string{"sftoken": ".", "aws": "./testdata/aws"} {
		if text, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	s := &reader{testStack: newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=1s"), dir: dir}
	ran := 0
	for _, path := range []string{"README.md", "docs/how-it-works.md", "docs/errors.md", "docs/queries.md", "docs/runbook.md"} {
		for _, b := range mdtest.Read(t, "../../"+path).Blocks {
			if b.Language != "sh" || elsewhere.MatchString(b.Text) {
				continue
			}
			ran++
			t.Run(fmt.Sprintf("%s:%d", path, b.Line), func(t *testing.T) { s.run(t, b) })
		}
	}
	if ran < 12 {
		t.Errorf("only %d blocks were run", ran)
	}
}

// reader does what a page says.
type reader struct {
	*testStack
	dir string
}

func (s *reader) run(t *testing.T, b mdtest.Block) {
	if strings.Contains(b.Text, "curl") {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("skipped: no curl on the PATH")
		}
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("skipped: no bash on the PATH")
	}
	secret, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.useKey(t, ownerKey)
	stdout, _, _ := command(t, "", "get", "crm", "-o", "token")
	t.Setenv("TOKEN", strings.TrimSpace(stdout))
	s.prepare(t, b)
	if marked := secret.VersionWithLabel("COMPROMISED"); marked != "" && strings.Contains(b.Text, "COMPROMISED --move") { // as for the first leak
		if err := secret.RemoveLabel(t.Context(), "COMPROMISED", marked); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(b.Text, " VERSION") { // it is only now in rotation
		if secret, err = s.Secret(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.NewReplacer(
		"https://abcdef1234.execute-api.us-east-1.amazonaws.com/v1", s.URL, "http://127.0.0.1:8080/v1", s.URL, "https://acme.my.salesforce.com", s.OrgURL,
		" CURRENT", " "+secret.VersionWithLabel("AWSCURRENT"), " PREVIOUS", " "+secret.VersionWithLabel("AWSPREVIOUS"), " VERSION", " "+secret.VersionWithLabel("AWSPENDING"),
	).Replace(b.Text)
	t.Setenv("PATH", s.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, bash, "-euo", "pipefail", "-c", text)
	shell.Dir = s.dir
	key, pair := s.App.Credentials() // for a command that asks for it
	shell.Stdin = strings.NewReader(fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":%q}`, key, pair))
	output, err := shell.CombinedOutput()
	if err != nil {
		said := string(output)
		for _, secret := range s.Org.Secrets() {
			said = strings.ReplaceAll(said, secret, "[redacted]")
		}
		t.Errorf("%v:\n%s\n%s", err, b.Text, said)
	}
	if err := s.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *testStack) current(t *testing.T) string {
	t.Helper()
	secret, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return secret.VersionWithLabel("AWSCURRENT")
}

// prepare brings about what the block is for.
func (s *reader) prepare(t *testing.T, b mdtest.Block) {
	t.Helper()
	switch {
	case strings.Contains(b.Text, "credentials.json"): // a person has regenerated the credentials
		key, secret := s.App.Regenerate()
		text, err := json.Marshal(map[string]string{"consumerKey": key, "consumerSecret": secret})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "credentials.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	case b.Heading == "A rotation is stuck":
		s.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Maintenance(), 0)
		if _, err := startRotation(t.Context(), s.Secrets, prefix+"crm"); err != nil {
			t.Fatal(err)
		}
		s.Org.ClearFaults()
	case strings.Contains(b.Text, "restore-secret"):
		if _, err := s.Secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(prefix + "crm")}); err != nil {
			t.Fatal(err)
		}
	}
}

// readmeGo is the Go of the README.
func readmeGo(cfg aws.Config, api string) (*http.Response, error) {
	source := sftoken.NewTokenSource(cfg, api, "crm")
	client := &http.Client{Transport: &sftoken.Transport{Source: source}}
	resp, err := client.Get("/services/data/v65.0/limits")
	return resp, err
}

// TestReadmeGo checks that the README has the lines of readmeGo, and that they work.
func TestReadmeGo(t *testing.T) {
	s := newTestStack(t, io.Discard)
	s.useKey(t, billingKey)
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := readmeGo(cfg, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP %d", resp.StatusCode)
	}
	source, err := os.ReadFile("docs_run_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range mdtest.Read(t, "../../README.md").Blocks {
		if b.Language == "go" {
			fragment := strings.Replace(b.Text, `"https://abcdef1234.execute-api.us-east-1.amazonaws.com/v1"`, "api", 1)
			if !strings.Contains(string(source), "\t"+strings.ReplaceAll(strings.TrimSpace(fragment), "\n", "\n\t")) {
				t.Errorf("README.md:%d: the Go differs from readmeGo", b.Line)
			}
			return
		}
	}
	t.Error("the README has no Go")
}
