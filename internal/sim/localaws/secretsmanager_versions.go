package localaws

import (
	"cmp"
	"maps"
	"slices"
)

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
		v = s.withLabel(label)
	}
	switch {
	case v != nil && label != "" && !v.hasLabel(label):
		return nil, apiErr("InvalidRequestException",
			"You provided a VersionStage that is not associated to the provided VersionId.")
	case v == nil && in.VersionId != "", v != nil && !v.stored() && in.VersionId != "":
		return nil, apiErr("ResourceNotFoundException",
			"Secrets Manager can't find the specified secret value for VersionId: %s", in.VersionId)
	case v == nil || !v.stored():
		return nil, apiErr("ResourceNotFoundException",
			"Secrets Manager can't find the specified secret value for staging label: %s", label)
	}
	out := v.entry(s)
	out["CreatedDate"] = seconds(v.created)
	if v.text != nil {
		out["SecretString"] = *v.text
	} else {
		out["SecretBinary"] = v.binary
	}
	return out, nil
}

// entry is a version in the responses of GetSecretValue and PutSecretValue.
func (v *version) entry(s *secret) map[string]any {
	return map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": v.id, "VersionStages": slices.Clone(v.labels)}
}

func (m *SecretsManager) putSecretValue(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	announced := s.versions[in.ClientRequestToken]
	v, err := m.put(s, in)
	if err != nil {
		return nil, err
	}
	if announced == nil { // a version written by a person counts as a rotation
		s.reschedule(m.config.Now())
	}
	return v.entry(s), nil
}

func (m *SecretsManager) listSecretVersionIds(in *input) (any, error) {
	s, err := m.find(in.SecretId, true)
	if err != nil {
		return nil, err
	}
	all := slices.SortedFunc(maps.Values(s.versions),
		func(a, b *version) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id)) })
	all = slices.DeleteFunc(all, func(v *version) bool {
		return !v.stored() || len(v.labels) == 0 && !in.IncludeDeprecated
	})
	some, next, err := page(all, in)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, v := range some {
		list = append(list, map[string]any{"VersionId": v.id, "VersionStages": slices.Clone(v.labels),
			"CreatedDate": seconds(v.created)})
	}
	return map[string]any{"ARN": s.arn, "Name": s.name, "Versions": list, "NextToken": next}, nil
}

func (m *SecretsManager) updateSecretVersionStage(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	label, holder := in.VersionStage, s.withLabel(in.VersionStage)
	to, from := s.versions[in.MoveToVersionId], s.versions[in.RemoveFromVersionId]
	switch {
	case label == "" || len(label) > maxLabel:
		return nil, apiErr("InvalidParameterException", "VersionStage must have 1 to %d characters", maxLabel)
	case in.MoveToVersionId != "" && to == nil:
		return nil, apiErr("ResourceNotFoundException",
			"Secrets Manager can't find the specified secret value for VersionId: %s", in.MoveToVersionId)
	case in.RemoveFromVersionId != "" && (from == nil || !from.hasLabel(label)):
		return nil, apiErr("InvalidParameterException",
			"The parameter RemoveFromVersionId can't be %s. Staging label %s is not currently attached to that version.",
			in.RemoveFromVersionId, label)
	case to != nil && holder != nil && holder != to && from == nil:
		return nil, apiErr("InvalidParameterException",
			"The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you "+
				"must explicitly reference that version in RemoveFromVersionId.", label, holder.id)
	case to == nil && from == nil:
		return nil, apiErr("InvalidParameterException", "want MoveToVersionId, RemoveFromVersionId or both")
	case to == nil && label == current:
		return nil, apiErr("InvalidParameterException",
			"You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	}
	if to != nil {
		if err := s.checkLabelLimit([]string{label}); err != nil {
			return nil, err
		}
		m.moveLabel(s, label, to)
	} else {
		s.removeLabel(label, from)
	}
	s.changed = m.config.Now()
	return map[string]any{"ARN": s.arn, "Name": s.name}, nil
}
