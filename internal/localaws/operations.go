package localaws

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// input has the parameters of all operations.
type input struct {
	SecretId            string
	Name                string
	Description         string
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
	Tags                []tag
	TagKeys             []string
	Filters             []struct {
		Key    string
		Values []string
	}
	ForceDeleteWithoutRecovery bool
	RecoveryWindowInDays       *int
	RotationLambdaARN          string
	RotationRules              *rules
	RotateImmediately          *bool
}

type tag struct{ Key, Value string }

// operations are what can be asked for. m.mu is held.
var operations = map[string]func(m *SecretsManager, in *input) (any, error){
	"CreateSecret": (*SecretsManager).createSecret, "GetSecretValue": (*SecretsManager).getSecretValue,
	"PutSecretValue": (*SecretsManager).putSecretValue, "UpdateSecret": (*SecretsManager).updateSecret,
	"DescribeSecret": (*SecretsManager).describeSecret, "ListSecrets": (*SecretsManager).listSecrets,
	"ListSecretVersionIds":     (*SecretsManager).listSecretVersionIds,
	"UpdateSecretVersionStage": (*SecretsManager).updateSecretVersionStage,
	"TagResource":              (*SecretsManager).tagResource, "UntagResource": (*SecretsManager).untagResource,
	"DeleteSecret": (*SecretsManager).deleteSecret, "RestoreSecret": (*SecretsManager).restoreSecret,
	"RotateSecret": (*SecretsManager).rotateSecret, "CancelRotateSecret": (*SecretsManager).cancelRotateSecret,
}

func seconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return float64(t.UnixMilli()) / 1000
}

func (m *SecretsManager) createSecret(in *input) (any, error) {
	if old := m.secrets[in.Name]; old != nil {
		v := old.versions[in.ClientRequestToken]
		if v == nil || !sameValue(v, in) {
			return nil, refuse("ResourceExistsException", "The operation failed because the secret %s already exists.", in.Name)
		}
		return map[string]any{"ARN": old.arn, "Name": old.name, "VersionId": v.id}, nil
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
	return out, nil
}

func (m *SecretsManager) getSecretValue(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	label := in.VersionStage
	if label == "" && in.VersionId == "" {
		label = current
	}
	v := s.versions[in.VersionId]
	if in.VersionId == "" {
		v = s.holder(label)
	}
	switch {
	case v != nil && label != "" && !v.has(label):
		return nil, refuse("InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
	case v == nil && in.VersionId != "", v != nil && !v.stored() && in.VersionId != "":
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", in.VersionId)
	case v == nil || !v.stored():
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", label)
	}
	out := map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": v.id, "VersionStages": slices.Clone(v.labels), "CreatedDate": seconds(v.created)}
	if v.text != nil {
		out["SecretString"] = *v.text
	} else {
		out["SecretBinary"] = v.binary
	}
	return out, nil
}

func (m *SecretsManager) putSecretValue(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	announced := s.versions[in.ClientRequestToken]
	v, err := m.put(s, in)
	if err != nil {
		return nil, err
	}
	if announced == nil { // written by hand, which counts as a rotation
		s.reschedule(m.config.Now())
	}
	return map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": v.id, "VersionStages": slices.Clone(v.labels)}, nil
}

func (m *SecretsManager) updateSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"ARN": s.arn, "Name": s.name}
	if in.SecretString != nil || in.SecretBinary != nil {
		if v := s.versions[in.ClientRequestToken]; v != nil && v.stored() {
			return nil, refuse("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", in.ClientRequestToken, s.arn)
		}
		in.VersionStages = []string{current}
		v, err := m.put(s, in)
		if err != nil {
			return nil, err
		}
		s.reschedule(m.config.Now())
		out["VersionId"] = v.id
	}
	s.description = cmp.Or(in.Description, s.description)
	return out, nil
}

func (m *SecretsManager) describeSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	out := s.entry()
	stages := map[string][]string{}
	for id, v := range s.versions {
		if len(v.labels) > 0 {
			stages[id] = slices.Clone(v.labels)
		}
	}
	out["VersionIdsToStages"] = stages
	return out, nil
}

// entry is a secret as DescribeSecret and ListSecrets have it.
func (s *secret) entry() map[string]any {
	out := map[string]any{"ARN": s.arn, "Name": s.name, "CreatedDate": seconds(s.created), "LastChangedDate": seconds(s.changed)}
	if s.description != "" {
		out["Description"] = s.description
	}
	tags := []tag{}
	for _, key := range slices.Sorted(maps.Keys(s.tags)) {
		tags = append(tags, tag{key, s.tags[key]})
	}
	out["Tags"] = tags
	if !s.deletion.IsZero() {
		out["DeletedDate"] = seconds(s.deletion)
	}
	s.rotation.describe(out)
	return out
}

func (m *SecretsManager) listSecrets(in *input) (any, error) {
	names := slices.Sorted(maps.Keys(m.secrets))
	start, _ := slices.BinarySearch(names, in.NextToken)
	page := cmp.Or(in.MaxResults, 100)
	list, out := []any{}, map[string]any{}
	for _, name := range names[start:] {
		s := m.secrets[name]
		if !s.deletion.IsZero() || !matches(s, in) {
			continue
		}
		if len(list) == page {
			out["NextToken"] = name
			break
		}
		entry := s.entry()
		stages := map[string][]string{}
		for id, v := range s.versions {
			if len(v.labels) > 0 {
				stages[id] = slices.Clone(v.labels)
			}
		}
		entry["SecretVersionsToStages"] = stages
		list = append(list, entry)
	}
	out["SecretList"] = list
	return out, nil
}

// matches applies the filter by name, which is a prefix and case-sensitive. Source: ListSecrets in the API Reference, "Filters".
func matches(s *secret, in *input) bool {
	for _, filter := range in.Filters {
		if filter.Key == "name" && !slices.ContainsFunc(filter.Values, func(prefix string) bool { return strings.HasPrefix(s.name, prefix) }) {
			return false
		}
	}
	return true
}

func (m *SecretsManager) listSecretVersionIds(in *input) (any, error) {
	s, err := m.find(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, v := range slices.SortedFunc(maps.Values(s.versions), func(a, b *version) int { return a.created.Compare(b.created) }) {
		if v.stored() && (len(v.labels) > 0 || in.IncludeDeprecated) {
			list = append(list, map[string]any{"VersionId": v.id, "VersionStages": slices.Clone(v.labels), "CreatedDate": seconds(v.created)})
		}
	}
	return map[string]any{"ARN": s.arn, "Name": s.name, "Versions": list}, nil
}

func (m *SecretsManager) updateSecretVersionStage(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	label, holder := in.VersionStage, s.holder(in.VersionStage)
	to, from := s.versions[in.MoveToVersionId], s.versions[in.RemoveFromVersionId]
	switch {
	case label == "":
		return nil, refuse("InvalidParameterException", "VersionStage is missing")
	case in.MoveToVersionId != "" && to == nil:
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", in.MoveToVersionId)
	case in.RemoveFromVersionId != "" && (from == nil || !from.has(label)):
		return nil, refuse("InvalidParameterException", "The parameter RemoveFromVersionId can't be %s. Staging label %s is not currently attached to that version.", in.RemoveFromVersionId, label)
	case to != nil && holder != nil && holder != to && from == nil:
		return nil, refuse("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, holder.id)
	case to == nil && from == nil:
		return nil, refuse("InvalidParameterException", "want MoveToVersionId, RemoveFromVersionId or both")
	case to == nil && label == current:
		return nil, refuse("InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	}
	if to != nil {
		if err := s.roomFor([]string{label}); err != nil {
			return nil, err
		}
		m.move(s, label, to)
	} else {
		s.unlabel(label, from)
	}
	s.changed = m.config.Now()
	return map[string]any{"ARN": s.arn, "Name": s.name}, nil
}

func (m *SecretsManager) tagResource(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	for _, t := range in.Tags {
		s.tags[t.Key] = t.Value
	}
	return map[string]any{}, nil
}

func (m *SecretsManager) untagResource(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(s.tags, key)
	}
	return map[string]any{}, nil
}

func (m *SecretsManager) deleteSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	days := 30
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	switch {
	case in.ForceDeleteWithoutRecovery && in.RecoveryWindowInDays != nil:
		return nil, refuse("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case in.ForceDeleteWithoutRecovery:
		days = 0
		delete(m.secrets, s.name)
	case days < 7 || days > 30:
		return nil, refuse("InvalidParameterException", "RecoveryWindowInDays must be between 7 and 30 days (inclusive).")
	}
	s.deletion = m.config.Now().AddDate(0, 0, days)
	return map[string]any{"ARN": s.arn, "Name": s.name, "DeletionDate": seconds(s.deletion)}, nil
}

func (m *SecretsManager) restoreSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	s.deletion = time.Time{}
	return map[string]any{"ARN": s.arn, "Name": s.name}, nil
}
