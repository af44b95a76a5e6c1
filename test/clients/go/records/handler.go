// Package records adds sObjects, collections and SOQL to a simulated Salesforce org, for clients that others have
// written. It is as strict as Salesforce where the documentation says what Salesforce does; comments name the choices.
package records

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Handler serves the resources sobjects, composite/sobjects, query and queryAll, and passes all other requests to an
// org, normally an *sfoauthtest.Org. The org also decides whether a token may be used. Handler is safe for concurrent
// use.
type Handler struct {
	org http.Handler
	now func() time.Time

	mu      sync.Mutex
	objects []*object // empty until the first request names the org
	cursors []*cursor // of queries with rows left to fetch, oldest first
}

// New returns a handler in front of org. It takes the dates of records from now; nil means time.Now.
func New(org http.Handler, now func() time.Time) *Handler {
	if now == nil {
		now = time.Now
	}
	return &Handler{org: org, now: now}
}

var resource = regexp.MustCompile(`^(/services/data/v[0-9.]+)/(sobjects|composite/sobjects|query|queryAll)(?:/(.*))?$`)

// request is one request for a resource of this package.
type request struct {
	*http.Request
	base string   // /services/data/vNN.0
	name string   // of the resource
	path []string // below the resource; nil: nothing
	user string   // the id of the token's user
	body []byte
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "//") { // the Salesforce CLI appends paths to an address that ends in a slash
		r = r.Clone(r.Context())
		r.URL.Path = r.URL.Path[1:]
	}
	parts := resource.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		h.org.ServeHTTP(w, r)
		return
	}
	home := h.get(r, parts[1]) // the org refuses a token that may not be used
	if home.Code != http.StatusOK {
		maps.Copy(w.Header(), home.Header())
		w.WriteHeader(home.Code)
		_, _ = home.Body.WriteTo(w)
		return
	}
	var index struct{ Identity string }
	_ = json.Unmarshal(home.Body.Bytes(), &index) // the org's own response
	ids := strings.Split(index.Identity, "/")
	req := &request{Request: r, base: parts[1], name: parts[2], user: ids[len(ids)-1]}
	if path := strings.TrimSuffix(parts[3], "/"); path != "" {
		req.path = strings.Split(path, "/")
	}
	var err error
	if req.body, err = readBody(r); err != nil {
		http.Error(w, "cannot read the request", http.StatusBadRequest)
		return
	}
	w.Header().Set("Sforce-Limit-Info", home.Header().Get("Sforce-Limit-Info"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.objects == nil {
		var user struct {
			Username string `json:"preferred_username"`
		}
		_ = json.Unmarshal(h.get(r, "/services/oauth2/userinfo").Body.Bytes(), &user)
		h.objects = h.newObjects(ids[len(ids)-2], req.user, user.Username)
	}
	h.handle(req).write(w)
}

// get reads a resource of the org with the request's token.
func (h *Handler) get(r *http.Request, path string) *httptest.ResponseRecorder {
	get := r.Clone(r.Context())
	get.Method, get.URL.Path, get.URL.RawQuery = http.MethodGet, path, ""
	get.Body, get.ContentLength = http.NoBody, 0
	get.Header = http.Header{"Authorization": r.Header["Authorization"], "Accept": {"application/json"}}
	recorder := httptest.NewRecorder()
	h.org.ServeHTTP(recorder, get)
	return recorder
}

// readBody reads a body that may be compressed. A client may announce compression and send no body. Source: REST API
// Developer Guide, "Using Compression".
func readBody(r *http.Request) ([]byte, error) {
	const limit = 1 << 20
	body, err := io.ReadAll(io.LimitReader(r.Body, limit))
	if err != nil || len(body) == 0 || r.Header.Get("Content-Encoding") != "gzip" {
		return body, err
	}
	z, err := gzip.NewReader(strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, limit))
}

func (h *Handler) handle(r *request) *response {
	switch r.name {
	case "sobjects":
		return h.sobjects(r)
	case "composite/sobjects":
		return h.collection(r)
	}
	switch {
	case !r.reads():
		return notAllowed(r, "HEAD,GET")
	case len(r.path) == 0:
		return h.query(r, r.name == "queryAll")
	case len(r.path) == 1:
		return h.more(r, r.path[0])
	default:
		return notFound()
	}
}

func (r *request) reads() bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// json reads the body as a JSON object.
func (r *request) json() (map[string]any, *response) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(kind, "application/json") {
		const message = "Content type of the request is not supported. Only application/json is."
		return nil, restError(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", message)
	}
	var body map[string]any
	if json.Unmarshal(r.body, &body) != nil {
		return nil, restError(http.StatusBadRequest, "JSON_PARSER_ERROR", "The body is not a JSON object.")
	}
	return body, nil
}

// response is encoded as JSON. A nil value sends no body.
type response struct {
	status   int
	value    any
	location string
}

func (a *response) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	w.WriteHeader(a.status)
	if a.value != nil {
		_ = json.NewEncoder(w).Encode(a.value) // fails when the client has gone
	}
}

func ok200(value any) *response { return &response{status: http.StatusOK, value: value} }

// restError is an error of the REST API: a list of one.
func restError(status int, code, message string) *response {
	return &response{status: status, value: []map[string]string{{"message": message, "errorCode": code}}}
}

func notAllowed(r *request, allowed string) *response {
	message := "HTTP Method '" + r.Method + "' not allowed. Allowed are " + allowed
	return restError(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", message)
}

func notFound() *response {
	return restError(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
}
