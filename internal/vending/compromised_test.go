package vending

import (
	"fmt"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestCompromisedTokenIsRevoked(t *testing.T) {
	t.Parallel()
	denySecret := func(code string) func(h *harness) {
		return func(h *harness) {
			h.Compromise()
			h.AWS.InjectFault("", localaws.Fault{Code: code, Status: 400}, 1)
			time.Sleep(time.Minute)
			if a := h.vend(); a.err == nil {
				h.T.Errorf("served without the secret: %s", a)
			}
			h.AWS.ClearFaults()
		}
	}
	for name, c := range map[string]struct {
		shared bool // sessions
		before func(h *harness)
		after  string // result of the next request
	}{
		"new session":    {false, (*harness).Compromise, "miss"},
		"shared session": {true, (*harness).Compromise, "miss"},
		"the same credentials in another version, which this process does not see": {false, func(h *harness) {
			h.StoreWith("allowedPrincipals", []string{"222222222222"})
			h.Compromise()
		}, "miss"},
		"the same credentials with the address in another spelling": {false, func(h *harness) {
			h.StoreWith("baseUri", "HTTP://"+simtest.OrgHost)
			h.Compromise()
		}, "miss"},
		"the secret was denied meanwhile":             {false, denySecret("AccessDeniedException"), "miss"},
		"the secret could not be decrypted meanwhile": {false, denySecret("DecryptionFailure"), "miss"},
		"the secret was gone meanwhile":               {false, denySecret("ResourceNotFoundException"), "miss"},
		"the label was denied at first": {false, func(h *harness) {
			h.Compromise()
			time.Sleep(time.Minute)
			h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 1)
			denied := localaws.Fault{Code: "AccessDeniedException", Status: 400}
			time.AfterFunc(time.Second, func() { h.AWS.InjectFault("", denied, 0) })
			h.want(h.vend(), "miss")
			h.AWS.ClearFaults()
		}, "hit"},
	} {
		o := options{org: sfoauthtest.Config{SharedSessions: c.shared}, config: Config{SecretTTL: time.Minute}}
		subtest(t, name, o, func(t *testing.T, h *harness) {
			first := h.vend()
			c.before(h)
			time.Sleep(time.Minute)
			next := h.vend()
			h.want(next, c.after)
			if h.Org.TokenActive(first.token()) || next.id() == first.id() {
				t.Error("the token of the compromised credentials is active")
			}
		})
	}
}

func TestCompromisedTokenIsRevokedAfterOutage(t *testing.T) {
	t.Parallel()
	for name, inject := range map[string]func(h *harness){
		"Salesforce does not revoke": func(h *harness) {
			h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		},
		"Secrets Manager is down": func(h *harness) {
			h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 1)
			down := localaws.Fault{Code: "InternalServiceError", Status: 500}
			time.AfterFunc(time.Second, func() { h.AWS.InjectFault("", down, 0) })
		},
	} {
		for shared, healed := range map[bool]string{false: "hit", true: "miss"} {
			o := options{org: sfoauthtest.Config{SharedSessions: shared}, config: Config{SecretTTL: time.Minute}}
			subtest(t, fmt.Sprintf("%s, shared session: %t", name, shared), o, func(t *testing.T, h *harness) {
				first := h.vend()
				h.Compromise()
				time.Sleep(time.Minute)
				inject(h)
				a := h.vend()
				h.want(a, "miss")
				if a.stats.Err == nil || !h.Org.TokenActive(first.token()) {
					t.Fatal("the revocation has not failed, or its error is not reported")
				}
				time.Sleep(time.Minute)
				h.want(h.vend(), "hit") // still down
				h.Org.ClearFaults()
				h.AWS.ClearFaults()
				time.Sleep(time.Minute)
				h.want(h.vend(), healed)
				h.wantDead(first)
				revocations := h.Org.Stats().Calls[sfoauthtest.Revoke]
				time.Sleep(time.Minute)
				if h.vend(); h.Org.Stats().Calls[sfoauthtest.Revoke] != revocations {
					t.Error("it is revoked again")
				}
			})
		}
	}
}

func TestCompromisedTokenWithoutNewCredentials(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.StoreWith("allowedPrincipals", []string{"222222222222"})
		h.Label(appsecret.Compromised, h.Current())
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "miss")
		if !h.Org.TokenActive(first.token()) {
			t.Error("its holders have lost it without need")
		}
	})
}

func TestRevokedCompromisedTokenIsNotStale(t *testing.T) {
	run(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, h *harness) {
		h.vend()
		h.Compromise()
		time.Sleep(DefaultSecretTTL)
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.NoFault(), 1) // returns the old token, which is then revoked
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		h.want(h.vend(), "temporarily_unavailable")
		h.Org.ClearFaults()
		time.Sleep(time.Second)
		h.want(h.vend(), "miss")
	})
}
