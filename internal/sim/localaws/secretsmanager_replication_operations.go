package localaws

import (
	"fmt"
	"slices"
	"strings"
)

// writable returns the secret, or an error if it is a replica, which nothing but its primary can change.
//
// Source: User Guide, "Promote a replica secret to a standalone secret". The error is not documented: it is the one in
// issue 435 of gruntwork-io/cloud-nuke and issue 188 of lgallard/terraform-aws-secrets-manager.
func (m *SecretsManager) writable(id string, deleted bool) (*secret, error) {
	s, err := m.find(id, deleted)
	if err == nil && s.primaryRegion != "" {
		return nil, apiErr("InvalidParameterException",
			"Operation not permitted on a replica secret. Call must be made in primary secret's region.")
	}
	return s, err
}

// describeReplication adds the secret's primary region and its replicas. The list of secrets leaves the replicas out.
func (m *SecretsManager) describeReplication(s *secret, out map[string]any, withStatus bool) {
	if s.primaryRegion != "" {
		out["PrimaryRegion"] = s.primaryRegion
		return
	}
	if status := m.replicationStatus(s); len(status) > 0 {
		out["PrimaryRegion"] = m.config.Region
		if withStatus {
			out["ReplicationStatus"] = status
		}
	}
}

func (m *SecretsManager) replicationStatus(s *secret) []map[string]any {
	list := []map[string]any{}
	r := m.config.Replication
	if r == nil {
		return list
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.of(m.config.Region, s.name) {
		entry := map[string]any{"Region": l.to, "Status": l.status, "StatusMessage": l.message}
		if l.kmsKey != "" {
			entry["KmsKeyId"] = l.kmsKey
		}
		list = append(list, entry)
	}
	return list
}

func (m *SecretsManager) replicateSecretToRegions(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	if err := m.addReplicas(s, in); err != nil {
		return nil, err
	}
	return map[string]any{"ARN": s.arn, "ReplicationStatus": m.replicationStatus(s)}, nil
}

// addReplicas links the secret to the regions of the request, or again where the last attempt has failed.
func (m *SecretsManager) addReplicas(s *secret, in *input) error {
	r := m.config.Replication
	if r == nil {
		if len(in.AddReplicaRegions) > 0 {
			return apiErr("InvalidParameterException", "this simulator has one region")
		}
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, to := range in.AddReplicaRegions {
		if to.Region == m.config.Region || r.regions[to.Region] == nil {
			return apiErr("InvalidParameterException", "Invalid replica region.")
		}
		for _, l := range r.of(m.config.Region, s.name) {
			if l.to == to.Region && l.status != failed {
				return apiErr("InvalidParameterException", "the secret is replicated to the region already")
			}
		}
	}
	for _, to := range in.AddReplicaRegions {
		r.links = slices.DeleteFunc(r.links, func(l *link) bool {
			return l.from == m.config.Region && l.to == to.Region && l.name == s.name
		})
		r.links = append(r.links, &link{from: m.config.Region, to: to.Region, name: s.name, kmsKey: to.KmsKeyId,
			overwrite: in.ForceOverwriteReplicaSecret, status: inProgress})
	}
	return nil
}

// removeRegionsFromReplication deletes replicas, with the lag of replication. A promoted one is left alone.
func (m *SecretsManager) removeRegionsFromReplication(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	if r := m.config.Replication; r != nil {
		r.mu.Lock()
		for _, l := range r.of(m.config.Region, s.name) {
			if slices.Contains(in.RemoveReplicaRegions, l.to) {
				l.removed, l.waiting = true, nil
			}
			if l.removed && !l.promoted {
				l.waiting = []transfer{{due: m.config.Now().Add(r.lag)}}
			}
		}
		r.mu.Unlock()
	}
	return map[string]any{"ARN": s.arn, "ReplicationStatus": m.replicationStatus(s)}, nil
}

// stopReplicationToReplica makes a replica a primary secret, with the same versions and labels, and without a rotation.
//
// What the former primary lists afterwards is not documented. Here it keeps the region, as failed.
func (m *SecretsManager) stopReplicationToReplica(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	if s.primaryRegion == "" {
		return nil, apiErr("InvalidParameterException", "Operation not permitted on a primary secret.")
	}
	r := m.config.Replication
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.of(s.primaryRegion, s.name) {
		if l.to == m.config.Region {
			l.promoted, l.waiting, l.status, l.message = true, nil, failed, "the replica was promoted"
		}
	}
	s.primaryRegion = ""
	return map[string]any{"ARN": s.arn}, nil
}

// checkNoReplicas fails if the secret has replicas, so that it cannot be deleted. The error is not documented: see
// issue 435 of gruntwork-io/cloud-nuke.
func (m *SecretsManager) checkNoReplicas(s *secret) error {
	var regions []string
	for _, status := range m.replicationStatus(s) {
		regions = append(regions, fmt.Sprint(status["Region"]))
	}
	if len(regions) == 0 {
		return nil
	}
	return apiErr("InvalidParameterException", "You can't delete secret %s that still has replica regions [%s].", s.arn,
		strings.Join(regions, ", "))
}
