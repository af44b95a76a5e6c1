package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const lambdaARN = "arn:aws:lambda:us-east-1:111111111111:function:rotate"

// rotating is a Secrets Manager with a secret and a correct rotation function.
type rotating struct {
	*suite
	aws   *SecretsManager
	mu    sync.Mutex
	now   time.Time
	steps []string
	fail  string // the step that fails
	moved []string

	during func(step string) // is called in each step; nil: nothing is
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{now: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)}
	r.aws = NewSecretsManager(SecretsManagerConfig{
		Account: "111111111111", Region: "us-east-1", Functions: map[string]Invoker{lambdaARN: r.invoke},
		Now:        func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now },
		LabelMoved: func(e LabelMoved) { r.moved = append(r.moved, e.Label+" "+e.Version) },
	})
	server := httptest.NewServer(r.aws)
	t.Cleanup(server.Close)
	r.suite = &suite{TB: t, name: aws.String("crm"), client: newClient(server.URL, nil)}
	r.create("one", token1)
	return r
}

// invoke is the rotation function.
func (r *rotating) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e struct{ Step, SecretId, ClientRequestToken, RotationToken string }
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, err
	}
	r.steps = append(r.steps, e.Step)
	if !strings.HasPrefix(e.SecretId, "arn:aws:secretsmanager:us-east-1:111111111111:secret:crm-") ||
		e.RotationToken == "" {
		r.Errorf("the event names %q", e.SecretId)
	}
	if r.during != nil {
		r.during(e.Step)
	}
	var err error
	switch e.Step {
	case r.fail:
		err = errors.New("injected")
	case "createSecret":
		if r.get(e.ClientRequestToken, "AWSPENDING") == nil {
			return nil, nil // a retry
		}
		r.fails("ResourceNotFoundException", r.get(e.ClientRequestToken, "AWSPENDING")) // announced, without a value
		_, err = r.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken, RotationToken: &e.RotationToken,
			SecretString: aws.String("next"), VersionStages: []string{"AWSPENDING"},
		})
	case "finishSecret":
		out, failed := r.read("", "AWSCURRENT")
		if failed != nil {
			return nil, failed
		}
		err = r.move("AWSCURRENT", e.ClientRequestToken, *out.VersionId)
	}
	return nil, err
}

func (r *rotating) rotate(immediately bool, schedule string) error {
	input := &secretsmanager.RotateSecretInput{SecretId: r.name, RotationLambdaARN: aws.String(lambdaARN),
		RotateImmediately: &immediately}
	if schedule != "" {
		input.RotationRules = &types.RotationRulesType{ScheduleExpression: &schedule}
	}
	_, err := r.client.RotateSecret(r.Context(), input)
	return err
}

func (r *rotating) pass(d time.Duration) []string {
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
	r.steps = nil
	return r.aws.RunDue(r.Context())
}

func TestRotationSteps(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.ok(r.rotate(true, ""))
	if !slices.Equal(r.steps, allSteps) {
		t.Errorf("steps %v", r.steps)
	}
	r.value("", "AWSPREVIOUS", "one", token1)
	out, err := r.read("", "AWSCURRENT")
	if err != nil || *out.SecretString != "next" || len(r.moved) != 2 {
		t.Errorf("afterwards: %v, moved %v", err, r.moved)
	}
}

func TestRotateLaterOnlyTests(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.ok(r.rotate(false, "rate(30 days)"))
	if !slices.Equal(r.steps, []string{"testSecret"}) {
		t.Errorf("steps %v", r.steps)
	}
	r.fails("ResourceNotFoundException", r.get("", "AWSPENDING"))
	r.value("", "", "one", token1)
}

func TestRotationSchedule(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.ok(r.rotate(false, "rate(30 days)"))
	if due := r.pass(29 * 24 * time.Hour); len(due) != 0 {
		t.Errorf("after 29 days %v is due", due)
	}
	r.put("by hand", token2) // counts as a rotation
	if due := r.pass(25 * 24 * time.Hour); len(due) != 0 {
		t.Errorf("after a version by hand %v is due", due)
	}
	r.fail = "testSecret"
	if due := r.pass(6 * 24 * time.Hour); len(due) != 1 || len(r.steps) != 3 {
		t.Errorf("due: %v, steps %v", due, r.steps)
	}
	r.fail = ""
	out := r.describe()
	if !aws.ToBool(out.RotationEnabled) || !out.NextRotationDate.Before(r.now) {
		t.Errorf("a failed rotation is overdue: %v", out.NextRotationDate)
	}
	pending, _ := r.read("", "AWSPENDING")
	if due := r.pass(time.Hour); len(due) != 1 {
		t.Errorf("a failed rotation is tried again: %v", due)
	}
	if now, err := r.read("", "AWSCURRENT"); err != nil || *now.VersionId != *pending.VersionId {
		t.Error("it was not tried again with the same token")
	}
	_, err := r.client.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: r.name})
	r.ok(err)
	if due := r.pass(100 * 24 * time.Hour); len(due) != 0 {
		t.Errorf("after it was cancelled %v is due", due)
	}
}

func TestUnfinishedRotationIsRetried(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.fail = "setSecret"
	r.ok(r.rotate(true, ""))
	pending, err := r.read("", "AWSPENDING")
	r.ok(err)
	r.fail = ""
	err = r.rotate(true, "")
	r.fails("InvalidRequestException", err)
	if !strings.Contains(err.Error(), "That rotation will be reattempted") {
		t.Error(err)
	}
	r.value("", "AWSCURRENT", "next", *pending.VersionId)
}

func TestWriteCancelsRotation(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.fail = "setSecret"
	r.ok(r.rotate(true, ""))
	r.put("by hand", token2)
	r.fails("ResourceNotFoundException", r.get("", "AWSPENDING"))
	r.value("", "", "by hand", token2)
}

func TestRotateSecretErrors(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	rotate := func(change func(*secretsmanager.RotateSecretInput)) error {
		input := &secretsmanager.RotateSecretInput{SecretId: r.name, RotationLambdaARN: aws.String(lambdaARN)}
		change(input)
		_, err := r.client.RotateSecret(t.Context(), input)
		return err
	}
	r.fails("AccessDeniedException",
		rotate(func(in *secretsmanager.RotateSecretInput) { in.RotationLambdaARN = aws.String("arn:other") }))
	r.fails("InvalidRequestException", rotate(func(in *secretsmanager.RotateSecretInput) { in.RotationLambdaARN = nil }))
	r.fails("InvalidParameterException",
		rotate(func(in *secretsmanager.RotateSecretInput) { in.ClientRequestToken = aws.String("short") }))
	r.fails("ValidationException", rotate(func(in *secretsmanager.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("daily")}
	}))
	if out := r.describe(); out.RotationEnabled != nil || len(r.steps) != 0 {
		t.Errorf("a rejected request has changed the secret: enabled %v, steps %v", out.RotationEnabled, r.steps)
	}
	if _, err := r.client.CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String("empty")}); err != nil {
		t.Error(err)
	}
	r.fails("InvalidRequestException", rotate(func(in *secretsmanager.RotateSecretInput) {
		in.SecretId, in.RotateImmediately = aws.String("empty"), aws.Bool(false)
	}))
}

func TestNoTestDuringUnfinishedRotation(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.fail = "setSecret"
	r.ok(r.rotate(true, ""))
	r.steps = nil
	r.fails("InvalidRequestException", r.rotate(false, ""))
	if len(r.steps) != 0 {
		t.Errorf("steps %v", r.steps)
	}
}

func TestRotationRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tokens []string
		_, s := inMemory(t, SecretsManagerConfig{
			Retries: 2,
			Functions: map[string]Invoker{lambdaARN: func(_ context.Context, payload []byte) ([]byte, error) {
				var e struct{ ClientRequestToken string }
				_ = json.Unmarshal(payload, &e)
				tokens = append(tokens, e.ClientRequestToken)
				return nil, errors.New("injected")
			}},
		})
		s.create("one", token1)
		rotate := &secretsmanager.RotateSecretInput{SecretId: s.name, RotationLambdaARN: aws.String(lambdaARN),
			ClientRequestToken: aws.String(token2)}
		_, err := s.client.RotateSecret(t.Context(), rotate)
		s.ok(err)
		if !slices.Equal(tokens, []string{token2, token2, token2}) {
			t.Errorf("tokens %v", tokens)
		}
		s.labels(token2, "AWSPENDING") // left as it is
		s.fails("ResourceNotFoundException", s.get("", "AWSPENDING"))
	})
}

func TestBackgroundRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		release := make(chan struct{})
		_, s := inMemory(t, SecretsManagerConfig{
			Background: func(rotation func(context.Context)) { wg.Go(func() { rotation(t.Context()) }) },
			Functions: map[string]Invoker{lambdaARN: func(context.Context, []byte) ([]byte, error) {
				<-release
				return nil,
					nil
			}},
		})
		s.create("one", token1)
		rotate := &secretsmanager.RotateSecretInput{SecretId: s.name, RotationLambdaARN: aws.String(lambdaARN),
			ClientRequestToken: aws.String(token2)}
		_, err := s.client.RotateSecret(t.Context(), rotate) // returns while the function runs
		s.ok(err)
		s.labels(token2, "AWSPENDING")
		_, err = s.client.RotateSecret(t.Context(), rotate)
		s.fails("InvalidRequestException", err)
		close(release)
		wg.Wait()
		if s.describe().LastRotatedDate == nil {
			t.Error("the rotation is not over")
		}
	})
}

func TestCancelRotateSecret(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.during = func(step string) {
		if step == "setSecret" {
			_, err := r.client.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: r.name})
			r.ok(err)
		}
	}
	r.ok(r.rotate(true, "rate(1 day)"))
	if !slices.Equal(r.steps, allSteps[:2]) {
		t.Errorf("steps %v", r.steps)
	}
	r.value("", "", "one", token1)
	r.ok(r.get("", "AWSPENDING")) // stays: the person who cancels takes it off
	out := r.describe()
	if aws.ToBool(out.RotationEnabled) || out.NextRotationDate != nil || out.LastRotatedDate != nil {
		t.Errorf("after it was cancelled: %+v", out)
	}
}

func TestDeletedSecretIsNotRotated(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.ok(r.rotate(false, "rate(1 day)"))
	_, err := r.client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: r.name})
	r.ok(err)
	if due := r.pass(48 * time.Hour); len(due) != 0 || len(r.steps) != 0 {
		t.Errorf("due %v, steps %v", due, r.steps)
	}
}
