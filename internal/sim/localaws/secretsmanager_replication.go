package localaws

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// Replication connects the Secrets Managers of several regions of an account, so that a secret of one can have replicas
// in others. Each joins with SecretsManagerConfig.Replication. It is safe for concurrent use.
//
// Source: Secrets Manager User Guide, "Replicate AWS Secrets Manager secrets across Regions".
type Replication struct {
	mu      sync.Mutex
	lag     time.Duration
	labels  func(label string) bool
	regions map[string]*SecretsManager
	links   []*link
}

// SetLag sets the time from a change of a primary secret until its replicas have it. AWS documents none.
func (r *Replication) SetLag(lag time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lag = lag
}

// SetLabels sets which staging labels replicas have: those for which labels returns true. By default they have all. AWS
// does not document whether AWSPENDING and custom labels are replicated.
func (r *Replication) SetLabels(labels func(label string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.labels = labels
}

// link is a secret's replication to another region. Replication.mu guards it.
type link struct {
	from, to  string // regions
	name      string // of the secret
	kmsKey    string // of the replica; empty: the account's default
	overwrite bool   // a secret of the same name in the other region
	status    string
	message   string
	sent      *secret    // the last state on its way; nil: none
	waiting   []transfer // in order
	promoted  bool       // the replica is a primary secret by now
	removed   bool       // from the primary; what waits is the deletion of the replica
}

// transfer is a state of a secret on its way to another region.
type transfer struct {
	due   time.Time
	state *secret // nil: the replica is to be deleted
}

const (
	inSync     = "InSync"
	inProgress = "InProgress"
	failed     = "Failed"
)

func (r *Replication) join(m *SecretsManager) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.regions == nil {
		r.regions = map[string]*SecretsManager{}
	}
	r.regions[m.config.Region] = m
}

// of returns the links of the secret in a region.
func (r *Replication) of(region, name string) []*link {
	var links []*link
	for _, l := range r.links {
		if l.from == region && l.name == name && !l.removed {
			links = append(links, l)
		}
	}
	slices.SortFunc(links, func(a, b *link) int { return strings.Compare(a.to, b.to) })
	return links
}

// settle lets what is due arrive in every region. The caller holds no lock.
func (r *Replication) settle() {
	if r == nil {
		return
	}
	r.mu.Lock()
	regions := slices.Collect(maps.Values(r.regions))
	r.mu.Unlock()
	for _, m := range regions {
		m.mu.Lock()
		m.receive()
		moved := m.events
		m.events = nil
		m.mu.Unlock()
		m.publish(moved)
	}
}

// replicate sends the secrets that have changed to their replicas. It is called with m.mu held.
func (m *SecretsManager) replicate() {
	r := m.config.Replication
	if r == nil || m.lost != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		s := m.secrets[l.name]
		if l.from != m.config.Region || l.promoted || l.removed || s == nil {
			continue
		}
		state := s.replica(l, r.labels)
		if reflect.DeepEqual(state, l.sent) {
			continue
		}
		l.sent, l.status, l.message = state, inProgress, ""
		l.waiting = append(l.waiting, transfer{m.config.Now().Add(r.lag), state})
	}
}

// replica returns a copy of the secret for the link's region, with the labels that are replicated (nil: all) and the
// versions that have any. A replica has no rotation.
func (s *secret) replica(l *link, labels func(string) bool) *secret {
	arn := strings.Replace(s.arn, ":secretsmanager:"+l.from+":", ":secretsmanager:"+l.to+":", 1)
	state := &secret{
		name: s.name, arn: arn, kmsKey: l.kmsKey, versions: map[string]*version{}, tags: maps.Clone(s.tags),
		created: s.created, changed: s.changed, primaryRegion: l.from,
	}
	for id, v := range s.versions {
		v := *v
		v.labels = slices.DeleteFunc(slices.Clone(v.labels), func(label string) bool {
			return labels != nil && !labels(label)
		})
		if len(v.labels) > 0 {
			state.versions[id] = &v
		}
	}
	return state
}

// clone returns a copy that shares nothing that changes.
func (s *secret) clone() *secret {
	c := *s
	c.tags = maps.Clone(s.tags)
	c.versions = map[string]*version{}
	for id, v := range s.versions {
		v := *v
		v.labels = slices.Clone(v.labels)
		c.versions[id] = &v
	}
	return &c
}

// receive applies what is due from other regions. It is called with m.mu held.
func (m *SecretsManager) receive() {
	r := m.config.Replication
	if m.lost != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = slices.DeleteFunc(r.links, func(l *link) bool {
		if l.to != m.config.Region {
			return false
		}
		for len(l.waiting) > 0 && !m.config.Now().Before(l.waiting[0].due) {
			state := l.waiting[0].state
			l.waiting = l.waiting[1:]
			if state != nil {
				m.apply(l, state)
			} else if s := m.secrets[l.name]; s != nil && s.primaryRegion == l.from {
				delete(m.secrets, l.name)
			}
		}
		return l.removed && len(l.waiting) == 0
	})
}

// apply makes the state that of the replica.
func (m *SecretsManager) apply(l *link, state *secret) {
	old := m.secrets[l.name]
	if old != nil && old.primaryRegion != l.from {
		if !l.overwrite || len(m.config.Replication.of(l.to, l.name)) > 0 {
			// Source: API Reference, ReplicationStatusType, StatusMessage.
			l.status, l.message = failed, "Secret with this name already exists in this region"
			return
		}
	}
	m.secrets[l.name] = state.clone()
	if len(l.waiting) == 0 {
		l.status, l.message = inSync, "Replication succeeded"
	}
	// Whether a replica raises events is not documented. That it does is the harder case for its function.
	for _, id := range slices.Sorted(maps.Keys(state.versions)) {
		for _, label := range state.versions[id].labels {
			if before := old.labelled(label); before != id && label != pending && label != previous {
				m.events = append(m.events, LabelMoved{
					ARN: state.arn, Name: state.name, Label: label, Version: id, Account: m.config.Account,
					Region: m.config.Region, Time: m.config.Now(),
				})
			}
		}
	}
}

// labelled returns the ID of the version that has the label; empty: none has it, or s is nil.
func (s *secret) labelled(label string) string {
	if s == nil {
		return ""
	}
	if v := s.withLabel(label); v != nil {
		return v.id
	}
	return ""
}
