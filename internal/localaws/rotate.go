package localaws

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"time"
)

// rules are RotationRules as the API has them.
type rules struct {
	AutomaticallyAfterDays int    `json:",omitempty"`
	Duration               string `json:",omitempty"`
	ScheduleExpression     string `json:",omitempty"`
}

// rotationRules is how and when a secret is rotated.
type rotationRules struct {
	enabled    bool
	lambda     string
	rules      rules
	last, next time.Time
}

func (r *rotationRules) describe(out map[string]any) {
	if r.lambda == "" {
		return
	}
	out["RotationEnabled"], out["RotationLambdaARN"], out["RotationRules"] = r.enabled, r.lambda, r.rules
	if !r.last.IsZero() {
		out["LastRotatedDate"] = seconds(r.last)
	}
	if r.enabled && !r.next.IsZero() {
		out["NextRotationDate"] = seconds(r.next)
	}
}

var rate = regexp.MustCompile(`^rate\((\d+) (hours?|days?)\)$`)

// interval is the time between rotations; zero: there is no schedule. This stand-in knows no cron expressions.
func (r rules) interval() (time.Duration, error) {
	switch {
	case r.ScheduleExpression != "" && r.AutomaticallyAfterDays != 0:
		return 0, refuse("InvalidParameterException", "You can't specify both AutomaticallyAfterDays and ScheduleExpression.")
	case r.AutomaticallyAfterDays < 0 || r.AutomaticallyAfterDays > 1000:
		return 0, refuse("ValidationException", "AutomaticallyAfterDays must be 1 to 1000")
	case r.ScheduleExpression == "":
		return time.Duration(r.AutomaticallyAfterDays) * 24 * time.Hour, nil
	}
	parts := rate.FindStringSubmatch(r.ScheduleExpression)
	if parts == nil {
		return 0, refuse("ValidationException", "ScheduleExpression %q: this stand-in takes rate(N hours) and rate(N days)", r.ScheduleExpression)
	}
	n, err := strconv.Atoi(parts[1])
	unit := time.Hour
	if parts[2][0] == 'd' {
		unit = 24 * time.Hour
	}
	if err != nil || n > 24_000 || time.Duration(n)*unit < 4*time.Hour {
		return 0, refuse("ValidationException", "ScheduleExpression %q: the rate must be at least 4 hours", r.ScheduleExpression)
	}
	return time.Duration(n) * unit, nil
}

// reschedule counts from now to the next rotation: after a rotation, and after a version written by hand, which counts as one.
func (s *secret) reschedule(now time.Time) {
	if every, err := s.rotation.rules.interval(); err == nil && every > 0 && s.rotation.enabled {
		s.rotation.next = now.Add(every)
	}
}

// rotation is one rotation to be done.
type rotation struct {
	secret        *secret
	token         string
	rotationToken string
	steps         []string
	refusal       error // what RotateSecret answers, though the rotation is done
}

var allSteps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// rotateSecret prepares a rotation. It is done when m.mu is free again.
func (m *SecretsManager) rotateSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	next := s.rotation
	if in.RotationLambdaARN != "" {
		next.lambda = in.RotationLambdaARN
	}
	if in.RotationRules != nil {
		next.rules = *in.RotationRules
	}
	if _, err := next.rules.interval(); err != nil {
		return nil, err
	}
	switch {
	case next.lambda == "":
		return nil, refuse("InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")
	case m.config.Functions[next.lambda] == nil:
		return nil, refuse("AccessDeniedException", "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	case s.rotating:
		return nil, refuse("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	}
	next.enabled = true
	configured := s.rotation
	s.rotation = next
	if in.RotationRules != nil && *in.RotationRules != configured.rules || !configured.enabled {
		s.reschedule(m.config.Now())
	}
	if in.RotateImmediately != nil && !*in.RotateImmediately {
		return m.prepareTest(s)
	}
	return m.prepare(s, in.ClientRequestToken)
}

// prepare puts AWSPENDING on a version without a value, or finds the one that an earlier rotation has not finished.
func (m *SecretsManager) prepare(s *secret, token string) (*rotation, error) {
	r := &rotation{secret: s, rotationToken: newUUID(), steps: allSteps}
	if v := s.holder(pending); v != nil && v != s.holder(current) {
		r.token = v.id
		r.refusal = refuse("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
		s.rotating = true
		return r, nil
	}
	if token == "" {
		token = newUUID()
	}
	if !tokenPattern.MatchString(token) {
		return nil, refuse("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	}
	if s.versions[token] == nil {
		s.versions[token] = &version{id: token, created: m.config.Now()}
	}
	m.move(s, pending, s.versions[token])
	s.rotating = true
	r.token = token
	return r, nil
}

// prepareTest makes a copy of the current version, which testSecret alone is run on.
func (m *SecretsManager) prepareTest(s *secret) (*rotation, error) {
	r := &rotation{secret: s, token: newUUID(), rotationToken: newUUID(), steps: []string{"testSecret"}}
	from := s.holder(current)
	if from == nil || s.holder(pending) != nil && s.holder(pending) != from {
		return r, refuse("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	}
	v := &version{id: r.token, text: from.text, binary: from.binary, created: m.config.Now()}
	s.versions[v.id] = v
	m.move(s, pending, v)
	s.rotating = true
	return r, nil
}

// rotate invokes the function for each step, as Secrets Manager does, and again with the same token when a step fails. It
// returns when that is over, where Secrets Manager itself answers before.
func (m *SecretsManager) rotate(ctx context.Context, r *rotation) (any, error) {
	ctx = context.WithoutCancel(ctx)
	done := false
	for attempt := 0; attempt <= m.config.Retries && !done; attempt++ {
		done = m.runSteps(ctx, r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := r.secret
	s.rotating = false
	if len(r.steps) == 1 { // a test's version goes, whatever came of it
		if v := s.versions[r.token]; v != nil {
			v.text, v.binary = nil, nil
			s.unlabel(pending, v)
		}
	} else if done {
		s.rotation.last = m.config.Now()
		s.reschedule(s.rotation.last)
	}
	if r.refusal != nil {
		return nil, r.refusal
	}
	return map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": r.token}, nil
}

func (m *SecretsManager) runSteps(ctx context.Context, r *rotation) bool {
	invoke := m.config.Functions[r.secret.rotation.lambda]
	for _, step := range r.steps {
		payload, _ := json.Marshal(map[string]string{
			"Step": step, "SecretId": r.secret.arn, "ClientRequestToken": r.token, "RotationToken": r.rotationToken,
		})
		if _, err := invoke(ctx, payload); err != nil {
			return false
		}
	}
	return true
}

func (m *SecretsManager) cancelRotateSecret(in *input) (any, error) {
	s, err := m.find(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	if s.rotation.lambda == "" {
		return nil, refuse("InvalidRequestException", "You tried to cancel a rotation that is not configured.")
	}
	s.rotation.enabled = false
	out := map[string]any{"ARN": s.arn, "Name": s.name}
	if v := s.holder(pending); v != nil {
		out["VersionId"] = v.id
	}
	return out, nil
}

// RunDue does the rotations that are due now, and those that have failed before, and returns the names of their secrets.
func (m *SecretsManager) RunDue(ctx context.Context) []string {
	m.mu.Lock()
	var due []*rotation
	var names []string
	for name, s := range m.secrets {
		if s.rotation.enabled && !s.rotating && !s.rotation.next.IsZero() && !m.config.Now().Before(s.rotation.next) {
			if r, err := m.prepare(s, ""); err == nil {
				due, names = append(due, r), append(names, name)
			}
		}
	}
	m.mu.Unlock()
	for _, r := range due {
		_, _ = m.rotate(ctx, r) // what failed stays due
	}
	return names
}
