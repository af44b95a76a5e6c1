package sfoauthtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// oldestVersion of the REST API that still answers. Source: Salesforce Help, "API End-of-Life Policy": versions 21.0 to
// 30.0 are retired.
const oldestVersion = 31

// rest answers the REST API but for the part that changes an app's pair.
func (o *Org) rest(r *request) *answer {
	if r.ids["version"] == "" {
		return o.versions(r)
	}
	s, refused := o.restSession(r)
	if refused != nil {
		return refused
	}
	a := o.resource(r, s)
	a.setHeader("Sforce-Limit-Info", fmt.Sprintf("api-usage=%d/%d", o.dayCount, o.config.RequestsPerDay))
	return a
}

func (o *Org) resource(r *request, s *session) *answer {
	path := strings.Split(r.ids["resource"], "/")
	switch name := path[0]; {
	case name == "sobjects":
		return o.sobjects(r, path[1:])
	case r.ids["resource"] == "composite/sobjects":
		return o.collection(r)
	case !r.reads():
		return notAllowed(r, "HEAD,GET")
	case r.ids["resource"] == "":
		base := strings.TrimSuffix(r.URL.Path, "/")
		return ok200(map[string]any{
			"limits": base + "/limits", "query": base + "/query", "queryAll": base + "/queryAll", "sobjects": base + "/sobjects",
			"composite": base + "/composite", "identity": s.identity,
		})
	case r.ids["resource"] == "limits":
		return ok200(map[string]any{"DailyApiRequests": map[string]int{"Max": o.config.RequestsPerDay, "Remaining": o.config.RequestsPerDay - o.dayCount}})
	case (name == "query" || name == "queryAll") && len(path) == 1:
		return o.query(r, s, name == "queryAll")
	case (name == "query" || name == "queryAll") && len(path) == 2:
		return o.more(r, s, path[1])
	default:
		return notFound()
	}
}

func (r *request) reads() bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

func notAllowed(r *request, allowed string) *answer {
	return restError(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "HTTP Method '"+r.Method+"' not allowed. Allowed are "+allowed)
}

func notFound() *answer {
	return restError(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
}

// restSession returns the session that a REST request runs in, or why it may not.
func (o *Org) restSession(r *request) (*session, *answer) {
	now := o.config.Now()
	if now.Sub(o.dayStart) >= 24*time.Hour {
		o.dayStart, o.dayCount = now, 0
	}
	s := o.use(r)
	switch {
	case s == nil && o.alive(o.sessions[bearer(r.Request)]): // frozen, or locked to another address
		return nil, notForREST()
	case s == nil:
		return nil, restError(http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid")
	case !apiScope(s.app.options.Scope):
		return nil, notForREST()
	case o.version(r) == 0:
		return nil, notFound()
	case o.dayCount >= o.config.RequestsPerDay:
		return nil, restError(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
	}
	o.dayCount++
	return s, nil
}

// notForREST is the answer about a session that is alive and may not be used here: for a frozen user, a session that
// is locked to another address, and a token without the api scope alike.
func notForREST() *answer {
	return restError(http.StatusUnauthorized, "INVALID_SESSION_ID", "This session is not valid for use with the REST API")
}

// apiScope says whether a token of these scopes opens the REST API.
func apiScope(scopes string) bool {
	return slices.ContainsFunc(strings.Fields(scopes), func(s string) bool { return s == "api" || s == "full" })
}

// versions lists the versions of the REST API, for which nobody needs to be logged in.
func (o *Org) versions(r *request) *answer {
	var list []map[string]string
	for v := oldestVersion; v <= o.config.APIVersion; v++ {
		// Three releases a year: version 65 is Winter '26.
		season := []string{"Winter", "Spring", "Summer"}[(v+1)%3]
		list = append(list, map[string]string{
			"label": fmt.Sprintf("%s '%02d", season, 26+(v-65-(v+1)%3)/3), "url": fmt.Sprintf("/services/data/v%d.0", v), "version": fmt.Sprintf("%d.0", v),
		})
	}
	return &answer{status: http.StatusOK, body: encodeJSON(list)}
}
