package appsecret

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// CheckedTag is the key of the tag with the result of the last daily check: "<RFC 3339> ok" or "<RFC 3339> failed".
const CheckedTag = "sftoken:checked"

// checkedLayout is RFC 3339 in UTC. JSON cannot have every time with an offset that time.Parse takes.
const checkedLayout = "2006-01-02T15:04:05Z"

// TagChecked tags the secret with the result of a daily check at the given time. LastChanged moves, as with any change.
func (s *Secret) TagChecked(ctx context.Context, at time.Time, ok bool) error {
	result := "failed"
	if ok {
		result = "ok"
	}
	value := at.UTC().Format(checkedLayout) + " " + result
	_, err := s.client.TagResource(ctx, &sm.TagResourceInput{
		SecretId: &s.ARN, Tags: []types.Tag{{Key: aws.String(CheckedTag), Value: &value}},
	})
	if err != nil {
		return fmt.Errorf("tagging secret %s with the result of the check: %w", s.Name, err)
	}
	return nil
}

// Checked returns when the rotate function last checked the app, and whether the check succeeded. The time is zero if
// there is no such tag.
func (s *Secret) Checked() (at time.Time, ok bool) {
	when, result, _ := strings.Cut(s.Tags[CheckedTag], " ")
	at, err := time.Parse(checkedLayout, when)
	if err != nil {
		return time.Time{}, false
	}
	return at, result == "ok"
}
