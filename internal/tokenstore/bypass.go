package tokenstore

import (
	"context"
	"sync"
	"time"
)

// BypassDuration is how long a store is bypassed after an error.
const BypassDuration = 30 * time.Second

// NewBypass returns a Store that calls s. After an error of s it returns ErrBypassed without a call, for
// BypassDuration. A call that ends because its context does is not an error of s.
func NewBypass(s Store) Store { return &bypass{store: s} }

type bypass struct {
	store Store

	mu       sync.Mutex
	failedAt time.Time // when the last error was returned; zero: there was none
}

func (b *bypass) Get(ctx context.Context, app string) (item Item, err error) {
	err = b.call(ctx, func() (err error) { item, err = b.store.Get(ctx, app); return })
	return item, err
}

func (b *bypass) Peek(ctx context.Context, app string) (item Item, err error) {
	err = b.call(ctx, func() (err error) { item, err = b.store.Peek(ctx, app); return })
	return item, err
}

func (b *bypass) CompareAndSwap(
	ctx context.Context, app string, seen int64, next Item,
) (current Item, swapped bool, err error) {
	err = b.call(ctx, func() (err error) { current, swapped, err = b.store.CompareAndSwap(ctx, app, seen, next); return })
	return current, swapped, err
}

func (b *bypass) call(ctx context.Context, do func() error) error {
	if b.active(time.Now()) {
		return ErrBypassed
	}
	err := do()
	if err != nil && ctx.Err() == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.failedAt = time.Now()
	}
	return err
}

// active reports whether the last error was less than BypassDuration ago by both clocks. The monotonic clock may stand
// still while the process is frozen, and the wall clock may be set back.
func (b *bypass) active(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	elapsed := max(now.Sub(b.failedAt), now.Round(0).Sub(b.failedAt.Round(0)))
	return !b.failedAt.IsZero() && elapsed < BypassDuration
}
