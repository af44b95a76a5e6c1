package sfoauthtest

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// credentials is a consumer key and secret.
type credentials struct {
	key, secret string
	id          string
	state       string // empty for primary credentials
	created     time.Time
	createdBy   string    // user id; empty: in Setup
	knownFrom   time.Time // when the token endpoint accepts them
	expires     time.Time // zero: never
}

// newCredentials returns credentials that the token endpoint accepts after delay.
func (o *Org) newCredentials(delay time.Duration) *credentials {
	now := o.config.Now()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return &credentials{
		key:       "3MVG9" + randomText(58) + "." + randomText(20),
		secret:    o.trackSecret(strings.ToUpper(hex.EncodeToString(secret))),
		id:        newID("0xJ"),
		created:   now,
		knownFrom: now.Add(delay),
	}
}

// findCredentials returns the credentials with this key and their app, or nil if the token endpoint does not accept
// them.
func (o *Org) findCredentials(key string) (*App, *credentials) {
	now := o.config.Now()
	for _, app := range o.apps {
		app.expireStaged()
		for _, p := range append([]*credentials{app.primary}, app.staged...) {
			switch {
			case p.key != key || now.Before(p.knownFrom) || p.state == stateExpired:
			case p.state == stateActive && o.config.StagedCannotLogIn:
			default:
				return app, p
			}
		}
	}
	return nil, nil
}

// CanLogin reports whether a login with the key and secret would succeed now, from an address in the user's login IP
// ranges. It does not count as a login.
func (o *Org) CanLogin(key, secret string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	app, p := o.findCredentials(key)
	return p != nil && p.secret == secret && !app.options.NotInstalled && o.loginError(app, app.options.RunAs) == nil
}

func (o *Org) findApp(id string) *App {
	i := slices.IndexFunc(o.apps, func(a *App) bool { return equalIDs(a.ID, id) })
	if i < 0 {
		return nil
	}
	return o.apps[i]
}

// equalIDs reports whether other, of 15 or 18 characters, is id.
func equalIDs(id, other string) bool { return other == id || other == id[:15] }

// expireStaged expires staged credentials and drops rotated ones after their expiry date.
func (a *App) expireStaged() {
	now := a.org.config.Now()
	for _, p := range a.staged {
		if p.state == stateActive && !now.Before(p.expires) {
			p.state = stateExpired
		}
	}
	a.staged = slices.DeleteFunc(a.staged, func(p *credentials) bool {
		return p.state == stateRotated && !now.Before(p.expires)
	})
}

func (a *App) findStaged(id string) *credentials {
	i := slices.IndexFunc(a.staged, func(p *credentials) bool { return equalIDs(p.id, id) })
	if i < 0 {
		return nil
	}
	return a.staged[i]
}

func (a *App) removeStaged(p *credentials) {
	a.staged = slices.DeleteFunc(a.staged, func(other *credentials) bool { return other == p })
}

const (
	capital  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alphabet = capital + "abcdefghijklmnopqrstuvwxyz0123456789"
)

// randomText returns n random letters and digits.
func randomText(n int) string {
	text := make([]byte, n)
	_, _ = rand.Read(text) // never fails
	for i, b := range text {
		text[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(text)
}

// newID returns a record id of 18 characters: 15 that are case-sensitive, and three that encode their case in five bits
// each.
func newID(prefix string) string {
	id := prefix + randomText(15-len(prefix))
	suffix := make([]byte, 0, 3)
	for part := range 3 {
		bits := 0
		for i := range 5 {
			if strings.IndexByte(capital, id[5*part+i]) >= 0 {
				bits |= 1 << i
			}
		}
		suffix = append(suffix, (capital + "012345")[bits])
	}
	return id + string(suffix)
}
