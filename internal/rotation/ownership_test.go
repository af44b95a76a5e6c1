package rotation

import (
	"testing"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// A consumer belongs to the secret only if a complete consumer key and secret prove it.
func TestOwnership(t *testing.T) {
	t.Parallel()
	credentials := func(key, secret string) sfoauth.ConsumerCredentials {
		return sfoauth.ConsumerCredentials{ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret)}
	}
	at := &orgCredentials{primary: credentials("main", "main-secret"), staged: []sfoauth.StagedCredentials{
		{ConsumerCredentials: credentials("active", "active-secret"), ID: "1", State: sfoauth.Active},
		{ConsumerCredentials: credentials("rotated", "rotated-secret"), ID: "2", State: sfoauth.Rotated},
		{ConsumerCredentials: credentials("expired", "expired-secret"), ID: "3", State: sfoauth.Expired},
		{ConsumerCredentials: credentials("hidden", ""), ID: "4", State: sfoauth.Active},
	}}
	for _, test := range []struct {
		key, secret, staged string
		holds, knows        bool
	}{
		{"main", "main-secret", "", true, true},
		{"active", "active-secret", "1", true, true},
		{"rotated", "rotated-secret", "", false, true},
		{"expired", "expired-secret", "", false, true},
		{"main", "guessed", "", false, false},
		{"main", "", "", false, false},
		{"main", "active-secret", "", false, false},
		{"active", "guessed", "", false, false},
		{"active", "", "", false, false},
		{"rotated", "guessed", "", false, false},
		{"hidden", "", "", false, false}, // equal, and proves nothing
		{"hidden", "guessed", "", false, false},
		{"other", "main-secret", "", false, false},
		{"", "", "", false, false},
	} {
		version := &appsecret.Version{ConsumerKey: test.key, ConsumerSecret: sfoauth.NewSecret(test.secret)}
		staged, holds, knows := at.stagedID(version), at.holds(version), at.knows(version.Credentials())
		if staged != test.staged || holds != test.holds || knows != test.knows {
			t.Errorf("%s, %s: staged %q, holds %t, knows %t", test.key, test.secret, staged, holds, knows)
		}
	}
}
