package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sftoken/sftoken/internal/sim/simtest"
)

// TestCommandReference compares docs/reference/cli.md with the commands. UPDATE_GOLDEN=1 writes it.
func TestCommandReference(t *testing.T) {
	clearDefaults(t)
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultVersionFlag()
	var r reference
	r.text(referenceIntro)
	for _, group := range root.Groups() {
		r.text("- " + strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range inGroup(root, group) {
			r.contents(cmd, "  ")
		}
	}
	r.text("\n## sftoken\n")
	r.command(root)
	for _, group := range root.Groups() {
		r.text("\n## " + strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range inGroup(root, group) {
			r.sections(cmd)
		}
	}
	simtest.Golden(t, "../../../docs/reference/cli.md", r.String())
}

const referenceIntro = `# Commands

Every command of the command-line tool, with its flags, environment variables and exit codes, as ` + "`--help`" + ` shows them. A
test writes this page from the commands: see ` + "`cmd/sftoken/clidocs_test.go`" + `. The flags of
[sftoken](#sftoken) are those of all commands.
`

func inGroup(root *cobra.Command, group *cobra.Group) (commands []*cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.GroupID == group.ID {
			commands = append(commands, cmd)
		}
	}
	return commands
}

// subcommands returns those with a section. Those of completion differ in the shell only.
func subcommands(cmd *cobra.Command) []*cobra.Command {
	if cmd.Name() == "completion" {
		return nil
	}
	return cmd.Commands()
}

// reference is Markdown.
type reference struct{ strings.Builder }

func (r *reference) text(text string) { r.WriteString(text + "\n") }

// contents writes the table of contents of a command and its subcommands.
func (r *reference) contents(cmd *cobra.Command, indent string) {
	path := cmd.CommandPath()
	r.text(indent + "- [`" + path + "`](#" + strings.ReplaceAll(path, " ", "-") + "): " + cmd.Short)
	for _, sub := range subcommands(cmd) {
		r.contents(sub, indent+"  ")
	}
}

// sections writes a section for a command and for each of its subcommands.
func (r *reference) sections(cmd *cobra.Command) {
	r.text("\n### " + cmd.CommandPath() + "\n")
	r.command(cmd)
	for _, sub := range subcommands(cmd) {
		r.sections(sub)
	}
}

// command writes what the help of a command has.
func (r *reference) command(cmd *cobra.Command) {
	usage := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		usage = cmd.CommandPath() + " COMMAND"
	}
	r.text("```text\n" + usage + "\n```\n")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	r.description(long)
	if cmd.HasExample() {
		r.text("\n```sh\n" + unindent(cmd.Example) + "\n```")
	}
	if cmd.Name() == "completion" {
		var shells []string
		for _, sub := range cmd.Commands() {
			shells = append(shells, sub.Name())
		}
		r.text("\nThe commands are " + strings.Join(shells, ", ") + ".")
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.LocalFlags() // which completes cmd.Flags
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if ofAll := cmd.HasParent() && cmd.Root().PersistentFlags().Lookup(f.Name) != nil; !ofAll && f.Name != "help" {
			flags.AddFlag(f)
		}
	})
	r.table("flag", "meaning", flags.FlagUsages())
	r.table("variable", "meaning", cmd.Annotations[environmentSection])
	r.table("exit code", "meaning", cmd.Annotations[exitSection])
}

// quotedCommand matches the commands that a description names.
var quotedCommand = regexp.MustCompile(`"(sftoken [^"]*)"`)

// description writes paragraphs in lines of at most 120 columns. Indented ones stay as they are.
func (r *reference) description(text string) {
	paragraphs := regexp.MustCompile(`\n{2,}`).Split(strings.TrimSpace(text), -1)
	for i, paragraph := range paragraphs {
		if i > 0 {
			r.text("")
		}
		if strings.HasPrefix(paragraph, " ") {
			r.text("```text\n" + unindent(paragraph) + "\n```")
			continue
		}
		paragraph = strings.NewReplacer("<", `\<`, "*", `\*`).Replace(paragraph)
		column := 0
		for word := range strings.FieldsSeq(quotedCommand.ReplaceAllString(paragraph, "`$1`")) {
			width := utf8.RuneCountInString(word)
			switch {
			case column == 0:
			case column+1+width > 120:
				r.text("")
				column = 0
			default:
				r.WriteString(" ")
				column++
			}
			r.WriteString(word)
			column += width
		}
		r.text("")
	}
}

// unindent takes the first line's indentation off each line.
func unindent(text string) string {
	text = strings.Trim(text, "\n")
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	return strings.ReplaceAll(text[len(indent):], "\n"+indent, "\n")
}

// entry matches a line of help: a flag, a variable or an exit code, and its meaning.
var entry = regexp.MustCompile(`(?m)^ +(\S.*?) {2,}(\S.*)$`)

// table writes the entries in text as a table.
func (r *reference) table(name, meaning, text string) {
	entries := entry.FindAllStringSubmatch(text, -1)
	if len(entries) == 0 {
		return
	}
	fmt.Fprintf(r, "\n| %s | %s |\n| --- | --- |\n", name, meaning)
	for _, e := range entries {
		fmt.Fprintf(r, "| `%s` | %s |\n", e[1], strings.NewReplacer("|", `\|`, "<", `\<`).Replace(e[2]))
	}
}
