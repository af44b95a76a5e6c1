package sfoauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const host = "acme.my.salesforce.com:443"

// connect returns an org on a network in memory, an app in it, and the app's client.
func connect(
	t *testing.T,
	config sfoauthtest.Config,
	options sfoauthtest.AppOptions,
) (*sfoauthtest.Org, *sfoauthtest.App, *sfoauth.Client) {
	t.Helper()
	network := &sfoauthtest.Network{}
	org := sfoauthtest.New(config)
	stop, err := network.Serve(host, org)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	app := org.AddApp(options)
	key, secret := app.Credentials()
	transport := network.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return org, app, &sfoauth.Client{
		BaseURL: "https://acme.my.salesforce.com", ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret),
		HTTPClient: &http.Client{Transport: transport},
	}
}

func TestTheLifeOfAToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, app, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{ExtraFields: true})
		token, err := client.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if token.OrganizationID != org.ID() || token.UserID != app.User.ID || token.TokenType != "Bearer" || token.InstanceURL != "https://acme.my.salesforce.com" ||
			token.APIInstanceURL == "" || token.Signature.IsZero() || token.IssuedAt == "" ||
			!strings.Contains(token.Scope, "api") ||
			!token.Expiry.IsZero() {
			t.Errorf("token %+v", token)
		}
		said, err := client.Introspect(t.Context(), token)
		if err != nil || !said.Active || said.Username != app.User.Username() || said.ClientID != client.ConsumerKey ||
			time.Until(said.Expiry) != 2*time.Hour {
			t.Errorf("introspection %+v, %v", said, err)
		}
		if who, err := client.UserInfo(t.Context(), token); err != nil || who.UserID != app.User.ID ||
			who.OrganizationID != org.ID() {
			t.Errorf("userinfo %+v, %v", who, err)
		}
		if err := client.Ping(t.Context(), token); err != nil {
			t.Error(err)
		}
		if err := client.Revoke(t.Context(), token); err != nil || org.TokenActive(token.AccessToken.Reveal()) {
			t.Errorf("revoking: %v", err)
		}
		if err := client.Revoke(t.Context(), token); err != nil {
			t.Errorf("a token that is dead already: %v", err)
		}
		if said, err := client.Introspect(t.Context(), token); err != nil || said.Active {
			t.Errorf("introspection of a dead token: %+v, %v", said, err)
		}
		_, err = client.UserInfo(t.Context(), token)
		if refused, ok := errors.AsType[*sfoauth.Error](err); !ok || refused.Code != "Bad_OAuth_Token" ||
			refused.Kind != sfoauth.Permanent {
			t.Errorf("userinfo of a dead token: %v", err)
		}
		if err := client.Ping(t.Context(), token); err == nil || !strings.Contains(err.Error(), "INVALID_SESSION_ID") {
			t.Errorf("the API with a dead token: %v", err)
		}
		if improper := org.Violations(); len(improper) > 0 {
			t.Errorf("sent to Salesforce: %q", improper)
		}
		if seen := org.Stats(); seen.Logins.Attempts != 1 || seen.Basic != 0 {
			t.Errorf("one token took %+v", seen.Logins)
		}
	})
}

func TestAJWTSaysWhenItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{JWT: true, JWTLifetime: 20 * time.Minute})
		token, err := client.Token(t.Context())
		if err != nil || time.Until(token.Expiry).Round(time.Minute) != 20*time.Minute {
			t.Errorf("expiry %s, %v", token.Expiry, err)
		}
	})
}

func TestATokenThatFailsACheckIsNotReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{JWT: true, JWTLifetime: -time.Minute})
		if token, err := client.Token(t.Context()); token != nil || err == nil {
			t.Errorf("a JWT that has ended: %v, %v", token, err)
		}
		body := `{"access_token":"x.y.z","token_format":"jwt","token_type":"Bearer","instance_url":"https://acme.my.salesforce.com",` +
			`"id":"https://acme.my.salesforce.com/id/00Dxx0000000001/005xx0000000001"}`
		if token, err := client.ParseToken([]byte(body)); token != nil || err == nil {
			t.Errorf("a JWT without an end: %v, %v", token, err)
		}
	})
}

func TestACallEndsWithItsContextOrItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		for _, fault := range []sfoauthtest.Fault{sfoauthtest.Hang(), sfoauthtest.HangAfterCommit(), sfoauthtest.Trickle(time.Second)} {
			org.InjectFault(sfoauthtest.Token, fault, 0)
			begun := time.Now()
			_, err := client.Token(t.Context())
			if refused, ok := errors.AsType[*sfoauth.Error](err); !ok || refused.Kind != sfoauth.Temporary ||
				!errors.Is(err, context.DeadlineExceeded) ||
				time.Since(begun) != 10*time.Second {
				t.Errorf("%s: %v after %s", fault, err, time.Since(begun))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begun = time.Now()
			if _, err = client.Token(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
				t.Errorf("%s: %v after %s", fault, err, time.Since(begun))
			}
			cancel()
			org.ClearFaults()
		}
	})
}

func TestAnAnswerThatIsNotHTTPIsNotQuoted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		for _, fault := range []sfoauthtest.Fault{sfoauthtest.BodyOnly(), sfoauthtest.BodyAsHeader(), sfoauthtest.Redirect(302, "://"+client.ConsumerSecret.Reveal())} {
			org.InjectFault(sfoauthtest.Token, fault, 0)
			_, err := client.Token(t.Context())
			if err == nil {
				t.Fatalf("%s: no error", fault)
			}
			for _, secret := range org.Secrets() {
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) {
					t.Errorf("%s: the error holds a secret of %d characters", fault, len(secret))
				}
			}
			org.ClearFaults()
		}
	})
}

func TestAPostIsRepeatedOnAConnectionThatWasClosedWhileIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		if _, err := client.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		org.InjectFault(sfoauthtest.Token, sfoauthtest.Reset(), 1) // meets the kept-alive connection
		if _, err := client.Token(t.Context()); err != nil {
			t.Errorf("on a connection that had died: %v", err)
		}
		org.InjectFault(sfoauthtest.Token, sfoauthtest.Reset(), 0)
		asked := org.Stats().Calls[sfoauthtest.Token]
		if _, err := client.Token(t.Context()); err == nil || org.Stats().Calls[sfoauthtest.Token]-asked > 3 {
			t.Errorf(
				"a server that resets every connection is asked %d times: %v",
				org.Stats().Calls[sfoauthtest.Token]-asked,
				err,
			)
		}
	})
}

func TestAPairIsStagedAndRotated(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]sfoauthtest.Config{"listed": {}, "flat": {FlatStaged: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stageAndRotate(t, config) })
		})
	}
}

func stageAndRotate(t *testing.T, config sfoauthtest.Config) {
	ctx := t.Context()
	org, app, client := connect(t, config, sfoauthtest.AppOptions{})
	app.User.Change(func(o *sfoauthtest.UserOptions) { o.ExternalClientAppDeveloper, o.ViewClientSecret = true, true })
	token, err := client.Token(ctx)
	must(t, err)
	pairs := client.StagedCredentials(token, app.ID, app.ConsumerID)

	main, err := pairs.Primary(ctx)
	must(t, err)
	if main.ConsumerKey != client.ConsumerKey || !main.ConsumerSecret.Equal(client.ConsumerSecret) {
		t.Error("the main pair is not the app's")
	}
	if slot, err := pairs.ListStaged(ctx); err != nil || len(slot) != 0 {
		t.Errorf("the empty slot: %v, %v", slot, err)
	}
	staged, err := pairs.Stage(ctx)
	must(t, err)
	if staged.State != sfoauth.Active || staged.ConsumerKey == main.ConsumerKey || staged.Expiration.IsZero() {
		t.Errorf("staged %+v", staged)
	}
	if _, err := pairs.Stage(ctx); err == nil {
		t.Error("a second pair was staged")
	}
	slot, err := pairs.ListStaged(ctx)
	must(t, err)
	if len(slot) != 1 || !slot[0].Equal(staged.ConsumerCredentials) || slot[0].ID != staged.ID {
		t.Errorf("the slot holds %+v", slot)
	}
	next := *client
	next.ConsumerKey, next.ConsumerSecret = staged.ConsumerKey, staged.ConsumerSecret
	_, err = next.Token(ctx)
	must(t, err)
	must(t, pairs.Promote(ctx, staged.ID))
	if main, err = pairs.Primary(ctx); err != nil || !main.Equal(staged.ConsumerCredentials) {
		t.Errorf("after the rotation the main pair is another: %v", err)
	}
	slot, err = pairs.ListStaged(ctx)
	must(t, err)
	if len(slot) != 1 || slot[0].State != sfoauth.Rotated || slot[0].ConsumerKey != client.ConsumerKey {
		t.Fatalf("the slot holds %+v", slot)
	}
	_, err = client.Token(ctx)
	must(t, err)
	must(t, pairs.Delete(ctx, slot[0].ID))
	if _, err = client.Token(ctx); err == nil {
		t.Error("the deleted pair logs in")
	}
	if improper := org.Violations(); len(improper) > 0 {
		t.Errorf("sent to Salesforce: %q", improper)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Which secret Salesforce signs with for staged credentials is not documented.
func TestASignatureMayBeOptional(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		for _, fault := range []sfoauthtest.Fault{sfoauthtest.WrongSignature(), sfoauthtest.Field("signature", "not base64!")} {
			org.InjectFault(sfoauthtest.Token, fault, 2)
			if _, err := client.Token(t.Context()); err == nil {
				t.Errorf("%s: no error", fault)
			}
			optional := *client
			optional.AllowUnverifiedSignature = true
			token, err := optional.Token(t.Context())
			if err != nil || token.SignatureErr == nil || !org.TokenActive(token.AccessToken.Reveal()) {
				t.Fatalf("%s: %v", fault, err)
			}
			for _, secret := range org.Secrets() {
				if strings.Contains(token.SignatureErr.Error(), secret) {
					t.Errorf("%s: the warning holds a secret", fault)
				}
			}
		}
		optional := *client
		optional.AllowUnverifiedSignature = true
		if token, err := optional.Token(t.Context()); err != nil || token.SignatureErr != nil {
			t.Errorf("a signature that verifies: %v, %v", token.SignatureErr, err)
		}
		org.InjectFault(sfoauthtest.Token, sfoauthtest.Field("instance_url", "https://attacker.example"), 1)
		if _, err := optional.Token(t.Context()); err == nil {
			t.Error("an answer that fails another check is accepted")
		}
	})
}

func TestARenamedMyDomainIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		org.Rename("https://new.my.salesforce.com")
		_, err := client.Token(t.Context())
		refused, ok := errors.AsType[*sfoauth.Error](err)
		if !ok || refused.Kind != sfoauth.Permanent || refused.Location != "https://new.my.salesforce.com" ||
			!strings.Contains(refused.Hint(), refused.Location) ||
			!strings.Contains(err.Error(), refused.Location) {
			t.Errorf("%v", err)
		}
		if org.Stats().Logins.Attempts != 0 || org.Stats().Redirects != 0 {
			t.Error("the credentials were sent to where the redirect points")
		}
	})
}

func TestTheAddressesOfATokenAreSalesforces(t *testing.T) {
	t.Parallel()
	const path = "/id/00Dxx0000000001AAA/005xx0000000001AAA"
	for _, c := range []struct {
		field, value string
		accepted     bool
	}{
		{"id", "https://acme.my.salesforce.com" + path, true},
		{"id", "https://login.salesforce.com" + path, true},
		{"id", "https://LOGIN.salesforce.com" + path, true},
		{"id", "https://proxy.example:8443" + path, true},
		{"id", "http://127.0.0.1:8443" + path, true},
		{"id", "https://login.attacker.example" + path, false},
		{"id", "https://login.salesforce.com.attacker.example" + path, false},
		{"id", "http://login.salesforce.com" + path, false},
		{"id", "https://user@login.salesforce.com" + path, false},
		{"id", "https://user:pass@login.salesforce.com" + path, false},
		{"id", "https://login.salesforce.com:8443" + path, false},
		{"id", "https://login.salesforce.com" + path + "?x=1", false},
		{"id", "https://login.salesforce.com" + path + "?", false},
		{"id", "https://login.salesforce.com" + path + "#x", false},
		{"id", "https://login.salesforce.com" + path + "#", false},
		{"id", "//login.salesforce.com" + path, false},
		{"id", "https:" + path, false},
		{"id", path, false},
		{"id", " https://login.salesforce.com" + path, false},
		{"id", "https://login.salesforce.com\n" + path, false},
		{"id", "https://login.salesforce.com/" + path, false},
		{"api_instance_url", "https://api.salesforce.com", true},
		{"api_instance_url", "https://proxy.example:8443", true},
		{"api_instance_url", "https://127.0.0.1:8443", true},
		{"api_instance_url", "http://127.0.0.1:8443", false},
		{"api_instance_url", "http://api.salesforce.com", false},
		{"api_instance_url", "https://api.salesforce.com?", false},
		{"instance_url", "http://127.0.0.1:8443", true},
		{"instance_url", "https://acme.my.salesforce.com#", false},
		{"instance_url", "http://acme.localhost:8443", false},
	} {
		client := &sfoauth.Client{
			AllowedHosts: sfoauth.AllowedHosts{"127.0.0.1:8443", "proxy.example:8443", "acme.localhost:8443"},
		}
		fields := map[string]string{
			"access_token": "00Dxx!abc", "token_type": "Bearer", "instance_url": "https://acme.my.salesforce.com", "id": "https://acme.my.salesforce.com" + path,
		}
		fields[c.field] = c.value
		body, _ := json.Marshal(fields)
		token, err := client.ParseToken(body)
		if (err == nil) != c.accepted || err != nil && !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s %q: %v, want accepted: %t", c.field, c.value, err, c.accepted)
		}
		if err == nil && (token.OrganizationID != "00Dxx0000000001AAA" || token.UserID != "005xx0000000001AAA") {
			t.Errorf("%s %q: org %s, user %s", c.field, c.value, token.OrganizationID, token.UserID)
		}
	}
}

// A good answer with white space behind it is one that JSON allows, and that is too long.
func TestAnOversizedAnswerIsNotRead(t *testing.T) {
	t.Parallel()
	const limit, good = 64 << 10, `{"active":true}`
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!abc")}
	for size, accepted := range map[int]bool{limit: true, limit + 1: false, limit + 2: false, 10 * limit: false} {
		body := strings.NewReader(good + strings.Repeat(" ", size-len(good)))
		client := &sfoauth.Client{
			BaseURL: "https://acme.my.salesforce.com",
			HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
			})},
		}
		_, err := client.Introspect(t.Context(), token)
		if refused, _ := errors.AsType[*sfoauth.Error](err); (err == nil) != accepted ||
			err != nil && refused.Kind != sfoauth.InvalidResponse {
			t.Errorf("an answer of %d bytes: %v, want accepted: %t", size, err, accepted)
		}
		if read := size - body.Len(); read > limit+1 {
			t.Errorf("%d bytes were read of %d", read, size)
		}
	}
}
