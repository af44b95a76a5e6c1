package loginbudget

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(0, 0)
		taken := func(app string, attempts int) (n int) {
			for range attempts {
				if b.Take(app) == nil {
					n++
				}
			}
			return n
		}
		if n := taken("crm", 1000); n != 10 {
			t.Errorf("%d logins at once, want 10", n)
		}
		if n := taken("erp", 1000); n != 10 {
			t.Errorf("%d logins of another app, want 10: each app has its own budget", n)
		}
		var spent *ExhaustedError
		err := b.Take("crm")
		if !errors.As(err, &spent) || spent.App != "crm" || spent.RetryAfter.Round(time.Second) != time.Minute ||
			!strings.Contains(err.Error(), "app crm is exhausted") ||
			!strings.Contains(err.Error(), "the next login is in 1m0s") {
			t.Errorf("the error is %v", err)
		}
		time.Sleep(time.Minute)
		if n := taken("crm", 1000); n != 1 {
			t.Errorf("%d logins after a minute, want 1: refused attempts must not delay the next login", n)
		}
		total := 0
		for range 3600 {
			time.Sleep(time.Second)
			total += taken("crm", 10)
		}
		if total < 59 || total > 60 {
			t.Errorf("%d logins in an hour, want 60", total)
		}
		time.Sleep(24 * time.Hour)
		if n := taken("crm", 1000); n != 10 {
			t.Errorf("%d logins after a day without one, want 10", n)
		}
	})
}

// After RetryAfter a login is allowed, whatever the fractions.
func TestRetryAfterIsEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for perHour := range 500 {
			b := New(1, perHour+1)
			for range 20 {
				time.Sleep(time.Duration(perHour*perHour) * time.Nanosecond)
				if spent, ok := errors.AsType[*ExhaustedError](b.Take("crm")); ok {
					time.Sleep(spent.RetryAfter)
					if err := b.Take("crm"); err != nil {
						t.Fatalf("%d an hour: %v after %s", perHour+1, err, spent.RetryAfter)
					}
				}
			}
		}
	})
}

func TestBudgetWithSettings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(3, 3600)
		for range 3 {
			if err := b.Take("crm"); err != nil {
				t.Fatal(err)
			}
		}
		if b.Take("crm") == nil {
			t.Error("a fourth login at once")
		}
		time.Sleep(time.Second)
		if err := b.Take("crm"); err != nil {
			t.Errorf("3,600 an hour are one a second: %v", err)
		}
	})
}

// A login that does not happen is not counted, even under concurrency.
func TestConcurrentTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(10, 60)
		for range 200 {
			var wg sync.WaitGroup
			for range 200 {
				wg.Go(func() { _ = b.Take("crm") })
			}
			wg.Wait()
		}
		time.Sleep(time.Minute)
		if err := b.Take("crm"); err != nil {
			t.Error(err)
		}
	})
}
