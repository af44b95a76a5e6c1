package appsecret

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// CheckedTag is the key of the tag with the result of the last daily check: "<RFC 3339> ok" or "<RFC 3339> failed".
const CheckedTag = "sftoken:checked"

// TagChecked tags the secret with the result of a daily check at the given time. LastChanged moves, as with any change.
func (s *Secret) TagChecked(ctx context.Context, at time.Time, ok bool) error {
	result := "failed"
	if ok {
		result = "ok"
	}
	value := at.UTC().Format(time.RFC3339) + " " + result
	_, err := s.client.TagResource(ctx, &sm.TagResourceInput{
		SecretId: &s.ARN, Tags: []types.Tag{{Key: aws.String(CheckedTag), Value: &value}},
	})
	if err != nil {
		return fmt.Errorf("tagging secret %s with the result of the check: %w", s.Name, err)
	}
	return nil
}
