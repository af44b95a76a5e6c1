package sfoauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Login is one record of a user's login history: a login, or an attempt that failed. Its texts are cut and printable.
type Login struct {
	Time        time.Time
	SourceIP    string // the client's address as Salesforce saw it; for a login within Salesforce it may be another text
	Status      string // "Success", or why the attempt failed
	Application string // the name of the app; may be empty
}

// Succeeded reports whether the attempt was successful.
func (l Login) Succeeded() bool { return l.Status == "Success" }

// maxLogins is how many records LastLogins reads at most. A record has about 300 bytes, so that they fit into maxBody.
const maxLogins = 100

// LastLogins returns the user's last logins, the newest first: with every app and program, failed attempts included. It
// returns at most limit of them, and never more than 100; a limit below 1 means 1. Salesforce keeps six months.
//
// The token must be that user's, or that of a user with the permission Manage Users or Monitor Login History. A user
// who may see neither gets an empty list, or an error whose Code is "INVALID_TYPE". It extends the session.
//
// Sources: Object Reference, "LoginHistory": all users can retrieve their own records, and Status cannot be filtered.
// Salesforce Help, "Monitor Login History": Source IP is the client's address.
func (c *Client) LastLogins(ctx context.Context, token *Token, userID string, limit int) ([]Login, error) {
	limit = min(max(limit, 1), maxLogins)
	order := fmt.Sprintf("ORDER BY LoginTime DESC LIMIT %d", limit)
	result, err := c.queryLogins(ctx, token, "LoginTime, SourceIp, Status, Application", userID, order)
	if err != nil {
		return nil, err
	}
	if len(result.Records) > limit {
		return nil, c.invalidResponse(result.req, fmt.Errorf("more than %d records in response", limit))
	}
	logins := make([]Login, 0, len(result.Records))
	for _, r := range result.Records {
		at, err := time.Parse("2006-01-02T15:04:05.999Z0700", r.LoginTime)
		if err != nil {
			return nil, c.invalidResponse(result.req, errors.New("a LoginTime in the response is not a time"))
		}
		clean := func(text string) string { return sanitize(text, 100, result.req.redact) }
		logins = append(logins, Login{at, clean(r.SourceIP), clean(r.Status), clean(r.Application)})
	}
	return logins, nil
}

// CountLogins returns how often the user has logged in since a time: with every app and program, failed attempts
// included. Salesforce allows 3,600 in an hour. For the token see LastLogins.
func (c *Client) CountLogins(ctx context.Context, token *Token, userID string, since time.Time) (int, error) {
	after := "AND LoginTime > " + since.UTC().Format(time.RFC3339)
	result, err := c.queryLogins(ctx, token, "COUNT()", userID, after)
	if err != nil {
		return 0, err
	}
	return *result.TotalSize, nil
}

// loginHistory is the result of a query. Source: REST API Developer Guide, "Execute a SOQL Query".
type loginHistory struct {
	TotalSize *int `json:"totalSize"` // never nil
	Records   []struct {
		LoginTime   string
		SourceIP    string `json:"SourceIp"`
		Status      string
		Application string
	} `json:"records"`

	req call
}

// queryLogins selects fields from the user's login history. The user's id becomes part of the query, so it must have
// the form of one.
func (c *Client) queryLogins(
	ctx context.Context, token *Token, fields, userID, suffix string,
) (*loginHistory, error) {
	const op = "login history"
	if !isRecordID(userID) {
		return nil, &Error{Op: op, Kind: Permanent, Err: errors.New("the user's id is not a record id")}
	}
	query := fmt.Sprintf("SELECT %s FROM LoginHistory WHERE UserId = '%s' %s", fields, userID, suffix)
	path := "/services/data/" + APIVersion + "/query?" + url.Values{"q": {query}}.Encode()
	req := c.withToken(op, http.MethodGet, path, token)
	req.rest = true
	result := &loginHistory{req: req}
	if err := c.doJSON(ctx, req, result); err != nil {
		return nil, err
	}
	if result.TotalSize == nil || *result.TotalSize < 0 {
		return nil, c.invalidResponse(req, errors.New("no totalSize in response"))
	}
	return result, nil
}
