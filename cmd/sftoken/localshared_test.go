package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

func TestLocalSharedTokensBanner(t *testing.T) {
	t.Parallel()
	for text, args := range map[string][]string{
		"take turns with 4 processes": {"--shared-tokens"},
		"Token table":                 {"--shared-tokens", "--no-functions"},
	} {
		last := "follows."
		if len(args) > 1 {
			last = "(simulated)\n  Token table       " + stack.TokenTable
		}
		if stdout, _ := runLocal(t, last, args...); !strings.Contains(stdout, text) || !strings.Contains(stdout, "DynamoDB") {
			t.Errorf("%q: the banner lacks %q:\n%s", args, text, stdout)
		}
	}
	stdout, _ := runLocal(t, "follows.")
	if strings.Contains(stdout, "DynamoDB") || strings.Contains(stdout, "processes") {
		t.Errorf("without --shared-tokens:\n%s", stdout)
	}
}

// The template lets the token function's role read and write the items, and no other principal.
func TestLocalTokenTablePermissions(t *testing.T) {
	t.Parallel()
	s := startStack(t, stack.Config{SharedTokens: true, NoFunctions: true})
	key := map[string]types.AttributeValue{"app": &types.AttributeValueMemberS{Value: "crm"}}
	calls := []struct {
		name string
		call func(*dynamodb.Client) error
	}{
		{"GetItem", func(c *dynamodb.Client) error {
			_, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(stack.TokenTable), Key: key})
			return err
		}},
		{"UpdateItem", func(c *dynamodb.Client) error {
			_, err := c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
				TableName: aws.String(stack.TokenTable), Key: key, UpdateExpression: aws.String("SET v = :v"),
				ExpressionAttributeValues: map[string]types.AttributeValue{":v": &types.AttributeValueMemberN{Value: "1"}},
			})
			return err
		}},
		{"DeleteItem", func(c *dynamodb.Client) error {
			_, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(stack.TokenTable), Key: key})
			return err
		}},
		{"DescribeTable", func(c *dynamodb.Client) error {
			_, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(stack.TokenTable)})
			return err
		}},
	}
	forged, sessionless := s.Keys.Function, s.Keys.Function
	forged.SecretAccessKey, sessionless.SessionToken = "guessed", ""
	for name, c := range map[string]struct {
		p       localaws.Principal
		allowed string
		code    string // of the other calls
	}{
		"the functions":                    {s.Keys.Function, "GetItem UpdateItem", "AccessDeniedException"},
		"the owner":                        {s.Keys.Owner, "GetItem UpdateItem DeleteItem DescribeTable", ""},
		"a caller":                         {s.Keys.Billing, "", "AccessDeniedException"},
		"the functions, with another key":  {forged, "", "InvalidSignatureException"},
		"the functions, without a session": {sessionless, "", "UnrecognizedClientException"},
	} {
		client := dynamodb.New(dynamodb.Options{
			Region: region, BaseEndpoint: &s.AWSURL, Credentials: c.p.Credentials(), Retryer: aws.NopRetryer{},
		})
		for _, call := range calls {
			err := call.call(client)
			if strings.Contains(c.allowed, call.name) {
				if err != nil {
					t.Errorf("%s, %s: %v", name, call.name, err)
				}
				continue
			}
			if failed, ok := errors.AsType[smithy.APIError](err); !ok || failed.ErrorCode() != c.code {
				t.Errorf("%s, %s: %v, want %s", name, call.name, err, c.code)
			}
		}
	}
}
