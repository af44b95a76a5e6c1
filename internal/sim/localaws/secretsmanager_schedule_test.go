package localaws

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// TestRotationWindows has the first windows after a rotation on Tuesday, 24 November 2026, 09:30 UTC.
func TestRotationWindows(t *testing.T) {
	t.Parallel()
	const layout = "2006-01-02 15:04:05"
	for _, test := range []struct {
		rules         rules
		opens, closes string
	}{
		{rules{AutomaticallyAfterDays: 30}, "2026-12-24 00:00:00", "2026-12-24 23:59:59"},
		{rules{ScheduleExpression: "rate(1 day)"}, "2026-11-25 00:00:00", "2026-11-25 23:59:59"},
		{rules{ScheduleExpression: "rate(30 days)", Duration: "3h"}, "2026-12-24 00:00:00", "2026-12-24 03:00:00"},
		{rules{ScheduleExpression: "rate(4 hours)"}, "2026-11-24 13:00:00", "2026-11-24 14:00:00"},
		{rules{ScheduleExpression: "rate(12 hours)", Duration: "2h"}, "2026-11-24 21:00:00", "2026-11-24 23:00:00"},
	} {
		plan, err := test.rules.schedule()
		if err != nil {
			t.Errorf("%+v: %v", test.rules, err)
			continue
		}
		opens, closes := plan.next(time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC))
		if opens.Format(layout) != test.opens || closes.Format(layout) != test.closes {
			t.Errorf("%+v: %s to %s, want %s to %s", test.rules, opens.Format(layout), closes.Format(layout), test.opens,
				test.closes)
		}
	}
}

func TestInvalidSchedules(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	for _, expression := range []string{
		"daily", "rate(3 hours)", "rate(0 days)", "rate(1000 days)", "rate(1 week)", "rate(99999999999999999999 days)",
	} {
		r.fails("ValidationException", r.rotate(false, expression))
	}
	err := r.rotate(false, "cron(0 8 1 * ? *)")
	r.fails("ValidationException", err)
	if !strings.Contains(err.Error(), "does not evaluate cron") {
		t.Error(err)
	}
	for _, test := range []struct {
		rules types.RotationRulesType
		code  string
	}{
		{types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1001)}, "ValidationException"},
		{types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30), ScheduleExpression: aws.String("rate(30 days)")},
			"InvalidParameterException"},
		{types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30), Duration: aws.String("3 h")}, "ValidationException"},
		{types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30), Duration: aws.String("25h")},
			"InvalidParameterException"},
		{types.RotationRulesType{ScheduleExpression: aws.String("rate(4 hours)"), Duration: aws.String("5h")},
			"InvalidParameterException"},
	} {
		_, err := r.client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: r.name, RotationLambdaARN: aws.String(lambdaARN), RotationRules: &test.rules,
		})
		r.fails(test.code, err)
	}
	if len(r.steps) != 0 {
		t.Errorf("steps %v", r.steps)
	}
}

func TestRotationIsDueOncePerWindow(t *testing.T) {
	t.Parallel()
	r := newRotating(t) // at 00:00
	r.ok(r.rotate(false, "rate(5 days)"))
	next, want := aws.ToTime(r.describe().NextRotationDate), time.Date(2026, 11, 29, 23, 59, 59, 0, time.UTC)
	if !next.Equal(want) {
		t.Errorf("NextRotationDate %v, want the end of the window, %v", next, want)
	}
	if due := r.pass(5*day - time.Hour); len(due) != 0 {
		t.Errorf("an hour before the window %v is due", due)
	}
	if due := r.pass(time.Hour); len(due) != 1 {
		t.Errorf("in the window %v is due", due)
	}
	if due := r.pass(20 * time.Hour); len(due) != 0 {
		t.Errorf("in the same window %v is due again", due)
	}
	if due := r.pass(5 * day); len(due) != 1 {
		t.Errorf("in the next window %v is due", due)
	}
}
