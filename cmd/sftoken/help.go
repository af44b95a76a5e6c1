package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
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
)

// The meanings of the exit codes of commands that call the API.
const (
	deniedHelp = "denied by IAM or by allowedPrincipals, or no such app"
	retryHelp  = "temporary failure: try again later"
	configHelp = "the app is misconfigured: run sftoken doctor"
	openHelp   = "a request that must be refused was not (sftoken probe)"
)

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
