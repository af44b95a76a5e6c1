package localaws

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	current  = "AWSCURRENT"
	pending  = "AWSPENDING"
	previous = "AWSPREVIOUS"
)

// Limits of the service. Source: Secrets Manager User Guide, "AWS Secrets Manager quotas".
const (
	maxLabels   = 20  // of all versions of a secret
	maxLabel    = 256 // bytes
	maxVersions = 100
	maxValue    = 65_536 // bytes
)

// secret is a secret with its versions.
type secret struct {
	name, arn string
	kmsKey    string              // empty: the account's default
	versions  map[string]*version // by id
	tags      map[string]string
	created   time.Time
	changed   time.Time
	deletion  time.Time // when it will be deleted; zero: never

	primaryRegion string // of a replica; empty: it is none

	rotation rotationConfig
	rotating bool // a rotation is in progress
}

// version is a version of a secret. A rotation creates it without a value, which its first step stores.
type version struct {
	id      string
	text    *string
	binary  []byte
	labels  []string
	created time.Time
}

func (v *version) stored() bool { return v.text != nil || v.binary != nil }

func (v *version) hasLabel(label string) bool { return slices.Contains(v.labels, label) }

// LabelMoved is a "Secret Label Updated" event.
type LabelMoved struct {
	ARN, Name, Label, Version string
	Account, Region           string
	Time                      time.Time
}

var (
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)
	tokenPattern = regexp.MustCompile(`^.{32,64}$`)
)

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// lookup returns the secret with the name, the ARN, or the ARN without its six random characters, or nil.
func (m *SecretsManager) lookup(id string) *secret {
	if s := m.secrets[id]; s != nil {
		return s
	}
	for _, s := range m.secrets {
		if s.arn == id || s.arn[:len(s.arn)-len("-xxxxxx")] == id {
			return s
		}
	}
	return nil
}

// find returns the secret. One that is marked for deletion is an error unless deleted.
func (m *SecretsManager) find(id string, deleted bool) (*secret, error) {
	s := m.lookup(id)
	switch {
	case id == "":
		return nil, apiErr("InvalidParameterException", "SecretId is missing")
	case s == nil:
		return nil, apiErr("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	case !deleted && !s.deletion.IsZero():
		return nil, apiErr("InvalidRequestException",
			"You can't perform this operation on the secret because it was marked for deletion.")
	}
	return s, nil
}

// deleteExpired deletes the secrets whose recovery window has ended.
func (m *SecretsManager) deleteExpired() {
	now := m.config.Now()
	maps.DeleteFunc(m.secrets, func(_ string, s *secret) bool { return !s.deletion.IsZero() && !now.Before(s.deletion) })
}

// create adds a secret without versions.
func (m *SecretsManager) create(in *input) (*secret, error) {
	if !namePattern.MatchString(in.Name) {
		return nil, apiErr("ValidationException",
			"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	s := &secret{
		name: in.Name, kmsKey: in.KmsKeyId, versions: map[string]*version{}, created: m.config.Now(),
		arn: fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", m.config.Region, m.config.Account, in.Name,
			m.suffix(in.Name)),
	}
	m.secrets[in.Name] = s
	return s, nil
}

// suffix returns the six characters after a secret's name in its ARN. In AWS they are random, so that a secret that
// is created again has another ARN. Here they are a hash of the name and its number of uses, so that sample events
// can name a secret.
func (m *SecretsManager) suffix(name string) string {
	m.nameUses[name]++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, m.nameUses[name]))
	return base32.StdEncoding.EncodeToString(sum[:])[:6]
}

// put stores a value under a token, as PutSecretValue does.
func (m *SecretsManager) put(s *secret, in *input) (*version, error) {
	token := in.ClientRequestToken
	if token == "" {
		token = newUUID()
	}
	labels := in.VersionStages
	if len(labels) == 0 {
		labels = []string{current}
	}
	if err := checkValue(in); err != nil {
		return nil, err
	}
	switch {
	case !tokenPattern.MatchString(token):
		return nil, apiErr("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	case slices.ContainsFunc(labels, func(label string) bool { return label == "" || len(label) > maxLabel }):
		return nil, apiErr("InvalidParameterException", "a staging label must have 1 to %d characters", maxLabel)
	}
	if v := s.versions[token]; v != nil && v.stored() {
		if !sameValue(v, in) {
			return nil, apiErr("ResourceExistsException",
				"You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token,
				s.arn)
		}
		return v, nil // nothing changes, not even labels
	}
	if s.withLabel(current) == nil && !slices.Contains(labels, current) {
		labels = append(slices.Clone(labels), current) // the first version always has it
	}
	if err := s.checkLabelLimit(labels); err != nil {
		return nil, err
	}
	v := s.versions[token]
	if v == nil {
		v = &version{id: token}
		s.versions[token] = v
	}
	v.text, v.binary, v.created = in.SecretString, in.SecretBinary, m.config.Now()
	s.changed = v.created
	if in.RotationToken == "" {
		s.cancelPending(token)
	}
	for _, label := range labels {
		m.moveLabel(s, label, v)
	}
	s.prune(m.config.Now())
	return v, nil
}

func checkValue(in *input) error {
	switch {
	case in.SecretString != nil && in.SecretBinary != nil:
		return apiErr("InvalidParameterException", "You can't specify both a binary secret value and a string secret value.")
	case in.SecretString == nil && in.SecretBinary == nil:
		return apiErr("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	case in.SecretString != nil && (*in.SecretString == "" || len(*in.SecretString) > maxValue),
		in.SecretBinary != nil && (len(in.SecretBinary) == 0 || len(in.SecretBinary) > maxValue):
		return apiErr("ValidationException", "the value must have 1 to %d bytes", maxValue)
	}
	return nil
}

func sameValue(v *version, in *input) bool {
	if v.text != nil {
		return in.SecretString != nil && *v.text == *in.SecretString
	}
	return in.SecretString == nil && string(v.binary) == string(in.SecretBinary)
}

// cancelPending removes AWSPENDING from the version in rotation when another version is written. Source: Secrets
// Manager User Guide, "CloudTrail entries", RotationAbandoned.
func (s *secret) cancelPending(token string) {
	v := s.withLabel(pending)
	if v != nil && v.id != token && v != s.withLabel(current) {
		s.removeLabel(pending, v)
	}
}

func (s *secret) withLabel(label string) *version {
	for _, v := range s.versions {
		if v.hasLabel(label) {
			return v
		}
	}
	return nil
}

func (s *secret) checkLabelLimit(labels []string) error {
	all := map[string]bool{previous: true}
	for _, label := range labels {
		all[label] = true
	}
	for _, v := range s.versions {
		for _, label := range v.labels {
			all[label] = true
		}
	}
	if len(all) > maxLabels {
		return apiErr("LimitExceededException", "a secret can have at most %d staging labels", maxLabels)
	}
	return nil
}

// moveLabel moves a label to a version. AWSPREVIOUS follows AWSCURRENT.
func (m *SecretsManager) moveLabel(s *secret, label string, to *version) {
	from := s.withLabel(label)
	if from == to {
		return
	}
	if from != nil {
		from.labels = slices.DeleteFunc(from.labels, func(l string) bool { return l == label })
	}
	to.labels = append(to.labels, label)
	if label == current && from != nil {
		m.moveLabel(s, previous, from)
	}
	if from != nil {
		s.dropIfUnlabelled(from)
	}
	// Source: Secrets Manager User Guide, "Secret Label Updated".
	if label != pending && label != previous {
		m.events = append(m.events, LabelMoved{
			ARN: s.arn, Name: s.name, Label: label, Version: to.id, Account: m.config.Account, Region: m.config.Region,
			Time: m.config.Now(),
		})
	}
}

func (s *secret) removeLabel(label string, v *version) {
	v.labels = slices.DeleteFunc(v.labels, func(l string) bool { return l == label })
	s.dropIfUnlabelled(v)
}

// dropIfUnlabelled deletes a version without a label and a value.
func (s *secret) dropIfUnlabelled(v *version) {
	if len(v.labels) == 0 && !v.stored() {
		delete(s.versions, v.id)
	}
}

// prune deletes the oldest versions without labels beyond the limit, but none of the last 24 hours. Source: Secrets
// Manager User Guide, "AWS Secrets Manager quotas".
func (s *secret) prune(now time.Time) {
	old := slices.SortedFunc(maps.Values(s.versions), func(a, b *version) int { return a.created.Compare(b.created) })
	for _, v := range old {
		if len(s.versions) > maxVersions && len(v.labels) == 0 && now.Sub(v.created) > 24*time.Hour {
			delete(s.versions, v.id)
		}
	}
}
