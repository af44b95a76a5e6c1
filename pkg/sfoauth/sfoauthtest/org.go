// Package sfoauthtest is a simulated Salesforce org for tests: the OAuth endpoints of the client credentials flow, the
// parts of the REST API that depend on a token, and the part of the Connect REST API that rotates an app's credentials.
// It is as strict as Salesforce, simulates server and network faults, and records requests, so that a test can assert
// that a client sent no secret to the wrong place.
//
// An [Org] is a [net/http.Handler]. [Org.Start] serves it over TCP. A [Network] serves it in memory, which works
// inside a testing/synctest bubble; create everything that a bubble uses inside the bubble.
//
// The org follows Salesforce's documentation, which comments cite. Where the documentation is silent, the org behaves
// in the way that is harder for a client, and a comment calls that a choice.
package sfoauthtest

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Org is a simulated Salesforce org. All its methods are safe for concurrent use.
type Org struct {
	config Config
	id     string

	mu        sync.Mutex
	apps      []*App
	users     []*User
	sessions  map[string]*session // by token
	faults    map[Endpoint][]*injectedFault
	cleared   chan struct{} // closed by ClearFaults, to release requests that hang
	stats     Stats
	secrets   []string
	isSecret  map[string]bool // the members of secrets
	locked    bool
	renamedTo string    // base URL; empty: the org has not been renamed
	dayStart  time.Time // start of dayCount
	dayCount  int       // REST requests
}

// New returns an org without apps. It panics if Salesforce does not allow config's SessionTimeout.
func New(config Config) *Org {
	config.setDefaults()
	return &Org{
		config:   config,
		id:       newID("00D"),
		sessions: map[string]*session{},
		faults:   map[Endpoint][]*injectedFault{},
		cleared:  make(chan struct{}),
		isSecret: map[string]bool{},
		stats:    newStats(),
	}
}

// ID returns the org's id, 00D… with 18 characters.
func (o *Org) ID() string { return o.id }

// SetLocked locks or unlocks the org. In a locked org every login fails and no session is active.
func (o *Org) SetLocked(locked bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.locked = locked
}

// Rename changes the org's My Domain. Requests to other hosts are then redirected to baseURL with 301 and have no
// effect. An empty baseURL restores the old name. Source: Salesforce Help, "My Domain Redirections".
func (o *Org) Rename(baseURL string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.renamedTo = strings.TrimSuffix(baseURL, "/")
}

// Secrets returns every consumer secret, token and signature that the org has issued, including those in faulty
// responses. Tests search a program's output for them.
func (o *Org) Secrets() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.secrets)
}

// trackSecret records text as a secret and returns it.
func (o *Org) trackSecret(text string) string {
	if text != "" && !o.isSecret[text] {
		o.isSecret[text] = true
		o.secrets = append(o.secrets, text)
	}
	return text
}

// request is one HTTP request with its body.
type request struct {
	*http.Request
	endpoint Endpoint
	ids      map[string]string // from the path
	base     string            // the org's scheme and host, as the client sees it
	body     string
}

// maxRequest is the largest request body, in bytes.
const maxRequest = 1 << 20

// ServeHTTP implements http.Handler: it responds as Salesforce does, or with an injected fault.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "cannot read the request", http.StatusBadRequest)
		return
	}
	req := &request{Request: r, base: o.baseURL(r), body: string(text)}
	req.endpoint, req.ids = locate(r)

	o.notify(Call{Endpoint: req.endpoint, Phase: Arrived})
	f, cleared := o.receive(req)
	out := faultResponse{r: r, cleared: cleared}
	if f.delay > 0 {
		out.wait(f.delay)
	}
	if !f.dropped {
		out.response = o.apply(f, req)
		o.notify(Call{Endpoint: req.endpoint, Phase: Done, Status: out.status})
	}
	if f.send != nil {
		f.send(w, out)
		return
	}
	out.write(w)
}

func (o *Org) notify(c Call) {
	if o.config.OnCall != nil {
		o.config.OnCall(c)
	}
}

// receive records the request and returns its fault, if any.
func (o *Org) receive(r *request) (Fault, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Calls[r.endpoint]++
	o.checkRequest(r)
	return o.takeFault(r.endpoint), o.cleared
}

// apply handles the request, or applies the fault in place of it.
func (o *Org) apply(f Fault, r *request) *response {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.replace != nil {
		return f.replace(o, r)
	}
	a := o.handle(r)
	if f.modify != nil {
		f.modify(o, a, r)
	}
	return a
}

func (o *Org) baseURL(r *http.Request) string {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	switch {
	case o.config.BaseURL != "":
		return o.config.BaseURL
	case r.TLS != nil, local != nil && strings.HasSuffix(local.String(), ":443"):
		return "https://" + r.Host
	default:
		return "http://" + r.Host
	}
}
