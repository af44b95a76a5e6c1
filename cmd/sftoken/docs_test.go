package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// ours matches the sftoken command lines in a shell script.
var ours = regexp.MustCompile(`(?m)(?:^|[|;&(]|\$\()\s*(?:[A-Z_]+=\S+ )*(?:dist/|\./)?sftoken` +
	`((?:"[^"]*"|'[^']*'|[^|;&)\n"'])*)`)

// TestDocumentedCommands parses every sftoken command line in the documentation.
func TestDocumentedCommands(t *testing.T) {
	found := 0
	for _, page := range mdtest.ReadAll(t, "../..") {
		check := func(line int, text string) {
			for _, match := range ours.FindAllStringSubmatch(text, -1) {
				found++
				if err := parses(match[1]); err != nil {
					t.Errorf("%s:%d: sftoken%s: %v", page.Path, line, match[1], err)
				}
			}
		}
		for _, b := range page.Blocks {
			if slices.Contains([]string{"sh", "bash", "shell", "console", "indented"}, b.Language) {
				check(b.Line, strings.ReplaceAll(b.Text, "\\\n", " "))
			}
		}
		for _, code := range page.Code {
			if strings.HasPrefix(code.Text, "sftoken ") {
				check(code.Line, code.Text)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d command lines were found", found)
	}
}

var word = regexp.MustCompile(`"([^"]*)"|'([^']*)'|(\S+)`)

// parses returns an error if the command line is invalid. A line may name a command without its arguments.
func parses(line string) error {
	var args []string
	for _, match := range word.FindAllStringSubmatch(line, -1) {
		isPlaceholder := strings.HasPrefix(match[3], "<") && strings.Contains(match[3], ">")
		if match[3] != "" && strings.ContainsAny(match[3][:1], "#><") && !isPlaceholder {
			break // a comment or a redirection
		}
		args = append(args, cmp.Or(match[1], match[2], match[3]))
	}
	for i := range args {
		if args[i] == "APP" { // stands for an app's name
			args[i] = "crm"
		}
	}
	root := newRoot()
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd.Name() == "help" || cmd.Name() == "completion" || slices.Contains(rest, "--help") {
		return nil
	}
	if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Errorf("no command %q", rest[0])
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.Flags().NArg() == 0 {
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// TestDocumentedExitCodes compares the table of docs/reference/errors.md with the constants, which --help lists.
func TestDocumentedExitCodes(t *testing.T) {
	rows := mdtest.Read(t, "../../docs/reference/errors.md").TablesUnder(t, "Exit codes")[0]
	for i, code := range []int{0, exitFailed, exitUsage, exitDenied, exitRetry, exitConfig, exitOpen} {
		if i >= len(rows) || rows[i][0] != strconv.Itoa(code) {
			t.Errorf("row %d does not describe exit code %d", i+1, code)
		}
	}
	if len(rows) != 7 {
		t.Errorf("%d rows", len(rows))
	}
}

// TestDocumentedEnvironment compares the table of docs/reference/settings.md with the variables and flags that --help
// lists.
func TestDocumentedEnvironment(t *testing.T) {
	inHelp := map[string]bool{"AWS_PROFILE": true, "AWS_REGION": true} // help has AWS_…
	var commands []*cobra.Command
	variable := regexp.MustCompile(`(?m)^  ([A-Z][A-Z_]+)  `)
	everyCommand(func(cmd *cobra.Command, _ []string) {
		for _, match := range variable.FindAllStringSubmatch(cmd.Annotations[environmentSection], -1) {
			inHelp[match[1]] = true
		}
		commands = append(commands, cmd)
	})
	for _, row := range mdtest.Read(t, "../../docs/reference/settings.md").TablesUnder(t, "Command-line tool")[0] {
		name := strings.Trim(row[0], "`")
		if !inHelp[name] {
			t.Errorf("no command's help has %s", name)
		}
		delete(inHelp, name)
		flag, ok := strings.CutPrefix(strings.Split(row[1]+"``", "`")[1], "--")
		if ok && !slices.ContainsFunc(commands, func(cmd *cobra.Command) bool { return cmd.Flag(flag) != nil }) {
			t.Errorf("no command has the flag --%s", flag)
		}
	}
	for name := range inHelp {
		t.Errorf("the table lacks %s", name)
	}
}
