package tokenapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestDeleteSaysThatATokenIsDeadOnlyWhereSalesforceDoes(t *testing.T) {
	for name, c := range map[string]struct {
		fault sfoauthtest.Fault
		err   string // empty: 204
	}{
		"dead already":      {sfoauthtest.ErrorResponse(400, "invalid_token", "invalid token"), ""},
		"it does not do it": {sfoauthtest.ErrorResponse(400, "unsupported_token_type", "this token type is not supported"), "app_misconfigured"},
		"refused":           {sfoauthtest.ErrorResponse(400, "invalid_request", "token is required"), "app_misconfigured"},
		"not found":         {sfoauthtest.ErrorResponse(404, "", ""), "temporarily_unavailable"},
		"busy":              {sfoauthtest.ErrorResponse(420, "", ""), "temporarily_unavailable"},
		"redirected":        {sfoauthtest.Redirect(302, "https://acme.my.salesforce.com/maintenance"), "temporarily_unavailable"},
		"limited":           {sfoauthtest.TooManyRequests(30*time.Second, false), "temporarily_unavailable"},
		"down":              {sfoauthtest.Unavailable(), "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				first := w.get()
				w.org.InjectFault(sfoauthtest.Revoke, c.fault, 1)
				a := w.revoke()
				if a.text("error") != c.err || (a.status == 204) != (c.err == "") {
					t.Fatalf("got %s", a)
				}
				if c.err == "" {
					return
				}
				w.isExplained(a)
				w.want(w.revoke(), 204, "") // tries again
				if w.org.TokenActive(first.token()) {
					t.Error("the token lives")
				}
			})
		})
	}
}

func TestEveryRevocationThatFailedIsTriedAgain(t *testing.T) {
	for name, again := range map[string]func(w *world){
		"by the next DELETE":                 func(w *world) { w.want(w.revoke(), 204, "") },
		"by the next read of the secret":     func(w *world) { time.Sleep(vending.DefaultSecretTTL); w.get() },
		"by the next login":                  func(w *world) { w.want(w.get(), 200, "miss") },
		"by a read where no token is cached": func(w *world) { time.Sleep(vending.DefaultSecretTTL); w.revoke() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
				var tokens []string
				for range 4 {
					a := w.get()
					w.want(a, 200, "miss") // a token that somebody wants revoked is not handed out again
					tokens = append(tokens, a.token())
					w.want(w.revoke(), 503, "temporarily_unavailable")
				}
				for i, token := range tokens {
					if !w.org.TokenActive(token) {
						t.Fatalf("token %d is dead: the fault does not do what it should", i)
					}
				}
				w.org.ClearFaults()
				again(w)
				for i, token := range tokens {
					if w.org.TokenActive(token) {
						t.Errorf("token %d lives on", i)
					}
				}
				asked := w.org.Stats().Calls[sfoauthtest.Revoke]
				time.Sleep(vending.DefaultSecretTTL)
				if w.get(); w.org.Stats().Calls[sfoauthtest.Revoke] != asked {
					t.Error("what is dead is revoked again and again")
				}
			})
		})
	}
}

func TestTokensOfTwoLeaksAreRevokedThoughBothFailedAtFirst(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		var tokens []string
		for range 3 {
			tokens = append(tokens, w.get().token())
			w.label("COMPROMISED")
			w.store(w.pair(w.app.Regenerate()))
			time.Sleep(vending.DefaultSecretTTL)
		}
		last := w.get()
		w.want(last, 200, "miss")
		w.org.ClearFaults()
		time.Sleep(vending.DefaultSecretTTL)
		w.lines()
		w.get()
		for i, token := range tokens {
			if w.org.TokenActive(token) {
				t.Errorf("the token of leaked credentials %d lives on", i)
			}
		}
		if !w.org.TokenActive(last.token()) {
			t.Error("the token of the present credentials is dead")
		}
		if warning, _ := w.lines()[0]["warning"].(string); strings.Count(warning, "revoked token") != 3 {
			t.Errorf("the log says %q", warning)
		}
	})
}

func TestRevocationsThatWaitAreBounded(t *testing.T) {
	const most = 100
	bubble(t, options{config: vending.Config{Logins: loginbudget.New(2*most, 0)}}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
		var tokens []answer
		for range most + 2 {
			tokens = append(tokens, w.get())
			w.lines()
			w.revoke()
		}
		if warning := fmt.Sprint(w.lines()[0]["warning"]); !strings.Contains(warning, "gave up revoking token "+tokens[1].id()) {
			t.Errorf("the log says %q", warning)
		}
		w.org.ClearFaults()
		w.want(w.revoke(), 204, "")
		for i, a := range tokens {
			if w.org.TokenActive(a.token()) != (i < 2) {
				t.Errorf("token %d: lives: %t", i, i >= 2)
			}
		}
	})
}

// Salesforce may answer a login with the session whose revocation has failed.
func TestATokenToBeRevokedThatALoginReturnsAgain(t *testing.T) {
	bubble(t, options{org: sfoauthtest.Config{SharedSessions: true}}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 2)
		w.want(w.revoke(), 503, "temporarily_unavailable")
		same := w.get() // there is no other, and it cannot be revoked yet
		w.want(same, 200, "miss")
		if same.id() != first.id() {
			t.Fatal("the session is not shared")
		}
		time.Sleep(vending.DefaultSecretTTL)
		w.want(w.get(), 200, "miss")
		if w.org.TokenActive(first.token()) {
			t.Error("the token lives on")
		}
	})
}

// The credentials of a token may be refused when it is to be revoked, and so may those that have come after.
func TestATokenIsRevokedWithWhicheverCredentialsWork(t *testing.T) {
	refused := sfoauthtest.ErrorResponse(400, "invalid_client", "invalid client credentials")
	for name, faults := range map[string][]sfoauthtest.Fault{
		"the new ones": {sfoauthtest.NoFault(), sfoauthtest.NoFault()}, // the cached token's, and those for the other token
		"its own":      {sfoauthtest.NoFault(), refused, sfoauthtest.NoFault()},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				first := w.get()
				w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 0)
				w.want(w.revoke(), 503, "temporarily_unavailable")
				key, secret := w.app.Regenerate()
				w.store(w.pair(key, secret))
				time.Sleep(vending.DefaultSecretTTL)
				w.want(w.get(), 200, "miss")
				w.org.ClearFaults()
				sent := &spy{RoundTripper: w.handler.vendor.HTTPClient.Transport}
				w.handler.vendor.HTTPClient.Transport = sent
				for _, fault := range faults {
					w.org.InjectFault(sfoauthtest.Revoke, fault, 1)
				}
				w.org.InjectFault(sfoauthtest.Revoke, refused, 0)
				w.want(w.revoke(), 204, "")
				if w.org.TokenActive(first.token()) {
					t.Error("the token lives on")
				}
				if len(sent.bodies) != len(faults) || !strings.Contains(sent.bodies[1], key) {
					t.Errorf("%d revocations; the second is to be made with the present credentials", len(sent.bodies))
				}
			})
		})
	}
}

// spy passes requests on and notes their bodies.
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

func TestTheCredentialsForAnotherOrgAreNotSentToTheOneBefore(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		first := w.get()
		w.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.Unavailable(), 1)
		w.want(w.revoke(), 503, "temporarily_unavailable")
		w.store(map[string]any{"consumerKey": "other-key", "consumerSecret": "other-secret", "baseUri": "https://other.my.salesforce.com"})
		time.Sleep(vending.DefaultSecretTTL)
		seen := &spy{RoundTripper: w.handler.vendor.HTTPClient.Transport}
		w.handler.vendor.HTTPClient.Transport = seen
		w.want(w.revoke(), 204, "")
		if w.org.TokenActive(first.token()) || len(seen.bodies) == 0 {
			t.Error("the token of the org before lives on")
		}
		if strings.Contains(strings.Join(seen.bodies, " "), "other-secret") {
			t.Error("the org before was sent the secret for another")
		}
	})
}
