package sfoauthtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is one operation of an org.
type Endpoint string

// The endpoints, in the order of a token's life, then those that rotate an app's credentials.
const (
	Token              Endpoint = "token"               // POST /services/oauth2/token
	Introspect         Endpoint = "introspect"          // POST /services/oauth2/introspect
	Revoke             Endpoint = "revoke"              // POST /services/oauth2/revoke
	UserInfo           Endpoint = "userinfo"            // /services/oauth2/userinfo, and /id/{org}/{user}
	REST               Endpoint = "rest"                // /services/data and all below it that is not listed here
	Usage              Endpoint = "usage"               // GET …/apps/oauth/usage
	Consumers          Endpoint = "consumers"           // GET …/apps/oauth/credentials/{app}
	PrimaryCredentials Endpoint = "primary credentials" // GET …/apps/oauth/credentials/{app}/{consumer}
	ListStaged         Endpoint = "staged credentials"  // GET …/{consumer}/staged
	Stage              Endpoint = "stage"               // POST …/{consumer}/staged
	Promote            Endpoint = "promote"             // PATCH …/{consumer}/staged/{staged}
	Delete             Endpoint = "delete"              // DELETE …/{consumer}/staged/{staged}
	Other              Endpoint = "other"               // any other path

	// AllEndpoints stands for all endpoints in InjectFault and ClearFaults.
	AllEndpoints Endpoint = "all"
)

// Endpoints returns all endpoints but Other and AllEndpoints.
func Endpoints() []Endpoint {
	return []Endpoint{
		Token, Introspect, Revoke, UserInfo, REST, Usage, Consumers, PrimaryCredentials, ListStaged, Stage, Promote, Delete,
	}
}

// oauth reports whether the endpoint belongs to OAuth and not to the REST API.
func (e Endpoint) oauth() bool {
	return e == Token || e == Introspect || e == Revoke || e == UserInfo
}

const credentialsPath = "/services/data/{version}/apps/oauth/credentials/{app}"

// routes are searched in order. {name} matches a path segment, {name...} the rest of the path. An empty method matches
// all.
var routes = []struct {
	method, path string
	endpoint     Endpoint
}{
	{"", "/services/oauth2/token", Token},
	{"", "/services/oauth2/introspect", Introspect},
	{"", "/services/oauth2/revoke", Revoke},
	{"", "/services/oauth2/userinfo", UserInfo},
	{"", "/id/{org}/{user}", UserInfo},
	{http.MethodGet, "/services/data/{version}/apps/oauth/usage", Usage},
	{http.MethodGet, credentialsPath, Consumers},
	{http.MethodGet, credentialsPath + "/{consumer}", PrimaryCredentials},
	{http.MethodGet, credentialsPath + "/{consumer}/staged", ListStaged},
	{http.MethodPost, credentialsPath + "/{consumer}/staged", Stage},
	{http.MethodPatch, credentialsPath + "/{consumer}/staged/{staged}", Promote},
	{http.MethodDelete, credentialsPath + "/{consumer}/staged/{staged}", Delete},
	{"", "/services/data", REST},
	{"", "/services/data/{version}", REST},
	{"", "/services/data/{version}/{resource...}", REST},
}

// locate returns the endpoint of a request and the values in its path.
func locate(r *http.Request) (Endpoint, map[string]string) {
	path := strings.Split(strings.TrimSuffix(r.URL.Path, "/"), "/")
	for _, route := range routes {
		if route.method != "" && route.method != r.Method {
			continue
		}
		if ids, ok := matchPath(strings.Split(route.path, "/"), path); ok {
			return route.endpoint, ids
		}
	}
	return Other, nil
}

func matchPath(pattern, path []string) (map[string]string, bool) {
	ids := map[string]string{}
	for i, segment := range pattern {
		name, isName := strings.CutPrefix(strings.TrimSuffix(segment, "}"), "{")
		rest, isRest := strings.CutSuffix(name, "...")
		switch {
		case i >= len(path):
			return nil, false
		case isName && isRest:
			ids[rest] = strings.Join(path[i:], "/")
			return ids, true
		case isName:
			ids[name] = path[i]
		case segment != path[i]:
			return nil, false
		}
	}
	return ids, len(pattern) == len(path)
}

// handle handles the request. The org is locked.
func (o *Org) handle(r *request) *response {
	if to := apiBaseURL(r.Host, o.config.BaseURL); to != "" {
		return redirect(http.StatusFound, to+r.URL.RequestURI())
	}
	if to := o.renamedTo; to != "" && !hasHost(to, r.Host) {
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
		return htmlPage(http.StatusNotFound, "<html><body>URL No Longer Exists</body></html>\n")
	default:
		return o.connect(r)
	}
}

// apiBaseURL returns where requests to the hosts of Lightning and Setup are redirected, or "" for other hosts. Those
// hosts do not serve the API, and the redirect loses a POST's body.
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

// hasHost reports whether the base URL has this host, with or without its port.
func hasHost(baseURL, host string) bool {
	u, err := url.Parse(baseURL)
	if err != nil {
		return false
	}
	name, _, _ := strings.Cut(host, ":")
	return strings.EqualFold(u.Host, host) || strings.EqualFold(u.Host, name)
}

// isLoginHost reports whether the request went to a host that all orgs share, which does not support the flow.
func (r *request) isLoginHost() bool {
	name, _, _ := strings.Cut(r.Host, ":")
	return name == "login.salesforce.com" || name == "test.salesforce.com"
}

// version returns the number in the path's vNN.0, or zero if the org has no such version.
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

// form decodes the body as a form. It reports whether the content type and the body are a form's.
func (r *request) form() (form url.Values, ok bool) {
	if !isMediaType(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, false
	}
	form, err := url.ParseQuery(r.body)
	return form, err == nil
}

// json reads the body as a JSON object.
func (r *request) json() (map[string]any, *response) {
	if !isMediaType(r.Header.Get("Content-Type"), "application/json") {
		const message = "Content type of the request is not supported. Only application/json is."
		return nil, restError(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", message)
	}
	var body map[string]any
	if json.Unmarshal([]byte(r.body), &body) != nil {
		return nil, restError(http.StatusBadRequest, "JSON_PARSER_ERROR", "The body is not a JSON object.")
	}
	return body, nil
}

// isMediaType reports whether a Content-Type, or one element of Accept, is the media type.
func isMediaType(value, mediaType string) bool {
	name, _, _ := strings.Cut(value, ";")
	return strings.EqualFold(strings.TrimSpace(name), mediaType)
}
