package sfoauth_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func FuzzResponses(f *testing.F) {
	const (
		id     = `"id":"https://acme.my.salesforce.com/id/00Dxx0000000001/005xx0000000001"`
		opaque = `"access_token":"00Dxx!abc","instance_url":"https://acme.my.salesforce.com","issued_at":"1700000000000"`
		jwt    = `"access_token":"a.eyJleHAiOjQwMDAwMDAwMDB9.c","instance_url":"https://acme.my.salesforce.com"`
		login  = `"id":"https://login.salesforce.com/id/00Dxx0000000001AAA/005xx0000000001AAA"`
		hosts  = `"instance_url":"https://00Dxx-new-token/","api_instance_url":"https://top-secret.example"`
	)
	mac := hmac.New(sha256.New, []byte("top-secret"))
	mac.Write([]byte("https://acme.my.salesforce.com/id/00Dxx0000000001/005xx00000000011700000000000"))
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, body := range []string{
		`{` + opaque + `,` + login + `,"token_type":"Bearer","scope":"id api"}`,
		`{` + opaque + `,` + id + `,"token_type":"Bearer","signature":"` + signature + `"}`,
		`{` + jwt + `,"token_format":"jwt",` + id + `,"token_type":"bearer"}`,
		`{"access_token":"00Dxx-new-token",` + hosts + `,` + id + `,"token_type":"Bearer"}`,
		`{"active":true,"exp":1700000000,"iat":1e9,"sub":"x"}`, `{"active":false}`, `{}`, `null`, `[]`,
		`[{"errorCode":"X","message":"y"}]`, `Bad_OAuth_Token`,
		`{"error":"invalid_grant","error_description":"you sent top-secret and 00Dxx-old-token\n"}`,
		`[{"errorCode":"top-secret","message":"00Dxx-old-token\u0000"}]`,
		`{"stagedCredentials":[{"id":"1","key":"k","secret":"s","state":"Active"}]}`,
		`{"id":"1","key":"k","secret":"s","expirationDate":"2026-11-24T00:00:00.000Z"}`, `{"totalSize":-1,"done":true}`,
	} {
		f.Add(200, "application/json", body)
		f.Add(400, "text/html", body)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		ctx, c := context.Background(), respondingClient(status, contentType, body)
		got, err := c.Token(ctx)
		if err == nil {
			checkToken(t, got)
		}
		checkError(t, err, "top-secret", "00Dxx-new-token")

		token := &sfoauth.Token{AccessToken: sfoauth.NewSecret("00Dxx-old-token")}
		said, err := c.Introspect(ctx, token)
		if err == nil && !said.Active && *said != (sfoauth.Introspection{}) {
			t.Errorf("an inactive token has %+v", *said)
		}
		checkError(t, err, "top-secret", "00Dxx-old-token")
		_, err = c.UserInfo(ctx, token)
		credentials := c.StagedCredentials(token, "0xIxx0000000001", "888xx0000000001")
		main, err2 := credentials.Primary(ctx)
		staged, err3 := credentials.Stage(ctx)
		_, err4 := credentials.ListStaged(ctx)
		err5, err6, err7 := c.Revoke(ctx, token), c.Ping(ctx, token), credentials.Promote(ctx, "x")
		_, err8 := c.CountLogins(ctx, token, "005xx0000000001", time.Time{})
		_, err9 := c.LastLogins(ctx, token, "005xx0000000001", 10)
		for _, err := range []error{err, err2, err3, err4, err5, err6, err7, err8, err9} {
			checkError(t, err, "top-secret", "00Dxx-old-token")
		}
		if err2 == nil && (main.ConsumerKey == "" || main.ConsumerSecret.IsZero()) ||
			err3 == nil && (staged.ConsumerKey == "" || staged.ConsumerSecret.IsZero()) {
			t.Error("incomplete credentials are accepted")
		}
	})
}

// checkToken checks what a token that was accepted must be.
func checkToken(t *testing.T, got *sfoauth.Token) {
	for _, b := range []byte(got.AccessToken.Reveal()) {
		if b <= ' ' || b > '~' {
			t.Errorf("the token holds %q", b)
		}
	}
	origin, _, _ := strings.Cut(got.ID, "/id/")
	for _, address := range []string{got.InstanceURL, got.APIInstanceURL, origin} {
		u, err := url.Parse(address)
		if address != "" && (err != nil || u.Scheme != "https" || u.User != nil || !isSalesforceHost(u.Host)) {
			t.Errorf("%q is accepted", address)
		}
	}
	mac := hmac.New(sha256.New, []byte("top-secret"))
	mac.Write([]byte(got.ID + got.IssuedAt))
	signature, _ := base64.StdEncoding.DecodeString(got.Signature.Reveal())
	if got.AccessToken.IsZero() || got.InstanceURL == "" || !strings.EqualFold(got.TokenType, "Bearer") ||
		!strings.Contains(got.ID, "/id/"+got.OrganizationID+"/"+got.UserID) ||
		!got.Expiry.IsZero() && got.Expiry.Before(time.Now()) ||
		!got.Signature.IsZero() && !hmac.Equal(signature, mac.Sum(nil)) {
		t.Errorf("accepted: %+v", got)
	}
}

func isSalesforceHost(host string) bool {
	host = strings.ToLower(host)
	return strings.HasSuffix(host, ".salesforce.com") || strings.HasSuffix(host, ".salesforce.mil") ||
		strings.HasSuffix(host, ".sfcrmproducts.cn")
}

// checkError checks that an error is one line that can be logged, and holds none of the secrets.
func checkError(t *testing.T, err error, secrets ...string) {
	if err == nil {
		return
	}
	if failed, ok := errors.AsType[*sfoauth.Error](err); !ok || len(failed.Code) > 64 || len(failed.Description) > 200 {
		t.Errorf("an error of type %T: %v", err, err)
	}
	text := fmt.Sprintf("%v %+v", err, err)
	if len(text) > 2000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("an error of %d characters: %q", len(text), text)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("the error holds %s: %s", secret, text)
		}
	}
}
