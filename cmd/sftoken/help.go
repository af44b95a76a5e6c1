package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// The sections that help has in addition to cobra's.
const (
	environmentSection = "environment"
	exitSection        = "exit"
)

// helpTemplate prints help 80 columns wide. Source of the fields: the default template of package cobra.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}Usage:
  {{if .Runnable}}{{.UseLine}}{{end}}{{if and .Runnable .HasAvailableSubCommands}}
  {{end}}{{if .HasAvailableSubCommands}}{{.CommandPath}} [command]{{end}}
{{if .HasExample}}
Examples:
{{.Example}}
{{end}}{{range $group := .Groups}}
{{.Title}}
{{range $.Commands}}{{if eq .GroupID $group.ID}}  {{rpad .Name .NamePadding}} {{.Short}}
{{end}}{{end}}{{end}}{{if and .HasAvailableSubCommands (not .Groups)}}
Commands:
{{range .Commands}}{{if .IsAvailableCommand}}  {{rpad .Name .NamePadding}} {{.Short}}
{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
Inherited flags:
{{.InheritedFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}
{{end}}{{with index .Annotations "environment"}}
Environment:
{{.}}{{end}}{{with index .Annotations "exit"}}
Exit codes:
{{.}}{{end}}{{if .HasAvailableSubCommands}}
Run "{{.CommandPath}} [command] --help" for details of a command.
{{end}}`

const (
	awsVariables = "AWS_…"
	awsMeaning   = "credentials, profile and region, as for the AWS CLI"

	noColorVariable = "NO_COLOR"
	noColorMeaning  = "if set, no colors"
)

// The meanings of the exit codes of commands that call the API.
const (
	deniedHelp = "denied by IAM or by allowedPrincipals, or no such app"
	retryHelp  = "temporary failure: try again later"
	configHelp = "the app is misconfigured: run sftoken doctor"
	openHelp   = "a request that must be refused was not (sftoken probe)"
)

// newHelp returns the command help, which fails for an unknown command. Cobra's exits with 0.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND …]", GroupID: localGroup,
		Short:             "Show the help of a command",
		Example:           "  sftoken help\n  sftoken help secret put",
		Annotations:       sections{}.exits(map[int]string{0: "shown"}),
		ValidArgsFunction: completeCommands,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			switch {
			case err != nil:
				return &usageError{err}
			case len(rest) > 0:
				return unknownCommand(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			found.InitDefaultVersionFlag()
			return found.Help()
		},
	}
}

// completeCommands completes the name of the next command.
func completeCommands(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	found, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, sub := range found.Commands() {
		if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), typed) {
			names = append(names, sub.Name()+"\t"+sub.Short)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// helpOrUnknown runs a command that only has subcommands.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// unknownCommand is the error if cmd has no command of that name.
func unknownCommand(cmd *cobra.Command, name string) error {
	err := usagef("unknown command %q", name)
	if similar := cmd.SuggestionsFor(name); len(similar) > 0 {
		return withHint(err, "did you mean "+strings.Join(similar, " or ")+"?")
	}
	return seeHelp(cmd, err)
}

// seeHelp adds the command's help to the error as a hint.
func seeHelp(cmd *cobra.Command, err error) error {
	return withHint(err, fmt.Sprintf("see `%s --help`", cmd.CommandPath()))
}

// sections are the texts of a command's additional sections of help.
type sections map[string]string

// environment returns sections with the environment variables, each followed by its meaning.
func environment(variables ...string) sections {
	width := 0
	for pair := range slices.Chunk(variables, 2) {
		width = max(width, utf8.RuneCountInString(pair[0]))
	}
	var b strings.Builder
	for pair := range slices.Chunk(variables, 2) {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, pair[0], pair[1])
	}
	return sections{environmentSection: b.String()}
}

// exits adds the meanings of the exit codes, and of the code for wrong usage, which every command has.
func (s sections) exits(meanings map[int]string) sections {
	meanings[exitUsage] = "wrong usage"
	var b strings.Builder
	for _, code := range slices.Sorted(maps.Keys(meanings)) {
		fmt.Fprintf(&b, "  %-3d  %s\n", code, meanings[code])
	}
	s[exitSection] = b.String()
	return s
}
