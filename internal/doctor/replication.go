package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// replication reports what the secret is in a deployment with a standby region.
func (s *session) replication(context.Context) outcome {
	if s.secret.IsReplica() {
		return ok("a replica of the secret in " + s.secret.PrimaryRegion + ", which rotates there")
	}
	if len(s.secret.Replicas) == 0 {
		return ok("not replicated to another region")
	}
	var inSync, behind, broken []string
	for _, replica := range s.secret.Replicas {
		switch {
		case replica.Failed():
			broken = append(broken, strings.TrimSuffix(replica.Region+": "+line(replica.Message), ": "))
		case replica.Status == types.StatusTypeInSync:
			inSync = append(inSync, replica.Region)
		default:
			behind = append(behind, fmt.Sprintf("%s (%s)", replica.Region, replica.Status))
		}
	}
	switch {
	case len(broken) > 0:
		return failed("replication has failed to "+strings.Join(broken, "; "),
			"fix what the message names, then replicate again: see ReplicationFails in the runbook")
	case len(behind) > 0:
		return warning("not in sync with "+strings.Join(behind, ", "),
			"normal for minutes after a change: check again. If it lasts, look for an outage of these regions")
	}
	return ok("in sync with " + strings.Join(inSync, ", "))
}

// command returns a command that changes the secret. A replica can be changed only in its primary region.
func (s *session) command(text string) string {
	if s.secret != nil && s.secret.IsReplica() {
		text += " --region " + s.secret.PrimaryRegion
	}
	return "`sftoken " + text + "`"
}

// rotateCommand continues an unfinished rotation, or begins one.
func (s *session) rotateCommand() string { return s.command("rotate " + s.App + " --wait") }

// stageCommand stores credentials that the rotate function tries.
func (s *session) stageCommand() string { return s.command("secret stage " + s.App + " --wait") }
