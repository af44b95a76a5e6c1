package localaws

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// input has the parameters of all operations.
type input struct {
	SecretId            string
	Name                string
	KmsKeyId            string
	ClientRequestToken  string
	RotationToken       string
	SecretString        *string
	SecretBinary        []byte
	VersionStages       []string
	VersionId           string
	VersionStage        string
	MoveToVersionId     string
	RemoveFromVersionId string
	IncludeDeprecated   bool
	MaxResults          int
	NextToken           string
	Filters             []struct {
		Key    string
		Values []string
	}
	IncludePlannedDeletion     bool
	ForceDeleteWithoutRecovery bool
	RecoveryWindowInDays       *int
	RotationLambdaARN          string
	RotationRules              *rules
	RotateImmediately          *bool
	Tags                       []tag
	AddReplicaRegions          []struct {
		Region   string
		KmsKeyId string
	}
	RemoveReplicaRegions        []string
	ForceOverwriteReplicaSecret bool
}

// operations are the handlers by name. They are called with m.mu held.
var operations = map[string]func(m *SecretsManager, in *input) (any, error){
	"CreateSecret": (*SecretsManager).createSecret, "GetSecretValue": (*SecretsManager).getSecretValue,
	"PutSecretValue": (*SecretsManager).putSecretValue,
	"DescribeSecret": (*SecretsManager).describeSecret, "ListSecrets": (*SecretsManager).listSecrets,
	"ListSecretVersionIds":     (*SecretsManager).listSecretVersionIds,
	"UpdateSecretVersionStage": (*SecretsManager).updateSecretVersionStage,
	"DeleteSecret":             (*SecretsManager).deleteSecret, "RestoreSecret": (*SecretsManager).restoreSecret,
	"RotateSecret": (*SecretsManager).rotateSecret, "CancelRotateSecret": (*SecretsManager).cancelRotateSecret,
	"TagResource":                  (*SecretsManager).tagResource,
	"ReplicateSecretToRegions":     (*SecretsManager).replicateSecretToRegions,
	"RemoveRegionsFromReplication": (*SecretsManager).removeRegionsFromReplication,
	"StopReplicationToReplica":     (*SecretsManager).stopReplicationToReplica,
}

func seconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return float64(t.UnixMilli()) / 1000
}

func (m *SecretsManager) createSecret(in *input) (any, error) {
	if old := m.secrets[in.Name]; old != nil {
		return createAgain(old, in)
	}
	valued := in.SecretString != nil || in.SecretBinary != nil
	if valued {
		if err := checkValue(in); err != nil {
			return nil, err
		}
	}
	s, err := m.create(in)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"ARN": s.arn, "Name": s.name}
	if valued {
		v, err := m.put(s, in)
		if err != nil {
			delete(m.secrets, s.name)
			return nil, err
		}
		out["VersionId"] = v.id
	}
	if err := m.addReplicas(s, in); err != nil {
		delete(m.secrets, s.name)
		return nil, err
	}
	if status := m.replicationStatus(s); len(status) > 0 {
		out["ReplicationStatus"] = status
	}
	return out, nil
}

// createAgain handles CreateSecret for an existing name: it succeeds with the same token and value.
func createAgain(s *secret, in *input) (any, error) {
	v := s.versions[in.ClientRequestToken]
	switch {
	case !s.deletion.IsZero():
		return nil, apiErr("InvalidRequestException",
			"You can't create this secret because a secret with this name is already scheduled for deletion.")
	case v == nil || !v.stored() || !sameValue(v, in):
		return nil, apiErr("ResourceExistsException", "The operation failed because the secret %s already exists.", in.Name)
	}
	return map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": v.id}, nil
}

func (m *SecretsManager) describeSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	out := s.entry()
	out["VersionIdsToStages"] = s.stages()
	m.describeReplication(s, out, true)
	return out, nil
}

// stages returns the labels of all versions that have any, including versions without a value.
func (s *secret) stages() map[string][]string {
	stages := map[string][]string{}
	for id, v := range s.versions {
		if len(v.labels) > 0 {
			stages[id] = slices.Clone(v.labels)
		}
	}
	return stages
}

// entry is a secret in the responses of DescribeSecret and ListSecrets.
func (s *secret) entry() map[string]any {
	out := map[string]any{"ARN": s.arn, "Name": s.name, "CreatedDate": seconds(s.created),
		"LastChangedDate": seconds(s.changed)}
	if s.kmsKey != "" {
		out["KmsKeyId"] = s.kmsKey
	}
	if !s.deletion.IsZero() {
		out["DeletedDate"] = seconds(s.deletion)
	}
	if len(s.tags) > 0 {
		out["Tags"] = s.tagList()
	}
	s.rotation.describe(out)
	return out
}

// listSecrets sorts by name, where the default of AWS is the date.
func (m *SecretsManager) listSecrets(in *input) (any, error) {
	var all []*secret
	for _, name := range slices.Sorted(maps.Keys(m.secrets)) {
		s := m.secrets[name]
		found, err := matches(s, in)
		if err != nil {
			return nil, err
		}
		if found && (s.deletion.IsZero() || in.IncludePlannedDeletion) {
			all = append(all, s)
		}
	}
	some, next, err := page(all, in)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, s := range some {
		entry := s.entry()
		entry["SecretVersionsToStages"] = s.stages()
		m.describeReplication(s, entry, false)
		list = append(list, entry)
	}
	return map[string]any{"SecretList": list, "NextToken": next}, nil
}

// page returns one page of a list, and the token of the next page: nil after the last.
func page[T any](all []T, in *input) (some []T, next any, err error) {
	size, start := cmp.Or(in.MaxResults, 100), 0
	if size < 1 || size > 100 {
		return nil, nil, apiErr("ValidationException", "MaxResults must be 1 to 100")
	}
	if in.NextToken != "" {
		if start, err = strconv.Atoi(in.NextToken); err != nil || start < 1 {
			return nil, nil, apiErr("InvalidNextTokenException", "The NextToken value is invalid.")
		}
	}
	rest := all[min(start, len(all)):]
	if len(rest) > size {
		next = strconv.Itoa(start + size)
	}
	return rest[:min(size, len(rest))], next, nil
}

// matches reports whether the secret passes the filters by name: case-sensitive prefixes, which an exclamation mark
// negates. Source: API Reference, Filter.
func matches(s *secret, in *input) (bool, error) {
	for _, filter := range in.Filters {
		if filter.Key != "name" {
			return false, apiErr("ValidationException", "filter %q: this simulator filters by name", filter.Key)
		}
		if !slices.ContainsFunc(filter.Values, func(value string) bool {
			prefix, not := strings.CutPrefix(value, "!")
			return strings.HasPrefix(s.name, prefix) != not
		}) {
			return false, nil
		}
	}
	return true, nil
}

func (m *SecretsManager) deleteSecret(in *input) (any, error) {
	days := 30
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	switch {
	case in.ForceDeleteWithoutRecovery && in.RecoveryWindowInDays != nil:
		return nil, apiErr("InvalidParameterException",
			"You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case days < 7 || days > 30:
		return nil, apiErr("InvalidParameterException", "RecoveryWindowInDays must be between 7 and 30 days (inclusive).")
	case in.ForceDeleteWithoutRecovery && in.SecretId != "" && m.lookup(in.SecretId) == nil:
		return map[string]any{"Name": in.SecretId, "DeletionDate": seconds(m.config.Now())}, nil // a retry
	}
	s, err := m.writable(in.SecretId, in.ForceDeleteWithoutRecovery)
	if err == nil {
		err = m.checkNoReplicas(s)
	}
	if err != nil {
		return nil, err
	}
	if in.ForceDeleteWithoutRecovery {
		delete(m.secrets, s.name)
		days = 0
	}
	s.deletion = m.config.Now().AddDate(0, 0, days)
	return map[string]any{"ARN": s.arn, "Name": s.name, "DeletionDate": seconds(s.deletion)}, nil
}

func (m *SecretsManager) restoreSecret(in *input) (any, error) {
	s, err := m.writable(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	s.deletion = time.Time{}
	return map[string]any{"ARN": s.arn, "Name": s.name}, nil
}
