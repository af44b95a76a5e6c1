package main

import (
	"context"
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
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// notRun matches blocks with commands that need AWS itself or a second region, or that CI runs elsewhere:
// test/e2e/test_controls.py those of docs/how-to/controls.md.
var notRun = regexp.MustCompile(`(?m)^\s*(?:[A-Z_]+=\S+ )*(?:sam|make|git|go install|sftoken (?:demo|local))\b` +
	`|\baws (?:apigateway|cloudformation|cloudtrail|cloudwatch|iam|kms|lambda|logs|sns|sqs) |^\s*can |--query ` +
	`| --region |\bAWS_REGION=|-regions[ -]`)

// TestDocumentedCommandBlocks runs the shell commands of the README and the pages of docs/ in bash, as the owner of a
// local stack. It replaces only addresses and the words that the text tells the reader to replace.
func TestDocumentedCommandBlocks(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("skipped: no %s on the PATH", program)
		}
	}
	r := &blockRunner{newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=1s"), t.TempDir()}
	ran := 0
	for path := range strings.FieldsSeq("README.md docs/explanation/how-it-works.md docs/reference/errors.md " +
		"docs/how-to/queries.md docs/how-to/controls.md docs/how-to/runbook.md") {
		for _, b := range mdtest.Read(t, "../../"+path).Blocks {
			if b.Language != "sh" || notRun.MatchString(b.Text) || strings.HasPrefix(b.Text, runsAgent) {
				continue
			}
			ran++
			t.Run(fmt.Sprintf("%s:%d", path, b.Line), func(t *testing.T) { r.run(t, b) })
		}
	}
	if ran < 12 {
		t.Errorf("only %d blocks were run", ran)
	}
}

// blockRunner runs the blocks in a directory of their own.
type blockRunner struct {
	*testStack
	dir string
}

func (r *blockRunner) run(t *testing.T, b mdtest.Block) {
	token, err := r.shell(t, "sftoken get crm -o token").Output()
	must(t, err)
	secret := r.secret(t)
	r.prepare(t, b, secret)
	if strings.Contains(b.Text, " VERSION") { // the version that prepare has put in rotation
		secret = r.secret(t)
	}
	text := strings.NewReplacer(
		"https://abcdef1234.execute-api.us-east-1.amazonaws.com/v1", r.URL, "http://127.0.0.1:8080/v1", r.URL,
		"https://acme.my.salesforce.com", r.OrgURL,
		" CURRENT", " "+secret.VersionWithLabel("AWSCURRENT"), " PREVIOUS", " "+secret.VersionWithLabel("AWSPREVIOUS"),
		" VERSION", " "+secret.VersionWithLabel("AWSPENDING"),
	).Replace(b.Text)
	shell := r.shell(t, text)
	shell.Env = append(shell.Env, "TOKEN="+strings.TrimSpace(string(token)))
	shell.Stdin = strings.NewReader(r.credentialsJSON()) // for a command that prompts for them
	if output, err := shell.CombinedOutput(); err != nil {
		shown := string(output)
		for _, secret := range r.Org.Secrets() {
			shown = strings.ReplaceAll(shown, secret, "[redacted]")
		}
		t.Errorf("%v:\n%s\n%s", err, b.Text, shown)
	}
	must(t, r.WaitIdle(t.Context()))
}

// shell returns a command that runs the text in bash as the owner.
func (r *blockRunner) shell(t *testing.T, text string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return r.shellUntil(ctx, text)
}

// shellUntil is like shell, and ends the command with ctx only.
func (r *blockRunner) shellUntil(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir = r.dir
	cmd.Env = r.environ(ownerKey)
	return cmd
}

// prepare sets up the situation that the block assumes.
func (r *blockRunner) prepare(t *testing.T, b mdtest.Block, secret *appsecret.Secret) {
	t.Helper()
	var err error
	switch {
	case strings.Contains(b.Text, "credentials.json"): // an administrator has regenerated the credentials
		r.App.Regenerate()
		err = os.WriteFile(filepath.Join(r.dir, "credentials.json"), []byte(r.credentialsJSON()), 0o600)
	case b.Heading == "A rotation is stuck":
		r.Org.InjectFault(sfoauthtest.Promote, sfoauthtest.Maintenance(), 0)
		_, err = startRotation(t.Context(), r.Secrets, prefix+"crm")
		r.Org.ClearFaults()
	case strings.Contains(b.Text, "restore-secret"):
		_, err = r.Secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String(prefix + "crm")})
	}
	must(t, err)
	marked := secret.VersionWithLabel("COMPROMISED")
	if marked != "" && strings.Contains(b.Text, "COMPROMISED --move") { // the block is about the first leak
		must(t, secret.RemoveLabel(t.Context(), "COMPROMISED", marked))
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
	t.Parallel()
	s := newTestStack(t, io.Discard)
	cfg := aws.Config{Region: region, Credentials: billingKey.Credentials()}
	resp, err := readmeGo(cfg, s.URL)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP %d", resp.StatusCode)
	}
	checkGo(t, "README.md", "docs_run_test.go",
		`"https://abcdef1234.execute-api.us-east-1.amazonaws.com/v1"`, "api")
}

// checkGo checks that the page's Go, after a replacement, stands in a function of this package.
func checkGo(t *testing.T, path, file, old, replacement string) {
	t.Helper()
	source, err := os.ReadFile(file)
	must(t, err)
	for _, b := range mdtest.Read(t, "../../"+path).Blocks {
		if b.Language == "go" {
			fragment := strings.Replace(strings.TrimSpace(b.Text), old, replacement, 1)
			if !strings.Contains(string(source), "\t"+strings.ReplaceAll(fragment, "\n", "\n\t")) {
				t.Errorf("%s:%d: the Go differs from that of %s", path, b.Line, file)
			}
			return
		}
	}
	t.Errorf("%s has no Go", path)
}

// TestHelpExamples runs the examples of the help in bash, as the owner of a local stack. It only parses those that need
// a terminal, another program or another app.
func TestHelpExamples(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("skipped: no %s on the PATH", program)
		}
	}
	r := &blockRunner{newTestStack(t, io.Discard, "SECRET_TTL=1s", "PROPAGATION=0s"), t.TempDir()}
	notRun := regexp.MustCompile(`<id>|\bvault\b|python|--admin-app|--denied-app|curl .*--unix-socket|` +
		`sftoken (?:demo|local|serve)|--compromised --url`)
	ran := 0
	everyCommand(func(cmd *cobra.Command, words []string) {
		example := strings.ReplaceAll(cmd.Example, "\\\n", " ")
		for _, match := range ours.FindAllStringSubmatch(example, -1) {
			if err := parses(match[1]); err != nil {
				t.Errorf("%v: sftoken%s: %v", words, match[1], err)
			}
		}
		var runnable []string
		for line := range strings.Lines(example) {
			if !notRun.MatchString(line) {
				runnable = append(runnable, line)
			}
		}
		if text := strings.Join(runnable, ""); strings.TrimSpace(text) != "" {
			ran++
			r.run(t, mdtest.Block{Text: text})
		}
	})
	if ran < 9 {
		t.Errorf("the examples of only %d commands were run", ran)
	}
}
