package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func newDoctor() *cobra.Command {
	var api apiFlags
	var secret secretFlags
	var adminApp, hosts, tokenTable, addresses string
	var format output
	cmd := &cobra.Command{
		Use: "doctor APP", GroupID: callerGroup, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "Diagnose why an app's tokens are not available",
		Long: `Diagnose why an app's tokens are not available, or soon will not be, and suggest
a fix for each problem. The checks cover your identity, the API, the secret, the
login, the token at Salesforce, the address from which the functions log in, the
rotation and replication of the secret, and whether processes of the token
function should share tokens.

Anyone can run it; it skips what you may not read. A caller in another account
sees the API and the token. An identity that may call DescribeSecret and
GetSecretValue of Secrets Manager, and DescribeTable of DynamoDB if tokens are
shared, sees everything.

It changes nothing and prints no secret. It costs one login at Salesforce, or
two if the API's token does not show that the current credentials work. With
--admin-app, the admin app logs in too.

With --json it prints

  {"version", "app", "url", "caller", "outcome", "logins",
   "checks": [{"group", "check", "status", "found", "fix"}, …]}

A status is ok, warning, failed or skipped. The outcome is ok, warning or
failed.`,
		Example: `  sftoken doctor crm
  sftoken doctor crm --admin-app admin
  sftoken doctor crm --egress-addresses 203.0.113.5,203.0.113.6
  sftoken doctor crm --json | jq '.checks[] | select(.status == "failed")'`,
		Annotations: environment(
			"SFTOKEN_URL", apiURLHelp, "SFTOKEN_PREFIX", "default of --prefix",
			"SFTOKEN_ADMIN_APP", "default of --admin-app", "SFTOKEN_HOSTS", "default of --salesforce-hosts",
			"SFTOKEN_TOKEN_TABLE", "default of --token-table",
			"SFTOKEN_EGRESS_ADDRESSES", "default of --egress-addresses",
			awsVariables, awsMeaning, noColorVariable, noColorMeaning,
		).exits(map[int]string{0: "no check failed; there may be warnings", 1: "a check failed"}),
		Args: appArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requirePositiveTimeout(api.timeout); err != nil {
				return err
			}
			allowed, err := sfoauth.ParseAllowedHosts(hosts)
			if err != nil {
				return usagef("--salesforce-hosts: %w", err)
			}
			egress, err := doctor.ParseEgressAddresses(addresses)
			if err != nil {
				return usagef("--egress-addresses: %w", err)
			}
			out := &reportPrinter{terminal: newTerminal(cmd.OutOrStdout())}
			if !format.isJSON() {
				out.header(buildinfo.Version())
			}
			progress := newProgress(cmd.ErrOrStderr())
			c := doctor.Config{
				Load:      configLoader(cmd, progress.stop),
				APIClient: apiHTTPClient, HTTPClient: salesforceClient(cmd),
				URL: api.address(), App: args[0], Prefix: secret.prefix, AdminApp: adminApp, Hosts: allowed,
				TokenTable: tokenTable, EgressAddresses: egress,
				Timeout: api.timeout,
				Begin:   progress.start,
				Done: func(r doctor.Result) {
					progress.stop()
					if !format.isJSON() {
						out.result(r)
					}
				},
			}
			found := doctor.Run(cmd.Context(), c)
			if !format.isJSON() {
				out.summary(found)
			} else if err := printJSON(cmd, found); err != nil {
				return err
			}
			if found.Outcome == doctor.Failed {
				return &exitError{code: exitFailed}
			}
			return cmd.Context().Err() // after an interruption the report is incomplete
		},
	}
	api.add(cmd)
	cmd.Flags().Lookup("timeout").Usage = "time limit of each check"
	secret.add(cmd)
	cmd.Flags().StringVar(&adminApp, "admin-app", os.Getenv("SFTOKEN_ADMIN_APP"),
		"the `APP` whose login rotates the credentials: the deployment's parameter AdminApp")
	cmd.Flags().StringVar(&hosts, "salesforce-hosts", os.Getenv("SFTOKEN_HOSTS"),
		"`HOSTS` to allow in addition to Salesforce's own: the deployment's parameter SalesforceHosts")
	cmd.Flags().StringVar(&tokenTable, "token-table", os.Getenv("SFTOKEN_TOKEN_TABLE"),
		"the DynamoDB `TABLE` of shared tokens: the deployment's output TokenTable")
	cmd.Flags().StringVar(&addresses, "egress-addresses", os.Getenv("SFTOKEN_EGRESS_ADDRESSES"),
		"the `ADDRESSES` or CIDR blocks from which the functions log in: the output EgressAddresses of the network in "+
			"each region")
	format.add(cmd, formatTable, formatJSON)
	return cmd
}

// reportPrinter prints the results of the checks as they come.
type reportPrinter struct {
	*terminal
	group   string   // of the last heading
	needs   string   // a check that has not succeeded
	skipped []string // the checks that need it, to be printed on one line
}

// groups are the headings of a report.
var groups = map[string]string{
	"caller": "You", "api": "The API", "secret": "The secret", "login": "The login",
	"salesforce": "The token at Salesforce", "rotation": "The rotation", "sharing": "Shared tokens",
}

// statusLabels are the texts and colors of a status.
var statusLabels = map[doctor.Status]struct{ text, color string }{
	doctor.OK: {"ok", green}, doctor.Warning: {"warn", yellow}, doctor.Failed: {"FAIL", red}, doctor.Skipped: {"-", faint},
}

// The columns at which what was found and its fix begin.
const (
	foundColumn = 24
	fixColumn   = 13
)

// header prints the version of this program, which a report of a problem needs.
func (p *reportPrinter) header(version string) { fmt.Fprintln(p, "sftoken "+version+"\n") }

func (p *reportPrinter) result(r doctor.Result) {
	if r.Group != p.group {
		p.flush()
		if p.group != "" {
			fmt.Fprintln(p)
		}
		p.group = r.Group
		fmt.Fprintln(p, p.color(groups[r.Group], bold))
	}
	if r.Needs != p.needs {
		p.flush()
	}
	if r.Needs != "" {
		p.needs, p.skipped = r.Needs, append(p.skipped, r.Check)
		return
	}
	found := r.Found
	if r.Status == doctor.Skipped {
		found = "not checked: " + found
	}
	p.column(p.label(r.Status)+fmt.Sprintf("  %-16s", r.Check), foundColumn, found)
	if r.Fix != "" {
		p.column("        "+p.color("fix:", bold)+" ", fixColumn, r.Fix)
	}
}

func (p *reportPrinter) label(status doctor.Status) string {
	label := statusLabels[status]
	return "  " + p.color(fmt.Sprintf("%-4s", label.text), label.color)
}

// flush prints the skipped checks.
func (p *reportPrinter) flush() {
	if len(p.skipped) > 0 {
		p.column(p.label(doctor.Skipped)+"  ", 8, "not checked without "+p.needs+": "+strings.Join(p.skipped, ", "))
	}
	p.needs, p.skipped = "", nil
}

// summary prints the number of checks by status.
func (p *reportPrinter) summary(r *doctor.Report) {
	p.flush()
	var failed []string
	for _, c := range r.Checks {
		if c.Status == doctor.Failed {
			failed = append(failed, c.Check)
		}
	}
	parts := []string{p.color("Nothing failed", green)}
	if len(failed) > 0 {
		parts[0] = p.color(fmt.Sprintf("%d failed: %s", len(failed), strings.Join(failed, ", ")), red)
	}
	if n := r.Count(doctor.Warning); n > 0 {
		parts = append(parts, count(n, "warning"))
	}
	if n := r.Count(doctor.OK); n > 0 {
		parts = append(parts, fmt.Sprintf("%d ok", n))
	}
	if n := r.Count(doctor.Skipped); n > 0 {
		parts = append(parts, fmt.Sprintf("%d not checked", n))
	}
	logins := "No login"
	if r.Logins > 0 {
		logins = count(r.Logins, "login")
	}
	fmt.Fprintln(p)
	p.column("", 0, strings.Join(parts, "; ")+". "+logins+" at Salesforce.")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
