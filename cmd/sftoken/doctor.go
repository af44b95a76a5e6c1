package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func newDoctor() *cobra.Command {
	var api apiFlags
	var secret secretFlags
	var adminApp, hosts string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor APP", GroupID: callerGroup, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "Find out why there is no token, and what mends it",
		Long: `Find out why there is no token of the app, or soon will be none, and what
mends it: who you are and whether you may call the API, the secret, the login,
its user, the token at Salesforce, and the rotation.

Anybody can run it. What you may not look at is skipped, and says so: a caller
in another account sees the API and the token; who may call DescribeSecret and
GetSecretValue of Secrets Manager sees everything.

It changes nothing and shows nothing secret. It costs one login at Salesforce,
by the API or by itself; two where the API's does not show that the current pair
works; and one more where --admin-app names an app, by that app.

With --json it prints

  {"app", "url", "caller", "outcome", "logins",
   "checks": [{"group", "check", "status", "found", "fix"}, …]}

A status is ok, warning, failed or skipped; the outcome is ok, warning or
failed.`,
		Example: `  sftoken doctor crm
  sftoken doctor crm --admin-app admin
  sftoken doctor crm --json | jq '.checks[] | select(.status == "failed")'`,
		Annotations: environment(
			"SFTOKEN_URL", "the API's address", "SECRET_PREFIX", "as --prefix", "ADMIN_APP", "as --admin-app", "SALESFORCE_HOSTS", "as --salesforce-hosts",
			awsVariables, awsMeaning, "NO_COLOR", "if set, no colours",
		).exits(map[int]string{0: "nothing failed; there may be warnings", 1: "something failed"}),
		Args: appArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requirePositive("--timeout", api.timeout); err != nil {
				return err
			}
			allowed, err := sfoauth.ParseAllowedHosts(hosts)
			if err != nil {
				return &usageError{fmt.Errorf("--salesforce-hosts: %w", err)}
			}
			out, progress := &reportPrinter{terminal: newTerminal(cmd.OutOrStdout())}, newProgress(cmd.ErrOrStderr())
			c := doctor.Config{
				Load:      configLoader(cmd, progress.done),
				APIClient: apiHTTPClient,
				URL:       api.address(), App: args[0], Prefix: secret.prefix, AdminApp: adminApp, Hosts: allowed, Timeout: api.timeout,
				Begin: progress.wait,
				Done: func(r doctor.Result) {
					progress.done()
					if !asJSON {
						out.result(r)
					}
				},
			}
			found := doctor.Run(cmd.Context(), c)
			if !asJSON {
				out.summary(found)
			} else if err := printJSON(cmd, found); err != nil {
				return err
			}
			if found.Outcome == doctor.Failed {
				return &exitError{code: exitFailed}
			}
			return cmd.Context().Err() // an interrupted visit has found nothing out
		},
	}
	api.add(cmd)
	cmd.Flags().Lookup("timeout").Usage = "how long each check may take"
	secret.add(cmd)
	cmd.Flags().StringVar(&adminApp, "admin-app", os.Getenv("ADMIN_APP"), "the `APP` whose login changes the pairs, as the deployment's AdminApp")
	cmd.Flags().StringVar(&hosts, "salesforce-hosts", os.Getenv("SALESFORCE_HOSTS"), "`HOSTS` beside Salesforce's own, as the deployment's SalesforceHosts")
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	return cmd
}

// reportPrinter shows the results of the checks as they come.
type reportPrinter struct {
	*terminal
	group   string   // of the results under the last heading
	needs   string   // a check that has not succeeded
	skipped []string // those that were not made for it, to be shown in one line
}

// groups are the headings of a report.
var groups = map[string]string{
	"caller": "You", "api": "The API", "secret": "The secret", "login": "The login", "salesforce": "The token at Salesforce", "rotation": "The rotation",
}

// labels are how a status is shown.
var labels = map[doctor.Status]struct{ text, colour string }{
	doctor.OK: {"ok", green}, doctor.Warning: {"warn", yellow}, doctor.Failed: {"FAIL", red}, doctor.Skipped: {"-", faint},
}

// textColumn is where what was found begins, and fixColumn where what mends it does.
const (
	textColumn = 22
	fixColumn  = 13
)

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
	p.column(p.label(r.Status)+fmt.Sprintf("  %-14s", r.Check), textColumn, found)
	if r.Fix != "" {
		p.column("        "+p.color("fix:", bold)+" ", fixColumn, r.Fix)
	}
}

func (p *reportPrinter) label(status doctor.Status) string {
	label := labels[status]
	return "  " + p.color(fmt.Sprintf("%-4s", label.text), label.colour)
}

// flush shows what was skipped.
func (p *reportPrinter) flush() {
	if len(p.skipped) > 0 {
		p.column(p.label(doctor.Skipped)+"  ", 8, "not checked without "+p.needs+": "+strings.Join(p.skipped, ", "))
	}
	p.needs, p.skipped = "", nil
}

// summary says how it came out.
func (p *reportPrinter) summary(r *doctor.Report) {
	p.flush()
	var bad []string
	for _, c := range r.Checks {
		if c.Status == doctor.Failed {
			bad = append(bad, c.Check)
		}
	}
	text := p.color("Nothing failed", green)
	if len(bad) > 0 {
		text = p.color(fmt.Sprintf("%d failed: %s", len(bad), strings.Join(bad, ", ")), red)
	}
	for _, more := range []struct {
		n    int
		what string
	}{
		{r.Count(doctor.Warning), counted(r.Count(doctor.Warning), "warning")}, {r.Count(doctor.OK), fmt.Sprintf("%d ok", r.Count(doctor.OK))},
		{r.Count(doctor.Skipped), fmt.Sprintf("%d not checked", r.Count(doctor.Skipped))},
	} {
		if more.n > 0 {
			text += "; " + more.what
		}
	}
	logins := "No login"
	if r.Logins > 0 {
		logins = counted(r.Logins, "login")
	}
	fmt.Fprintln(p)
	p.column("", 0, text+". "+logins+" at Salesforce.")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
