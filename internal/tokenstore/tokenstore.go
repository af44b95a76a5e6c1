// Package tokenstore holds what all processes of the token function share about an app: one item per app, which any of
// them may read, and which only the holder of the item's lease may write. What an item's entry contains, and when it is
// read, is left to internal/vending.
package tokenstore

import (
	"context"
	"errors"
	"time"
)

// Item is what is stored for one app. The zero value stands for an item that does not exist.
type Item struct {
	// Counter is incremented by every write. It fences: a write succeeds only if no other write came before it.
	Counter int64
	// LeaseUntil is when the lease ends, by its holder's clock. Zero: no process holds it.
	LeaseUntil time.Time
	Entry
}

// Entry is a sealed value and what is known of it without its key.
type Entry struct {
	Version string    // ID of the secret's version whose consumer secret seals the value; empty: there is no entry
	Counter int64     // Item.Counter after the write that stored the entry; see Seal
	Expires time.Time // when DynamoDB may delete the item, in whole seconds
	Sealed  []byte
}

// Store reads and writes items. Implementations are safe for concurrent use, do not retry, and return within
// Timeout. After an error of CompareAndSwap the write may have happened.
type Store interface {
	// Get returns the app's item, with every write that succeeded before. It returns a zero Item if there is none.
	Get(ctx context.Context, app string) (Item, error)
	// Peek is like Get, but may miss the writes of about the last second. It costs half as much.
	Peek(ctx context.Context, app string) (Item, error)
	// CompareAndSwap replaces the app's item if its counter is still seen, which is zero if there is no item. The new
	// counter is seen+1, whatever next.Counter is. Otherwise it changes nothing, and returns the item as it is now.
	CompareAndSwap(ctx context.Context, app string, seen int64, next Item) (current Item, swapped bool, err error)
}

// Timeout bounds one call to a Store.
const Timeout = 300 * time.Millisecond

// ErrBypassed is returned without a call to the store, since one has failed shortly before.
var ErrBypassed = errors.New("the token table is bypassed, since a call to it has failed shortly before")
