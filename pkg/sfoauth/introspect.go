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

// Introspection is what Salesforce says of a token (RFC 7662 section 2.2). Of a token that is not active it says nothing
// more, and the other fields are zero.
type Introspection struct {
	Active    bool
	Scope     string
	ClientID  string
	Username  string
	Subject   string // the user's identity URL
	TokenType string
	Expiry    time.Time // exp; zero where absent
	IssuedAt  time.Time // iat
	NotBefore time.Time // nbf
}

// Introspect asks whether the token is alive, which costs no login and does not count as use of the session. Of token it
// needs AccessToken; an empty InstanceURL means the client's BaseURL.
func (c *Client) Introspect(ctx context.Context, token *Token) (*Introspection, error) {
	form := url.Values{"token": {token.AccessToken.Reveal()}, "token_type_hint": {"access_token"}}
	req := c.post("introspect", c.instance(token), introspectPath, form, token.AccessToken)
	body, err := c.do(ctx, req, c.AllowedHosts.Instance)
	if err != nil {
		return nil, err
	}
	var a struct {
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
	if err := decode(body, &a); err != nil {
		return nil, c.untrusted(req, err)
	}
	switch {
	case a.Active == nil:
		return nil, c.untrusted(req, errors.New("the answer does not say whether the token is active"))
	case !*a.Active:
		return &Introspection{}, nil
	}
	return &Introspection{
		Active: true, Scope: a.Scope, ClientID: a.ClientID, Username: a.Username, Subject: a.Subject, TokenType: a.TokenType,
		Expiry: a.Expiry.time(), IssuedAt: a.IssuedAt.time(), NotBefore: a.NotBefore.time(),
	}, nil
}

// Revoke ends the token (RFC 7009). A session can be shared by several holders of one token; all of them lose it. A
// token that Salesforce does not know, because it is dead already, is no error, as in RFC 7009 section 2.2: success
// means that the token is dead. Where Salesforce says that it does not revoke such tokens (unsupported_token_type),
// it lives on, and that is an error (RFC 7009 section 2.2.1).
func (c *Client) Revoke(ctx context.Context, token *Token) error {
	req := c.post("revoke", c.instance(token), revokePath, url.Values{"token": {token.AccessToken.Reveal()}}, token.AccessToken)
	_, err := c.do(ctx, req, c.AllowedHosts.Instance)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusBadRequest && refused.Code == "invalid_token" {
		return nil
	}
	return err
}

// UserInfo is who a token acts as.
type UserInfo struct {
	UserID            string `json:"user_id"`
	OrganizationID    string `json:"organization_id"`
	PreferredUsername string `json:"preferred_username"`
	Name              string `json:"name"`
	Email             string `json:"email"`
	UserType          string `json:"user_type"`
}

// UserInfo asks who the token acts as, which counts as use of the session. A dead token is an *Error with the Code
// "Bad_OAuth_Token". Of token it needs AccessToken; an empty InstanceURL means the client's BaseURL.
func (c *Client) UserInfo(ctx context.Context, token *Token) (*UserInfo, error) {
	req := call{
		op: "userinfo", method: http.MethodGet, base: c.instance(token), path: userInfoPath,
		bearer: token.AccessToken, own: []Secret{token.AccessToken, c.ConsumerSecret},
	}
	body, err := c.do(ctx, req, c.AllowedHosts.Instance)
	if err != nil {
		return nil, err
	}
	var info UserInfo
	if err := decode(body, &info); err != nil {
		return nil, c.untrusted(req, err)
	}
	if !isRecordID(info.UserID) || !isRecordID(info.OrganizationID) {
		return nil, c.untrusted(req, errors.New("the answer does not name a user and an organization"))
	}
	return &info, nil
}

// Ping makes the least call to the REST API that a token is needed for, which lists its resources. It tells a token that
// works from one that was issued and is refused all the same, as that of a frozen user is. It counts as use of the session.
func (c *Client) Ping(ctx context.Context, token *Token) error {
	_, err := c.do(ctx, call{
		op: "REST API", method: http.MethodGet, base: c.instance(token), path: "/services/data/" + APIVersion, rest: true,
		bearer: token.AccessToken, own: []Secret{token.AccessToken, c.ConsumerSecret},
	}, c.AllowedHosts.Instance)
	return err
}

func (c *Client) instance(token *Token) string {
	if token.InstanceURL == "" {
		return c.BaseURL
	}
	return token.InstanceURL
}

func (c *Client) untrusted(req call, err error) error {
	host := ""
	if base, err := c.AllowedHosts.Instance(req.base); err == nil {
		host = base.Host
	}
	return &Error{Op: req.op, Host: host, Status: http.StatusOK, Kind: InvalidResponse, Err: err}
}

// seconds is a NumericDate (RFC 7519 section 2); zero where absent.
type seconds float64

func (s seconds) time() time.Time {
	if s < 1 || s > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}
