package localaws

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

const testTable = "tokens"

// startDynamoDB serves a DynamoDB over TCP and returns a client that signs as p and retries nothing.
func startDynamoDB(t *testing.T, config DynamoDBConfig, p Principal) (*DynamoDB, *dynamodb.Client) {
	t.Helper()
	config.Table, config.Key = testTable, "app"
	d := NewDynamoDB(config)
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	return d, dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, Retryer: aws.NopRetryer{}, Credentials: p.Credentials(),
	})
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func getItem(t *testing.T, client *dynamodb.Client, key string) (map[string]types.AttributeValue, error) {
	t.Helper()
	out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(testTable),
		Key: map[string]types.AttributeValue{"app": text(key)}})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

func TestDynamoDBAuthentication(t *testing.T) {
	t.Parallel()
	user := Principal{AccessKeyID: "AKIAUSER", SecretAccessKey: "user", ARN: "arn:aws:iam::111111111111:user/user"}
	denied := Principal{AccessKeyID: "AKIADENIED", SecretAccessKey: "denied", ARN: "arn:aws:iam::111111111111:user/denied"}
	keys := NewKeys(user, denied)
	config := DynamoDBConfig{Authenticate: func(r *http.Request, body []byte) error {
		p, err := keys.Verify(r, body, "dynamodb", "us-east-1", time.Now())
		if err == nil && p.AccessKeyID == denied.AccessKeyID {
			return AccessDenied(p, r)
		}
		return err
	}}
	forged := user
	forged.SecretAccessKey = "guessed"
	for _, c := range []struct {
		name string
		p    Principal
		code string
	}{
		{"a user", user, ""},
		{"a wrong signature", forged, "InvalidSignatureException"},
		{"an unknown key", Principal{AccessKeyID: "AKIAOTHER", SecretAccessKey: "x"}, "UnrecognizedClientException"},
		{"a user without permission", denied, "AccessDeniedException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, client := startDynamoDB(t, config, c.p)
			_, err := getItem(t, client, "crm")
			failed, ok := errors.AsType[smithy.APIError](err)
			if c.code == "" && err != nil || c.code != "" && (!ok || failed.ErrorCode() != c.code) {
				t.Errorf("%v, want %q", err, c.code)
			}
			if n := d.Calls()["GetItem"]; (n == 1) != (c.code == "") {
				t.Errorf("%d calls were let in", n)
			}
		})
	}
}

func TestDynamoDBItems(t *testing.T) {
	t.Parallel()
	d, client := startDynamoDB(t, DynamoDBConfig{}, Principal{AccessKeyID: "AKIA", SecretAccessKey: "x"})
	if d.Item("crm") != nil {
		t.Error("the table is not empty")
	}
	d.PutItem(map[string]types.AttributeValue{"app": text("crm"), "version": text("v1")})
	item := d.Item("crm")
	item["version"].(*types.AttributeValueMemberS).Value = "changed"
	if item, err := getItem(t, client, "crm"); err != nil || item["version"].(*types.AttributeValueMemberS).Value != "v1" {
		t.Errorf("%v: %v", item, err)
	}
	d.DeleteItem("crm")
	if item, err := getItem(t, client, "crm"); err != nil || item != nil {
		t.Errorf("%v: %v", item, err)
	}
	if n := d.Calls()["GetItem"]; n != 2 {
		t.Errorf("%d calls were counted", n)
	}
}

func TestDynamoDBFaultsOfOneItem(t *testing.T) {
	t.Parallel()
	d, client := startDynamoDB(t, DynamoDBConfig{}, Principal{AccessKeyID: "AKIA", SecretAccessKey: "x"})
	d.InjectFault("GetItem", TableFault{Key: "crm", Code: "ThrottlingException"}, 1)
	d.InjectFault("UpdateItem", TableFault{Code: "AccessDeniedException"}, 0)
	d.InjectFault("", TableFault{Key: "erp", Reset: true}, 0)
	if _, err := getItem(t, client, "erp"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("erp: %v", err)
	}
	_, err := getItem(t, client, "crm")
	if _, ok := errors.AsType[*types.ThrottlingException](err); !ok {
		t.Errorf("crm: %v", err)
	}
	if _, err := getItem(t, client, "crm"); err != nil {
		t.Errorf("crm, again: %v", err)
	}
	d.ClearFaults()
	if _, err := getItem(t, client, "erp"); err != nil {
		t.Errorf("erp, later: %v", err)
	}
}

func TestDynamoDBOnCall(t *testing.T) {
	t.Parallel()
	var seen []Call
	_, client := startDynamoDB(t, DynamoDBConfig{OnCall: func(c Call) { seen = append(seen, c) }},
		Principal{AccessKeyID: "AKIA", SecretAccessKey: "x"})
	_, err := getItem(t, client, "crm")
	must(t, err)
	if len(seen) != 2 || seen[0] != (Call{"GetItem", Arrived}) || seen[1] != (Call{"GetItem", Done}) {
		t.Errorf("seen %v", seen)
	}
}
