package doctor_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// thiefIP is the address of a program that has the leaked credentials.
const thiefIP = "192.0.2.66"

// egress passes the stack's addresses to doctor.
func (w *harness) egress(addresses string) {
	w.Helper()
	egress, err := doctor.ParseEgressAddresses(addresses)
	w.must(err)
	w.config.EgressAddresses = egress
}

// logIn logs in as the app from an address. Salesforce may refuse it.
func (w *harness) logIn(ip string) {
	key, secret := w.app.Credentials()
	client := &sfoauth.Client{
		BaseURL: w.orgURL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret), AllowedHosts: w.config.Hosts,
		HTTPClient: from(ip),
	}
	_, _ = client.Token(w.Context())
}

// onlyStack gives the user login IP ranges that admit only the stack.
func (w *harness) onlyStack() {
	w.userChange(func(u *sfoauthtest.UserOptions) {
		u.LoginIPRanges = []netip.Prefix{netip.MustParsePrefix(stackIP + "/32")}
	})
	w.egress(stackIP)
}

var loginAddressSetups = []setup{
	{name: "a stack that logs in from another address", change: func(w *harness) { w.egress("203.0.113.6, 2001:db8::1") },
		cause: "login-address", found: "from 203.0.113.5 on ", fix: "SubnetIds"},
	{name: "a stack that logs in from another address, as a caller sees it", as: caller,
		change: func(w *harness) { w.egress("203.0.113.6") },
		cause:  "login-address", found: "by CRM, which is not one of the egress addresses", fix: "SubnetIds"},
	{name: "a thief who has logged in last", change: func(w *harness) { w.vend(); w.logIn(thiefIP); w.egress(stackIP) },
		cause: "login-address", found: "the last login came from 192.0.2.66", fix: "The secret has leaked"},
	{name: "a thief who has logged in before", change: func(w *harness) { w.logIn(thiefIP); w.vend(); w.egress(stackIP) },
		cause: "login-address", status: doctor.Warning, found: "Within a day there was an attempt from 192.0.2.66",
		fix: "The secret has leaked"},
	{name: "a thief whom Salesforce refuses", as: caller, change: func(w *harness) {
		w.onlyStack()
		w.vend()
		w.logIn(thiefIP)
	}, cause: "login-address", status: doctor.Warning, found: "which Salesforce refused (Failed: ip restricted",
		fix: "The secret has leaked"},
	{name: "a thief on a machine that Salesforce refuses too", change: func(w *harness) {
		w.onlyStack()
		w.vend()
		w.logIn(thiefIP)
	}, cause: "login-address", status: doctor.Warning, found: thiefIP, fix: "The secret has leaked",
		also: []string{"login"}},
	{name: "a machine that Salesforce refuses", change: func(w *harness) { w.onlyStack(); w.vend() },
		cause: "login", status: doctor.Warning, found: "ip restricted", fix: "only this machine's address"},
	{name: "a user who may not read its login history", as: caller,
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.NoLoginHistory = true }) },
		cause:  "login-address", status: doctor.Skipped, found: "see Login History in Setup"},
	{name: "a login history that is not available", as: caller, config: sfoauthtest.Config{RequestsPerDay: 2},
		change: func(*harness) {}, cause: "login-address", status: doctor.Skipped, found: "REQUEST_LIMIT_EXCEEDED"},
}

// newUser makes the app act as another user, with whom only doctor logs in.
func (w *harness) newUser() {
	user := w.org.AddUser(sfoauthtest.UserOptions{})
	w.app.Change(func(o *sfoauthtest.AppOptions) { o.RunAs = user })
	w.config.URL = ""
}

func TestLoginAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(w *harness)
		found  string
	}{
		{"the stack's login", func(*harness) {}, "the last login came from 203.0.113.5 on "},
		{"after a login on this machine", func(w *harness) { w.vend(); w.logIn(machineIP) }, "came from 198.51.100.7 on "},
		{"one of the stack's addresses", func(w *harness) { w.egress("203.0.113.0/24") }, ", one of the egress addresses"},
		{"the run's own login alone", func(w *harness) { w.newUser() }, "no logins but those from this machine's"},
		{"only logins on this machine", func(w *harness) {
			w.newUser()
			w.logIn(machineIP)
			w.egress(stackIP)
		}, "no logins but those from this machine's address, 198.51.100.7"},
		{"an app whose name changes the direction of the text", func(w *harness) {
			w.app.Change(func(o *sfoauthtest.AppOptions) { o.Name = "a\u202eb\n" })
		}, " by a?b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newHarness(t, sfoauthtest.Config{}, nil)
			c.change(w)
			report := doctor.Run(t.Context(), w.config)
			got := find(report, "login-address")
			if got.Status == doctor.Failed || got.Status == doctor.Warning || !strings.Contains(got.Found, c.found) {
				t.Errorf("%s: %s; want %q", got.Status, got.Found, c.found)
			}
		})
	}
}

func TestParseEgressAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                 "[]",
		" , ":                              "[]",
		"203.0.113.5":                      "[203.0.113.5/32]",
		"203.0.113.5,203.0.113.6":          "[203.0.113.5/32 203.0.113.6/32]",
		" 203.0.113.7/24 , 2001:db8::1/64": "[203.0.113.0/24 2001:db8::/64]",
		"2001:db8::1":                      "[2001:db8::1/128]",
		"::ffff:203.0.113.5":               "[203.0.113.5/32]",
		"::ffff:203.0.113.5/120":           "error",
		"0.0.0.0/0":                        "error",
		"203.0.113.5,::/0":                 "error",
		"fe80::1%eth0":                     "error",
		"203.0.113.5/33":                   "error",
		"203.0.113":                        "error",
		"203.0.113.5 203.0.113.6":          "error",
		"sftoken.example":                  "error",
	} {
		egress, err := doctor.ParseEgressAddresses(text)
		got := fmt.Sprint(egress)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}
