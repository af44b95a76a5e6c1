package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/demo"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

func newDemo() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "demo", GroupID: localGroup,
		Short: "Run the end-to-end demo locally",
		Long: `Run the end-to-end demo locally: the real functions between a simulated
Salesforce org and simulated AWS services. Each line is printed after its check
has passed. The demo ends at the first check that fails.`,
		Example:     `  sftoken demo`,
		Annotations: sections{}.exits(map[int]string{0: "every check passed", 1: "a check failed"}),
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out.isJSON() {
				return demoJSON(cmd)
			}
			w := newTerminal(cmd.OutOrStdout())
			return demo.Run(cmd.Context(), demo.Config{
				Out:               w,
				Title:             func(text string) { fmt.Fprintf(w, "\n%s\n", w.color(text, bold)) },
				Step:              func(number int, text string) { w.column(fmt.Sprintf("  %2d. ", number), 6, text) },
				RotateCompromised: rotateCompromised,
			})
		},
	}
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

// demoJSON runs the demo and prints the steps whose checks have passed, even if one fails.
func demoJSON(cmd *cobra.Command) error {
	passed := []string{}
	err := demo.Run(cmd.Context(), demo.Config{
		Out:               io.Discard,
		Title:             func(string) {},
		Step:              func(_ int, text string) { passed = append(passed, text) },
		RotateCompromised: rotateCompromised,
	})
	return errors.Join(printJSON(cmd, map[string]any{"passed": passed, "ok": err == nil}), err)
}

// rotateCompromised is `sftoken rotate --compromised` for the current version of the stack's secret.
func rotateCompromised(ctx context.Context, s *stack.Stack) error {
	secret, err := s.Secret(ctx)
	if err != nil {
		return err
	}
	r := &rotation{
		client: s.Secrets, secret: secret, Leaked: secret.VersionWithLabel(appsecret.Current), timeout: defaultWait,
		out: io.Discard, progress: io.Discard,
	}
	return r.rotateCompromised(ctx)
}
