package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestExamineLogins(t *testing.T) {
	t.Parallel()
	const (
		stackIP, otherIP, machineIP, thiefIP = "203.0.113.5", "2001:db8::5", "198.51.100.7", "192.0.2.66"

		success, refused = "Success", "Restricted IP"
	)
	now := time.Now()
	at := func(ago time.Duration, ip, status string) sfoauth.Login {
		return sfoauth.Login{Time: now.Add(-ago), SourceIP: ip, Status: status}
	}
	loggedIn := &sfoauth.Token{} // by this run
	for _, c := range []struct {
		name   string
		own    *sfoauth.Token
		logins []sfoauth.Login // the newest first
		status Status
		found  string
	}{
		{"no logins", nil, nil, Skipped, "has no login"},
		{"the stack's login", nil, []sfoauth.Login{at(0, stackIP, success)}, OK, "203.0.113.5"},
		{"the stack's other address", nil, []sfoauth.Login{at(0, otherIP, success)}, OK, "2001:db8::5"},
		{"an IPv4 address in IPv6 notation", nil, []sfoauth.Login{at(0, "::ffff:"+stackIP, success)}, OK, "203.0.113.5"},
		{"no address", nil, []sfoauth.Login{at(0, "Salesforce.com IP", success)}, Failed, "Salesforce.com IP"},
		{"this run's login", loggedIn,
			[]sfoauth.Login{at(0, machineIP, success), at(time.Hour, stackIP, success)}, OK, stackIP},
		{"this run's login, at another second", loggedIn,
			[]sfoauth.Login{at(-2*time.Second, machineIP, success), at(time.Hour, stackIP, success)}, OK, stackIP},
		{"this run's login, not the newest", loggedIn,
			[]sfoauth.Login{at(-3*time.Second, stackIP, success), at(time.Second, machineIP, success)}, OK, stackIP},
		{"this run's login, soon after the stack's", loggedIn,
			[]sfoauth.Login{at(time.Second, machineIP, success), at(20*time.Second, stackIP, success)}, OK, stackIP},
		{"this run's login, in the same second as the stack's", loggedIn,
			[]sfoauth.Login{at(time.Second/2, stackIP, success), at(time.Second/2, machineIP, success)}, OK, stackIP},
		{"this run's login, in the same second as a thief's", loggedIn, []sfoauth.Login{
			at(time.Second/2, machineIP, success), at(time.Second/2, thiefIP, success), at(time.Hour, stackIP, success),
		}, Failed, thiefIP},
		{"this run's login, not in the history", loggedIn, []sfoauth.Login{at(time.Hour, thiefIP, success)}, Failed, thiefIP},
		{"this run's refused login", nil,
			[]sfoauth.Login{at(time.Second, machineIP, refused), at(time.Second/2, stackIP, success)}, OK, stackIP},
		{"other logins of this machine", loggedIn, []sfoauth.Login{
			at(0, machineIP, success), at(time.Minute, machineIP, success), at(time.Hour, stackIP, success),
			at(2*time.Hour, machineIP, refused),
		}, OK, stackIP},
		{"a refused login after the stack's", nil, []sfoauth.Login{at(0, thiefIP, refused), at(time.Hour, stackIP, success)},
			Warning, thiefIP},
		{"a login before the stack's", nil, []sfoauth.Login{at(0, stackIP, success), at(23*time.Hour, thiefIP, success)},
			Warning, thiefIP},
		{"a login long before the stack's", nil,
			[]sfoauth.Login{at(0, stackIP, success), at(25*time.Hour, thiefIP, success)}, OK, stackIP},
		{"an old login that is the last one", nil, []sfoauth.Login{at(100*24*time.Hour, thiefIP, success)}, Failed, thiefIP},
	} {
		egress, err := ParseEgressAddresses("203.0.113.0/28, 2001:db8::5")
		if err != nil {
			t.Fatal(err)
		}
		s := &session{Config: Config{EgressAddresses: egress}, ownToken: c.own}
		if c.own != nil || c.name == "this run's refused login" {
			s.loginAt = now
		}
		if got := s.examineLogins(c.logins); got.status != c.status || !strings.Contains(got.found, c.found) {
			t.Errorf("%s: %s: %s; want %s, %q", c.name, got.status, got.found, c.status, c.found)
		}
	}
}
