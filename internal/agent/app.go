package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

// failurePause is how long the error of an app is returned without another request to the API, so that a client in a
// loop does not use up the rate limit of others.
const failurePause = time.Second

// app is the state of one app.
type app struct {
	name   string
	agent  *Agent
	source *sftoken.TokenSource
	usedAt time.Time // guarded by Agent.mu

	latest atomic.Pointer[servedToken] // nil: none yet

	mu     sync.Mutex // guards the fields below
	failed error      // nil: the last request succeeded
	until  time.Time  // failed is returned until then
}

// servedToken is a token as it is served. Only expires_in changes.
type servedToken struct {
	*sftoken.Token
	fields []byte      // those of the API's response except expires_in, without the opening brace
	used   atomic.Bool // by another request than the one that fetched it
}

// The values of X-Token-Cache that the agent makes; docs/openapi.yaml has all of them.
const (
	cacheHit       = "hit"
	cacheConfirmed = "confirmed"
	cacheStale     = "stale"
)

// label returns the app's name if metrics may have it.
func (a *app) label() string {
	if a.latest.Load() != nil || slices.Contains(a.agent.config.Apps, a.name) {
		return a.name
	}
	return ""
}

// token returns a token, and the value of X-Token-Cache. rejected is the ID of a token that Salesforce rejected, or
// empty. It never returns an expired token.
func (a *app) token(ctx context.Context, rejected string) (*servedToken, string, error) {
	if err := a.recentFailure(rejected); err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	token, err := a.source.Refresh(ctx, rejected)
	if err != nil {
		if ctx.Err() == nil { // otherwise the client has left, or had no time to wait
			a.noteFailure(err)
		}
		return nil, "", err
	}
	served, isNew, err := a.served(token)
	switch {
	case err != nil:
		return nil, "", err
	case isNew:
		return served, token.Cache, nil
	case token.ID == rejected && (token.Cache == cacheConfirmed || token.Cache == cacheStale):
		return served, token.Cache, nil
	}
	served.used.Store(true)
	return served, cacheHit, nil
}

// recentFailure returns the app's last error if it is recent. A cached token is returned in spite of a temporary error,
// and while it need not be refreshed.
func (a *app) recentFailure(rejected string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.failed == nil || !now.Before(a.until) {
		return nil
	}
	latest := a.latest.Load()
	alive := latest != nil && latest.ID != rejected && now.Before(latest.Expiry)
	if alive && (now.Before(latest.RefreshAt) || sftoken.IsTemporary(a.failed)) {
		return nil
	}
	return a.failed
}

// noteFailure notes and logs an error, which may be that of many requests.
func (a *app) noteFailure(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil || a.failed.Error() != err.Error() {
		a.agent.log.Warn("no_token", "app", a.name, "error", err.Error())
	}
	a.failed, a.until = err, time.Now().Add(failurePause)
}

// served returns the token as it is served, and whether this request is the first that gets it.
func (a *app) served(token *sftoken.Token) (served *servedToken, isNew bool, err error) {
	before := a.latest.Load()
	if before != nil && before.Token == token {
		return before, false, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(token.JSON.Reveal()), &fields); err != nil {
		return nil, false, err // does not occur: the source has parsed it
	}
	delete(fields, "expires_in")
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil, false, err
	}
	served = &servedToken{Token: token, fields: rest[1:]}
	if !a.latest.CompareAndSwap(before, served) {
		return a.served(token) // another request was faster
	}
	a.agent.metrics.expiry.WithLabelValues(a.name).Set(float64(token.Expiry.Unix()))
	a.agent.log.Info("token", "app", a.name, "token_id", token.ID, "cache", token.Cache,
		"expires_at", token.Expiry.UTC().Format(time.RFC3339))
	a.scheduleRefresh(served)
	return served, true, nil
}

// scheduleRefresh fetches another token when this one is due, unless no request has used it. After a failure it tries
// again until this one expires.
func (a *app) scheduleRefresh(served *servedToken) {
	time.AfterFunc(max(time.Until(served.RefreshAt), time.Second), func() {
		if !served.used.Load() || a.latest.Load() != served || a.agent.closing.Err() != nil {
			return
		}
		ctx, cancel := context.WithTimeout(a.agent.closing, fetchTimeout)
		defer cancel()
		token, err := a.source.Fetch(ctx)
		switch {
		case err != nil: // the next request gets it
		case token != served.Token:
			_, _, _ = a.served(token)
		case time.Now().Before(served.Expiry):
			a.scheduleRefresh(served)
		}
	})
}

// body returns the token response as JSON, with expires_in in seconds from now.
func (t *servedToken) body() []byte {
	seconds := max(1, int64(time.Until(t.Expiry)/time.Second))
	var b bytes.Buffer
	b.Grow(len(t.fields) + 40)
	b.WriteString(`{"expires_in":`)
	b.Write(strconv.AppendInt(b.AvailableBuffer(), seconds, 10))
	b.WriteByte(',')
	b.Write(t.fields)
	return b.Bytes()
}
