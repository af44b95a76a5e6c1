package main

import (
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
		Use: "list", GroupID: ownerGroup,
		Short: "List the apps and the state of their credentials",
		Long: `List the apps, and the state of their credentials. Nothing secret is read or
shown. Secrets Manager may take five minutes to list a change.

Columns:

  AGE      age of the version that is AWSCURRENT. Not only new credentials make
           a new version, but also a change of allowedPrincipals, for example.
  ROTATED  the last rotation, or the last time a person stored a version
  NEXT     the next rotation; off if rotation is not switched on
  CHECK    the last daily check of the rotate function
  LABELS   all but AWSCURRENT, AWSPREVIOUS, and AWSPENDING of a finished
           rotation. See "sftoken secret status --help" for their meanings.`,
		Example: `  sftoken list
  sftoken list -o json | jq -r '.apps[] | select(.overdue) | .app'`,
		Annotations: secretSections().exits(map[int]string{0: "listed", 1: "failed"}),
		Args:        noArgs, ValidArgsFunction: cobra.NoFileCompletions,
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
			return nil, fmt.Errorf("app %s: %w", secret.App, err)
		}
		all = append(all, statusOf(secret, dates))
	}
	return all, nil
}

// maxAppColumn is the greatest width of the column APP. A longer name has a line for itself.
const maxAppColumn = 20

// printApps prints the table of the apps.
func printApps(t *terminal, apps []status, now time.Time) {
	rows := [][]string{{"APP", "AGE", "ROTATED", "NEXT", "CHECK"}}
	for _, app := range apps {
		rows = append(rows, app.cells(now))
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			if i > 0 || len(text) <= maxAppColumn {
				widths[i] = max(widths[i], len(text)+len("  "))
			}
		}
	}
	indent := 0 // of the labels
	for _, width := range widths {
		indent += width
	}
	for n, row := range rows {
		var head strings.Builder
		for i, text := range row {
			if len(text) > widths[i] {
				head.WriteString(text + "\n" + strings.Repeat(" ", widths[i]))
				continue
			}
			color := plain
			if i > 0 {
				color = colorOf(text)
			}
			head.WriteString(t.color(text, color) + strings.Repeat(" ", widths[i]-len(text)))
		}
		switch {
		case n == 0:
			t.line(head.String() + "LABELS")
		case !apps[n-1].Deleted.IsZero():
			t.line(head.String() + "to be deleted in " + formatSpan(apps[n-1].Deleted.Sub(now)))
		default:
			t.labels(head.String(), indent, apps[n-1].otherLabels())
		}
	}
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
	case s.Overdue:
		next = overdue + " " + formatSpan(now.Sub(s.NextRotation))
	case s.Rotation && now.After(s.NextRotation):
		next = "due"
	case s.Rotation:
		next = "in " + formatSpan(s.NextRotation.Sub(now))
	}
	if c := s.LastCheck; c != nil {
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
