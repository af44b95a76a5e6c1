package localaws

import (
	"maps"
	"slices"
	"strings"
)

// Limits of tags. Source: Secrets Manager API Reference, Tag; AWS General Reference, "Service quotas for tagging".
const (
	maxTags     = 50
	maxTagKey   = 128 // characters
	maxTagValue = 256
)

type tag struct{ Key, Value string }

// tagResource adds tags, or replaces the values of those that exist.
func (m *SecretsManager) tagResource(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	tags := maps.Clone(s.tags)
	if tags == nil {
		tags = map[string]string{}
	}
	for _, t := range in.Tags {
		switch {
		case t.Key == "" || len([]rune(t.Key)) > maxTagKey || len([]rune(t.Value)) > maxTagValue:
			return nil, apiErr("InvalidParameterException",
				"a tag's key has 1 to %d characters, its value at most %d", maxTagKey, maxTagValue)
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return nil, apiErr("InvalidParameterException", "the prefix aws: of a tag's key is reserved")
		}
		tags[t.Key] = t.Value
	}
	if len(tags) > maxTags {
		return nil, apiErr("InvalidParameterException", "a secret can have at most %d tags", maxTags)
	}
	// LastChangedDate is "the last date and time that this secret was modified in any way". Source: API Reference,
	// DescribeSecret.
	s.tags, s.changed = tags, m.config.Now()
	return struct{}{}, nil
}

func (s *secret) tagList() []tag {
	var list []tag
	for _, key := range slices.Sorted(maps.Keys(s.tags)) {
		list = append(list, tag{key, s.tags[key]})
	}
	return list
}
