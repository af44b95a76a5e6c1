package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// idleTimeout is how long a connection is kept for the next call. Lambda may freeze a process between two invocations
// for longer than the server keeps the connection, and net/http does not repeat a POST that fails for it. net/http
// compares the idle time by the wall clock, so it does not use a connection from before a long freeze.
const idleTimeout = 5 * time.Second

// DynamoDB is a Store in a DynamoDB table with the partition key Key.
type DynamoDB struct {
	client *dynamodb.Client
	table  string
}

// NewDynamoDB returns a store in the table, with connections of its own. It makes no call.
func NewDynamoDB(cfg aws.Config, table string, options ...func(*dynamodb.Options)) *DynamoDB {
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient) // with the certificates of AWS_CA_BUNDLE
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = client.WithTransportOptions(func(t *http.Transport) { t.IdleConnTimeout = idleTimeout })
	return &DynamoDB{dynamodb.NewFromConfig(cfg, options...), table}
}

// Get implements Store with a strongly consistent read.
func (d *DynamoDB) Get(ctx context.Context, app string) (Item, error) { return d.read(ctx, app, true) }

// Peek implements Store with an eventually consistent read.
func (d *DynamoDB) Peek(ctx context.Context, app string) (Item, error) {
	return d.read(ctx, app, false)
}

func (d *DynamoDB) read(ctx context.Context, app string, consistent bool) (Item, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, errTimeout)
	defer cancel()
	out, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &d.table, Key: key(app), ConsistentRead: &consistent,
	})
	if err != nil {
		return Item{}, d.failed("reading", app, cause(ctx, err))
	}
	item, err := decode(out.Item)
	if err != nil {
		return Item{}, d.failed("reading", app, err)
	}
	return item, nil
}

// CompareAndSwap implements Store with a conditional update.
func (d *DynamoDB) CompareAndSwap(ctx context.Context, app string, seen int64, next Item) (Item, bool, error) {
	next.Counter = seen + 1
	attributes := encode(next)
	next, err := decode(attributes) // as it will be read
	if err != nil {
		return Item{}, false, d.failed("writing", app, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, errTimeout)
	defer cancel()
	_, err = d.client.UpdateItem(ctx, d.update(app, seen, attributes))
	if lost, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		current, err := decode(lost.Item) // none if the item has been deleted
		if err != nil {
			return Item{}, false, d.failed("writing", app, err)
		}
		return current, false, nil
	}
	if err != nil {
		return Item{}, false, d.failed("writing", app, cause(ctx, err))
	}
	return next, true, nil
}

// update returns a request that gives the item the attributes next if its counter is seen. Placeholders stand for the
// names of attributes, of which some are reserved words.
func (d *DynamoDB) update(app string, seen int64, next map[string]types.AttributeValue) *dynamodb.UpdateItemInput {
	condition := "attribute_not_exists(" + attrApp + ")"
	names, values := map[string]string{}, map[string]types.AttributeValue{}
	if seen != 0 {
		condition = "#" + attrCounter + " = :seen"
		values[":seen"] = number(seen)
	}
	var set []string
	for _, name := range slices.Sorted(maps.Keys(next)) {
		names["#"+name], values[":"+name] = name, next[name]
		set = append(set, "#"+name+" = :"+name)
	}
	return &dynamodb.UpdateItemInput{
		TableName: &d.table, Key: key(app), ConditionExpression: &condition,
		UpdateExpression:         aws.String("SET " + strings.Join(set, ", ")),
		ExpressionAttributeNames: names, ExpressionAttributeValues: values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

func (d *DynamoDB) failed(doing, app string, err error) error {
	return fmt.Errorf("%s the item of app %s in the token table %s: %w", doing, app, d.table, err)
}

var errTimeout = fmt.Errorf("no response within %s", Timeout)

// cause returns errTimeout if that has ended ctx, and err otherwise.
func cause(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return errTimeout
	}
	return err
}
