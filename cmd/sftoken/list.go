package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
)

func newList() *cobra.Command {
	var flags secretFlags
	var out output
	cmd := &cobra.Command{
		Use: "list", GroupID: ownerGroup, SuggestFor: []string{"apps"},
		Short: "List the apps and the state of their credentials",
		Long: `List the apps, and the state of their credentials. Nothing secret is read or
shown. Secrets Manager may take five minutes to list a change.

Columns:

  AGE      age of the version that is AWSCURRENT. Not only new credentials make
           a new version, but also a change of allowedPrincipals, for example.
  ROTATED  the last rotation, or the last time a person stored a version
  NEXT     the next rotation; off if rotation is not switched on; for a replica
           the region of the primary secret, which rotates there
  CHECK    the last daily check of the rotate function
  LABELS   all but AWSCURRENT, AWSPREVIOUS, and AWSPENDING of a finished
           rotation. See "sftoken secret status --help" for their meanings.`,
		Example: `  sftoken list
  sftoken list -o json | jq -r '.apps[] | select(.overdue) | .app'`,
		Annotations: environment("SFTOKEN_PREFIX", "default of --prefix", awsVariables, awsMeaning,
			noColorVariable, noColorMeaning).exits(map[int]string{0: "listed", 1: "failed"}),
		Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := flags.statuses(cmd)
			switch {
			case err != nil:
				return err
			case out.isJSON():
				return printJSON(cmd, map[string]any{"apps": all})
			case len(all) == 0:
				newTerminal(cmd.ErrOrStderr()).column("", 0, "no app's secret is under "+flags.prefix+
					": check --prefix, --profile and --region")
				return nil
			}
			printApps(newTerminal(cmd.OutOrStdout()), all, time.Now())
			return nil
		},
	}
	flags.add(cmd)
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

// statuses returns the statuses of all apps.
func (f *secretFlags) statuses(cmd *cobra.Command) ([]status, error) {
	client, _, err := f.client(cmd)
	if err != nil {
		return nil, err
	}
	progress := newProgress(cmd.ErrOrStderr())
	progress.start("reading the dates of the versions")
	defer progress.stop()
	secrets, err := appsecret.List(cmd.Context(), client, f.prefix)
	if err != nil {
		return nil, err
	}
	all := []status{}
	for _, secret := range secrets {
		dates, err := appsecret.Dates(cmd.Context(), client, secret.ARN)
		if err != nil && !isNotFound(err) { // a secret is listed for a while after its deletion
			progress.stop()
			warnWithoutDates(cmd, fmt.Errorf("app %s: %w", secret.App, err))
		}
		all = append(all, statusOf(secret, dates))
	}
	return all, cmd.Context().Err()
}

// warnWithoutDates warns that the dates of a secret's versions cannot be read. The rest does not need that permission.
func warnWithoutDates(cmd *cobra.Command, err error) {
	message, _ := awsMessage(err, subject{})
	newTerminal(cmd.ErrOrStderr()).warn(cmp.Or(message, err.Error()))
}

// maxAppColumn is the greatest width of the column APP. A longer name has a line for itself.
const maxAppColumn = 20

// printApps prints the table of the apps.
func printApps(t *terminal, apps []status, now time.Time) {
	header := []string{"APP", "AGE", "ROTATED", "NEXT", "CHECK"}
	widths, indent := make([]int, len(header)), 0
	measure := func(cells []string) {
		for i, text := range cells {
			if i > 0 || len(text) <= maxAppColumn {
				widths[i] = max(widths[i], len(text)+len("  "))
			}
		}
	}
	measure(header)
	for _, app := range apps {
		measure(app.cells(now))
	}
	for _, width := range widths {
		indent += width
	}
	t.line(t.row(header, widths) + "LABELS")
	for _, app := range apps {
		row := t.row(app.cells(now), widths)
		if app.Deleted.IsZero() {
			t.labels(row, indent, app.otherLabels())
		} else {
			t.line(row + "to be deleted in " + formatSpan(app.Deleted.Sub(now)))
		}
	}
}

// row returns the cells in columns of these widths. A first cell that is too long has a line for itself.
func (t *terminal) row(cells []string, widths []int) string {
	var row strings.Builder
	for i, text := range cells {
		padding := strings.Repeat(" ", max(0, widths[i]-len(text)))
		switch {
		case i > 0:
			row.WriteString(t.color(text, colorOf(text)) + padding)
		case len(text) > widths[0]:
			row.WriteString(text + "\n" + strings.Repeat(" ", widths[0]))
		default:
			row.WriteString(text + padding)
		}
	}
	return row.String()
}

// line writes a line without white space at its end.
func (t *terminal) line(text string) { fmt.Fprintln(t, strings.TrimRight(text, " ")) }

// labels writes head and, after it, labels in a column that begins at indent. Labels may be any text.
func (t *terminal) labels(head string, indent int, labels []string) {
	width := t.width - indent
	var shown []string
	for _, label := range labels {
		if runes := []rune(printable.Line(label)); len(runes) <= width {
			shown = append(shown, string(runes))
		} else {
			shown = append(shown, string(runes[:width-1])+"…")
		}
	}
	lines := wrap(strings.Join(shown, " "), width)
	t.line(head + lines[0])
	for _, line := range lines[1:] {
		t.line(strings.Repeat(" ", indent) + line)
	}
}

// cells returns the columns of the app but the last. Those of an app that is to be deleted have only its name.
func (s *status) cells(now time.Time) []string {
	if !s.Deleted.IsZero() {
		return []string{s.App}
	}
	age, rotated, next, check := "-", "-", "off", "-"
	if !s.CurrentCreated.IsZero() {
		age = formatSpan(now.Sub(s.CurrentCreated))
	}
	if !s.LastRotated.IsZero() {
		rotated = formatSpan(now.Sub(s.LastRotated)) + " ago"
	}
	switch {
	case s.ReplicaOf != "":
		next = s.ReplicaOf
	case s.Overdue:
		next = overdue + " " + formatSpan(now.Sub(s.NextRotation))
	case s.Rotation && now.After(s.NextRotation):
		next = "due"
	case s.Rotation:
		next = "in " + formatSpan(s.NextRotation.Sub(now))
	}
	switch c := s.LastCheck; {
	case c == nil:
	case c.Time.After(now): // a wrong clock, or a forged tag
		check = c.result() + " in " + formatSpan(c.Time.Sub(now))
	default:
		check = c.result() + " " + formatSpan(now.Sub(c.Time)) + " ago"
	}
	return []string{s.App, age, rotated, next, check}
}

// overdue begins a date of a rotation that has been missed.
const overdue = "overdue"

// colorOf returns the color of a cell.
func colorOf(text string) string {
	switch word, _, _ := strings.Cut(text, " "); word {
	case overdue:
		return yellow
	case checkFailed:
		return red
	}
	return plain
}

// otherLabels returns the labels that an app in its normal state does not have.
func (s *status) otherLabels() []string {
	var other []string
	for version, labels := range s.Versions {
		for _, label := range labels {
			isNormal := label == appsecret.Current || label == appsecret.Previous ||
				label == appsecret.Pending && version == s.Current
			if !isNormal {
				other = append(other, label)
			}
		}
	}
	slices.Sort(other)
	return other
}
