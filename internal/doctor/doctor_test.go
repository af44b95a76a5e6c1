package doctor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// secretIn returns what of a report must not be in it.
func (w *world) secretIn(report *doctor.Report) []string {
	text, err := json.Marshal(report)
	w.must(err)
	secrets := w.org.Secrets()
	for _, p := range []struct{ a, b string }{
		{owner.SecretAccessKey, owner.SecretAccessKey}, {oncall.SecretAccessKey, oncall.SessionToken},
		{caller.SecretAccessKey, caller.SessionToken}, {functions.SecretAccessKey, functions.SessionToken},
	} {
		secrets = append(secrets, p.a, p.b)
	}
	var found []string
	for _, secret := range secrets {
		if strings.Contains(string(text), secret) {
			found = append(found, fmt.Sprintf("one of %d characters", len(secret)))
		}
	}
	return found
}

func TestGoodSetUps(t *testing.T) {
	b := build(t)
	w := newWorld(t, b, sfoauthtest.Config{}, nil)
	report := doctor.Run(t.Context(), w.config, nil)
	for _, r := range report.Checks {
		t.Logf("%-10s %-14s %-8s %s | %s", r.Group, r.Check, r.Status, r.Found, r.Fix)
	}
	t.Log(report.Logins, w.secretIn(report))
}
