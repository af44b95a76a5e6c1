package sfoauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	tokenPath = "/services/oauth2/token"
	opToken   = "token" // Error.Op of a login
)

// Token is a token answer that has passed every check: token type Bearer, a token without white space, the right
// signature where there is one, addresses that are Salesforce's.
type Token struct {
	AccessToken    Secret
	TokenType      string
	InstanceURL    string // scheme and host that the REST API is called on
	APIInstanceURL string // https://api.salesforce.com or the like; empty where absent
	ID             string // https://<host of Salesforce's own>/id/<organization id>/<user id>
	OrganizationID string // out of ID
	UserID         string // out of ID
	Scope          string // scopes, separated by spaces
	IssuedAt       string // milliseconds since 1970, as Salesforce writes it
	Signature      Secret // base64(HMAC-SHA256(consumer secret, ID + IssuedAt)); empty where absent
	SignatureErr   error  // why Signature does not verify, where Client.SignatureOptional lets that pass; nil: it does, or is absent
	// Expiry is when a JWT-format token ends. Zero for an opaque token, whose answer does not say: its session ends
	// after the org's inactivity timeout, 15 minutes at the least.
	Expiry time.Time
}

// Token asks for a new token (RFC 6749 section 4.4), which counts as a login of the app's run-as user: Salesforce allows
// 3,600 an hour. It never sends a scope, which this flow refuses.
func (c *Client) Token(ctx context.Context) (*Token, error) {
	req := c.post(opToken, c.BaseURL, tokenPath, url.Values{"grant_type": {"client_credentials"}})
	body, err := c.do(ctx, req, c.AllowedHosts.MyDomain)
	if err != nil {
		return nil, err
	}
	token, err := c.ParseToken(body)
	if err != nil {
		return nil, c.untrusted(req, err)
	}
	return token, nil
}

// ParseToken reads a token answer that came another way, and checks all that Token checks. Where the answer has a
// signature, success means that it was made for this client's pair, unless Client.SignatureOptional is set. Its
// errors are plain ones: nothing was asked.
func (c *Client) ParseToken(body []byte) (*Token, error) {
	var a struct {
		AccessToken    string `json:"access_token"`
		TokenType      string `json:"token_type"`
		TokenFormat    string `json:"token_format"`
		InstanceURL    string `json:"instance_url"`
		APIInstanceURL string `json:"api_instance_url"`
		ID             string `json:"id"`
		Scope          string `json:"scope"`
		IssuedAt       string `json:"issued_at"`
		Signature      string `json:"signature"`
	}
	if err := decode(body, &a); err != nil {
		return nil, err
	}
	t := &Token{
		AccessToken: NewSecret(a.AccessToken), TokenType: a.TokenType, InstanceURL: a.InstanceURL,
		APIInstanceURL: a.APIInstanceURL, ID: a.ID, Scope: a.Scope, IssuedAt: a.IssuedAt, Signature: NewSecret(a.Signature),
	}
	signature := c.VerifySignature(t)
	if c.AllowUnverifiedSignature {
		t.SignatureErr, signature = signature, nil
	}
	if err := errors.Join(checkBearer(t), signature, c.checkAddresses(t)); err != nil {
		// An address is named as it came, and may be anything.
		text := strings.ReplaceAll(err.Error(), "\n", "; ")
		return nil, errors.New(clean(text, 400, []Secret{t.AccessToken, t.Signature, c.ConsumerSecret}))
	}
	if err := t.readExpiry(a.TokenFormat); err != nil {
		return nil, err
	}
	return t, nil
}

func checkBearer(t *Token) error {
	if !strings.EqualFold(t.TokenType, "Bearer") {
		return errors.New("token_type is not Bearer")
	}
	if t.AccessToken.IsZero() {
		return errors.New("access_token is missing")
	}
	for _, b := range []byte(t.AccessToken.Reveal()) {
		if b <= ' ' || b > '~' {
			return errors.New("access_token holds white space or characters that do not print")
		}
	}
	return nil
}

// VerifySignature returns why the token's signature was not made with this client's ConsumerSecret; nil: it was, or
// there is none.
func (c *Client) VerifySignature(t *Token) error {
	if t.Signature.IsZero() {
		return nil
	}
	mac := hmac.New(sha256.New, []byte(c.ConsumerSecret.Reveal()))
	mac.Write([]byte(t.ID + t.IssuedAt))
	got, err := base64.StdEncoding.DecodeString(t.Signature.Reveal())
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return errors.New("signature is wrong: the answer was not made with this app's consumer secret")
	}
	return nil
}

// checkAddresses checks the addresses, and leaves scheme and host alone of those that are called.
func (c *Client) checkAddresses(t *Token) error {
	instance, err := c.AllowedHosts.Instance(t.InstanceURL)
	if err != nil {
		return fmt.Errorf("instance_url: %w", err)
	}
	t.InstanceURL = instance.String()
	if t.APIInstanceURL != "" {
		api, err := c.AllowedHosts.Instance(t.APIInstanceURL)
		if err == nil && api.Scheme != "https" {
			err = fmt.Errorf("host %q: want https", api.Host)
		}
		if err != nil {
			return fmt.Errorf("api_instance_url: %w", err)
		}
		t.APIInstanceURL = api.String()
	}
	if t.IssuedAt != "" {
		if _, err := strconv.ParseInt(t.IssuedAt, 10, 64); err != nil {
			return errors.New("issued_at is not a number of milliseconds")
		}
	}
	return c.checkID(t)
}

// checkID reads the org and the user out of id, whose host must be Salesforce's own: often login.salesforce.com.
func (c *Client) checkID(t *Token) error {
	origin, path, _ := strings.Cut(t.ID, "/id/")
	org, user, _ := strings.Cut(strings.TrimSuffix(path, "/"), "/")
	malformed := errors.New("id is not https://<host>/id/<organization id>/<user id>")
	if origin == "" || !isRecordID(org) || !isRecordID(user) {
		return malformed
	}
	u, err := c.AllowedHosts.Instance(origin)
	switch {
	case err != nil:
		return fmt.Errorf("id: %w", err)
	case !strings.EqualFold(u.String(), origin): // what is forgiven of baseUri
		return malformed
	}
	t.OrganizationID, t.UserID = org, user
	return nil
}

// isRecordID says whether s has the form of a Salesforce record id: 15 letters and digits, or 18 with the check letters.
func isRecordID(s string) bool {
	if len(s) != 15 && len(s) != 18 {
		return false
	}
	return strings.Trim(s, alphanumeric) == ""
}

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// EqualIDs compares two record ids, each in the 15 or the 18 character form. The first 15 are case-sensitive and name
// the record; the last three only repeat their case.
func EqualIDs(a, b string) bool {
	return len(a) >= 15 && len(b) >= 15 && a[:15] == b[:15]
}

// readExpiry takes exp out of a JWT-format token (RFC 7519 section 4.1.4). The token's own signature is not checked: it
// came from the token endpoint itself, and the REST API is who checks it.
func (t *Token) readExpiry(format string) error {
	token := t.AccessToken.Reveal()
	parts := strings.Split(token, ".")
	if format != "jwt" && !(strings.HasPrefix(token, "eyJ") && len(parts) == 3) {
		return nil
	}
	if len(parts) != 3 {
		return errors.New("access_token is not the JWT that token_format says")
	}
	var claims struct {
		Exp json.Number `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return errors.New("access_token is a JWT whose claims cannot be read")
	}
	seconds, err := claims.Exp.Float64()
	if err != nil || seconds < 1 || seconds > 1<<40 {
		return errors.New("access_token is a JWT without a usable exp")
	}
	if t.Expiry = time.Unix(int64(seconds), 0); !t.Expiry.After(time.Now()) {
		return errors.New("access_token is a JWT that has ended already: compare this machine's clock with Salesforce's")
	}
	return nil
}
