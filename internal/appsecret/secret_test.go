package appsecret_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// A rotation may happen until the end of its window, and is tried again for a while when it fails.
func TestOverdue(t *testing.T) {
	due := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		next, now time.Time
		want      bool
	}{
		{time.Time{}, due, false},
		{due, due.Add(-time.Hour), false},
		{due, due.Add(time.Hour), false},
		{due, due.Add(24 * time.Hour), false},
		{due, due.Add(24*time.Hour + time.Second), true},
	} {
		if s := (&appsecret.Secret{NextRotation: test.next}); s.Overdue(test.now) != test.want {
			t.Errorf("due %s, now %s: %t", test.next, test.now, !test.want)
		}
	}
}

func TestSamePair(t *testing.T) {
	parse := func(value string) *appsecret.Version {
		v, err := appsecret.Parse("v", value)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	one := parse(`{"consumerKey":"a","consumerSecret":"b","baseUri":"https://acme.my.salesforce.com"}`)
	for value, want := range map[string]bool{
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"https://acme.my.salesforce.com/","note":"other"}`: true,
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"https://other.my.salesforce.com"}`:                false, // the same credentials in another org
		`{"consumerKey":"a","consumerSecret":"c","baseUri":"https://acme.my.salesforce.com"}`:                 false,
		`{"consumerKey":"c","consumerSecret":"b","baseUri":"https://acme.my.salesforce.com"}`:                 false,
	} {
		if one.SameCredentials(parse(value)) != want {
			t.Errorf("%s: %t", value, !want)
		}
	}
}

// labels is a Secrets Manager that refuses every change of a label, and shows these labels.
type labels struct {
	appsecret.Client
	before, after map[string][]string
	described     int
}

func (l *labels) DescribeSecret(
	context.Context,
	*secretsmanager.DescribeSecretInput,
	...func(*secretsmanager.Options),
) (*secretsmanager.DescribeSecretOutput, error) {
	name, shown := "sftoken/crm", l.before
	if l.described++; l.described > 1 {
		shown = l.after
	}
	return &secretsmanager.DescribeSecretOutput{ARN: &name, Name: &name, VersionIdsToStages: shown}, nil
}

func (l *labels) UpdateSecretVersionStage(
	context.Context,
	*secretsmanager.UpdateSecretVersionStageInput,
	...func(*secretsmanager.Options),
) (*secretsmanager.UpdateSecretVersionStageOutput, error) {
	return nil, &types.InvalidParameterException{}
}

// A change that Secrets Manager refuses has succeeded only if it is there all the same, in full.
func TestARefusedChangeThatHasHappenedIsNoError(t *testing.T) {
	type versions = map[string][]string
	before := versions{"v1": {"AWSCURRENT"}, "v2": {"CANDIDATE"}}
	move := func(s *appsecret.Secret) error { return s.MoveLabel(t.Context(), "AWSCURRENT", "v2") }
	unlabel := func(s *appsecret.Secret) error { return s.RemoveLabel(t.Context(), "CANDIDATE", "v2") }
	for _, test := range []struct {
		name   string
		change func(*appsecret.Secret) error
		after  versions
		ok     bool
	}{
		{"moved by another invocation", move, versions{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT"}}, true},
		{"not moved", move, before, false},
		{"moved to a third version", move, versions{"v1": {"AWSPREVIOUS"}, "v2": {"CANDIDATE"}, "v3": {"AWSCURRENT"}}, false},
		{"on both, as a stale read may show it", move, versions{"v1": {"AWSCURRENT"}, "v2": {"AWSCURRENT"}}, false},
		{"taken off by another invocation", unlabel, versions{"v1": {"AWSCURRENT"}, "v2": nil}, true},
		{"still there", unlabel, before, false},
	} {
		client := &labels{before: before, after: test.after}
		secret, err := appsecret.Open(t.Context(), client, "sftoken/", "sftoken/crm")
		if err != nil {
			t.Fatal(err)
		}
		err = test.change(secret)
		_, refused := errors.AsType[*types.InvalidParameterException](err)
		if (err == nil) != test.ok || err != nil && !refused {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
