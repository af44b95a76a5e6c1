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

// Token is a token response that has passed every check: the token type is Bearer, the token has no white space, the
// addresses are Salesforce's, and the signature, if there is one, verifies.
type Token struct {
	AccessToken    Secret
	TokenType      string
	InstanceURL    string // scheme and host of the REST API
	APIInstanceURL string // https://api.salesforce.com or similar; may be empty
	ID             string // the user's identity URL, https://<Salesforce host>/id/<organization id>/<user id>
	OrganizationID string // from ID
	UserID         string // from ID
	Scope          string // separated by spaces
	IssuedAt       string // Unix time in milliseconds, as Salesforce writes it
	Signature      Secret // base64(HMAC-SHA256(consumer secret, ID + IssuedAt)); may be empty
	// SignatureErr tells why Signature does not verify. It is nil unless Client.AllowUnverifiedSignature is set.
	SignatureErr error
	// Expiry is the end of a JWT. It is zero for an opaque token, whose session ends after the org's inactivity timeout
	// of at least 15 minutes.
	Expiry time.Time
}

// Token requests a new token (RFC 6749 section 4.4). That counts as a login of the app's run-as user, of which
// Salesforce allows 3,600 an hour. Token sends no scope, because this flow does not support one.
func (c *Client) Token(ctx context.Context) (*Token, error) {
	req := c.post(opToken, c.BaseURL, tokenPath, url.Values{"grant_type": {"client_credentials"}})
	body, err := c.do(ctx, req, c.AllowedHosts.MyDomain)
	if err != nil {
		return nil, err
	}
	token, err := c.ParseToken(body)
	if err != nil {
		return nil, c.invalidResponse(req, err)
	}
	return token, nil
}

// ParseToken parses and checks a token response as Token does, without a request. Its errors are not of type *Error.
// Unless AllowUnverifiedSignature is set, a response with a signature is accepted only if it was issued to c's
// credentials.
func (c *Client) ParseToken(body []byte) (*Token, error) {
	var resp struct {
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
	if err := decode(body, &resp); err != nil {
		return nil, err
	}
	t := &Token{
		AccessToken: NewSecret(resp.AccessToken), TokenType: resp.TokenType, InstanceURL: resp.InstanceURL,
		APIInstanceURL: resp.APIInstanceURL, ID: resp.ID, Scope: resp.Scope, IssuedAt: resp.IssuedAt,
		Signature: NewSecret(resp.Signature),
	}
	signature := c.VerifySignature(t)
	if c.AllowUnverifiedSignature {
		t.SignatureErr, signature = signature, nil
	}
	if err := errors.Join(checkBearer(t), signature, c.checkAddresses(t)); err != nil {
		// Errors about addresses quote them, and an address may be anything.
		text := strings.ReplaceAll(err.Error(), "\n", "; ")
		return nil, errors.New(sanitize(text, 400, []Secret{t.AccessToken, t.Signature, c.ConsumerSecret}))
	}
	if err := t.readExpiry(resp.TokenFormat); err != nil {
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
			return errors.New("access_token has white space or unprintable characters")
		}
	}
	return nil
}

// VerifySignature returns an error if the token has a signature that was not made with c.ConsumerSecret.
func (c *Client) VerifySignature(t *Token) error {
	if t.Signature.IsZero() {
		return nil
	}
	mac := hmac.New(sha256.New, []byte(c.ConsumerSecret.Reveal()))
	mac.Write([]byte(t.ID + t.IssuedAt))
	got, err := base64.StdEncoding.DecodeString(t.Signature.Reveal())
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return errors.New("wrong signature: the response was not signed with this app's consumer secret")
	}
	return nil
}

// checkAddresses checks the token's addresses. It reduces those that are called to scheme and host.
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

// checkID reads the org and the user from the identity URL, whose host is often login.salesforce.com.
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
	case !strings.EqualFold(u.String(), origin): // Instance ignores white space and slashes
		return malformed
	}
	t.OrganizationID, t.UserID = org, user
	return nil
}

// isRecordID reports whether s has the form of a record id: 15 letters and digits, or 18 with the check letters.
func isRecordID(s string) bool {
	return (len(s) == 15 || len(s) == 18) && strings.Trim(s, alphanumeric) == ""
}

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// EqualIDs reports whether two record ids, each of 15 or 18 characters, are equal. The first 15 are case-sensitive and
// identify the record; the last three only encode their case. An id of fewer characters is equal to none, itself
// included.
func EqualIDs(a, b string) bool {
	return len(a) >= 15 && len(b) >= 15 && a[:15] == b[:15]
}

// readExpiry reads exp from a JWT (RFC 7519 section 4.1.4). It does not verify the JWT's signature: the token came from
// the token endpoint, and the REST API verifies it.
func (t *Token) readExpiry(format string) error {
	token := t.AccessToken.Reveal()
	parts := strings.Split(token, ".")
	if format != "jwt" && !(strings.HasPrefix(token, "eyJ") && len(parts) == 3) {
		return nil
	}
	if len(parts) != 3 {
		return errors.New("token_format is jwt, but access_token is not a JWT")
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
		return errors.New("access_token is a JWT that has expired: compare this machine's clock with Salesforce's")
	}
	return nil
}
