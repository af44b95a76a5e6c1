package vending

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// record is what an entry of the token table contains: what one process knows of an app and others can use. It holds
// tokens in plain text, so that it is only ever sealed.
type record struct {
	Token                    *tokenRecord   `json:"token,omitempty"` // nil: none is known
	RecentIDs                []string       `json:"recentIds,omitempty"`
	DeadIDs                  []string       `json:"deadIds,omitempty"`
	DoubtedID                string         `json:"doubtedId,omitempty"`
	IntrospectionDeniedUntil time.Time      `json:"introspectionDeniedUntil,omitzero"`
	LastRejectedCheck        time.Time      `json:"lastRejectedCheck,omitzero"`
	LastLoginInstead         time.Time      `json:"lastLoginInstead,omitzero"`
	Failure                  *failureRecord `json:"failure,omitempty"` // nil: the last call did not fail
	LoginsLeft               float64        `json:"loginsLeft"`        // of the budget, when the record was written
	Written                  time.Time      `json:"written"`
	// Revocations are the tokens that Salesforce must revoke and has not.
	Revocations []tokenRecord `json:"revocations,omitempty"`
}

// tokenRecord is a cachedToken.
type tokenRecord struct {
	Response      tokenResponse `json:"response"`
	VersionID     string        `json:"versionId"`
	TrustedUntil  time.Time     `json:"trustedUntil"`
	ExpiresAt     time.Time     `json:"expiresAt"`
	RefreshBefore time.Duration `json:"refreshBefore"` // in nanoseconds
}

// tokenResponse is a token in the form in which Salesforce's token endpoint returns it.
type tokenResponse struct {
	AccessToken    string `json:"access_token"`
	TokenType      string `json:"token_type"`
	TokenFormat    string `json:"token_format,omitempty"`
	InstanceURL    string `json:"instance_url"`
	APIInstanceURL string `json:"api_instance_url,omitempty"`
	ID             string `json:"id"`
	Scope          string `json:"scope,omitempty"`
	IssuedAt       string `json:"issued_at,omitempty"`
	Signature      string `json:"signature,omitempty"`
}

// Format does not print the token.
func (tokenResponse) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// failureRecord is a backoff.
type failureRecord struct {
	Code            Code           `json:"code"`
	Description     string         `json:"description"`
	SalesforceError string         `json:"salesforceError,omitempty"`
	Cause           string         `json:"cause,omitempty"`
	Salesforce      *sfoauth.Error `json:"salesforce,omitempty"` // without its Err, which is in Cause
	RetryAt         time.Time      `json:"retryAt"`
	Delay           time.Duration  `json:"delay"` // in nanoseconds
	Permanent       bool           `json:"permanent,omitempty"`
	BudgetExhausted bool           `json:"budgetExhausted,omitempty"`
	Tried           []string       `json:"tried,omitempty"` // IDs of versions
}

const (
	// unansweredFailureTTL bounds how long a failure stops other processes if Salesforce has not responded at all: the
	// network of one process may be to blame.
	unansweredFailureTTL = 2 * time.Second
	// maxSharedRevocations bounds the size of a record.
	maxSharedRevocations = 5
)

// newRecord returns what other processes can use of the call's state.
func (c *call) newRecord(now time.Time) record {
	r := record{
		RecentIDs: c.recentIDs, DeadIDs: c.sharedDeadIDs, DoubtedID: c.doubtedID,
		IntrospectionDeniedUntil: c.introspectionDeniedUntil, LastRejectedCheck: c.lastRejectedCheck,
		LastLoginInstead: c.lastLoginInstead, LoginsLeft: c.Logins.Left(c.app.name), Written: now,
	}
	for _, id := range c.deadIDs {
		r.DeadIDs = remember(r.DeadIDs, id)
	}
	// Also one that has expired: another process may have to revoke it.
	if t := c.cached; t != nil && t.currentVersionID == c.secret.ID {
		r.Token = new(newTokenRecord(t))
	}
	if c.loginErr.err != nil {
		r.Failure = newFailureRecord(c.loginErr, now)
	}
	for _, p := range c.pending {
		// Another process authenticates the revocation with AWSCURRENT.
		certain := p.requested || p.compromised != nil && !p.compromised.Credentials().Equal(c.secret.Credentials())
		if certain && p.client.BaseURL == c.secret.BaseURI && len(r.Revocations) < maxSharedRevocations {
			r.Revocations = append(r.Revocations, newTokenRecord(p.cachedToken))
		}
	}
	return r
}

func newTokenRecord(t *cachedToken) tokenRecord {
	response := tokenResponse{
		AccessToken: t.token.AccessToken.Reveal(), TokenType: t.token.TokenType, InstanceURL: t.token.InstanceURL,
		APIInstanceURL: t.token.APIInstanceURL, ID: t.token.ID, Scope: t.token.Scope, IssuedAt: t.token.IssuedAt,
		Signature: t.token.Signature.Reveal(),
	}
	if !t.token.Expiry.IsZero() {
		response.TokenFormat = "jwt"
	}
	return tokenRecord{
		Response: response, VersionID: t.versionID,
		TrustedUntil: t.trustedUntil, ExpiresAt: t.expiresAt, RefreshBefore: t.refreshBefore,
	}
}

// restore returns the token after every check that Salesforce's response has passed.
func (r *tokenRecord) restore(c *call, version, current *appsecret.Version) (*cachedToken, error) {
	client := c.client(version)
	client.AllowUnverifiedSignature = true    // the process that logged in has checked it
	response, err := json.Marshal(r.Response) //nolint:gosec // ParseToken takes the JSON
	if err != nil {
		return nil, err
	}
	token, err := client.ParseToken(response)
	if err == nil {
		err = version.VerifyIdentity(token)
	}
	if err != nil {
		return nil, err
	}
	return &cachedToken{
		token: token, id: tokenID(token), client: client, versionID: version.ID, currentVersionID: current.ID,
		trustedUntil: r.TrustedUntil, expiresAt: r.ExpiresAt, refreshBefore: r.RefreshBefore, source: Hit,
	}, nil
}

func newFailureRecord(b backoff, now time.Time) *failureRecord {
	r := &failureRecord{
		Code: b.err.Code, Description: b.err.Description, SalesforceError: b.err.SalesforceError,
		RetryAt: b.retryAt, Delay: b.delay, Permanent: b.permanent, BudgetExhausted: b.budgetExhausted,
	}
	if refused, ok := errors.AsType[*sfoauth.Error](b.err.Err); ok {
		without := *refused
		without.Err, r.Salesforce = nil, &without
		if refused.Err != nil {
			r.Cause = refused.Err.Error()
		}
		if refused.Status == 0 && refused.Kind == sfoauth.Temporary {
			r.RetryAt = earlier(r.RetryAt, now.Add(unansweredFailureTTL))
		}
	} else if b.err.Err != nil {
		r.Cause = b.err.Err.Error()
	}
	for _, version := range b.tried {
		r.Tried = append(r.Tried, version.ID)
	}
	return r
}

// restore returns the failure for the app. version returns the version with an ID; nil: it has no label any more.
func (r *failureRecord) restore(app string, version func(id string) *appsecret.Version) backoff {
	b := backoff{
		err: &Error{
			Code: r.Code, Description: r.Description, AppExists: true, SalesforceError: r.SalesforceError,
			Err: errors.New(r.Cause),
		},
		retryAt: r.RetryAt, delay: r.Delay, permanent: r.Permanent, budgetExhausted: r.BudgetExhausted,
	}
	switch {
	case r.BudgetExhausted:
		b.err.Err = &loginbudget.ExhaustedError{App: app, RetryAfter: time.Until(r.RetryAt)}
	case r.Salesforce != nil:
		refused := *r.Salesforce
		if r.Cause != "" {
			refused.Err = errors.New(r.Cause)
		}
		b.err.Err = &refused
	}
	for _, id := range r.Tried {
		if v := version(id); v != nil {
			b.tried = append(b.tried, v)
		}
	}
	return b
}

// correctClock moves the record's times so that it was written at now, if the clock of the process that wrote it was so
// far ahead that it was written later. Otherwise a failure would last, and a token be trusted, for that much longer.
func (r *record) correctClock(now time.Time) {
	ahead := r.Written.Sub(now)
	if ahead <= 0 {
		return
	}
	times := []*time.Time{&r.IntrospectionDeniedUntil, &r.LastRejectedCheck, &r.LastLoginInstead, &r.Written}
	if r.Token != nil {
		times = append(times, &r.Token.TrustedUntil, &r.Token.ExpiresAt)
	}
	if r.Failure != nil {
		times = append(times, &r.Failure.RetryAt)
	}
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(-ahead)
		}
	}
}
