package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// responseError is an error of the agent itself, or of the API.
type responseError struct {
	status     int
	retryAfter time.Duration // zero: not known

	Code            string `json:"error"`
	Description     string `json:"error_description"`
	SalesforceError string `json:"salesforce_error,omitempty"`
	RequestID       string `json:"request_id,omitempty"`
}

func (e *responseError) Error() string { return e.Code + ": " + e.Description }

func failure(status int, code, description string) *responseError {
	return &responseError{status: status, Code: code, Description: description}
}

func invalid(description string) *responseError {
	return failure(http.StatusBadRequest, "invalid_request", description)
}

const allowedMethods = "GET, POST"

var (
	errUnauthorized = failure(http.StatusUnauthorized, "invalid_client",
		"the agent token is missing or wrong: send it as a Bearer token, or as the client secret of an OAuth client. "+
			"Each start of the agent makes a new one")
	errNotFound = failure(http.StatusNotFound, "invalid_request",
		"no such path: the agent serves /v1/tokens/APP, /metrics and /healthz, without percent-encoding")
	errForm   = invalid("the body must be empty, or a form with grant_type=client_credentials")
	errGrant  = failure(http.StatusBadRequest, "unsupported_grant_type", "the grant_type must be client_credentials")
	errMethod = failure(http.StatusMethodNotAllowed, "method_not_allowed", "the allowed methods are "+allowedMethods)
)

// Handler returns the agent's HTTP handler for a listener with this address. It refuses requests that may come from
// another host, whether forwarded by a proxy or sent by a web page.
func (a *Agent) Handler(address net.Addr) http.Handler {
	metrics := promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if reason := foreign(r, address); reason != "" {
			a.noteRefusal(r, reason)
			writeError(w, failure(http.StatusForbidden, "access_denied", refusals[reason]))
			return
		}
		path := r.URL.EscapedPath() // not unescaped, and not cleaned: an app has one spelling
		if path == "/healthz" {
			writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
			return
		}
		form, err := readForm(w, r)
		if !a.authenticated(r, form) {
			a.noteRefusal(r, "token")
			w.Header().Set("WWW-Authenticate", `Bearer realm="sftoken agent"`)
			writeError(w, errUnauthorized)
			return
		}
		name, isToken := strings.CutPrefix(path, "/v1/tokens/")
		switch {
		case path == "/metrics":
			metrics.ServeHTTP(w, r)
		case !isToken:
			writeError(w, errNotFound)
		default:
			a.serveToken(w, r, name, form, err)
		}
	})
}

// readForm returns the form in the body of a POST. A client that sends slowly runs into the server's timeouts.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, invalid("the body cannot be read, or is longer than 8 KB")
	}
	form, err := url.ParseQuery(strings.TrimSpace(string(body)))
	if err != nil {
		return nil, errForm
	}
	return form, nil
}

// foreign returns why a request may come from another host, or "" if it comes from this one. A web page can send
// requests here under a name of its own (DNS rebinding), and then has that name as Host; or to this address, and then
// its browser sends Origin or Sec-Fetch-Site. Source: Fetch Metadata Request Headers, W3C.
func foreign(r *http.Request, address net.Addr) string {
	if !isOwnHost(r.Host, address) {
		return "host"
	}
	for name := range r.Header {
		switch {
		case strings.HasPrefix(name, "X-Forwarded-"), name == "Forwarded", name == "Via", name == "X-Real-Ip":
			return "proxy"
		case name == "Origin", name == "Sec-Fetch-Site":
			return "browser"
		}
	}
	return ""
}

// isOwnHost reports whether a Host header names this machine and, for TCP, the port of the listener.
func isOwnHost(host string, address net.Addr) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "80"
	}
	_, own, _ := net.SplitHostPort(address.String())
	return sfoauth.IsLoopback(name) && (address.Network() == "unix" || port == own)
}

// refusals describes the reasons of foreign.
var refusals = map[string]string{
	"host":    "the Host header must be localhost or a loopback address, with the agent's port",
	"proxy":   "the agent does not serve requests that a proxy has forwarded",
	"browser": "the agent does not serve web pages",
}

// noteRefusal counts a refused request, and logs it unless there are many.
func (a *Agent) noteRefusal(r *http.Request, reason string) {
	a.metrics.refused.WithLabelValues(reason).Inc()
	if a.refusal.Allow() {
		a.log.Warn("refused", "reason", reason,
			"host", r.Host[:min(len(r.Host), 256)], "method", r.Method[:min(len(r.Method), 16)])
	}
}

// authenticated reports whether the request has the agent token: as a Bearer token, as the password of HTTP Basic, or
// as client_secret in the form of a POST. The last two are how OAuth clients send a client secret (RFC 6749 section
// 2.3.1).
func (a *Agent) authenticated(r *http.Request, form url.Values) bool {
	if a.config.Token.IsZero() {
		return true
	}
	given := form.Get("client_secret")
	if bearer, ok := cutPrefixFold(r.Header.Get("Authorization"), "Bearer "); ok {
		given = bearer
	} else if _, password, ok := r.BasicAuth(); ok {
		given = password
	}
	return a.config.Token.Equal(sfoauth.NewSecret(strings.TrimSpace(given)))
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func (a *Agent) serveToken(w http.ResponseWriter, r *http.Request, name string, form url.Values, err error) {
	begun := time.Now()
	var one *app
	var served *servedToken
	rejected, cache, label, outcome := "", "", "", "ok"
	if err == nil {
		one, rejected, err = a.requested(r, name, form)
	}
	if err == nil {
		served, cache, err = one.token(r.Context(), rejected)
		label = one.label()
	}
	if err != nil {
		failed := describe(err)
		outcome = failed.Code
		writeError(w, failed)
	} else {
		w.Header().Set("X-Token-Cache", cache)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(served.body()) // #nosec G705 -- JSON, with its type; and the client may have left
	}
	a.metrics.requests.WithLabelValues(label, outcome).Inc()
	a.metrics.duration.Observe(time.Since(begun).Seconds())
}

// requested returns the app of a valid request, and the ID of a token that Salesforce rejected, or "".
func (a *Agent) requested(r *http.Request, name string, form url.Values) (*app, string, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil, "", errMethod
	}
	if !appsecret.ValidName(name) {
		return nil, "", invalid("the app's name must match " + appsecret.NamePattern)
	}
	if !a.serves(name) {
		return nil, "", failure(http.StatusForbidden, "access_denied",
			fmt.Sprintf("this agent does not serve app %q: start it with --app %s", name, name))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if rejected := query["rejected"]; err != nil || len(rejected) > 1 || len(rejected) == 1 && !isTokenID(rejected[0]) {
		return nil, "", invalid("rejected must be one token_id of an earlier response: 16 hex digits")
	}
	if grant := form["grant_type"]; len(form) > 0 && len(grant) != 1 {
		return nil, "", errForm
	} else if len(grant) == 1 && grant[0] != "client_credentials" {
		return nil, "", errGrant
	}
	return a.app(name), query.Get("rejected"), nil
}

func isTokenID(text string) bool {
	return len(text) == 16 && strings.Trim(text, "0123456789abcdef") == ""
}

// describe returns the response for an error of a source.
func describe(err error) *responseError {
	if failed, ok := errors.AsType[*responseError](err); ok {
		return failed
	}
	text := strings.TrimPrefix(err.Error(), "sftoken: ")
	api, ok := errors.AsType[*sftoken.Error](err)
	switch {
	case ok && isErrorOfAPI(api):
		return &responseError{api.Status, api.RetryAfter, api.Code, api.Description, api.SalesforceError, api.RequestID}
	case ok && api.Status == http.StatusForbidden:
		return &responseError{api.Status, 0, "access_denied", "API Gateway: " + api.Description, "", api.RequestID}
	case ok && (api.Status >= 500 || api.Status == http.StatusTooManyRequests):
		return &responseError{http.StatusServiceUnavailable, max(api.RetryAfter, time.Second), "temporarily_unavailable",
			text, "", api.RequestID}
	case ok:
		return &responseError{http.StatusBadGateway, 0, "bad_upstream_response", text, "", api.RequestID}
	case sftoken.IsTemporary(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &responseError{status: http.StatusServiceUnavailable, retryAfter: time.Second,
			Code: "temporarily_unavailable", Description: text}
	}
	if _, ok := errors.AsType[*sftoken.CredentialsError](err); ok {
		text = "the agent has no " + text + ": log in on its host, or restart it with other credentials"
	}
	return failure(http.StatusInternalServerError, "server_error", text)
}

// isErrorOfAPI reports whether the error is the API's own, and is passed on. A 401 is another agent's: its clients are
// not authenticated, but those of this one are. The code of a proxy's error may be any text, and would be a label of
// metrics.
func isErrorOfAPI(e *sftoken.Error) bool {
	isCode := e.Code != "" && strings.Trim(e.Code, "abcdefghijklmnopqrstuvwxyz_") == ""
	return isCode && e.Status >= 400 && e.Status < 600 && e.Status != http.StatusUnauthorized
}

func writeError(w http.ResponseWriter, e *responseError) {
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retryAfter.Seconds()))))
	}
	if e.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allowedMethods)
	}
	writeJSON(w, e.status, e)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client may have left
}
