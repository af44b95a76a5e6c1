package sfoauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const host = "acme.my.salesforce.com:443"

// connect returns an org on an in-memory network, an app of the org, and the app's client.
func connect(
	t *testing.T, config sfoauthtest.Config, options sfoauthtest.AppOptions,
) (*sfoauthtest.Org, *sfoauthtest.App, *sfoauth.Client) {
	t.Helper()
	network := &sfoauthtest.Network{}
	org := sfoauthtest.New(config)
	stop, err := network.Serve(host, org)
	must(t, err)
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

func TestTokenLifecycle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, app, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{ExtraFields: true})
		token, err := client.Token(t.Context())
		must(t, err)
		want := sfoauth.Token{
			AccessToken: token.AccessToken, TokenType: "Bearer", InstanceURL: "https://acme.my.salesforce.com",
			APIInstanceURL: "https://api.salesforce.com", ID: token.ID, OrganizationID: org.ID(), UserID: app.User.ID,
			Scope: "id api", IssuedAt: strconv.FormatInt(time.Now().UnixMilli(), 10), Signature: token.Signature,
		}
		if *token != want || token.AccessToken.IsZero() || token.Signature.IsZero() {
			t.Errorf("token %+v", token)
		}
		said, err := client.Introspect(t.Context(), token)
		if err != nil || !said.Active || said.Username != app.User.Username() || said.ClientID != client.ConsumerKey ||
			time.Until(said.Expiry) != 2*time.Hour {
			t.Errorf("introspection %+v, %v", said, err)
		}
		who, err := client.UserInfo(t.Context(), token)
		if err != nil || who.UserID != app.User.ID || who.OrganizationID != org.ID() {
			t.Errorf("userinfo %+v, %v", who, err)
		}
		if err := client.Ping(t.Context(), token); err != nil {
			t.Error(err)
		}
		for since, want := range map[time.Duration]int{time.Hour: 1, -time.Second: 0} {
			n, err := client.CountLogins(t.Context(), token, who.UserID, time.Now().Add(-since))
			if n != want || err != nil {
				t.Errorf("%d logins in %v, %v; want %d", n, since, err, want)
			}
		}
		if n, err := client.CountLogins(t.Context(), token, "005xx0000000001AAA", time.Time{}); n != 0 || err != nil {
			t.Errorf("another user's logins: %d, %v", n, err)
		}
		if _, err := client.CountLogins(t.Context(), token, "005' OR '", time.Now()); err == nil {
			t.Error("no error for a user id with quotes")
		}
		if err := client.Revoke(t.Context(), token); err != nil || org.TokenActive(token.AccessToken.Reveal()) {
			t.Errorf("revoking: %v", err)
		}
		if err := client.Revoke(t.Context(), token); err != nil {
			t.Errorf("an inactive token: %v", err)
		}
		if said, err := client.Introspect(t.Context(), token); err != nil || said.Active {
			t.Errorf("introspection of an inactive token: %+v, %v", said, err)
		}
		_, err = client.UserInfo(t.Context(), token)
		if refused, ok := errors.AsType[*sfoauth.Error](err); !ok || refused.Code != "Bad_OAuth_Token" ||
			refused.Kind != sfoauth.Permanent {
			t.Errorf("userinfo of an inactive token: %v", err)
		}
		if err := client.Ping(t.Context(), token); err == nil || !strings.Contains(err.Error(), "INVALID_SESSION_ID") {
			t.Errorf("the API with an inactive token: %v", err)
		}
		if violations := org.Violations(); len(violations) > 0 {
			t.Errorf("violations %q", violations)
		}
		if seen := org.Stats(); seen.Logins.Attempts != 1 || seen.Basic != 0 {
			t.Errorf("one token took %+v", seen.Logins)
		}
	})
}

// Every fault of the token endpoint is an error, except a slow response and the valid token of another user or org,
// which the client cannot recognize.
func TestTokenFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		transport := client.HTTPClient.Transport.(*http.Transport)
		transport.DisableKeepAlives, transport.MaxResponseHeaderBytes = true, 64<<10
		succeeds := []string{
			sfoauthtest.Latency(time.Second).String(), sfoauthtest.OtherUser().String(), sfoauthtest.OtherOrg().String(),
		}
		for _, fault := range sfoauthtest.AllFaults() {
			if !fault.AppliesTo(sfoauthtest.Token) {
				continue
			}
			org.InjectFault(sfoauthtest.Token, fault, 1)
			token, err := client.Token(t.Context())
			_, ok := errors.AsType[*sfoauth.Error](err)
			if succeeded := err == nil; succeeded != slices.Contains(succeeds, fault.String()) || succeeded != (token != nil) {
				t.Errorf("%s: %v, %v", fault, token, err)
			}
			if err != nil && !ok {
				t.Errorf("%s: an error of type %T", fault, err)
			}
			org.ClearFaults()
		}
	})
}

func TestJWTExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{JWT: true, JWTLifetime: 20 * time.Minute})
		token, err := client.Token(t.Context())
		if err != nil || time.Until(token.Expiry).Round(time.Minute) != 20*time.Minute {
			t.Errorf("expiry %s, %v", token.Expiry, err)
		}
	})
}

// A JWT is recognized without token_format: an unknown expiry would keep an expired token in caches.
func TestJWTWithoutTokenFormat(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]int64{
		"eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQwMDAwMDAwMDB9.c": 4000000000, // exp of the payload
		"eyJhbGciOiJSUzI1NiJ9.c":                          0,
		"00Dxx!a.b.c":                                     0,
	} {
		body := `{"access_token":"` + token + `","token_type":"Bearer","instance_url":"https://acme.my.salesforce.com",` +
			`"id":"https://acme.my.salesforce.com/id/00Dxx0000000001/005xx0000000001"}`
		got, err := (&sfoauth.Client{}).ParseToken([]byte(body))
		must(t, err)
		if got.Expiry.IsZero() != (want == 0) || want != 0 && got.Expiry.Unix() != want {
			t.Errorf("%s: expiry %s", token, got.Expiry)
		}
	}
}

func TestInvalidJWT(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{JWT: true, JWTLifetime: -time.Minute})
		if token, err := client.Token(t.Context()); token != nil || err == nil {
			t.Errorf("a JWT that has ended: %v, %v", token, err)
		}
		body := `{"access_token":"x.y.z","token_format":"jwt","token_type":"Bearer",` +
			`"instance_url":"https://acme.my.salesforce.com",` +
			`"id":"https://acme.my.salesforce.com/id/00Dxx0000000001/005xx0000000001"}`
		if token, err := client.ParseToken([]byte(body)); token != nil || err == nil {
			t.Errorf("a JWT without an end: %v, %v", token, err)
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		for _, fault := range []sfoauthtest.Fault{
			sfoauthtest.Hang(), sfoauthtest.HangAfterCommit(), sfoauthtest.Trickle(time.Second),
		} {
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

func TestErrorsDoNotQuoteResponses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		for _, fault := range []sfoauthtest.Fault{
			sfoauthtest.BodyOnly(), sfoauthtest.BodyAsHeader(),
			sfoauthtest.Redirect(302, "://"+client.ConsumerSecret.Reveal()),
		} {
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

func TestPostOnClosedConnection(t *testing.T) {
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
		org.ResetStats()
		_, err := client.Token(t.Context())
		if calls := org.Stats().Calls[sfoauthtest.Token]; err == nil || calls > 3 {
			t.Errorf("%d calls of a server that resets every connection: %v", calls, err)
		}
	})
}

func TestStageAndPromote(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]sfoauthtest.Config{"listed": {}, "flat": {FlatStaged: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { stageAndPromote(t, config) })
		})
	}
}

func stageAndPromote(t *testing.T, config sfoauthtest.Config) {
	ctx := t.Context()
	org, app, client := connect(t, config, sfoauthtest.AppOptions{})
	app.User.Change(func(o *sfoauthtest.UserOptions) { o.ExternalClientAppDeveloper, o.ViewClientSecret = true, true })
	token, err := client.Token(ctx)
	must(t, err)
	credentials := client.StagedCredentials(token, app.ID, app.ConsumerID)

	primary, err := credentials.Primary(ctx)
	must(t, err)
	if primary.ConsumerKey != client.ConsumerKey || !primary.ConsumerSecret.Equal(client.ConsumerSecret) {
		t.Error("the primary credentials are not the app's")
	}
	if list, err := credentials.ListStaged(ctx); err != nil || len(list) != 0 {
		t.Errorf("nothing staged: %v, %v", list, err)
	}
	staged, err := credentials.Stage(ctx)
	must(t, err)
	if staged.State != sfoauth.Active || staged.ConsumerKey == primary.ConsumerKey || staged.Expiration.IsZero() {
		t.Errorf("staged %+v", staged)
	}
	if _, err := credentials.Stage(ctx); err == nil {
		t.Error("second credentials were staged")
	}
	list, err := credentials.ListStaged(ctx)
	must(t, err)
	if len(list) != 1 || !list[0].Equal(staged.ConsumerCredentials) || list[0].ID != staged.ID {
		t.Errorf("staged credentials %+v", list)
	}
	next := *client
	next.ConsumerKey, next.ConsumerSecret = staged.ConsumerKey, staged.ConsumerSecret
	_, err = next.Token(ctx)
	must(t, err)
	must(t, credentials.Promote(ctx, staged.ID))
	if primary, err = credentials.Primary(ctx); err != nil || !primary.Equal(staged.ConsumerCredentials) {
		t.Errorf("after the promotion the primary credentials are others: %v", err)
	}
	list, err = credentials.ListStaged(ctx)
	must(t, err)
	if len(list) != 1 || list[0].State != sfoauth.Rotated || list[0].ConsumerKey != client.ConsumerKey {
		t.Fatalf("staged credentials %+v", list)
	}
	_, err = client.Token(ctx)
	must(t, err)
	must(t, credentials.Delete(ctx, list[0].ID))
	if _, err = client.Token(ctx); err == nil {
		t.Error("a login with deleted credentials succeeds")
	}
	if violations := org.Violations(); len(violations) > 0 {
		t.Errorf("violations %q", violations)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Which secret Salesforce signs with for staged credentials is not documented.
func TestAllowUnverifiedSignature(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		org, _, client := connect(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
		for _, fault := range []sfoauthtest.Fault{
			sfoauthtest.WrongSignature(), sfoauthtest.Field("signature", "not base64!"),
		} {
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
			t.Error("a response that fails another check is accepted")
		}
	})
}

func TestRenamedMyDomain(t *testing.T) {
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

func TestTokenAddresses(t *testing.T) {
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
			"access_token": "00Dxx!abc", "token_type": "Bearer", "instance_url": "https://acme.my.salesforce.com",
			"id": "https://acme.my.salesforce.com" + path,
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

// JSON allows white space after a value, so that a valid response can be too long.
func TestOversizedResponse(t *testing.T) {
	t.Parallel()
	const limit, good = 64 << 10, `{"active":true}`
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx!abc")}
	for size, accepted := range map[int]bool{limit: true, limit + 1: false, limit + 2: false, 10 * limit: false} {
		body := strings.NewReader(good + strings.Repeat(" ", size-len(good)))
		client := &sfoauth.Client{
			BaseURL: "https://acme.my.salesforce.com",
			HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
			})},
		}
		_, err := client.Introspect(t.Context(), token)
		if refused, _ := errors.AsType[*sfoauth.Error](err); (err == nil) != accepted ||
			err != nil && refused.Kind != sfoauth.InvalidResponse {
			t.Errorf("a response of %d bytes: %v, want accepted: %t", size, err, accepted)
		}
		if read := size - body.Len(); read > limit+1 {
			t.Errorf("%d bytes were read of %d", read, size)
		}
	}
}
