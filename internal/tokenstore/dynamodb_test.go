package tokenstore_test

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

const app = simtest.AppName

// run runs a test in a synctest bubble with a token table.
func run(t *testing.T, test func(t *testing.T, h *simtest.Harness)) {
	t.Parallel()
	simtest.Run(t, simtest.Options{TokenTable: true, NoSecret: true}, test)
}

// full is an item with every field set, which its first write stores.
func full() tokenstore.Item {
	return tokenstore.Item{
		Counter: 1, LeaseUntil: time.UnixMilli(1_800_000_000_123),
		Entry: tokenstore.Entry{
			Version: "v1", Counter: 1, Expires: time.Unix(1_800_003_600, 0), Sealed: []byte{0, 0xff, '"'},
		},
	}
}

// swap writes an item that another call must not have changed.
func swap(t *testing.T, s tokenstore.Store, seen int64, next tokenstore.Item) tokenstore.Item {
	t.Helper()
	current, swapped, err := s.CompareAndSwap(t.Context(), app, seen, next)
	if err != nil || !swapped {
		t.Fatalf("swapped %t: %v", swapped, err)
	}
	return current
}

func equal(t *testing.T, what string, got, want tokenstore.Item) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// outages are the faults after which a call fails and has done nothing.
var outages = []struct {
	name  string
	fault localaws.TableFault
	text  string // in the error
}{
	{"throttled", localaws.TableFault{Code: "ThrottlingException"}, "ThrottlingException"},
	{"over its throughput", localaws.TableFault{Code: "ProvisionedThroughputExceededException"}, "ProvisionedThroughput"},
	{"denied", localaws.TableFault{Code: "AccessDeniedException"}, "AccessDeniedException"},
	{"no table", localaws.TableFault{Code: "ResourceNotFoundException"}, "ResourceNotFoundException"},
	{"internal error", localaws.TableFault{Code: "InternalServerError", Status: 500}, "InternalServerError"},
	{"reset", localaws.TableFault{Reset: true}, "request send failed"},
	{"hanging", localaws.TableFault{Hang: true}, "no response within 300ms"},
	{"slow", localaws.TableFault{Delay: tokenstore.Timeout + time.Millisecond}, "no response within 300ms"},
}

func TestErrorsAreNotRetried(t *testing.T) {
	t.Parallel()
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			run(t, func(t *testing.T, h *simtest.Harness) {
				s := h.TokenStore()
				swap(t, s, 0, full())
				for name, call := range calls(s) {
					before := h.Tables.Calls()
					h.Tables.InjectFault("", o.fault, 1)
					start := time.Now()
					err := call(t.Context())
					for _, want := range []string{"app crm in the token table " + simtest.TableName + ": ", o.text} {
						if err == nil || !strings.Contains(err.Error(), want) {
							t.Errorf("%s: %v, want %q", name, err, want)
						}
					}
					if took := time.Since(start); took > tokenstore.Timeout {
						t.Errorf("%s took %s", name, took)
					}
					after := h.Tables.Calls()
					if n := after["GetItem"] + after["UpdateItem"] - before["GetItem"] - before["UpdateItem"]; n != 1 {
						t.Errorf("%s: %d calls", name, n)
					}
				}
				time.Sleep(time.Second)
				got, err := s.Get(t.Context(), app)
				h.Must(err)
				equal(t, "the item", got, full())
			})
		})
	}
}

// calls are a call of each kind. The swap changes the item.
func calls(s tokenstore.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":  func(ctx context.Context) error { _, err := s.Get(ctx, app); return err },
		"Peek": func(ctx context.Context) error { _, err := s.Peek(ctx, app); return err },
		"CompareAndSwap": func(ctx context.Context) error {
			_, _, err := s.CompareAndSwap(ctx, app, 1, tokenstore.Item{})
			return err
		},
	}
}

func TestLostResponseOfSwap(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		s := h.TokenStore()
		h.Tables.InjectFault("UpdateItem", localaws.TableFault{ResetAfterCommit: true}, 1)
		if _, swapped, err := s.CompareAndSwap(t.Context(), app, 0, full()); err == nil || swapped {
			t.Errorf("swapped %t: %v", swapped, err)
		}
		got, err := s.Get(t.Context(), app)
		h.Must(err)
		equal(t, "the item", got, full())
	})
}

func TestStalePeek(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		s := h.TokenStore()
		swap(t, s, 0, full())
		swap(t, s, 1, full())
		h.Tables.InjectFault("GetItem", localaws.TableFault{Stale: true}, 1)
		for i, want := range []int64{2, 1, 2} {
			read := s.Peek
			if i == 0 {
				read = s.Get
			}
			got, err := read(t.Context(), app)
			if err != nil || got.Counter != want {
				t.Errorf("read %d: counter %d, want %d: %v", i, got.Counter, want, err)
			}
		}
	})
}

func TestContextEndsCall(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		h.Tables.InjectFault("", localaws.TableFault{Hang: true}, 0)
		for name, call := range calls(h.TokenStore()) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			start := time.Now()
			err := call(ctx)
			cancel()
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 100*time.Millisecond {
				t.Errorf("%s: %v after %s", name, err, took)
			}
		}
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		h.Tables.SetLatency(time.Millisecond) // without it the SDK may close a request's body before net/http has
		s := h.TokenStore()
		for _, c := range []struct {
			pause  time.Duration
			reused bool
		}{{0, false}, {4 * time.Second, true}, {6 * time.Second, false}} {
			time.Sleep(c.pause)
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
				if got.Reused != c.reused {
					t.Errorf("after %s: reused %t", c.pause, got.Reused)
				}
			}})
			_, err := s.Get(ctx, app)
			h.Must(err)
		}
	})
}

func number(n string) types.AttributeValue { return &types.AttributeValueMemberN{Value: n} }

func TestMalformedItem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attribute string
		value     types.AttributeValue // nil: absent
	}{
		{"counter", nil},
		{"counter", number("0")},
		{"counter", number("-1")},
		{"counter", number("9223372036854775807")},
		{"counter", number("1.5")},
		{"counter", &types.AttributeValueMemberS{Value: "1"}},
		{"lease_until", number("1e40")},
		{"version", number("1")},
		{"entry_counter", number("x")},
		{"expires", &types.AttributeValueMemberBOOL{Value: true}},
		{"sealed", &types.AttributeValueMemberS{Value: "text"}},
	} {
		t.Run(c.attribute, func(t *testing.T) {
			run(t, func(t *testing.T, h *simtest.Harness) {
				s := h.TokenStore()
				swap(t, s, 0, full())
				item := h.Tables.Item(app)
				item[c.attribute] = c.value
				if c.value == nil {
					delete(item, c.attribute)
				}
				h.Tables.PutItem(item)
				_, err := s.Get(t.Context(), app)
				if err == nil || !strings.Contains(err.Error(), "of app crm") ||
					!strings.Contains(err.Error(), "attribute "+c.attribute) {
					t.Errorf("Get: %v", err)
				}
				if _, swapped, err := s.CompareAndSwap(t.Context(), app, 7, full()); err == nil || swapped {
					t.Errorf("CompareAndSwap: swapped %t: %v", swapped, err)
				}
			})
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("1", "0", "v1", "1", "1800000000", []byte{1})
	f.Add("9223372036854775807", "-1", "", "", "1e9", []byte(nil))
	f.Fuzz(func(t *testing.T, counter, lease, version, entry, expires string, sealed []byte) {
		item, err := tokenstore.Decode(map[string]types.AttributeValue{
			"counter": number(counter), "lease_until": number(lease), "entry_counter": number(entry), "expires": number(expires),
			"version": &types.AttributeValueMemberS{Value: version}, "sealed": &types.AttributeValueMemberB{Value: sealed},
		})
		if err != nil {
			equal(t, "an item that cannot be read", item, tokenstore.Item{})
			return
		}
		again, err := tokenstore.Decode(tokenstore.Encode(item))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the item, written and read", again, item)
	})
}

func TestSwapReturnsStoredItem(t *testing.T) {
	run(t, func(t *testing.T, h *simtest.Harness) {
		s := h.TokenStore()
		finer := full()
		finer.Counter = 99
		finer.LeaseUntil = finer.LeaseUntil.Add(time.Microsecond)
		finer.Expires = finer.Expires.Add(time.Millisecond)
		equal(t, "the swap's result", swap(t, s, 0, finer), full())
		stored(t, s.Get, full())
	})
}
