package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/printable"
)

// The formats of --output that most commands have.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// output is the format in which a command prints its result. It is the value of --output.
type output struct {
	format  string
	formats []string // that the command has
}

// add adds the flags --output and --json to a command. The first format is the default.
func (o *output) add(cmd *cobra.Command, formats ...string) {
	o.format, o.formats = formats[0], formats
	flags := cmd.Flags()
	flags.VarP(o, "output", "o", "`FORMAT` of the output: "+oneOf(formats))
	flags.BoolFunc("json", "short for -o json", func(text string) error {
		on, err := strconv.ParseBool(text)
		if on {
			o.format = formatJSON
		}
		return err
	})
	completion := cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("output", completion) // fails only for unknown flags
}

// isJSON reports whether the command prints JSON.
func (o *output) isJSON() bool { return o.format == formatJSON }

// String implements pflag.Value.
func (o *output) String() string { return o.format }

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// Set implements pflag.Value.
func (o *output) Set(format string) error {
	if !slices.Contains(o.formats, format) {
		return fmt.Errorf("want %s", oneOf(o.formats))
	}
	o.format = format
	return nil
}

// oneOf returns "a, b or c".
func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// printJSON prints a value for -o json.
func printJSON(cmd *cobra.Command, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	indented, err := indentedJSON(text.String())
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), indented)
	return err
}

// indentedJSON indents JSON and escapes what a terminal could interpret as a command.
func indentedJSON(text string) (string, error) {
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(text), "", "  "); err != nil {
		return "", err
	}
	var escaped strings.Builder
	for _, r := range indented.String() {
		if r != '\t' && printable.Safe(string(r)) != string(r) {
			fmt.Fprintf(&escaped, `\u%04x`, r)
		} else {
			escaped.WriteRune(r)
		}
	}
	return escaped.String(), nil
}
