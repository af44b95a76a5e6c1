package vending

import (
	"fmt"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestCompromisedTokenIsRevoked(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"new session": false, "shared session": true} {
		t.Run(name, func(t *testing.T) {
			run(t, options{org: sfoauthtest.Config{SharedSessions: shared}}, func(t *testing.T, h *harness) {
				first := h.vend()
				h.Label("COMPROMISED", h.current())
				key, secret := h.App.Regenerate()
				h.Store(h.Value(key, secret))
				time.Sleep(DefaultSecretTTL)
				second := h.vend()
				h.want(second, "miss")
				if h.Org.TokenActive(first.token()) || second.id() == first.id() {
					t.Error("the token of the compromised credentials is active")
				}
			})
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
			time.AfterFunc(
				time.Second, func() { h.AWS.InjectFault("", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0) },
			)
		},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shared session: %t", name, shared), func(t *testing.T) {
				o := options{org: sfoauthtest.Config{SharedSessions: shared}, config: Config{SecretTTL: time.Minute}}
				run(t, o, func(t *testing.T, h *harness) {
					first := h.vend()
					h.Label("COMPROMISED", h.current())
					key, secret := h.App.Regenerate()
					h.Store(h.Value(key, secret))
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
					h.want(h.vend(), map[bool]string{false: "hit", true: "miss"}[shared])
					if h.Org.TokenActive(first.token()) {
						t.Error("the token of the compromised credentials is active")
					}
					asked := h.Org.Stats().Calls[sfoauthtest.Revoke]
					time.Sleep(time.Minute)
					if h.vend(); h.Org.Stats().Calls[sfoauthtest.Revoke] != asked {
						t.Error("it is revoked again")
					}
				})
			})
		}
	}
}

func TestCompromisedCredentialsInAnotherVersion(t *testing.T) {
	t.Parallel()
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		value := h.Value(h.App.Credentials())
		value["allowedPrincipals"] = []string{"222222222222"}
		h.Store(value) // the same credentials in another version, which this process does not see
		h.Label("COMPROMISED", h.current())
		h.Store(h.Value(h.App.Regenerate()))
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "miss")
		if h.Org.TokenActive(first.token()) {
			t.Error("the token of the compromised credentials is active")
		}
	})
}

func TestCompromisedTokenAfterUnreadableSecret(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"AccessDeniedException", "DecryptionFailure", "ResourceNotFoundException"} {
		t.Run(code, func(t *testing.T) {
			run(t, options{config: Config{SecretTTL: time.Minute}}, func(t *testing.T, h *harness) {
				first := h.vend()
				h.Label("COMPROMISED", h.current())
				h.Store(h.Value(h.App.Regenerate()))
				h.AWS.InjectFault("", localaws.Fault{Code: code, Status: 400}, 1)
				time.Sleep(time.Minute)
				if a := h.vend(); a.err == nil {
					t.Errorf("served without the secret: %s", a)
				}
				h.AWS.ClearFaults()
				time.Sleep(time.Minute)
				h.want(h.vend(), "miss")
				if h.Org.TokenActive(first.token()) {
					t.Error("the token of the compromised credentials is active")
				}
			})
		})
	}
}

func TestCompromisedTokenAfterUnreadableLabel(t *testing.T) {
	t.Parallel()
	run(t, options{config: Config{SecretTTL: time.Minute}}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Label("COMPROMISED", h.current())
		h.Store(h.Value(h.App.Regenerate()))
		time.Sleep(time.Minute)
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(2*time.Second), 1)
		time.AfterFunc(
			time.Second,
			func() { h.AWS.InjectFault("", localaws.Fault{Code: "AccessDeniedException", Status: 400}, 0) },
		)
		h.want(h.vend(), "miss")
		h.AWS.ClearFaults()
		time.Sleep(time.Minute)
		h.vend()
		if h.Org.TokenActive(first.token()) {
			t.Error("the token of the compromised credentials is active")
		}
	})
}

func TestCompromisedCredentialsWithAnotherAddress(t *testing.T) {
	t.Parallel()
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		value := h.Value(h.App.Credentials())
		value["baseUri"] = "HTTP://" + simtest.OrgHost
		h.Store(value)
		h.Label("COMPROMISED", h.current())
		h.Store(h.Value(h.App.Regenerate()))
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "miss")
		if h.Org.TokenActive(first.token()) {
			t.Error("the token of the compromised credentials is active")
		}
	})
}

func TestCompromisedTokenWithoutNewCredentials(t *testing.T) {
	t.Parallel()
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		value := h.Value(h.App.Credentials())
		value["allowedPrincipals"] = []string{"222222222222"}
		h.Store(value)
		h.Label("COMPROMISED", h.current()) // and there are no other credentials yet
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "miss")
		if !h.Org.TokenActive(first.token()) {
			t.Error("its holders have lost it without need")
		}
	})
}

func TestRevokedCompromisedTokenIsNotStale(t *testing.T) {
	t.Parallel()
	run(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, h *harness) {
		h.vend()
		h.Label("COMPROMISED", h.current())
		key, secret := h.App.Regenerate()
		h.Store(h.Value(key, secret))
		time.Sleep(DefaultSecretTTL)
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.NoFault(), 1) // returns the old token, which is then revoked
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
		h.want(h.vend(), "temporarily_unavailable")
		h.Org.ClearFaults()
		time.Sleep(time.Second)
		h.want(h.vend(), "miss")
	})
}
