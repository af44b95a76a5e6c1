package vending

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestRevocationErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		want  string
	}{
		"dead already": {sfoauthtest.ErrorResponse(400, "invalid_token", "invalid token"), "revoked"},
		"unsupported": {
			sfoauthtest.ErrorResponse(400, "unsupported_token_type", "this token type is not supported"), "app_misconfigured",
		},
		"refused":   {sfoauthtest.ErrorResponse(400, "invalid_request", "token is required"), "app_misconfigured"},
		"not found": {sfoauthtest.ErrorResponse(404, "", ""), "temporarily_unavailable"},
		"busy":      {sfoauthtest.ErrorResponse(420, "", ""), "temporarily_unavailable"},
		"redirected": {
			sfoauthtest.Redirect(302, "https://acme.my.salesforce.com/maintenance"), "temporarily_unavailable",
		},
		"limited": {sfoauthtest.TooManyRequests(30*time.Second, false), "temporarily_unavailable"},
		"down":    {sfoauthtest.Unavailable(), "temporarily_unavailable"},
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			first := h.vend()
			h.Org.InjectFault(sfoauthtest.Revoke, c.fault, 1)
			a := h.revoke()
			h.want(a, c.want)
			if a.revoked {
				return
			}
			h.want(h.revoke(), "revoked") // tries again
			h.wantDead(first)
		})
	}
}

func TestFailedRevocationsAreRetried(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(h *harness){
		"by the next DELETE":                 func(h *harness) { h.want(h.revoke(), "revoked") },
		"by the next read of the secret":     func(h *harness) { time.Sleep(DefaultSecretTTL); h.vend() },
		"by the next login":                  func(h *harness) { h.want(h.vend(), "miss") },
		"by a read where no token is cached": func(h *harness) { time.Sleep(DefaultSecretTTL); h.revoke() },
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
			var tokens []string
			for range 4 {
				a := h.vend()
				h.want(a, "miss") // a token that a caller has revoked is not handed out again
				tokens = append(tokens, a.token())
				h.want(h.revoke(), "temporarily_unavailable")
			}
			for i, token := range tokens {
				if !h.Org.TokenActive(token) {
					t.Fatalf("token %d is dead: the fault has no effect", i)
				}
			}
			h.Org.ClearFaults()
			again(h)
			for i, token := range tokens {
				if h.Org.TokenActive(token) {
					t.Errorf("token %d is active", i)
				}
			}
			asked := h.Org.Stats().Calls[sfoauthtest.Revoke]
			time.Sleep(DefaultSecretTTL)
			if h.vend(); h.Org.Stats().Calls[sfoauthtest.Revoke] != asked {
				t.Error("a dead token is revoked again")
			}
		})
	}
}

// While a revocation is retried, other requests get the cached token.
func TestRevocationRetryBlocksNoRequest(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		h.want(h.revoke(), "temporarily_unavailable")
		time.Sleep(DefaultSecretTTL - 2*time.Minute)
		h.want(h.vend(), "miss")
		h.Org.ClearFaults()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Hang(), 0)
		time.Sleep(2 * time.Minute)
		retrying := make(chan result, 1)
		go func() { retrying <- h.vend() }() // reads the secret, and retries the revocation
		time.Sleep(time.Second)
		if a := h.vend(); a.String() != "hit" || a.took > 0 {
			t.Errorf("got %s after %s", a, a.took)
		}
		if a := <-retrying; a.String() != "hit" || a.took != retryRevocationsTimeout {
			t.Errorf("the request that retries got %s after %s", a, a.took)
		}
	})
}

func TestRevocationsOfSeveralIncidents(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		var tokens []string
		for range 3 {
			tokens = append(tokens, h.vend().token())
			h.Label("COMPROMISED", h.Current())
			h.Store(h.Value(h.App.Regenerate()))
			time.Sleep(DefaultSecretTTL)
		}
		last := h.vend()
		h.want(last, "miss")
		h.Org.ClearFaults()
		time.Sleep(DefaultSecretTTL)
		a := h.vend()
		for i, token := range tokens {
			if h.Org.TokenActive(token) {
				t.Errorf("the token of compromised credentials %d is active", i)
			}
		}
		if !h.Org.TokenActive(last.token()) {
			t.Error("the token of the current credentials is dead")
		}
		if notes := strings.Join(a.stats.Notes, " "); strings.Count(notes, "revoked token") != 3 {
			t.Errorf("the notes are %q", notes)
		}
	})
}

func TestPendingRevocationsAreBounded(t *testing.T) {
	run(t, options{burst: 2 * maxPending}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		var tokens []result
		var last result
		for range maxPending + 2 {
			tokens = append(tokens, h.vend())
			last = h.revoke()
		}
		if notes := fmt.Sprint(last.stats.Notes); !strings.Contains(notes, "gave up revoking token "+tokens[1].id()) {
			t.Errorf("the notes are %q", notes)
		}
		h.Org.ClearFaults()
		h.want(h.revoke(), "revoked")
		for i, a := range tokens {
			if h.Org.TokenActive(a.token()) != (i < 2) {
				t.Errorf("token %d: active: %t", i, i >= 2)
			}
		}
	})
}

func TestPendingRevocationSurvivesPanic(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1)
		h.want(h.revoke(), "temporarily_unavailable")
		transport := h.vendor.HTTPClient.Transport
		h.vendor.HTTPClient.Transport = panicking{}
		h.want(h.revoke(), "server_error")
		h.vendor.HTTPClient.Transport = transport
		h.want(h.revoke(), "revoked")
		h.wantDead(first)
	})
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("a defect") }

// A login may return the session whose revocation has failed.
func TestLoginReturnsTokenPendingRevocation(t *testing.T) {
	run(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 2)
		h.want(h.revoke(), "temporarily_unavailable")
		same := h.vend() // there is no other, and it cannot be revoked yet
		h.want(same, "miss")
		if same.id() != first.id() {
			t.Fatal("the session is not shared")
		}
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "miss")
		h.wantDead(first)
	})
}

// When a token must be revoked, its credentials may be refused, and so may the newer ones.
func TestRevocationCredentials(t *testing.T) {
	t.Parallel()
	refused := sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials")
	for name, faults := range map[string][]sfoauthtest.Fault{
		"the new ones": {sfoauthtest.NoFault(), sfoauthtest.NoFault()}, // the cached token's, and those for the other token
		"its own":      {sfoauthtest.NoFault(), refused, sfoauthtest.NoFault()},
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			first := h.vend()
			h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
			h.want(h.revoke(), "temporarily_unavailable")
			key, secret := h.App.Regenerate()
			h.Store(h.Value(key, secret))
			time.Sleep(DefaultSecretTTL)
			h.want(h.vend(), "miss")
			h.Org.ClearFaults()
			sent := &spy{RoundTripper: h.vendor.HTTPClient.Transport}
			h.vendor.HTTPClient.Transport = sent
			for _, fault := range faults {
				h.Org.InjectFault(sfoauthtest.Revoke, fault, 1)
			}
			h.Org.InjectFault(sfoauthtest.Revoke, refused, 0)
			h.want(h.revoke(), "revoked")
			h.wantDead(first)
			if len(sent.bodies) != len(faults) || !strings.Contains(sent.bodies[1], key) {
				t.Errorf("%d revocations; the second must use the current credentials", len(sent.bodies))
			}
		})
	}
}

// spy records the bodies of requests.
type spy struct {
	http.RoundTripper
	bodies []string
}

func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	s.bodies = append(s.bodies, string(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return s.RoundTripper.RoundTrip(r)
}

func TestRevocationKeepsCredentialsInTheirOrg(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		first := h.vend()
		h.Org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1)
		h.want(h.revoke(), "temporarily_unavailable")
		value := h.Value("other-key", "other-secret")
		value["baseUri"] = "https://other.my.salesforce.com"
		h.Store(value)
		time.Sleep(DefaultSecretTTL)
		seen := &spy{RoundTripper: h.vendor.HTTPClient.Transport}
		h.vendor.HTTPClient.Transport = seen
		h.want(h.revoke(), "revoked")
		if h.Org.TokenActive(first.token()) || len(seen.bodies) == 0 {
			t.Error("the token of the former org is active")
		}
		if strings.Contains(strings.Join(seen.bodies, " "), "other-secret") {
			t.Error("the former org was sent the secret of another one")
		}
	})
}
