package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/probe"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

func newProbe() *cobra.Command {
	var flags apiFlags
	var deniedApp string
	var out output
	cmd := &cobra.Command{
		Use: "probe APP", GroupID: callerGroup, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "Check that the API gives a token, and refuses what it must",
		Long: `Check the API from outside, for a scheduler or an auditor. The calls are:

  allowed   must get a token of the app
  unsigned  the same request without a signature: must be refused
  denied    with --denied-app, a request for an app that the caller may not use:
            must be refused. The app need not exist: IAM must refuse the request
            before the token function sees it, so "unknown_app" is wrong.

A result is ok; failed: no token; not_refused: the API let a request through
that it must refuse; or unchecked: no response shows whether the API refuses the
request, as in an outage. No token is printed.

With -o json it prints

  {"url", "app", "denied_app", "outcome",
   "checks": [{"check", "outcome", "observed", "status", "error", "request_id",
               "token_id", "cache", "duration_ms"}, …]}`,
		Example: `  sftoken probe crm
  sftoken probe crm --denied-app probe-denied
  sftoken probe crm --denied-app probe-denied -o json | jq -r .outcome`,
		Annotations: environment("SFTOKEN_URL", apiURLHelp, awsVariables, awsMeaning,
			noColorVariable, noColorMeaning).exits(apiExits(map[int]string{
			0: "all results are ok", exitFailed: "a call could not be checked, or failed in another way than below",
			exitOpen: openHelp,
		})),
		Args: appArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case deniedApp != "" && !appsecret.ValidName(deniedApp):
				return usagef("--denied-app: invalid app name %q", deniedApp)
			case deniedApp == args[0]:
				return usagef("--denied-app %s is the app that must get a token", deniedApp)
			}
			if err := requirePositiveTimeout(flags.timeout); err != nil {
				return err
			}
			if err := flags.requireAPI("the address is that of an agent"); err != nil {
				return err
			}
			if len(sftoken.Addresses(flags.address())) > 1 {
				return withHint(usagef("a probe is of one address"), "pass each region's address with --url, one at a time")
			}
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			progress := newProgress(cmd.ErrOrStderr())
			progress.start("waiting for the API")
			report := probe.Run(cmd.Context(), probe.Config{
				AWS: cfg, URL: strings.TrimSpace(flags.address()), App: args[0], DeniedApp: deniedApp,
				Transport: apiHTTPClient(cfg).Transport, UserAgent: "sftoken-probe/" + buildinfo.Version(), Timeout: flags.timeout,
			})
			progress.stop()
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if !out.isJSON() {
				printProbe(newTerminal(cmd.OutOrStdout()), report)
			} else if err := printJSON(cmd, report); err != nil {
				return err
			}
			return probeError(report)
		},
	}
	flags.add(cmd)
	cmd.Flags().Lookup("timeout").Usage = "time limit of each call, including retries"
	cmd.Flags().StringVar(&deniedApp, "denied-app", "", "an `APP` whose tokens the caller must not get")
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

// observedColumn is the column of printProbe at which what was observed begins.
const observedColumn = 34

func printProbe(t *terminal, report probe.Report) {
	fmt.Fprintf(t, "%-10s%-13s%9s  %s\n", "CHECK", "RESULT", "TIME", "OBSERVED")
	colors := map[probe.Outcome]string{probe.OK: green, probe.Unchecked: yellow, probe.Failed: red, probe.NotRefused: red}
	for _, r := range report.Checks {
		observed := r.Observed
		if r.TokenID != "" {
			observed = fmt.Sprintf("%s: %s, %s", observed, r.TokenID, r.Cache)
		}
		result := t.color(fmt.Sprintf("%-13s", r.Outcome), colors[r.Outcome])
		t.column(fmt.Sprintf("%-10s%s%6.0f ms  ", r.Check, result, r.DurationMS), observedColumn, observed)
	}
}

// probeError returns the worst result as an error with its exit code.
func probeError(report probe.Report) error {
	for _, r := range report.Checks {
		if r.Outcome != report.Outcome {
			continue
		}
		switch r.Outcome {
		case probe.NotRefused:
			err := fmt.Errorf("the API did not refuse the %s request: %s", r.Check, r.Observed)
			return &exitError{withHint(err, notRefusedHints[r.Check]), exitOpen}
		case probe.Failed:
			return r.Err
		case probe.Unchecked:
			return fmt.Errorf("the %s request could not be checked: %s", r.Check, r.Observed)
		}
	}
	return nil
}

var notRefusedHints = map[probe.Check]string{
	probe.Unsigned: "every method of the API must use AWS_IAM authorization: deploy the template again",
	probe.Denied:   "IAM allows the caller this app: allow execute-api:Invoke only on the paths of the caller's own apps",
}
