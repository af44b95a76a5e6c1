package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestTutorial follows docs/tutorials/first-token.md: it runs each command in the terminal that the text names, and
// compares the output with what the page shows. It replaces only addresses and the folder of the programs. With -short
// the program that it builds is this test binary.
func TestTutorial(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("skipped: no bash on the PATH")
	}
	s := newTutorial(t)
	terminal, commands := "first", 0
	var output func() string // of the last command
	var tokenIDs []string
	for _, b := range mdtest.Read(t, "../../docs/tutorials/first-token.md").Blocks {
		paragraphs := strings.Split(strings.TrimSpace(b.Before), "\n\n")
		named := regexp.MustCompile(`(?:[Ii]n|Open) the (first|second|third) terminal`)
		if match := named.FindStringSubmatch(paragraphs[len(paragraphs)-1]); match != nil {
			terminal = match[1]
		}
		switch {
		case b.Language == "text":
			wantExcerpt(t, b, output)
		case strings.HasPrefix(b.Text, "git clone"):
		default:
			commands++
			output = s.run(t, terminal, b)
			if strings.HasPrefix(b.Text, "sftoken get ") {
				tokenIDs = append(tokenIDs, regexp.MustCompile(`\b[0-9a-f]{16}\b`).FindString(output()))
			}
			s.wantCalls(t)
		}
	}
	if len(tokenIDs) != 3 || tokenIDs[0] != tokenIDs[1] || tokenIDs[0] == tokenIDs[2] {
		t.Errorf("the token IDs are %q; want the same twice, and another one after the leak", tokenIDs)
	}
	if commands < 12 || s.loop == nil {
		t.Errorf("only %d commands were run", commands)
	}
}

// tutorial is the state of the reader's machine.
type tutorial struct {
	replace *strings.Replacer
	flags   string            // of `sftoken local`
	exports map[string]string // of each terminal
	loop    *localaws.SyncBuffer
	ended   chan error // the loop
}

func newTutorial(t *testing.T) *tutorial {
	t.Helper()
	dir := t.TempDir()
	if testing.Short() {
		binary, err := exec.LookPath("sftoken")
		must(t, err)
		must(t, os.Symlink(binary, filepath.Join(dir, "sftoken")))
	}
	api, aws, org := freeAddress(t), freeAddress(t), freeAddress(t)
	return &tutorial{
		replace: strings.NewReplacer("127.0.0.1:8080", api, "127.0.0.1:4566", aws, "127.0.0.1:8443", org,
			"$PWD/dist", dir, "dist/", dir+"/"),
		flags:   fmt.Sprintf(" --listen %s --secrets-manager-listen %s --org-listen %s", api, aws, org),
		exports: map[string]string{},
		ended:   make(chan error, 1),
	}
}

// run runs the block and returns a function that returns its output so far.
func (s *tutorial) run(t *testing.T, terminal string, b mdtest.Block) (output func() string) {
	t.Helper()
	text := s.replace.Replace(b.Text)
	switch {
	case testing.Short() && b.Text == "go build -o dist/ ./cmd/sftoken\n":
		return func() string { return "" }
	case strings.HasSuffix(b.Text, "sftoken local\n"):
		return s.start(t, strings.TrimSpace(text)+s.flags, nil).String
	case strings.HasPrefix(b.Text, "while "):
		s.loop = s.start(t, s.exports[terminal]+text, s.ended)
		return s.loop.String
	case strings.HasPrefix(b.Text, "unset "):
		s.exports[terminal] = text
	}
	printed, err := s.bash(t.Context(), s.exports[terminal]+text).CombinedOutput()
	if err != nil {
		t.Fatalf("line %d: %v:\n%s\n%s", b.Line, err, b.Text, printed)
	}
	return func() string { return string(printed) }
}

// start starts a command that runs until Ctrl-C, here until the test ends.
func (s *tutorial) start(t *testing.T, text string, ended chan error) *localaws.SyncBuffer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := s.bash(ctx, text)
	cmd.WaitDelay = 5 * time.Second // the shell's children keep its output open
	var printed localaws.SyncBuffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	must(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		err := cmd.Wait()
		if ended != nil {
			ended <- err
		}
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return &printed
}

// bash returns a command in the folder of the project, without the caller's AWS configuration.
func (s *tutorial) bash(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "AWS_") || strings.HasPrefix(variable, "SFTOKEN_")
	})
	cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"GOFLAGS=-buildvcs=false") // git may refuse a checkout that belongs to another user
	return cmd
}

// wantCalls checks that the program in the loop still runs, and calls Salesforce once more.
func (s *tutorial) wantCalls(t *testing.T) {
	t.Helper()
	if s.loop == nil {
		return
	}
	before := strings.Count(s.loop.String(), "\n")
	for begun := time.Now(); strings.Count(s.loop.String(), "\n") == before; time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-s.ended:
			t.Fatalf("the program in the second terminal has ended: %v: %s", err, s.loop.String())
		default:
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("the program in the second terminal does not go on: %s", s.loop.String())
		}
	}
	if printed := s.loop.String(); strings.Contains(printed, "limits: ") {
		t.Errorf("the program in the second terminal prints %s", printed)
	}
}

// wantExcerpt waits until the output is that of the block. A line "…" stands for any number of lines.
func wantExcerpt(t *testing.T, b mdtest.Block, output func() string) {
	t.Helper()
	want := regexp.QuoteMeta("\n" + maskTutorial(b.Text) + "\n")
	want = regexp.MustCompile(`\n *…\n`).ReplaceAllLiteralString(want, "\n(?s:.*\n)?")
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		got := maskTutorial(output())
		if regexp.MustCompile("^" + want + "$").MatchString("\n" + got + "\n") {
			return
		}
		if time.Since(begun) > 10*time.Second {
			t.Errorf("line %d: the page shows\n%s\nthe command prints\n%s", b.Line, maskTutorial(b.Text), got)
			return
		}
	}
}

// maskTutorial masks what differs between runs.
func maskTutorial(text string) string {
	text = strings.TrimSpace(maskDemo(text))
	for _, mask := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\dZ| UTC)`, "DATE"},
		{`"access_token": "[^"]*"`, `"access_token": "TOKEN"`},
		{`"expires_in": 4\d\d`, `"expires_in": N`},
		{`in [67]m`, "in Nm"},
		{`\d+ of 1000000 API`, "N of 1000000 API"},
		{`secret:sftoken/crm-\w+`, "secret:sftoken/crm-SUFFIX"},
		{`(log follows\.)(?s:.*)`, "$1"}, // the log
	} {
		text = regexp.MustCompile(mask.pattern).ReplaceAllString(text, mask.with)
	}
	return text
}
