package tokenstore_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var secret = sfoauth.NewSecret("1234567890123456789")

func seal(t testing.TB, value string) tokenstore.Entry {
	t.Helper()
	e := tokenstore.Entry{Version: "v1", Counter: 7, Expires: time.Unix(1_800_000_000, 0)}
	e, err := tokenstore.Seal(secret, app, e, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSeal(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "value", strings.Repeat("x", 4096)} {
		e := seal(t, value)
		if value != "" && bytes.Contains(e.Sealed, []byte(value)) {
			t.Error("the value can be read")
		}
		if got, err := tokenstore.Open(secret, app, e); err != nil || string(got) != value {
			t.Errorf("%q, want %q: %v", got, value, err)
		}
	}
	if bytes.Equal(seal(t, "value").Sealed, seal(t, "value").Sealed) {
		t.Error("two entries with the same value are equal")
	}
}

func TestOpenRejectsForeignEntry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(secret *sfoauth.Secret, app *string, e *tokenstore.Entry)
	}{
		{"another secret", func(s *sfoauth.Secret, _ *string, _ *tokenstore.Entry) { *s = sfoauth.NewSecret("another") }},
		{"no secret", func(s *sfoauth.Secret, _ *string, _ *tokenstore.Entry) { *s = sfoauth.Secret{} }},
		{"another app", func(_ *sfoauth.Secret, app *string, _ *tokenstore.Entry) { *app = "erp" }},
		{"another version", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Version = "v2" }},
		{"a version moved into the app", func(_ *sfoauth.Secret, app *string, e *tokenstore.Entry) {
			*app, e.Version = *app+e.Version[:1], e.Version[1:]
		}},
		{"another counter", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Counter++ }},
		{"later expiry", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Expires = e.Expires.Add(time.Second) }},
		{"no expiry", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Expires = time.Time{} }},
		{"truncated", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed = e.Sealed[:len(e.Sealed)-1] }},
		{"only a nonce", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed = e.Sealed[:12] }},
		{"nothing", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed = nil }},
		{"longer", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed = append(e.Sealed, 0) }},
		{"another nonce", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed[0] ^= 1 }},
		{"another value", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed[12] ^= 1 }},
		{"another tag", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed[len(e.Sealed)-1] ^= 1 }},
		{"foreign", func(_ *sfoauth.Secret, _ *string, e *tokenstore.Entry) { e.Sealed = []byte(strings.Repeat("x", 64)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			secret, app, e := secret, app, seal(t, "value")
			c.change(&secret, &app, &e)
			value, err := tokenstore.Open(secret, app, e)
			if err == nil || value != nil || !strings.Contains(err.Error(), "app "+app) {
				t.Errorf("%q: %v", value, err)
			}
			if err != nil && !secret.IsZero() && strings.Contains(err.Error(), secret.Reveal()) {
				t.Error("the error holds the secret")
			}
		})
	}
}

func TestSealWithoutSecret(t *testing.T) {
	t.Parallel()
	if _, err := tokenstore.Seal(sfoauth.Secret{}, app, tokenstore.Entry{}, nil); err == nil {
		t.Error("sealed without a secret")
	}
}

func TestExpiryIsSealedInWholeSeconds(t *testing.T) {
	t.Parallel()
	e := seal(t, "value")
	e.Expires = e.Expires.Add(time.Second - time.Nanosecond).UTC()
	if _, err := tokenstore.Open(secret, app, e); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	e := seal(f, "value")
	f.Add(app, e.Version, e.Counter, e.Expires.Unix(), e.Sealed)
	f.Add("", "", int64(0), int64(0), []byte(nil))
	f.Fuzz(func(t *testing.T, name, version string, counter, expires int64, sealed []byte) {
		fuzzed := tokenstore.Entry{Version: version, Counter: counter, Expires: time.Unix(expires, 0), Sealed: sealed}
		value, err := tokenstore.Open(secret, name, fuzzed)
		same := name == app && version == e.Version && counter == e.Counter && expires == e.Expires.Unix()
		if err == nil && (!same || string(value) != "value") {
			t.Errorf("%q was opened", value)
		}
	})
}
