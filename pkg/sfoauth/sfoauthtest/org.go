// Package sfoauthtest is a simulated Salesforce org for tests: the OAuth endpoints of the client credentials flow, a
// small REST API, and the part of the Connect REST API that changes an app's key and secret. It is as strict as
// Salesforce, can be told to fail in every way that a server and a network fail, and records what it was sent, so that a
// test can assert that nothing improper was.
//
// An [Org] is an [net/http.Handler]. [Org.Start] serves it over TCP; a [Network] serves it in memory, which works inside
// a testing/synctest bubble. Create everything that a bubble uses inside the bubble.
//
// What Salesforce documents is done as documented, with the source beside it. Where the documentation is silent, the
// choice is the one that is harder on a client, and the comment says that it is a choice.
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

	mu       sync.Mutex
	apps     []*App
	users    []*User
	sessions map[string]*session // by token
	faults   map[Endpoint][]*injectedFault
	cleared  chan struct{} // closed when faults are cleared, to let go of requests that hang
	stats    Stats
	secrets  []string
	isSecret map[string]bool // the members of secrets
	locked   bool
	dayStart time.Time // when the current count of REST requests began
	dayCount int
}

// New returns an org without apps. It panics where the configuration is one that Salesforce does not allow.
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

// SetLocked locks the org or unlocks it: no login succeeds and no session works while it is locked.
func (o *Org) SetLocked(locked bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.locked = locked
}

// Rename gives the org another My Domain, as Config.RenamedTo does. Empty: it has its old one again.
func (o *Org) Rename(baseURL string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.config.RenamedTo = strings.TrimSuffix(baseURL, "/")
}

// Secrets returns every consumer secret, token and signature that the org has made, including those in faulty answers,
// for tests that search what a program wrote.
func (o *Org) Secrets() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.secrets)
}

// trackSecret records text as one of the org's secrets and returns it.
func (o *Org) trackSecret(text string) string {
	if text != "" && !o.isSecret[text] {
		o.isSecret[text] = true
		o.secrets = append(o.secrets, text)
	}
	return text
}

// request is one HTTP request, read whole.
type request struct {
	*http.Request
	endpoint Endpoint
	ids      map[string]string // what the path names
	base     string            // scheme and host of the org as the client knows it
	body     string            // the body
}

// maxRequest bounds what is read of a request, in bytes.
const maxRequest = 1 << 20

// ServeHTTP answers as the org would, or as Fail has said.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "the request broke off", http.StatusBadRequest)
		return
	}
	req := &request{Request: r, base: o.baseURL(r), body: string(text)}
	req.endpoint, req.ids = locate(r)

	o.notify(Call{Endpoint: req.endpoint, Phase: Arrived})
	f, healed := o.receive(req)
	out := faultResponse{r: r, cleared: healed}
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

// receive records the request and takes the fault that it meets, if any.
func (o *Org) receive(r *request) (Fault, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Calls[r.endpoint]++
	o.checkRequest(r)
	return o.takeFault(r.endpoint), o.cleared
}

// apply does what the request asks for, or what the fault does instead.
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
