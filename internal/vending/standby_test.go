package vending

import (
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// runStandby runs a test of a standby region's Vendor, whose replica of the secret lags behind for ever once the test
// calls lag.
func runStandby(t *testing.T, o options, test func(t *testing.T, h *harness, lag func())) {
	t.Helper()
	simtest.Run(t, simtest.Options{
		Org: o.org, App: o.app, Secret: o.secret, StandbyAWS: &localaws.SecretsManagerConfig{},
	}, func(t *testing.T, sim *simtest.Harness) {
		h := &harness{Harness: sim}
		h.Replicate()
		h.vendor = New(Config{
			Secrets: appsecret.Reader{Client: h.StandbySecrets, Prefix: simtest.Prefix}, Standby: true,
			Hosts: sfoauth.AllowedHosts{simtest.OrgHost}, HTTPClient: h.SalesforceClient(), Logins: loginbudget.New(0, 0),
		})
		test(t, h, func() { h.Replication.SetLag(1000 * time.Hour) })
	})
}

// The primary region has rotated, and nothing of that has arrived: neither AWSCURRENT nor AWSPENDING. Salesforce does
// not document which secret signs then.
func TestStandbyVendsWithReplacedCredentials(t *testing.T) {
	t.Parallel()
	for name, primarySigns := range map[string]bool{
		"the login's own credentials sign": false, "the primary ones sign": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runStandby(t, options{org: sfoauthtest.Config{SignWithPrimary: primarySigns}},
				func(t *testing.T, h *harness, lag func()) {
					first := h.Current()
					lag()
					admin := h.admin()
					staged := h.stage(admin)
					h.Must(admin.Promote(t.Context(), staged.ID))
					for range 29 {
						a := h.vend()
						if a.err != nil || a.grant.VersionID != first {
							t.Fatalf("%s, version %s: %s", a, a.grant.VersionID, a.description())
						}
						if signed := !strings.Contains(strings.Join(a.stats.Notes, " "), "signature"); a.grant.CacheStatus == Miss &&
							signed == primarySigns {
							t.Errorf("the notes are %q", a.stats.Notes)
						}
						time.Sleep(24 * time.Hour)
					}
				})
		})
	}
}

// Credentials that Setup has replaced end at once. What has arrived of the change decides.
func TestStandbyDuringChangeInSetup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		labels func(string) bool // that are replicated
		want   [2]string         // before and after the candidate has become AWSCURRENT
	}{
		"CANDIDATE arrives": {nil, [2]string{"miss", "hit"}},
		"CANDIDATE does not": {
			func(label string) bool { return strings.HasPrefix(label, "AWS") }, [2]string{"app_misconfigured", "miss"},
		},
		"nothing does": {nil, [2]string{"app_misconfigured", "app_misconfigured"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runStandby(t, options{}, func(t *testing.T, h *harness, lag func()) {
				h.Replication.SetLabels(c.labels)
				if name == "nothing does" {
					lag()
				}
				h.Store(h.Value(h.App.Regenerate()), appsecret.Candidate)
				h.want(h.vend(), c.want[0])
				h.Label(appsecret.Current, h.VersionWithLabel(appsecret.Candidate))
				time.Sleep(time.Second)
				h.want(h.vend(), c.want[1])
			})
		})
	}
}

// A caller that allowedPrincipals no longer allows is refused when the change has arrived and the cached secret is old.
func TestStandbyDeniesWhenChangeArrives(t *testing.T) {
	t.Parallel()
	runStandby(t, options{}, func(t *testing.T, h *harness, _ func()) {
		h.want(h.vend(), "miss")
		h.Replication.SetLag(10 * time.Minute)
		h.StoreWith("allowedPrincipals", []string{"333333333333"})
		time.Sleep(9 * time.Minute)
		if a := h.vend(); a.err != nil {
			t.Errorf("before the change has arrived: %s", a)
		}
		time.Sleep(time.Minute + DefaultSecretTTL)
		h.want(h.vend(), "access_denied")
	})
}

// The primary region revokes tokens of compromised credentials when the label moves. A standby does so if the label is
// replicated; otherwise `sftoken revoke` with its address does.
func TestStandbyAfterCompromise(t *testing.T) {
	t.Parallel()
	for name, replicated := range map[string]bool{"the label is replicated": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runStandby(t, options{}, func(t *testing.T, h *harness, _ func()) {
				h.Replication.SetLabels(func(label string) bool { return replicated || strings.HasPrefix(label, "AWS") })
				first := h.vend()
				h.want(first, "miss")
				h.Label(appsecret.Compromised, h.Current())
				other := h.Org.AddApp(sfoauthtest.AppOptions{RunAs: h.App.User})
				h.Store(h.Value(other.Credentials()))
				time.Sleep(DefaultSecretTTL)
				h.want(h.vend(), "miss")
				if active := h.Org.TokenActive(first.token()); active == replicated {
					t.Errorf("the token of the compromised credentials is active: %t", active)
				}
			})
		})
	}
}
