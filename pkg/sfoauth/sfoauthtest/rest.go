package sfoauthtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// oldestVersion is the oldest version of the REST API. Source: Salesforce Help, "API End-of-Life Policy": versions 21.0
// to 30.0 are retired.
const oldestVersion = 31

// rest serves the REST API except for the Connect REST API.
func (o *Org) rest(r *request) *response {
	if r.ids["version"] == "" {
		return o.versions()
	}
	s, failed := o.restSession(r)
	if failed != nil {
		return failed
	}
	a := o.resource(r, s)
	a.setHeader("Sforce-Limit-Info", fmt.Sprintf("api-usage=%d/%d", o.dayCount, o.config.RequestsPerDay))
	return a
}

func (o *Org) resource(r *request, s *session) *response {
	switch resource := r.ids["resource"]; {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		message := "HTTP Method '" + r.Method + "' not allowed. Allowed are HEAD,GET"
		return restError(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", message)
	case resource == "":
		return ok200(map[string]any{"limits": strings.TrimSuffix(r.URL.Path, "/") + "/limits", "identity": s.identity})
	case resource == "query":
		return o.query(r, s)
	case resource != "limits":
		return notFound()
	default:
		left := o.config.RequestsPerDay - o.dayCount
		return ok200(map[string]any{"DailyApiRequests": map[string]int{"Max": o.config.RequestsPerDay, "Remaining": left}})
	}
}

func notFound() *response {
	return restError(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
}

// restSession returns the session of a REST request, or the error response if there is none.
func (o *Org) restSession(r *request) (*session, *response) {
	now := o.config.Now()
	if now.Sub(o.dayStart) >= 24*time.Hour {
		o.dayStart, o.dayCount = now, 0
	}
	s := o.useSession(r)
	switch {
	case s == nil && o.active(o.sessions[bearer(r.Request)]): // frozen user or locked session
		return nil, sessionNotValid()
	case s == nil:
		return nil, restError(http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid")
	case !apiScope(s.app.options.Scope):
		return nil, sessionNotValid()
	case o.version(r) == 0:
		return nil, notFound()
	case o.dayCount >= o.config.RequestsPerDay:
		return nil, restError(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
	}
	o.dayCount++
	return s, nil
}

// sessionNotValid is the response for an active session that the REST API rejects: that of a frozen user, one that is
// locked to another address, and one without the api scope.
func sessionNotValid() *response {
	return restError(http.StatusUnauthorized, "INVALID_SESSION_ID", "This session is not valid for use with the REST API")
}

// apiScope reports whether the scopes include the REST API.
func apiScope(scopes string) bool {
	return slices.ContainsFunc(strings.Fields(scopes), func(s string) bool { return s == "api" || s == "full" })
}

// versions lists the versions of the REST API, which needs no token.
func (o *Org) versions() *response {
	var list []map[string]string
	for v := oldestVersion; v <= o.config.APIVersion; v++ {
		// Three releases a year: version 65 is Winter '26.
		season := []string{"Winter", "Spring", "Summer"}[(v+1)%3]
		list = append(list, map[string]string{
			"label": fmt.Sprintf("%s '%02d", season, 26+(v-65-(v+1)%3)/3),
			"url":   fmt.Sprintf("/services/data/v%d.0", v), "version": fmt.Sprintf("%d.0", v),
		})
	}
	return &response{status: http.StatusOK, body: encodeJSON(list)}
}
