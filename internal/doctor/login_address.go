package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// ParseEgressAddresses parses a list of IP addresses and CIDR blocks, of IPv4 and IPv6, separated by commas. It returns
// nil for an empty list.
func ParseEgressAddresses(text string) ([]netip.Prefix, error) {
	var egress []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		block, err := netip.ParsePrefix(part)
		if addr, failed := netip.ParseAddr(part); failed == nil && addr.Zone() == "" {
			block, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
		}
		switch {
		case err != nil || block.Addr().Is4In6():
			return nil, fmt.Errorf("%q is not an IP address or a CIDR block", part)
		case block.Bits() == 0:
			return nil, fmt.Errorf("%q is every address", part)
		}
		egress = append(egress, block.Masked())
	}
	return egress, nil
}

// fromStack reports whether the login came from one of the egress addresses.
func (s *session) fromStack(login sfoauth.Login) bool {
	addr, err := netip.ParseAddr(strings.TrimSpace(login.SourceIP))
	contains := func(block netip.Prefix) bool { return err == nil && block.Contains(addr.Unmap()) }
	return slices.ContainsFunc(s.EgressAddresses, contains)
}

const (
	examinedLogins = 100            // the newest ones are examined
	recentLogins   = 24 * time.Hour // how long an attempt from an unknown address is reported, unless it is the last login
)

// loginAddress compares the address of the last login with those of the stack. A user may read its own login history.
func (s *session) loginAddress(ctx context.Context) outcome {
	if s.userID == "" {
		return blockedBy("user")
	}
	logins, err := s.bearerClient().LastLogins(ctx, s.token(), s.userID, examinedLogins)
	if err != nil {
		return historyUnavailable(err)
	}
	return s.examineLogins(logins)
}

// historyUnavailable is the outcome if the login history cannot be read. Salesforce quotes the query in its message.
func historyUnavailable(err error) outcome {
	refused := orgError(err)
	if refused.Code == "INVALID_TYPE" {
		return skipped("the user may not read its login history: see Login History in Setup")
	}
	return skipped("cannot read the user's login history: " + salesforceError(refused))
}

// examineLogins returns the outcome for a login history, the newest record first.
func (s *session) examineLogins(logins []sfoauth.Login) outcome {
	logins, machine := s.leaveOutOwn(logins)
	i := slices.IndexFunc(logins, sfoauth.Login.Succeeded)
	switch {
	case i < 0 && machine != "":
		return skipped("the login history has no logins but those from this machine's address, " + machine)
	case i < 0:
		return skipped("the login history has no login")
	}
	return s.judgeLogins(logins[i], logins)
}

// leaveOutOwn removes this run's own login, and returns the address that it came from. Other logins from that address
// are of other commands on this machine: they are removed too if the stack is known to have other addresses.
func (s *session) leaveOutOwn(logins []sfoauth.Login) (others []sfoauth.Login, machine string) {
	i := s.ownLogin(logins)
	if i < 0 {
		return logins, ""
	}
	own := logins[i]
	logins = slices.Delete(logins, i, i+1)
	if len(s.EgressAddresses) > 0 && !s.fromStack(own) {
		logins = slices.DeleteFunc(logins, func(l sfoauth.Login) bool { return l.SourceIP == own.SourceIP })
	}
	return logins, own.SourceIP
}

// judgeLogins returns the outcome for the last login and all examined attempts, which include it.
func (s *session) judgeLogins(last sfoauth.Login, logins []sfoauth.Login) outcome {
	const leaked = "Otherwise another program logs in as this user: if it has this app's credentials, see \"The secret " +
		"has leaked\" in the runbook"
	found := "the last login came from " + describeLogin(last)
	switch {
	case len(s.EgressAddresses) == 0:
		return ok(found + ". If the functions have fixed addresses, pass them with --egress-addresses to compare it")
	case !s.fromStack(last):
		return failed(found+", which is not one of the egress addresses", "if the functions made it, deploy with SubnetIds "+
			"and SecurityGroupIds, or correct --egress-addresses. "+leaked)
	}
	isUnknown := func(l sfoauth.Login) bool { return !s.fromStack(l) && time.Since(l.Time) < recentLogins }
	found += ", one of the egress addresses"
	i := slices.IndexFunc(logins, isUnknown)
	if i < 0 {
		return ok(found)
	}
	return warning(found+". Within a day there was an attempt from "+describeLogin(logins[i]),
		"expected after `sftoken secret put` or this command on another machine, and if the egress addresses are new. "+
			leaked)
}

// describeLogin returns where a login came from, when, and what made it.
func describeLogin(login sfoauth.Login) string {
	text := login.SourceIP + " on " + date(login.Time)
	if login.Application != "" {
		text += " by " + login.Application
	}
	if !login.Succeeded() {
		text += ", which Salesforce refused (" + login.Status + ")"
	}
	return text
}

// ownLogin returns the index of the login that this run has made, or -1. Salesforce does not document that LoginTime is
// the token's issued_at, so it is the record that is closest to it, within a minute. LoginTime has whole seconds, and
// the stack may have logged in for this run in the same second.
func (s *session) ownLogin(logins []sfoauth.Login) int {
	if s.loginAt.IsZero() {
		return -1
	}
	own, closest := -1, time.Minute
	for i, login := range logins {
		if login.Succeeded() != (s.ownToken != nil) {
			continue
		}
		distance := login.Time.Sub(s.loginAt).Abs()
		if distance < closest || own >= 0 && distance == closest && s.fromStack(logins[own]) {
			own, closest = i, distance
		}
	}
	return own
}

// issuedAt returns when Salesforce issued the token, by its own clock, or now if the token has no such time.
func issuedAt(token *sfoauth.Token) time.Time {
	if ms, err := strconv.ParseInt(token.IssuedAt, 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	return time.Now()
}
