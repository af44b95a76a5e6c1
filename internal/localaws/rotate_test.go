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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const lambdaARN = "arn:aws:lambda:us-east-1:111111111111:function:rotate"

// rotating is a Secrets Manager with a secret, and a function that does what a rotation function must.
type rotating struct {
	*suite
	aws   *SecretsManager
	mu    sync.Mutex
	now   time.Time
	steps []string
	fail  string // the step that fails
	moved []string
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
	r.suite = &suite{T: t, name: aws.String("crm"), client: secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""), Retryer: aws.NopRetryer{},
	})}
	r.create("one", token1)
	return r
}

// invoke is the function.
func (r *rotating) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e struct{ Step, SecretId, ClientRequestToken, RotationToken string }
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, err
	}
	r.steps = append(r.steps, e.Step)
	if !strings.HasPrefix(e.SecretId, "arn:aws:secretsmanager:us-east-1:111111111111:secret:crm-") || e.RotationToken == "" {
		r.Errorf("the event names %q", e.SecretId)
	}
	var err error
	switch e.Step {
	case r.fail:
		err = errors.New("as asked")
	case "createSecret":
		if r.get(e.ClientRequestToken, "AWSPENDING") == nil {
			return nil, nil // a retry
		}
		r.fails("ResourceNotFoundException", r.get(e.ClientRequestToken, "AWSPENDING")) // announced, without a value
		_, err = r.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken, RotationToken: &e.RotationToken, SecretString: aws.String("next"), VersionStages: []string{"AWSPENDING"},
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
	input := &secretsmanager.RotateSecretInput{SecretId: r.name, RotationLambdaARN: aws.String(lambdaARN), RotateImmediately: &immediately}
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

func TestARotationHasFourSteps(t *testing.T) {
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

func TestOnlyATestWhereItIsNotToBeRotatedAtOnce(t *testing.T) {
	r := newRotating(t)
	r.ok(r.rotate(false, "rate(30 days)"))
	if !slices.Equal(r.steps, []string{"testSecret"}) {
		t.Errorf("steps %v", r.steps)
	}
	r.fails("ResourceNotFoundException", r.get("", "AWSPENDING"))
	r.value("", "", "one", token1)
}

func TestAScheduleIsKept(t *testing.T) {
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
	out, err := r.client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: r.name})
	if err != nil || !aws.ToBool(out.RotationEnabled) || !out.NextRotationDate.Before(r.now) {
		t.Errorf("a failed rotation is overdue: %v", out.NextRotationDate)
	}
	pending, _ := r.read("", "AWSPENDING")
	if due := r.pass(time.Hour); len(due) != 1 {
		t.Errorf("a failed rotation is tried again: %v", due)
	}
	if now, err := r.read("", "AWSCURRENT"); err != nil || *now.VersionId != *pending.VersionId {
		t.Error("it was not tried again with the same token")
	}
	_, err = r.client.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: r.name})
	r.ok(err)
	if due := r.pass(100 * 24 * time.Hour); len(due) != 0 {
		t.Errorf("after it was cancelled %v is due", due)
	}
}

func TestAnUnfinishedRotationIsTriedAgain(t *testing.T) {
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

func TestSomebodyWhoWritesMeanwhileEndsARotation(t *testing.T) {
	r := newRotating(t)
	r.fail = "setSecret"
	r.ok(r.rotate(true, ""))
	r.put("by hand", token2)
	r.fails("ResourceNotFoundException", r.get("", "AWSPENDING"))
	r.value("", "", "by hand", token2)
}

func TestSchedulesThatMakeNoSense(t *testing.T) {
	r := newRotating(t)
	for _, schedule := range []string{"rate(3 hours)", "rate(0 days)", "rate(1 week)", "daily", "rate(99999999999999999999 days)"} {
		r.fails("ValidationException", r.rotate(false, schedule))
	}
	_, err := r.client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: r.name, RotationLambdaARN: aws.String("arn:other")})
	r.fails("AccessDeniedException", err)
	_, err = r.client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: r.name})
	r.fails("InvalidRequestException", err)
}

func TestEventsAreDeliveredAtLeastOnce(t *testing.T) {
	calls, failing := 0, true
	bus := &EventBus{Labels: []string{"AWSCURRENT"}, Copies: 2, Function: func(_ context.Context, event []byte) ([]byte, error) {
		calls++
		var e struct {
			Source     string
			DetailType string `json:"detail-type"`
			Detail     struct{ Name, LabelUpdated, VersionId string }
		}
		if json.Unmarshal(event, &e) != nil || e.Source != "aws.secretsmanager" || e.DetailType != "Secret Label Updated" || e.Detail.VersionId != token1 {
			t.Errorf("event %s", event)
		}
		if failing {
			return nil, errors.New("as asked")
		}
		return nil, nil
	}}
	bus.LabelMoved(LabelMoved{Name: "crm", Label: "OTHER", Version: token1})
	bus.LabelMoved(LabelMoved{Name: "crm", Label: "AWSCURRENT", Version: token1})
	if n, err := bus.Deliver(t.Context()); n != 2 || err != nil || calls != 6 || len(bus.DeadLetters()) != 2 {
		t.Errorf("%d events, %d calls: %v", n, calls, err)
	}
	failing, calls = false, 0
	bus.LabelMoved(LabelMoved{Name: "crm", Label: "AWSCURRENT", Version: token1})
	if _, err := bus.Deliver(t.Context()); err != nil || calls != 2 || len(bus.DeadLetters()) != 0 {
		t.Errorf("%d calls: %v", calls, err)
	}
}

func FuzzRequest(f *testing.F) {
	for operation := range operations {
		f.Add(operation, `{"SecretId":"crm","Name":"crm","SecretString":"x","ClientRequestToken":"00000000-0000-4000-8000-000000000009"}`)
	}
	f.Fuzz(func(t *testing.T, operation, body string) {
		m := NewSecretsManager(SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"})
		for _, call := range [][2]string{{"CreateSecret", `{"Name":"crm","SecretString":"one"}`}, {operation, body}} {
			r := httptest.NewRequest("POST", "/", strings.NewReader(call[1]))
			r.Header["X-Amz-Target"] = []string{"secretsmanager." + call[0]}
			w := httptest.NewRecorder()
			m.ServeHTTP(w, r)
			var answer map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 && answer["__type"] == nil {
				t.Errorf("HTTP %d: %s", w.Code, w.Body)
			}
		}
	})
}
