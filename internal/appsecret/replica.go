package appsecret

import (
	"cmp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Replica is a copy of a secret in another region, which Secrets Manager keeps up to date.
type Replica struct {
	Region  string
	Status  types.StatusType // InSync, InProgress or Failed
	Message string           // of Secrets Manager, about the status
}

func replicas(list []types.ReplicationStatusType) []Replica {
	var replicas []Replica
	for _, r := range list {
		replicas = append(replicas, Replica{aws.ToString(r.Region), r.Status, aws.ToString(r.StatusMessage)})
	}
	slices.SortFunc(replicas, func(a, b Replica) int { return cmp.Compare(a.Region, b.Region) })
	return replicas
}

// Failed reports whether Secrets Manager has given up copying the secret to the replica's region.
func (r Replica) Failed() bool { return r.Status == types.StatusTypeFailed }

// Region returns the region of the secret's ARN.
func (s *Secret) Region() string {
	parts := strings.SplitN(s.ARN, ":", 5)
	if len(parts) < 5 {
		return ""
	}
	return parts[3]
}

// IsReplica reports whether the secret is a replica, which only the secret in PrimaryRegion can change. Secrets Manager
// sets PrimaryRegion for a primary secret too. Source: API Reference, DescribeSecret, PrimaryRegion.
func (s *Secret) IsReplica() bool {
	return s.PrimaryRegion != "" && s.PrimaryRegion != s.Region()
}
