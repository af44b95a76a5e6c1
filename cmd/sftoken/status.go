package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
)

func newStatus(flags *secretFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "status APP",
		Short: "Show the secret's versions, labels and rotation dates",
		Long: `Show the secret's versions, labels, rotation dates and replicas in other
regions. Nothing secret is read or shown.

Labels:

  AWSCURRENT   the credentials in use
  AWSPREVIOUS  those before
  AWSPENDING   those of a rotation, which is unfinished unless the same version
               is current
  CANDIDATE    credentials to be tried
  REJECTED     credentials that Salesforce rejected
  COMPROMISED  credentials that have leaked`,
		Example:           "  sftoken secret status crm\n  sftoken secret status crm -o json",
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
			dates, err := appsecret.Dates(cmd.Context(), client, secret.ARN)
			if err != nil {
				warnWithoutDates(cmd, err)
			}
			s := statusOf(secret, dates)
			if out.isJSON() {
				return printJSON(cmd, s)
			}
			return s.print(cmd.OutOrStdout())
		},
	}
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

// status is what is known of an app's secret without its values: the output of "secret status -o json". Dates that do
// not exist are left out.
type status struct {
	App            string               `json:"app"`
	Secret         string               `json:"secret"`
	ARN            string               `json:"arn"`
	ReplicaOf      string               `json:"replica_of,omitempty"` // the region of the primary secret
	Replicas       []replica            `json:"replicas,omitempty"`   // of a primary secret; "list" leaves them out
	Rotation       bool                 `json:"rotation"`
	Schedule       string               `json:"schedule,omitempty"`
	Created        time.Time            `json:"created,omitzero"`
	LastChanged    time.Time            `json:"last_changed,omitzero"`
	LastRotated    time.Time            `json:"last_rotated,omitzero"`
	NextRotation   time.Time            `json:"next_rotation,omitzero"`
	Overdue        bool                 `json:"overdue"`
	LastCheck      *check               `json:"last_check,omitempty"`
	Deleted        time.Time            `json:"deleted,omitzero"`
	Current        string               `json:"current,omitempty"` // the version that is AWSCURRENT
	CurrentCreated time.Time            `json:"current_created,omitzero"`
	Versions       map[string][]string  `json:"versions"`      // labels
	VersionDates   map[string]time.Time `json:"version_dates"` // when each version was created
}

// replica is a copy of the secret in another region.
type replica struct {
	Region  string `json:"region"`
	Status  string `json:"status"` // InSync, InProgress or Failed
	Message string `json:"message,omitempty"`
}

// check is the result of a daily check of the rotate function.
type check struct {
	Time time.Time `json:"time"`
	OK   bool      `json:"ok"`
}

// checkFailed is the result of a check that found a problem.
const checkFailed = "failed"

func (c *check) result() string {
	if c.OK {
		return "ok"
	}
	return checkFailed
}

func statusOf(s *appsecret.Secret, dates map[string]time.Time) status {
	current := s.VersionWithLabel(appsecret.Current)
	st := status{
		App: s.App, Secret: s.Name, ARN: s.ARN, Rotation: s.RotationEnabled, Schedule: s.Schedule,
		Created: s.Created, LastChanged: s.LastChanged, LastRotated: s.LastRotated, NextRotation: s.NextRotation,
		Overdue: s.Overdue(time.Now()), Deleted: s.Deleted, Current: current, CurrentCreated: dates[current],
		Versions: s.Labels, VersionDates: dates,
	}
	if s.IsReplica() {
		st.ReplicaOf = s.PrimaryRegion
	}
	for _, r := range s.Replicas {
		st.Replicas = append(st.Replicas, replica{r.Region, string(r.Status), r.Message})
	}
	if at, ok := s.Checked(); !at.IsZero() {
		st.LastCheck = &check{at, ok}
	}
	return st
}

// statusColumn is the column at which the values of a status begin.
const statusColumn = 15

// print prints the status, the newest version first. Its labels and schedule may be any text.
func (s *status) print(w io.Writer) error {
	rotation, next, lastCheck := "off", formatTime(s.NextRotation), "-"
	switch {
	case s.ReplicaOf != "":
		rotation = "in " + s.ReplicaOf
	case s.Rotation:
		rotation = strings.TrimSuffix("on, "+s.Schedule, ", ")
	}
	if s.Overdue {
		next += ", " + overdue
	}
	if s.LastCheck != nil {
		lastCheck = formatTime(s.LastCheck.Time) + ", " + s.LastCheck.result()
	}
	var text strings.Builder
	t := &terminal{Writer: &text, width: newTerminal(w).width}
	field := func(name, value string) { t.column(fmt.Sprintf("%-*s", statusColumn, name), statusColumn, value) }
	field("secret", s.Secret)
	if s.ReplicaOf != "" {
		field("replica of", "the secret in "+s.ReplicaOf)
	}
	for _, r := range s.Replicas {
		text := r.Region + " " + r.Status
		if r.Status != string(types.StatusTypeInSync) && r.Message != "" {
			text += ": " + r.Message
		}
		field("replica", text)
	}
	field("rotation", rotation)
	field("last rotated", formatTime(s.LastRotated))
	field("next rotation", next)
	field("last check", lastCheck)
	if !s.Deleted.IsZero() {
		field("to be deleted", formatTime(s.Deleted)+", unless `aws secretsmanager restore-secret` restores it")
	}
	for _, version := range s.newestFirst() {
		field("version", version)
		head := strings.Repeat(" ", statusColumn) + formatTime(s.VersionDates[version]) + "  "
		t.column(head, len(head), strings.Join(slices.Sorted(slices.Values(s.Versions[version])), " "))
	}
	_, err := io.WriteString(w, printable.Safe(text.String()))
	return err
}

// newestFirst returns the versions that have labels.
func (s *status) newestFirst() []string {
	return slices.SortedFunc(maps.Keys(s.Versions), func(a, b string) int {
		return cmp.Or(s.VersionDates[b].Compare(s.VersionDates[a]), cmp.Compare(a, b))
	})
}
