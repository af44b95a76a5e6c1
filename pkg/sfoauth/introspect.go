package sfoauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

const (
	introspectPath = "/services/oauth2/introspect"
	revokePath     = "/services/oauth2/revoke"
	userInfoPath   = "/services/oauth2/userinfo"
)

// Introspection is Salesforce's description of a token (RFC 7662 section 2.2). If Active is false, the other fields are
// zero.
type Introspection struct {
	Active    bool
	Scope     string
	ClientID  string
	Username  string
	Subject   string // the user's identity URL
	TokenType string
	Expiry    time.Time // exp; zero if absent
	IssuedAt  time.Time // iat; zero if absent
	NotBefore time.Time // nbf; zero if absent
}

// Introspect returns the state of the token. It costs no login and does not extend the session. Of token it uses
// AccessToken and InstanceURL; if InstanceURL is empty, it calls c.BaseURL.
func (c *Client) Introspect(ctx context.Context, token *Token) (*Introspection, error) {
	form := url.Values{"token": {token.AccessToken.Reveal()}, "token_type_hint": {"access_token"}}
	req := c.post("introspect", c.instanceURL(token), introspectPath, form, token.AccessToken)
	var resp struct {
		Active    *bool   `json:"active"`
		Scope     string  `json:"scope"`
		ClientID  string  `json:"client_id"`
		Username  string  `json:"username"`
		Subject   string  `json:"sub"`
		TokenType string  `json:"token_type"`
		Expiry    seconds `json:"exp"`
		IssuedAt  seconds `json:"iat"`
		NotBefore seconds `json:"nbf"`
	}
	if err := c.doJSON(ctx, req, &resp); err != nil {
		return nil, err
	}
	switch {
	case resp.Active == nil:
		return nil, c.invalidResponse(req, errors.New("no field active in response"))
	case !*resp.Active:
		return &Introspection{}, nil
	}
	return &Introspection{
		Active: true, Scope: resp.Scope, ClientID: resp.ClientID, Username: resp.Username, Subject: resp.Subject,
		TokenType: resp.TokenType,
		Expiry:    resp.Expiry.time(), IssuedAt: resp.IssuedAt.time(), NotBefore: resp.NotBefore.time(),
	}, nil
}

// Revoke revokes the token (RFC 7009) for all its holders. It returns nil if the token is not active afterwards, and so
// also for a token that Salesforce does not know (RFC 7009 section 2.2). It fails if Salesforce does not revoke such
// tokens (unsupported_token_type, section 2.2.1).
func (c *Client) Revoke(ctx context.Context, token *Token) error {
	form := url.Values{"token": {token.AccessToken.Reveal()}}
	req := c.post("revoke", c.instanceURL(token), revokePath, form, token.AccessToken)
	_, err := c.do(ctx, req, c.AllowedHosts.Instance)
	failed, ok := errors.AsType[*Error](err)
	if ok && failed.Status == http.StatusBadRequest && failed.Code == "invalid_token" {
		return nil
	}
	return err
}

// UserInfo describes the user that a token acts as.
type UserInfo struct {
	UserID            string `json:"user_id"`
	OrganizationID    string `json:"organization_id"`
	PreferredUsername string `json:"preferred_username"`
	Name              string `json:"name"`
	Email             string `json:"email"`
	UserType          string `json:"user_type"`
}

// UserInfo returns the user that the token acts as. It extends the session. For an invalid token the error's Code is
// "Bad_OAuth_Token". Of token it uses AccessToken and InstanceURL; if InstanceURL is empty, it calls c.BaseURL.
func (c *Client) UserInfo(ctx context.Context, token *Token) (*UserInfo, error) {
	req := c.withToken("userinfo", http.MethodGet, userInfoPath, token)
	var info UserInfo
	if err := c.doJSON(ctx, req, &info); err != nil {
		return nil, err
	}
	if !isRecordID(info.UserID) || !isRecordID(info.OrganizationID) {
		return nil, c.invalidResponse(req, errors.New("no user id and organization id in response"))
	}
	return &info, nil
}

// Ping lists the resources of the REST API, the smallest request that needs a token. Unlike Introspect it fails for an
// active token that the REST API rejects, such as that of a frozen user. It extends the session.
func (c *Client) Ping(ctx context.Context, token *Token) error {
	req := c.withToken("REST API", http.MethodGet, "/services/data/"+APIVersion, token)
	req.rest = true
	_, err := c.do(ctx, req, c.AllowedHosts.Instance)
	return err
}

// seconds is a NumericDate (RFC 7519 section 2); zero if absent.
type seconds float64

func (s seconds) time() time.Time {
	if s < 1 || s > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}
