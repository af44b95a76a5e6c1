package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// target is the secret that a command writes, as a person recognizes it: a profile may select another account than
// was meant.
type target struct {
	Secret  string `json:"secret"`
	Account string `json:"account,omitempty"`
	Region  string `json:"region,omitempty"`
	ARN     string `json:"arn,omitempty"` // empty: there is no such secret yet
}

// targetOf is the secret with the name and the ARN, arn:partition:secretsmanager:region:account:secret:name-suffix.
func targetOf(name, arn string) target {
	t := target{Secret: name, ARN: arn}
	if parts := strings.SplitN(arn, ":", 7); len(parts) == 7 {
		t.Region, t.Account = parts[3], parts[4]
	}
	return t
}

func (t target) String() string {
	if t.ARN == "" {
		return fmt.Sprintf("%s in account %s, region %s", t.Secret, t.Account, t.Region)
	}
	return fmt.Sprintf("%s in account %s, region %s (%s)", t.Secret, t.Account, t.Region, t.ARN)
}

// callerAccount asks AWS whose credentials these are. What it cannot tell is shown as unknown: it is for information
// only.
func callerAccount(ctx context.Context, cfg aws.Config) string {
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "unknown"
	}
	return aws.ToString(out.Account)
}
