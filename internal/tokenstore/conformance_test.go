package tokenstore_test

import (
	"context"
	"crypto/rand"
	"math"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

// table is a token table without an item.
type table struct {
	open       func() tokenstore.Store // as in another process
	deleteItem func()                  // the app's
}

type reader = func(context.Context, string) (tokenstore.Item, error)

// conformance are the rules of DynamoDB that a Store rests on. Source: Amazon DynamoDB API Reference, "GetItem" and
// "UpdateItem".
var conformance = []struct {
	rule  string
	check func(t *testing.T, table table)
}{
	{"an item that does not exist is read as none", func(t *testing.T, table table) {
		s := table.open()
		for _, read := range []reader{s.Get, s.Peek} {
			stored(t, read, tokenstore.Item{})
		}
	}},
	{"an item is read as it was written, by each process", func(t *testing.T, table table) {
		a, b := table.open(), table.open()
		equal(t, "the swap's result", swap(t, a, 0, full()), full())
		for _, read := range []reader{a.Get, b.Get, a.Peek, b.Peek} {
			stored(t, read, full())
		}
		got, err := a.Get(t.Context(), "erp")
		if err != nil || got.Counter != 0 {
			t.Errorf("another app: counter %d: %v", got.Counter, err)
		}
	}},
	{"a write replaces each attribute", func(t *testing.T, table table) {
		s := table.open()
		swap(t, s, 0, full())
		swap(t, s, 1, tokenstore.Item{})
		stored(t, s.Get, tokenstore.Item{Counter: 2})
		swap(t, s, 2, full())
		want := full()
		want.Counter = 3
		stored(t, s.Get, want)
	}},
	{"a write of an item that has changed changes nothing, and returns it", func(t *testing.T, table table) {
		a, b := table.open(), table.open()
		swap(t, a, 0, full())
		for _, seen := range []int64{0, 2, math.MaxInt32} {
			current, swapped, err := b.CompareAndSwap(t.Context(), app, seen, tokenstore.Item{})
			if err != nil || swapped {
				t.Errorf("seen %d: swapped %t: %v", seen, swapped, err)
			}
			equal(t, "the current item", current, full())
			stored(t, b.Get, full())
		}
	}},
	{"a write of an item that was deleted creates none, and returns none", func(t *testing.T, table table) {
		s := table.open()
		swap(t, s, 0, full())
		table.deleteItem()
		current, swapped, err := s.CompareAndSwap(t.Context(), app, 1, full())
		if err != nil || swapped {
			t.Errorf("swapped %t: %v", swapped, err)
		}
		equal(t, "the current item", current, tokenstore.Item{})
		stored(t, s.Get, tokenstore.Item{})
		swap(t, s, 0, full())
	}},
	{"one of several writes at once succeeds, and the others return it", func(t *testing.T, table table) {
		var won atomic.Int64
		var wg sync.WaitGroup
		for i := range int64(12) {
			wg.Go(func() {
				next := full()
				next.Entry.Counter = i + 1
				current, swapped, err := table.open().CompareAndSwap(t.Context(), app, 0, next)
				if err != nil || current.Counter != 1 {
					t.Errorf("counter %d: %v", current.Counter, err)
				}
				if swapped && !won.CompareAndSwap(0, current.Entry.Counter) {
					t.Errorf("%d and %d have won", won.Load(), current.Entry.Counter)
				}
			})
		}
		wg.Wait()
		want := full()
		want.Entry.Counter = won.Load()
		stored(t, table.open().Get, want)
	}},
}

// stored checks what read returns of the app.
func stored(t *testing.T, read reader, want tokenstore.Item) {
	t.Helper()
	got, err := read(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the item", got, want)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range conformance {
		t.Run(c.rule, func(t *testing.T) {
			run(t, func(t *testing.T, h *simtest.Harness) {
				c.check(t, table{
					open:       func() tokenstore.Store { return h.TokenStore() },
					deleteItem: func() { h.Tables.DeleteItem(app) },
				})
			})
		})
	}
}

// TestConformanceOfMoto checks the same rules on moto_server, as a second opinion on what DynamoDB does. The requests
// reach it one at a time: DynamoDB's writes are atomic, and those of moto's threads are not.
func TestConformanceOfMoto(t *testing.T) {
	url := os.Getenv("SFTOKEN_MOTO_URL")
	if url == "" {
		t.Skip("skipped: moto_server is not running: see make conformance")
	}
	server := httptest.NewServer(simtest.OneAtATime(url))
	t.Cleanup(server.Close)
	cfg := aws.Config{
		Region: simtest.Region, BaseEndpoint: &server.URL,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	}
	client := dynamodb.NewFromConfig(cfg)
	for _, c := range conformance {
		t.Run(c.rule, func(t *testing.T) {
			name := "tokens-" + rand.Text()
			if err := localaws.CreateTable(t.Context(), client, name, tokenstore.Key); err != nil {
				t.Fatal(err)
			}
			c.check(t, table{
				open: func() tokenstore.Store { return tokenstore.NewDynamoDB(cfg, name) },
				deleteItem: func() {
					key := map[string]types.AttributeValue{tokenstore.Key: &types.AttributeValueMemberS{Value: app}}
					_, err := client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &name, Key: key})
					if err != nil {
						t.Fatal(err)
					}
				},
			})
		})
	}
}
