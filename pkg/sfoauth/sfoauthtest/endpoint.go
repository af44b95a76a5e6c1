package sfoauthtest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is one thing that an org can be asked for.
type Endpoint string

// The endpoints, in the order of a token's life, then those that change an app's pair.
const (
	Token              Endpoint = "token"        // POST /services/oauth2/token
	Introspect         Endpoint = "introspect"   // POST /services/oauth2/introspect
	Revoke             Endpoint = "revoke"       // POST /services/oauth2/revoke
	UserInfo           Endpoint = "userinfo"     // GET /services/oauth2/userinfo, and the identity URL, /id/{org}/{user}
	REST               Endpoint = "rest"         // /services/data and whatever of it has no name of its own below
	Usage              Endpoint = "usage"        // GET …/apps/oauth/usage
	Consumers          Endpoint = "consumers"    // GET …/apps/oauth/credentials/{appId}
	PrimaryCredentials Endpoint = "main pair"    // GET …/apps/oauth/credentials/{appId}/{consumerId}
	ListStaged         Endpoint = "staged pairs" // GET …/{consumerId}/staged
	Stage              Endpoint = "stage"        // POST …/{consumerId}/staged
	Promote            Endpoint = "rotate"       // PATCH …/{consumerId}/staged/{id}
	Delete             Endpoint = "delete"       // DELETE …/{consumerId}/staged/{id}
	Other              Endpoint = "other"        // any other path

	// AllEndpoints stands for all of them, in Fail and Heal.
	AllEndpoints Endpoint = "everything"
)

// Endpoints returns all endpoints but Other and Everything.
func Endpoints() []Endpoint {
	return []Endpoint{Token, Introspect, Revoke, UserInfo, REST, Usage, Consumers, PrimaryCredentials, ListStaged, Stage, Promote, Delete}
}

// oauth says whether the endpoint belongs to OAuth and not to the REST API.
func (e Endpoint) oauth() bool {
	return e == Token || e == Introspect || e == Revoke || e == UserInfo
}

// locate finds the endpoint of a request and what its path names: org, user, version, app, consumer, staged.
func locate(r *http.Request) (Endpoint, map[string]string) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch path {
	case "/services/oauth2/token":
		return Token, nil
	case "/services/oauth2/introspect":
		return Introspect, nil
	case "/services/oauth2/revoke":
		return Revoke, nil
	case "/services/oauth2/userinfo":
		return UserInfo, nil
	case "/services/data":
		return REST, nil
	}
	if id, ok := strings.CutPrefix(path, "/id/"); ok {
		org, user, _ := strings.Cut(id, "/")
		return UserInfo, map[string]string{"org": org, "user": user}
	}
	rest, ok := strings.CutPrefix(path, "/services/data/")
	if !ok {
		return Other, nil
	}
	version, resource, _ := strings.Cut(rest, "/")
	ids := map[string]string{"version": version, "resource": resource}
	if resource == "apps/oauth/usage" && r.Method == http.MethodGet {
		return Usage, ids
	}
	rest, ok = strings.CutPrefix(resource, "apps/oauth/credentials/")
	if !ok {
		return REST, ids
	}
	parts := strings.Split(rest, "/")
	for i, name := range []string{"app", "consumer", "", "staged"} {
		if i < len(parts) {
			ids[name] = parts[i]
		}
	}
	switch {
	case len(parts) == 1 && r.Method == http.MethodGet:
		return Consumers, ids
	case len(parts) == 2 && r.Method == http.MethodGet:
		return PrimaryCredentials, ids
	case len(parts) < 3 || len(parts) > 4 || parts[2] != "staged":
		return REST, ids
	case len(parts) == 3 && r.Method == http.MethodGet:
		return ListStaged, ids
	case len(parts) == 3 && r.Method == http.MethodPost:
		return Stage, ids
	case len(parts) == 4 && r.Method == http.MethodPatch:
		return Promote, ids
	case len(parts) == 4 && r.Method == http.MethodDelete:
		return Delete, ids
	default:
		return REST, ids
	}
}

// handle does what the request asks for. The org is locked.
func (o *Org) handle(r *request) *response {
	if to := apiBaseURL(r.Host, o.config.BaseURL); to != "" {
		return redirect(http.StatusFound, to+r.URL.RequestURI())
	}
	if to := o.config.RenamedTo; to != "" && !hasHost(to, r.Host) {
		return redirect(http.StatusMovedPermanently, to+r.URL.RequestURI())
	}
	switch r.endpoint {
	case Token:
		return o.login(r)
	case Introspect:
		return o.introspect(r)
	case Revoke:
		return o.revoke(r)
	case UserInfo:
		return o.userInfo(r)
	case REST:
		return o.rest(r)
	case Other:
		return &response{status: http.StatusNotFound, kind: html, body: []byte("<html><body>URL No Longer Exists</body></html>\n")}
	default:
		return o.connect(r)
	}
}

// apiBaseURL returns where requests to host are redirected, which loses a POST's body: Lightning and Setup have hosts of
// their own that do not serve the API.
func apiBaseURL(host, baseURL string) string {
	name, _, _ := strings.Cut(host, ":")
	myDomain, ok := strings.CutSuffix(name, ".lightning.force.com")
	if !ok {
		myDomain, ok = strings.CutSuffix(name, ".my.salesforce-setup.com")
	}
	switch {
	case !ok:
		return ""
	case baseURL != "":
		return baseURL
	default:
		return "https://" + myDomain + ".my.salesforce.com"
	}
}

// hasHost reports whether the base URL has this host, with a port or without.
func hasHost(baseURL, host string) bool {
	u, err := url.Parse(baseURL)
	if err != nil {
		return false
	}
	name, _, _ := strings.Cut(host, ":")
	return strings.EqualFold(u.Host, host) || strings.EqualFold(u.Host, name)
}

// isLoginHost says whether the request went to one of the hosts that all orgs share, which do not support the flow.
func (o *Org) isLoginHost(r *request) bool {
	name, _, _ := strings.Cut(r.Host, ":")
	return o.config.LoginHost || name == "login.salesforce.com" || name == "test.salesforce.com"
}

// version returns the number in a path's vNN.0, or zero where the org has no such version.
func (o *Org) version(r *request) int {
	number, ok := strings.CutPrefix(r.ids["version"], "v")
	if !ok {
		return 0
	}
	whole, ok := strings.CutSuffix(number, ".0")
	n, err := strconv.Atoi(whole)
	if !ok || err != nil || n < oldestVersion || n > o.config.APIVersion {
		return 0
	}
	return n
}

// form reads the body as a form. ok is false where the content type says that it is none.
func (r *request) form() (form url.Values, ok bool) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil, false
	}
	form, err := url.ParseQuery(r.body)
	return form, err == nil
}
