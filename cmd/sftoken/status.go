package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
)

func newStatus(flags *secretFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "status APP",
		Short: "Show the secret's versions, labels and rotation dates",
		Long: `Show the secret's versions, labels and rotation dates. Nothing secret is read or
shown.

Labels:

  AWSCURRENT   the credentials in use
  AWSPREVIOUS  those before
  AWSPENDING   those of a rotation, which is unfinished unless the same version
               is current
  CANDIDATE    credentials to be tried
  REJECTED     credentials that Salesforce rejected
  COMPROMISED  credentials that have leaked`,
		Example:           "  sftoken secret status crm\n  sftoken secret status crm --json",
		Annotations:       secretSections().exits(map[int]string{0: "shown", 1: "failed"}),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := flags.client(cmd)
			if err != nil {
				return err
			}
			secret, err := appsecret.Open(cmd.Context(), client, flags.prefix, flags.prefix+args[0])
			if err != nil {
				return err
			}
			if out.isJSON() {
				return printJSON(cmd, statusOf(secret))
			}
			return printStatus(cmd.OutOrStdout(), secret)
		},
	}
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

// status is the output of "secret status --json". Dates that do not exist are left out.
type status struct {
	App          string              `json:"app"`
	Secret       string              `json:"secret"`
	ARN          string              `json:"arn"`
	Rotation     bool                `json:"rotation"`
	Schedule     string              `json:"schedule,omitempty"`
	Created      time.Time           `json:"created,omitzero"`
	LastChanged  time.Time           `json:"lastChanged,omitzero"`
	LastRotated  time.Time           `json:"lastRotated,omitzero"`
	NextRotation time.Time           `json:"nextRotation,omitzero"`
	Overdue      bool                `json:"overdue"`
	Deleted      time.Time           `json:"deleted,omitzero"`
	Versions     map[string][]string `json:"versions"` // labels
}

func statusOf(s *appsecret.Secret) status {
	return status{
		App: s.App, Secret: s.Name, ARN: s.ARN, Rotation: s.RotationEnabled, Schedule: s.Schedule,
		Created: s.Created, LastChanged: s.LastChanged, LastRotated: s.LastRotated, NextRotation: s.NextRotation,
		Overdue: s.Overdue(time.Now()), Deleted: s.Deleted, Versions: s.Labels,
	}
}

// printStatus prints a secret's metadata. Its labels and schedule may be any text.
func printStatus(w io.Writer, secret *appsecret.Secret) error {
	rotation, next := "off", formatTime(secret.NextRotation)
	if secret.RotationEnabled {
		rotation = strings.TrimSuffix("on, "+secret.Schedule, ", ")
	}
	if secret.Overdue(time.Now()) {
		next += ", overdue"
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "secret\t%s\nrotation\t%s\nlast rotated\t%s\nnext rotation\t%s\n",
		secret.Name, rotation, formatTime(secret.LastRotated), next)
	if !secret.Deleted.IsZero() {
		fmt.Fprintf(table, "to be deleted\t%s, unless `aws secretsmanager restore-secret` restores it\n",
			formatTime(secret.Deleted))
	}
	for _, version := range slices.Sorted(maps.Keys(secret.Labels)) {
		labels := strings.Join(slices.Sorted(slices.Values(secret.Labels[version])), " ")
		fmt.Fprintf(table, "version\t%s  %s\n", version, labels)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, printable.Safe(text.String()))
	return err
}
