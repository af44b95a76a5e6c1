package localaws

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// rotationConfig is the rotation function of a secret and its schedule.
type rotationConfig struct {
	enabled bool
	lambda  string
	rules   rules
	last    time.Time // zero: never
	opens   time.Time // of the next window; zero: none
	closes  time.Time
}

func (r *rotationConfig) describe(out map[string]any) {
	if r.lambda == "" {
		return
	}
	out["RotationEnabled"], out["RotationLambdaARN"], out["RotationRules"] = r.enabled, r.lambda, r.rules
	if r.enabled {
		out["LastRotatedDate"], out["NextRotationDate"] = seconds(r.last), seconds(r.closes)
	}
}

func (r *rotationConfig) due(now time.Time) bool {
	return r.enabled && !r.opens.IsZero() && !now.Before(r.opens)
}

// reschedule sets the next window, after a rotation or a version written by a person, which counts as one.
func (s *secret) reschedule(now time.Time) {
	s.rotation.opens, s.rotation.closes = time.Time{}, time.Time{}
	if plan, err := s.rotation.rules.schedule(); err == nil && plan != nil {
		s.rotation.opens, s.rotation.closes = plan.next(now)
	}
}

// rotation is a rotation in progress.
type rotation struct {
	secret        *secret
	invoke        Invoker
	token         string
	rotationToken string
	steps         []string
	responseErr   error // RotateSecret returns it, and the rotation runs nevertheless
	stepErr       error // of the last step, if it failed
}

// RotationErrorHeader is a header in the response of RotateSecret after a failed rotation: the function's error. AWS,
// which responds before the function runs, has no such header.
const RotationErrorHeader = "X-Localaws-Rotation-Error"

var allSteps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// rotateSecret prepares a rotation, which runs once m.mu is released.
func (m *SecretsManager) rotateSecret(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
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
	if _, err := next.rules.schedule(); err != nil {
		return nil, err
	}
	onlyTest := in.RotateImmediately != nil && !*in.RotateImmediately
	switch {
	case in.ClientRequestToken != "" && !tokenPattern.MatchString(in.ClientRequestToken):
		return nil, apiErr("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	case next.lambda == "":
		return nil, apiErr("InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")
	case m.config.Functions[next.lambda] == nil:
		return nil, apiErr("AccessDeniedException",
			"Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to "+
				"the principal secretsmanager.amazonaws.com.")
	case s.rotating, onlyTest && s.unfinishedVersion() != nil:
		return nil, errUnfinished
	case onlyTest && s.withLabel(current) == nil:
		return nil, apiErr("InvalidRequestException", "the secret has no value to test")
	}
	next.enabled = true
	configured := s.rotation
	s.rotation = next
	if in.RotationRules != nil && *in.RotationRules != configured.rules || !configured.enabled {
		s.reschedule(m.config.Now())
	}
	if onlyTest {
		return m.prepareTest(s), nil
	}
	return m.prepare(s, in.ClientRequestToken), nil
}

var errUnfinished = apiErr("InvalidRequestException",
	"A previous rotation isn't complete. That rotation will be reattempted.")

// unfinishedVersion returns the version of an unfinished rotation, or nil. A finished one leaves AWSPENDING on the
// current version.
func (s *secret) unfinishedVersion() *version {
	v := s.withLabel(pending)
	if v == s.withLabel(current) {
		return nil
	}
	return v
}

// prepare puts AWSPENDING on a version without a value, or continues an unfinished rotation.
func (m *SecretsManager) prepare(s *secret, token string) *rotation {
	r := &rotation{secret: s, invoke: m.config.Functions[s.rotation.lambda], rotationToken: newUUID(), steps: allSteps}
	s.rotating = true
	if v := s.unfinishedVersion(); v != nil {
		r.token, r.responseErr = v.id, errUnfinished
		return r
	}
	r.token = cmp.Or(token, newUUID())
	if s.versions[r.token] == nil {
		s.versions[r.token] = &version{id: r.token, created: m.config.Now()}
	}
	m.moveLabel(s, pending, s.versions[r.token])
	return r
}

// prepareTest copies the current version, for testSecret alone.
func (m *SecretsManager) prepareTest(s *secret) *rotation {
	from := s.withLabel(current)
	v := &version{id: newUUID(), text: from.text, binary: from.binary, created: m.config.Now()}
	s.versions[v.id] = v
	m.moveLabel(s, pending, v)
	s.rotating = true
	return &rotation{secret: s, invoke: m.config.Functions[s.rotation.lambda], token: v.id, rotationToken: newUUID(),
		steps: []string{"testSecret"}}
}

// start runs the rotation and returns the response of RotateSecret.
func (m *SecretsManager) start(ctx context.Context, r *rotation) (result any, header http.Header, err error) {
	if m.config.Background != nil {
		m.config.Background(func(ctx context.Context) { m.rotate(ctx, r) })
	} else {
		m.rotate(context.WithoutCancel(ctx), r) // a client that gives up does not stop it
		if r.stepErr != nil {
			header = http.Header{RotationErrorHeader: {singleLine(r.stepErr.Error())}}
		}
	}
	if r.responseErr != nil {
		return nil, header, r.responseErr
	}
	return map[string]any{"ARN": r.secret.arn, "Name": r.secret.name, "VersionId": r.token}, header, nil
}

// singleLine replaces all but printable ASCII by spaces, for a header.
func singleLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text)
}

// rotate runs the steps, and retries them with the same token after a failure.
func (m *SecretsManager) rotate(ctx context.Context, r *rotation) {
	done := m.runSteps(ctx, r)
	for retry := 0; !done && retry < m.config.Retries && !m.lostPending(r); retry++ {
		done = m.runSteps(ctx, r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.replicate()
	s := r.secret
	s.rotating = false
	if len(r.steps) == 1 { // the version of a test is deleted in any case
		if v := s.versions[r.token]; v != nil {
			v.text, v.binary = nil, nil
			s.removeLabel(pending, v)
		}
	} else if done {
		s.rotation.last = m.config.Now()
		s.reschedule(s.rotation.last)
	}
}

// runSteps invokes the function for each step. It reports whether all have succeeded.
func (m *SecretsManager) runSteps(ctx context.Context, r *rotation) bool {
	for _, step := range r.steps {
		if m.cancelled(r) {
			return false
		}
		payload, _ := json.Marshal(map[string]string{
			"Step": step, "SecretId": r.secret.arn, "ClientRequestToken": r.token, "RotationToken": r.rotationToken,
		})
		if _, err := r.invoke(ctx, payload); err != nil {
			r.stepErr = fmt.Errorf("%s: %w", step, err)
			return false
		}
	}
	r.stepErr = nil
	return true
}

// cancelled reports whether CancelRotateSecret was called or the region is lost, which stops a rotation before its next
// step.
func (m *SecretsManager) cancelled(r *rotation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !r.secret.rotation.enabled || m.lost != nil
}

// lostPending reports whether the version in rotation has lost AWSPENDING, so that a retry is useless.
func (m *SecretsManager) lostPending(r *rotation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := r.secret.versions[r.token]
	return v == nil || !v.hasLabel(pending) && !v.hasLabel(current)
}

func (m *SecretsManager) cancelRotateSecret(in *input) (any, error) {
	s, err := m.writable(in.SecretId, false)
	if err != nil {
		return nil, err
	}
	if s.rotation.lambda == "" {
		return nil, apiErr("InvalidRequestException", "You tried to cancel a rotation that is not configured.")
	}
	s.rotation.enabled = false
	out := map[string]any{"ARN": s.arn, "Name": s.name}
	if v := s.withLabel(pending); v != nil {
		out["VersionId"] = v.id
	}
	return out, nil
}

// RunDue runs the rotations whose windows have opened, and those that failed in an earlier window. It returns the
// names of their secrets in alphabetical order. A rotation that ctx interrupts stays due.
func (m *SecretsManager) RunDue(ctx context.Context) []string {
	m.config.Replication.settle()
	m.mu.Lock()
	var due []*rotation
	var names []string
	now := m.config.Now()
	for _, name := range slices.Sorted(maps.Keys(m.secrets)) {
		if s := m.secrets[name]; m.lost == nil && s.rotation.due(now) && !s.rotating && s.deletion.IsZero() {
			due, names = append(due, m.prepare(s, "")), append(names, name)
		}
	}
	m.replicate()
	m.mu.Unlock()
	for _, r := range due {
		m.rotate(ctx, r)
	}
	return names
}
