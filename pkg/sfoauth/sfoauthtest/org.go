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
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config is what an org is made with. The zero value is an org with Salesforce's defaults.
type Config struct {
	// BaseURL is the org's My Domain, without a trailing slash: where id and instance_url point to. Empty: the scheme and
	// host of each request.
	BaseURL string
	// Now tells the time for sessions, limits and expiry dates. Nil: time.Now. The org advances nothing by itself.
	Now func() time.Time
	// SessionTimeout is how long a session lives without use: 15 minutes to 24 hours. Zero: 2 hours.
	SessionTimeout time.Duration
	// LoginsPerHour limits the logins of each user. Zero: 3,600.
	LoginsPerHour int
	// RequestsPerDay limits the REST requests of the org. Zero: 1,000,000.
	RequestsPerDay int
	// PropagationDelay is how long a pair made by App.Regenerate or by staging is unknown to the token endpoint; Salesforce
	// says 2 to 10 minutes. The pair that AddApp makes is known at once. Zero: none.
	PropagationDelay time.Duration
	// APIVersion is the newest version of the REST API, such as 65 for v65.0. Zero: 67.
	APIVersion int
	// SharedSessions makes a second login of an app as the same user return the session that still lives, with its token.
	// Salesforce does not document whether it does; a client must stand both.
	SharedSessions bool
	// LoginHost makes the org answer logins like login.salesforce.com, which does not support the flow. Requests whose Host
	// is login.salesforce.com or test.salesforce.com are answered so in any case.
	LoginHost bool
	// NoSecretsOverREST switches off "Allow access to External Client App consumer secrets via REST API".
	NoSecretsOverREST bool
	// FlatStaged makes the answers about a staged pair one object, where others wrap it in a list under
	// stagedCredentials. Both shapes have been seen.
	FlatStaged bool
	// StagedCannotLogIn makes the token endpoint refuse a staged pair until it has been rotated.
	StagedCannotLogIn bool
	// StageBesideRotated lets a pair be staged while the last one rotated out is still there, so that there can be two.
	// Salesforce documents one slot, yet answers with a list.
	StageBesideRotated bool
	// Watch is called when a request has arrived, and again when the org has done what it asks for but not yet answered; not
	// again for one that a fault loses. It may block, call the org's methods, or end the process. Nil: none.
	Watch func(Call)
}

// Phase is how far a request has come.
type Phase string

const (
	Arrived Phase = "arrived" // nothing has been done
	Done    Phase = "done"    // what it asks for has been done or refused; nothing has been answered
)

// Call is one request on its way, as Config.Watch sees it.
type Call struct {
	Endpoint Endpoint
	Phase    Phase
	Status   int // what the org is going to answer; zero when the request has arrived
}

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
	seen     Seen
	secrets  []string
	known    map[string]bool // the members of secrets
	locked   bool
	dayStart time.Time // when the current count of REST requests began
	dayCount int
}

// New returns an org without apps. It panics where the configuration is one that Salesforce does not allow.
func New(config Config) *Org {
	if config.Now == nil {
		config.Now = time.Now
	}
	setDefault(&config.SessionTimeout, 2*time.Hour)
	setDefault(&config.LoginsPerHour, 3600)
	setDefault(&config.RequestsPerDay, 1_000_000)
	setDefault(&config.APIVersion, 67)
	config.BaseURL = strings.TrimSuffix(config.BaseURL, "/")
	if config.SessionTimeout < 15*time.Minute || config.SessionTimeout > 24*time.Hour {
		panic(fmt.Sprintf("sfoauthtest: a session timeout of %v; Salesforce has 15 minutes to 24 hours", config.SessionTimeout))
	}
	return &Org{
		config:   config,
		id:       newID("00D"),
		sessions: map[string]*session{},
		faults:   map[Endpoint][]*fault{},
		healed:   make(chan struct{}),
		known:    map[string]bool{},
		seen:     newSeen(),
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
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

// Secrets returns every consumer secret, token and signature that the org has made, including those in faulty answers,
// for tests that search what a program wrote.
func (o *Org) Secrets() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.secrets...)
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
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
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

func (o *Org) watch(c Call) {
	if o.config.Watch != nil {
		o.config.Watch(c)
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
