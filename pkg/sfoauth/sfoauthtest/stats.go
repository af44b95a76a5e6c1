package sfoauthtest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Logins counts logins.
type Logins struct {
	Attempts  int // token requests that the org handled
	Succeeded int // those that it granted, even if the response was lost
}

// Stats is what an org has recorded since its creation or the last ResetStats.
type Stats struct {
	Calls      map[Endpoint]int  // all requests, by endpoint
	Logins     Logins            // without those that a fault dropped or replaced
	ByKey      map[string]Logins // by consumer key; without unknown keys
	Basic      int               // token requests with credentials in a Basic header
	Form       int               // token requests with credentials in the form
	Redirects  int               // requests that followed a redirect of this org
	Violations []string          // see Org.Violations
}

func newStats() Stats {
	return Stats{Calls: map[Endpoint]int{}, ByKey: map[string]Logins{}}
}

// Stats returns a copy of the org's statistics.
func (o *Org) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	stats := o.stats
	stats.Calls, stats.ByKey = maps.Clone(stats.Calls), maps.Clone(stats.ByKey)
	stats.Violations = slices.Clone(stats.Violations)
	return stats
}

// Violations describes, once each and without values, what a client should not have sent: a secret or token in a URL, a
// cookie or to an endpoint that does not need it, credentials in two places, a scope, or a followed redirect. For a
// correct client it returns nil.
func (o *Org) Violations() []string { return o.Stats().Violations }

// Logins returns the logins with all current credentials of the app.
func (a *App) Logins() Logins {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	sum := a.org.stats.ByKey[a.primary.key]
	for _, p := range a.staged {
		sum = sum.plus(a.org.stats.ByKey[p.key])
	}
	return sum
}

func (l Logins) plus(more Logins) Logins {
	return Logins{l.Attempts + more.Attempts, l.Succeeded + more.Succeeded}
}

func (s *Stats) count(key string, more Logins) { s.ByKey[key] = s.ByKey[key].plus(more) }

// ResetStats resets the statistics. Sessions, credentials, faults and Secrets stay.
func (o *Org) ResetStats() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats = newStats()
}

// redirectPath is where faults redirect to.
const redirectPath = "/sfoauthtest/redirected"

// checkRequest records the violations of a request.
func (o *Org) checkRequest(r *request) {
	violation := func(what string) {
		text := fmt.Sprintf("%s %s: %s", r.Method, r.endpoint, what)
		if !slices.Contains(o.stats.Violations, text) {
			o.stats.Violations = append(o.stats.Violations, text)
		}
	}
	if strings.HasPrefix(r.URL.Path, redirectPath) {
		o.stats.Redirects++
		violation("a redirect was followed")
	}
	query := r.URL.Query()
	if hasSensitiveParams(query) || o.containsSecret(query) {
		violation("credentials or a token in the query string")
	}
	for part := range strings.SplitSeq(r.URL.Path, "/") {
		if o.isSecret[part] {
			violation("credentials or a token in the path")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name == "Authorization" {
			continue
		}
		if slices.ContainsFunc(r.Header[name], o.mentionsSecret) {
			violation("credentials or a token in the header " + name)
		}
	}
	if token := bearer(r.Request); o.isSecret[token] && o.sessions[token] == nil {
		violation("a secret that is no token in the Authorization header")
	}
	if len(r.Header.Values("Accept")) > 0 && !accepts(r.Request, "application/json") && !accepts(r.Request, "*/*") {
		violation("an Accept that does not take JSON")
	}
	form, _ := r.form()
	_, _, basic := r.BasicAuth()
	o.checkCredentials(r, form, basic, violation)
}

// checkCredentials records where the client sent credentials and tokens.
func (o *Org) checkCredentials(r *request, form url.Values, basic bool, violation func(string)) {
	switch r.endpoint {
	case Token:
		if basic {
			o.stats.Basic++
		} else if form.Has("client_secret") {
			o.stats.Form++
		}
		if form.Has("scope") {
			violation("a scope, which the flow does not support")
		}
		if bearer(r.Request) != "" {
			violation("a token in the Authorization header")
		}
	case Introspect, Revoke:
		if bearer(r.Request) != "" {
			violation("a token in the Authorization header")
		}
	default:
		if basic || form.Has("client_secret") || o.mentionsSecret(r.body) {
			violation("credentials or a token where they are not wanted")
		}
		if r.endpoint == Other && r.Header.Get("Authorization") != "" {
			violation("an Authorization header at an unknown path")
		}
	}
	if basic && form.Has("client_secret") {
		violation("credentials in a Basic header and in the form")
	}
	if r.Method == http.MethodGet && r.endpoint.oauth() && form.Has("client_secret") {
		violation("credentials in the body of a GET")
	}
}

// hasSensitiveParams reports whether a query string has parameters that belong into a body or a header.
func hasSensitiveParams(query url.Values) bool {
	for name := range query {
		switch strings.ToLower(name) {
		case "client_secret", "client_id", "token", "access_token", "oauth_token", "refresh_token", "sid", "assertion",
			"password":
			return true
		}
	}
	return false
}

func (o *Org) containsSecret(values url.Values) bool {
	for _, list := range values {
		if slices.ContainsFunc(list, func(v string) bool { return o.isSecret[v] }) {
			return true
		}
	}
	return false
}

// mentionsSecret reports whether a word of text is a secret.
func (o *Org) mentionsSecret(text string) bool {
	words := strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" ;,=&\"'", c) })
	return slices.ContainsFunc(words, func(w string) bool { return o.isSecret[w] })
}
