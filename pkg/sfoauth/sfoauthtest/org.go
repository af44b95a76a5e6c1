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
	"bytes"
	"compress/gzip"
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
	faults   map[Endpoint][]*fault
	healed   chan struct{} // closed when faults are cleared, to let go of requests that hang
	seen     Stats
	secrets  []string
	known    map[string]bool // the members of secrets
	locked   bool
	dayStart time.Time // when the current count of REST requests began
	dayCount int
	objects  []*object // but for the users
	jobs     []*job    // of Bulk API 1.0
	cursors  []*cursor // of queries whose rows have not all been fetched, oldest first
}

// New returns an org without apps. It panics where the configuration is one that Salesforce does not allow.
func New(config Config) *Org {
	config.complete()
	o := &Org{
		config:   config,
		id:       newID("00D"),
		sessions: map[string]*session{},
		faults:   map[Endpoint][]*fault{},
		healed:   make(chan struct{}),
		known:    map[string]bool{},
		seen:     newSeen(),
	}
	o.objects = o.newObjects()
	return o
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

// keep records text as one of the org's secrets and returns it.
func (o *Org) keep(text string) string {
	if text != "" && !o.known[text] {
		o.known[text] = true
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
	text     string            // the body
}

// maxRequest bounds what is read of a request, in bytes.
const maxRequest = 1 << 20

// ServeHTTP answers as the org would, or as Fail has said.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := readBody(w, r)
	if err != nil {
		http.Error(w, "the request broke off", http.StatusBadRequest)
		return
	}
	req := &request{Request: r, base: o.baseURL(r), text: string(text)}
	req.endpoint, req.ids = locate(r)

	o.watch(Call{Endpoint: req.endpoint, Phase: Arrived})
	f, healed := o.arrive(req)
	out := sending{r: r, healed: healed}
	if f.delay > 0 {
		out.wait(f.delay)
	}
	if !f.lost {
		out.answer = o.answer(f, req)
		o.watch(Call{Endpoint: req.endpoint, Phase: Done, Status: out.status})
	}
	if f.send != nil {
		f.send(w, out)
		return
	}
	out.write(w)
}

// readBody reads a request's body, which may be compressed. A client may say so of one that it does not send. Source: REST API
// Developer Guide, "Using Compression".
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil || len(body) == 0 || r.Header.Get("Content-Encoding") != "gzip" {
		return body, err
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxRequest))
}

func (o *Org) watch(c Call) {
	if o.config.OnCall != nil {
		o.config.OnCall(c)
	}
}

// arrive records the request and takes the fault that it meets, if any.
func (o *Org) arrive(r *request) (Fault, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen.Calls[r.endpoint]++
	o.inspect(r)
	return o.nextFault(r.endpoint), o.healed
}

// answer does what the request asks for, or what the fault does instead.
func (o *Org) answer(f Fault, r *request) *answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.instead != nil {
		return f.instead(o, r)
	}
	a := o.handle(r)
	if f.change != nil {
		f.change(o, a, r)
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
