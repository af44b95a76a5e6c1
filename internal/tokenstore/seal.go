package tokenstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// keyInfo separates the key from all others that may be derived from the same consumer secret.
const keyInfo = "sftoken token table v1"

// Seal returns e with the encrypted value, which only Open with the same secret, app, version, counter and expiry
// decrypts: no part of one entry can be moved to another, and none can be extended.
//
// The key is derived from the consumer secret of the entry's version. Every process that may decrypt the entry reads
// that secret anyway, and a rotation changes the key.
func Seal(secret sfoauth.Secret, app string, e Entry, value []byte) (Entry, error) {
	aead, err := newAEAD(secret)
	if err != nil {
		return Entry{}, fmt.Errorf("sealing the entry of app %s: %w", app, err)
	}
	e.Sealed = aead.Seal(nil, nil, value, additionalData(app, e)) //nolint:gosec // the AEAD makes the nonce
	return e, nil
}

// Open returns the value of an entry.
func Open(secret sfoauth.Secret, app string, e Entry) ([]byte, error) {
	aead, err := newAEAD(secret)
	if err != nil {
		return nil, fmt.Errorf("opening the entry of app %s: %w", app, err)
	}
	value, err := aead.Open(nil, nil, e.Sealed, additionalData(app, e))
	if err != nil {
		return nil, fmt.Errorf("opening the entry of app %s: it was not sealed for it with the consumer secret of version "+
			"%s, or has been changed: %w", app, e.Version, err)
	}
	return value, nil
}

func newAEAD(secret sfoauth.Secret) (cipher.AEAD, error) {
	if secret.IsZero() {
		return nil, errors.New("there is no consumer secret")
	}
	key, err := hkdf.Key(sha256.New, []byte(secret.Reveal()), nil, keyInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// additionalData is what is authenticated with the value. No two entries have the same.
func additionalData(app string, e Entry) []byte {
	return fmt.Appendf(nil, "app %q, version %q, counter %d, expires %d", app, e.Version, e.Counter,
		unixTime(e.Expires, time.Time.Unix))
}
