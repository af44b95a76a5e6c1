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
	Attempts  int // requests for a token that reached the org, good or bad
	Succeeded int // those for which it made one, whether or not the answer arrived
}

// Stats is what an org has recorded.
type Stats struct {
	Calls      map[Endpoint]int  // requests, by endpoint, before any fault
	Logins     Logins            // those that a fault answered are not among them
	ByKey      map[string]Logins // by consumer key, of which each version of an app's pair has its own; unknown keys are left out
	Basic      int               // token requests with the pair in a Basic header
	Form       int               // token requests with the pair in the form
	Redirects  int               // requests that followed a redirect of this org
	Violations []string          // what should not have been sent, each once, in the order of its first appearance; never a value
}

func newStats() Stats {
	return Stats{Calls: map[Endpoint]int{}, ByKey: map[string]Logins{}}
}

// Stats returns a copy of what the org has recorded since it was made or last forgot.
func (o *Org) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.stats
	seen.Calls, seen.ByKey, seen.Violations = maps.Clone(seen.Calls), maps.Clone(seen.ByKey), slices.Clone(seen.Violations)
	return seen
}

// Violations returns what was sent to the org that should not have been: a secret or a token in a URL, in a cookie or at an
// endpoint that it is not for, a pair sent twice, a scope, a redirect followed with a POST. It is empty for a good client.
func (o *Org) Violations() []string { return o.Stats().Violations }

// Logins returns the logins with the app's present pairs, added up.
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

// ResetStats empties the record. Sessions, pairs and faults stay, and so does Secrets.
func (o *Org) ResetStats() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats = newStats()
}

// redirectPath is the path that faults redirect to.
const redirectPath = "/sfoauthtest/redirected"

// checkRequest records what is improper in a request.
func (o *Org) checkRequest(r *request) {
	improper := func(what string) {
		text := fmt.Sprintf("%s %s: %s", r.Method, r.endpoint, what)
		if !slices.Contains(o.stats.Violations, text) {
			o.stats.Violations = append(o.stats.Violations, text)
		}
	}
	if strings.HasPrefix(r.URL.Path, redirectPath) {
		o.stats.Redirects++
		improper("a redirect was followed")
	}
	query := r.URL.Query()
	if hasSensitiveParams(query) || o.containsSecret(query) {
		improper("credentials or a token in the query string")
	}
	for part := range strings.SplitSeq(r.URL.Path, "/") {
		if o.isSecret[part] {
			improper("credentials or a token in the path")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name == "Authorization" {
			continue
		}
		if slices.ContainsFunc(r.Header[name], o.mentionsSecret) {
			improper("credentials or a token in the header " + name)
		}
	}
	if token := bearer(r.Request); o.isSecret[token] && o.sessions[token] == nil {
		improper("a secret that is no token in the Authorization header")
	}
	if len(r.Header.Values("Accept")) > 0 && !accepts(r.Request, "application/json") && !accepts(r.Request, "*/*") {
		improper("an Accept that does not take JSON")
	}
	form, _ := r.form()
	_, _, basic := r.BasicAuth()
	o.checkCredentials(r, form, basic, improper)
}

// checkCredentials records where the pair and the token were sent.
func (o *Org) checkCredentials(r *request, form url.Values, basic bool, improper func(string)) {
	switch r.endpoint {
	case Token:
		if basic {
			o.stats.Basic++
		} else if form.Has("client_secret") {
			o.stats.Form++
		}
		if form.Has("scope") {
			improper("a scope, which the flow does not support")
		}
		if bearer(r.Request) != "" {
			improper("a token in the Authorization header")
		}
	case Introspect, Revoke:
		if bearer(r.Request) != "" {
			improper("a token in the Authorization header")
		}
	default:
		if basic || form.Has("client_secret") || o.mentionsSecret(r.body) {
			improper("credentials or a token where they are not wanted")
		}
		if r.endpoint == Other && r.Header.Get("Authorization") != "" {
			improper("an Authorization header at an unknown path")
		}
	}
	if basic && form.Has("client_secret") {
		improper("the pair in a Basic header and in the form")
	}
	if r.Method == http.MethodGet && r.endpoint.oauth() && form.Has("client_secret") {
		improper("credentials in the body of a GET")
	}
}

// hasSensitiveParams says whether a query string has parameters that belong into a body or a header.
func hasSensitiveParams(query url.Values) bool {
	for name := range query {
		switch strings.ToLower(name) {
		case "client_secret", "client_id", "token", "access_token", "oauth_token", "refresh_token", "sid", "assertion", "password":
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

// mentionsSecret says whether one of the words of text is a secret.
func (o *Org) mentionsSecret(text string) bool {
	words := strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" ;,=&\"'", c) })
	return slices.ContainsFunc(words, func(w string) bool { return o.isSecret[w] })
}
