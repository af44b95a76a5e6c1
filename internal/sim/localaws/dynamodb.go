package localaws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	minidyn "github.com/truora/minidyn/server"
)

// DynamoDBConfig configures a DynamoDB.
type DynamoDBConfig struct {
	Table string // its name
	Key   string // its partition key, a string
	// Authenticate returns an error, such as an *AuthError, to deny a request. Nil: all are allowed.
	Authenticate func(r *http.Request, body []byte) error
	// OnCall is called twice for each request: on arrival, and before the response. It may block, so that a test can
	// stop a client there. Nil: no call.
	OnCall func(Call)
}

// DynamoDB is an http.Handler for the API of Amazon DynamoDB with one table. What the operations do is left to minidyn.
// It is safe for concurrent use.
type DynamoDB struct {
	config DynamoDBConfig

	mu       sync.Mutex // never held while waiting
	emulator http.Handler
	replaced map[string]*tableResponse // by key: the response of GetItem before the last UpdateItem
	calls    map[string]int
	faults   faultQueues[TableFault]
	released chan struct{} // closed by ClearFaults
	latency  time.Duration
}

// NewDynamoDB returns a DynamoDB whose table has no items.
func NewDynamoDB(config DynamoDBConfig) *DynamoDB {
	d := &DynamoDB{
		config: config, emulator: minidyn.NewServer(), replaced: map[string]*tableResponse{}, calls: map[string]int{},
		faults: faultQueues[TableFault]{}, released: make(chan struct{}),
	}
	if err := CreateTable(context.Background(), d.client(), config.Table, config.Key); err != nil {
		panic(fmt.Sprintf("localaws: the table cannot be created: %v", err))
	}
	return d
}

// CreateTable creates a table on demand, whose partition key is a string.
func CreateTable(ctx context.Context, client *dynamodb.Client, name, key string) error {
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{{AttributeName: &key, KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: &key, AttributeType: types.ScalarAttributeTypeS},
		},
	})
	return err
}

// Calls returns the number of requests by operation.
func (d *DynamoDB) Calls() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.calls)
}

// Item returns a copy of the item with the key. Nil: there is none.
func (d *DynamoDB) Item(key string) map[string]types.AttributeValue {
	out, err := d.client().GetItem(context.Background(), &dynamodb.GetItemInput{
		TableName: &d.config.Table, Key: d.key(key),
	})
	if err != nil {
		panic(fmt.Sprintf("localaws: item %s: %v", key, err))
	}
	return out.Item
}

// PutItem replaces the item with the same key.
func (d *DynamoDB) PutItem(item map[string]types.AttributeValue) {
	_, err := d.client().PutItem(context.Background(), &dynamodb.PutItemInput{TableName: &d.config.Table, Item: item})
	if err != nil {
		panic(fmt.Sprintf("localaws: putting an item: %v", err))
	}
}

// DeleteItem deletes the item with the key, if there is one.
func (d *DynamoDB) DeleteItem(key string) {
	_, err := d.client().DeleteItem(context.Background(), &dynamodb.DeleteItemInput{
		TableName: &d.config.Table, Key: d.key(key),
	})
	if err != nil {
		panic(fmt.Sprintf("localaws: deleting item %s: %v", key, err))
	}
}

func (d *DynamoDB) key(value string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{d.config.Key: &types.AttributeValueMemberS{Value: value}}
}

// client returns a client of the emulator, whose requests meet no fault and are not counted.
func (d *DynamoDB) client() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "local", Credentials: aws.AnonymousCredentials{}, Retryer: aws.NopRetryer{}, HTTPClient: emulatorClient{d},
	})
}

type emulatorClient struct{ *DynamoDB }

func (c emulatorClient) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	c.mu.Lock()
	defer c.mu.Unlock()
	response := c.emulate(operation, body)
	return &http.Response{
		StatusCode: response.status, Header: response.header, Body: io.NopCloser(bytes.NewReader(response.body)), Request: r,
	}, nil
}

const dynamoDBTarget = "DynamoDB_20120810" // in X-Amz-Target

// emulate processes a request. The caller holds d.mu.
func (d *DynamoDB) emulate(operation string, body []byte) *tableResponse {
	r := &http.Request{
		Method: http.MethodPost, Header: http.Header{"X-Amz-Target": {dynamoDBTarget + "." + operation}},
		Body: io.NopCloser(bytes.NewReader(body)),
	}
	w := newTableResponse()
	d.emulator.ServeHTTP(w, r)
	return w
}

// tableResponse records a response.
type tableResponse struct {
	status int
	header http.Header
	body   []byte
}

func newTableResponse() *tableResponse {
	return &tableResponse{status: http.StatusOK, header: http.Header{}}
}

func (t *tableResponse) Header() http.Header    { return t.header }
func (t *tableResponse) WriteHeader(status int) { t.status = status }

func (t *tableResponse) Write(b []byte) (int, error) {
	t.body = append(t.body, b...)
	return len(b), nil
}

func tableError(err error) *tableResponse {
	t := newTableResponse()
	writeResult(t, nil, err)
	return t
}

// send sends the response with DynamoDB's checksum, without which the SDK prints a warning.
func (t *tableResponse) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), t.header)
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(t.body)), 10))
	w.WriteHeader(t.status)
	_, _ = w.Write(t.body)
}

// ServeHTTP implements http.Handler.
func (d *DynamoDB) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		tableError(apiErr("SerializationException", "the request is too long")).send(w)
		return
	}
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), dynamoDBTarget+".")
	if r.Method != http.MethodPost || !ok {
		tableError(apiErr("UnknownOperationException", "want a POST with an X-Amz-Target")).send(w)
		return
	}
	if d.config.Authenticate != nil {
		if err := d.config.Authenticate(r, body); err != nil {
			tableError(signatureError(err)).send(w)
			return
		}
	}
	d.onCall(Call{operation, Arrived})
	request := tableRequest{operation: operation}
	_ = json.Unmarshal(body, &request) // the emulator responds to a malformed body
	f := d.nextFault(request)
	if !d.wait(r.Context(), f) {
		panic(http.ErrAbortHandler)
	}
	if f.Reset {
		reset(w)
		return
	}
	if f.Code != "" {
		tableError(&apiError{max(f.Status, http.StatusBadRequest), f.Code, "injected fault"}).send(w)
		return
	}
	response := d.call(request, body, f.Stale)
	d.onCall(Call{operation, Done})
	if f.ResetAfterCommit {
		panic(http.ErrAbortHandler)
	}
	response.send(w)
}

func (d *DynamoDB) onCall(c Call) {
	if d.config.OnCall != nil {
		d.config.OnCall(c)
	}
}

// tableRequest is what faults depend on.
type tableRequest struct {
	operation      string
	Key            map[string]struct{ S string }
	ConsistentRead bool
}

// call processes a request.
func (d *DynamoDB) call(request tableRequest, body []byte, stale bool) *tableResponse {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := request.Key[d.config.Key].S
	if before, written := d.replaced[key]; stale && written {
		return before
	}
	if request.operation != "UpdateItem" {
		return d.emulate(request.operation, body)
	}
	get, _ := json.Marshal(map[string]any{ // strings always can be
		"TableName": d.config.Table, "Key": map[string]any{d.config.Key: map[string]string{"S": key}},
	})
	before := d.emulate("GetItem", get)
	response := d.emulate(request.operation, body)
	if response.status == http.StatusOK {
		d.replaced[key] = before
	}
	return response
}
