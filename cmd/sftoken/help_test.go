package main

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/sim/simtest"
)

// everyCommand calls do for each command of this program, and with the arguments that select it.
func everyCommand(do func(cmd *cobra.Command, words []string)) {
	var walk func(cmd *cobra.Command, words []string)
	walk = func(cmd *cobra.Command, words []string) {
		do(cmd, words)
		for _, sub := range cmd.Commands() {
			if name := sub.Name(); name != "help" && name != "completion" {
				walk(sub, append(slices.Clip(words), name))
			}
		}
	}
	walk(newRoot(), nil)
}

// clearDefaults unsets the variables that help shows as defaults.
func clearDefaults(t *testing.T) {
	t.Helper()
	for name := range strings.FieldsSeq(
		"SFTOKEN_PREFIX SFTOKEN_ADMIN_APP SFTOKEN_HOSTS SFTOKEN_TOKEN_TABLE SFTOKEN_EGRESS_ADDRESSES") {
		t.Setenv(name, "")
	}
}

func TestHelp(t *testing.T) {
	clearDefaults(t)
	everyCommand(func(cmd *cobra.Command, words []string) {
		name := strings.Join(append([]string{"sftoken"}, words...), "-")
		stdout, stderr, code := command(t, "", append(slices.Clip(words), "--help")...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit %d: %s", name, code, stderr)
		}
		simtest.Golden(t, "help/"+name+".txt", stdout)
		for line := range strings.Lines(stdout) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		for _, section := range []string{"Usage:", "Flags:", "Exit codes:"} {
			if !strings.Contains(stdout, section) {
				t.Errorf("%s: no %s", name, section)
			}
		}
		if takesApp := strings.Contains(cmd.Use, "APP"); takesApp &&
			(!cmd.HasExample() || !strings.Contains(stdout, "Environment:") || cmd.Long == "") {
			t.Errorf("%s: help needs a description, an example and environment variables", name)
		}
		viaHelp, _, _ := command(t, "", append([]string{"help"}, words...)...)
		if viaHelp != stdout {
			t.Errorf("`sftoken help` differs for %s", name)
		}
	})
}
