package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sftoken"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

const (
	agentPage = "../../docs/how-to/agent.md"
	runsAgent = "sftoken serve " // the beginning of a block that runs until Ctrl-C
)

// TestAgentPage runs the shell commands of docs/how-to/agent.md in order: the agents as the owner of a local stack, in
// the background, and their clients without AWS credentials. What a block exports holds for those that follow.
func TestAgentPage(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("skipped: no %s on the PATH", program)
		}
	}
	p := &agentPageRunner{blockRunner: &blockRunner{newTestStack(t, io.Discard), t.TempDir()}, address: freeAddress(t)}
	ran := 0
	for _, b := range mdtest.Read(t, agentPage).Blocks {
		if b.Language != "sh" {
			continue
		}
		ran++
		if strings.HasPrefix(b.Text, runsAgent) {
			p.serve(t, b)
			continue
		}
		p.runClient(t, b)
	}
	if ran < 10 {
		t.Errorf("only %d blocks were run", ran)
	}
}

type agentPageRunner struct {
	*blockRunner
	address string // of the agent with a token
	exports string // lines of earlier blocks
}

// local replaces the page's addresses and paths.
func (p *agentPageRunner) local(text string) string {
	return strings.NewReplacer(
		"https://abcdef1234.execute-api.us-east-1.amazonaws.com/v1", p.URL, "/run/sftoken", p.dir,
		"127.0.0.1:7373", p.address, "--token-file", "--listen "+p.address+" --token-file",
	).Replace(text)
}

// serve runs the block's agent until the test ends, and waits for it.
func (p *agentPageRunner) serve(t *testing.T, b mdtest.Block) {
	t.Helper()
	agent := p.shellUntil(context.WithoutCancel(t.Context()), "exec "+p.local(b.Text))
	var log localaws.SyncBuffer
	agent.Stderr = &log
	must(t, agent.Start())
	t.Cleanup(func() {
		_ = agent.Process.Signal(os.Interrupt)
		if err := agent.Wait(); err != nil {
			t.Errorf("docs/how-to/agent.md:%d: the agent ended: %v", b.Line, err)
		}
	})
	file := regexp.MustCompile(`--(?:socket|token-file) (\S+)`).FindStringSubmatch(p.local(b.Text))[1]
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("docs/how-to/agent.md:%d: the agent does not start: %s", b.Line, log.String())
		}
	}
}

// runClient runs a block without AWS credentials.
func (p *agentPageRunner) runClient(t *testing.T, b mdtest.Block) {
	t.Helper()
	for _, program := range []string{"python3", "node"} {
		if _, err := exec.LookPath(program); err != nil && strings.HasPrefix(b.Text, program+" ") {
			t.Logf("skipped: docs/how-to/agent.md:%d: no %s on the PATH", b.Line, program)
			return
		}
	}
	client := p.shell(t, p.exports+p.local(b.Text))
	client.Env = append(p.environ(localaws.Principal{}), "AWS_REGION=", "SFTOKEN_URL=")
	output, err := client.CombinedOutput()
	if err != nil || len(output) == 0 {
		t.Errorf("docs/how-to/agent.md:%d: %v: %d bytes of output\n%s", b.Line, err, len(output), b.Text)
	}
	for line := range strings.Lines(p.local(b.Text)) {
		if strings.HasPrefix(line, "export ") {
			p.exports += line
		}
	}
}

// freeAddress returns a loopback address on which no process listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// agentGo is the Go of docs/how-to/agent.md.
func agentGo() (*http.Response, error) {
	source := sftoken.NewTokenSource(aws.Config{}, os.Getenv("SFTOKEN_URL"), "crm")
	client := &http.Client{Transport: &sftoken.Transport{Source: source}}
	resp, err := client.Get("/services/data/v65.0/limits")
	return resp, err
}

// TestAgentGo checks that docs/how-to/agent.md has the lines of agentGo, and that they work.
func TestAgentGo(t *testing.T) {
	s := newTestStack(t, io.Discard)
	p := &agentPageRunner{blockRunner: &blockRunner{s, t.TempDir()}}
	socket := filepath.Join(p.dir, "agent.sock")
	p.serve(t, mdtest.Block{Text: "sftoken serve --url " + s.URL + " --socket " + socket})
	t.Setenv("SFTOKEN_URL", "unix://"+socket)
	resp, err := agentGo()
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP %d", resp.StatusCode)
	}
	checkGo(t, "docs/how-to/agent.md", "docs_agent_test.go", "", "")
}
