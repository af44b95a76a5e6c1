package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The sections that a command's help has beside cobra's own.
const (
	environmentSection = "environment"
	exitSection        = "exit"
)

// helpTemplate is 80 columns wide, as the texts are. Source of the fields: the default template of package cobra.
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
Flags of all these commands:
{{.InheritedFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}
{{end}}{{with index .Annotations "environment"}}
Environment:
{{.}}{{end}}{{with index .Annotations "exit"}}
Exit codes:
{{.}}{{end}}{{if .HasAvailableSubCommands}}
"{{.CommandPath}} [command] --help" says more about a command.
{{end}}`

const (
	awsVariables = "AWS_…"
	awsMeaning   = "credentials, profile and region, as the AWS CLI finds them"
)

// sections are a command's further sections of help.
type sections map[string]string

// environment begins with the environment variables, each followed by its meaning.
func environment(variables ...string) sections {
	width := 0
	for i := 0; i < len(variables); i += 2 {
		width = max(width, len([]rune(variables[i])))
	}
	var b strings.Builder
	for i := 0; i < len(variables); i += 2 {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, variables[i], variables[i+1])
	}
	return sections{environmentSection: b.String()}
}

// exits adds the exit codes, each followed by its meaning, and that for wrong usage, which every command has.
func (s sections) exits(meanings map[int]string) sections {
	meanings[exitUsage] = "wrong usage"
	var b strings.Builder
	for _, code := range slices.Sorted(maps.Keys(meanings)) {
		fmt.Fprintf(&b, "  %-3d  %s\n", code, meanings[code])
	}
	s[exitSection] = b.String()
	return s
}
