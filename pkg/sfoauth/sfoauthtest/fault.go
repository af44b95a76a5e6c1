package sfoauthtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is one way in which an endpoint fails. Faults are made by the functions of this package and given to Org.Fail.
type Fault struct {
	name    string
	matches func(Endpoint) bool // nil: every endpoint

	delay   time.Duration                            // before the request takes effect
	dropped bool                                     // the request takes no effect and gets no answer
	replace func(*Org, *request) *response           // the request takes no effect and gets this answer
	modify  func(*Org, *response, *request)          // the request takes effect, and its answer is changed
	send    func(http.ResponseWriter, faultResponse) // the answer is sent in an odd way
}

// injectedFault is a Fault that has been switched on.
type injectedFault struct {
	Fault
	remaining int // how many more requests meet it; zero: until it is cleared
}

// String returns the fault's name, which is unique among AllFaults.
func (f Fault) String() string { return f.name }

// AppliesTo says whether the fault makes a difference at the endpoint.
func (f Fault) AppliesTo(e Endpoint) bool { return f.matches == nil || f.matches(e) }

// Commits says whether the org does what the request asks for, though the answer is lost or wrong.
func (f Fault) Commits() bool { return !f.dropped && f.replace == nil }

// NoFault lets a request pass. Fail(e, NoFault(), 3) before another Fail makes that one begin with the fourth request.
func NoFault() Fault { return Fault{name: "none"} }

// InjectFault makes the next times requests to the endpoint meet the fault, or all of them until Heal where times is zero.
// Faults of one endpoint queue up; those of Everything come after those of the endpoint itself.
func (o *Org) InjectFault(e Endpoint, f Fault, times int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults[e] = append(o.faults[e], &injectedFault{f, times})
}

// ClearFaults clears the faults of the endpoints, or all faults where none is named, and lets go of the requests that hang or wait. What
// was set for Everything is cleared only with everything.
func (o *Org) ClearFaults(endpoints ...Endpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(endpoints) == 0 || slices.Contains(endpoints, AllEndpoints) {
		clear(o.faults)
	}
	for _, e := range endpoints {
		delete(o.faults, e)
	}
	close(o.cleared)
	o.cleared = make(chan struct{})
}

// takeFault takes the fault that the next request to the endpoint meets.
func (o *Org) takeFault(e Endpoint) Fault {
	for _, e := range []Endpoint{e, AllEndpoints} {
		queue := o.faults[e]
		if len(queue) == 0 {
			continue
		}
		f := queue[0]
		if f.remaining == 1 {
			o.faults[e] = queue[1:]
		}
		f.remaining = max(0, f.remaining-1)
		return f.Fault
	}
	return NoFault()
}

// Latency makes the org slow: it does what it is asked for after d. A client that gives up before has its request carried
// out all the same.
func Latency(d time.Duration) Fault { return Fault{name: "latency of " + d.String(), delay: d} }

// Hang takes the request and neither carries it out nor answers, until the client gives up or Heal is called.
func Hang() Fault { return Fault{name: "hang", dropped: true, send: hang} }

// HangAfterCommit carries the request out and does not answer.
func HangAfterCommit() Fault { return Fault{name: "hang after the change", send: hang} }

// Reset breaks the connection before the request is carried out.
func Reset() Fault { return Fault{name: "reset", dropped: true, send: reset} }

// ResetAfterCommit carries the request out and breaks the connection: the answer is lost after the success.
func ResetAfterCommit() Fault { return Fault{name: "reset after the change", send: reset} }

// Truncate carries the request out, announces the whole answer and breaks off in the middle of the body.
func Truncate() Fault { return Fault{name: "truncated body", send: truncate} }

// TruncateHeader carries the request out and breaks off within the header.
func TruncateHeader() Fault { return Fault{name: "truncated header", send: truncateHeader} }

// NotHTTP carries the request out and answers with something that is not HTTP.
func NotHTTP() Fault { return Fault{name: "not HTTP", send: notHTTP} }

// BodyOnly carries the request out and sends the body alone, without a status line and a header. What a client says of that
// may quote the body.
func BodyOnly() Fault { return Fault{name: "body without a header", send: bodyOnly} }

// BodyAsHeader carries the request out and sends the body in place of the header, one field a line.
func BodyAsHeader() Fault {
	return Fault{name: "body as a header", matches: hasBody, send: bodyAsHeader}
}

func hasBody(e Endpoint) bool { return e != Revoke && e != Delete }

// Trickle carries the request out and sends the body's bytes one at a time, each an interval after the one before.
func Trickle(interval time.Duration) Fault {
	return Fault{
		name:    "trickling body",
		matches: hasBody,
		send:    func(w http.ResponseWriter, s faultResponse) { trickle(w, s, interval) },
	}
}

// OversizedBody sends the right answer behind size bytes of white space, which JSON allows.
func OversizedBody(size int) Fault {
	return Fault{name: "huge body", modify: func(_ *Org, a *response, _ *request) { a.pad(size) }}
}

// OversizedGzip is Huge with a gzip body, a thousandth as large on the wire, for clients that accept gzip.
func OversizedGzip(size int) Fault {
	return Fault{name: "huge compressed body", modify: func(_ *Org, a *response, r *request) {
		a.pad(size)
		a.compress(r)
	}}
}

// OversizedHeader sends the right answer with a header of size bytes.
func OversizedHeader(size int) Fault {
	return Fault{name: "huge header", modify: func(_ *Org, a *response, _ *request) { a.setHeader("X-Padding", string(padding(size, 'x'))) }}
}

// Body carries the request out and answers 200 with text instead of the right body: as a web page where it begins with <.
func Body(text string) Fault {
	return Fault{name: "body " + text, modify: func(_ *Org, a *response, _ *request) {
		a.status, a.kind, a.fields, a.body = http.StatusOK, "", nil, []byte(text)
		if strings.HasPrefix(text, "<") {
			a.kind = html
		}
	}}
}

// Field logs in and puts value into a field of the token answer, or removes the field where value is nil. Unless the field
// is the signature, the answer is signed again, so that the field is all that is wrong.
func Field(name string, value any) Fault {
	return tokenFault("token answer with another "+name, name != "signature", func(o *Org, a *response, _ *request) {
		a.fields[name] = value
		if value == nil {
			delete(a.fields, name)
		}
	})
}

// OtherUser logs in and answers with the id of another user of the org.
func OtherUser() Fault {
	return tokenFault("token of another user", true, func(o *Org, a *response, r *request) {
		a.fields["id"] = r.base + "/id/" + o.id + "/" + newID("005")
	})
}

// OtherOrg logs in and answers with the id of a user of another org.
func OtherOrg() Fault {
	return tokenFault("token of another org", true, func(_ *Org, a *response, r *request) {
		a.fields["id"] = r.base + "/id/" + newID("00D") + "/" + newID("005")
	})
}

// EndSession logs in and ends the session at once, as an administrator or the revocation of the same token by
// another holder may. The answer is a good one, so that the fault is not among AllFaults.
func EndSession() Fault {
	return tokenFault("session that ends at once", false, func(o *Org, a *response, _ *request) {
		if token, ok := a.fields["access_token"].(string); ok {
			o.sessions[token].ended = true
		}
	})
}

// WrongSignature logs in and answers with the signature of another secret.
func WrongSignature() Fault {
	return tokenFault("wrong signature", true, func(_ *Org, a *response, _ *request) { a.secret = randomText(64) })
}

// tokenFault changes a token answer and may sign it again. A refusal stays as it is.
func tokenFault(name string, sign bool, change func(*Org, *response, *request)) Fault {
	return Fault{
		name:    name,
		matches: func(e Endpoint) bool { return e == Token },
		modify: func(o *Org, a *response, r *request) {
			if a.secret == "" || a.fields == nil {
				return
			}
			change(o, a, r)
			if sign {
				o.sign(a)
			}
			for _, field := range []string{"access_token", "signature"} {
				if text, ok := a.fields[field].(string); ok {
					o.trackSecret(text)
				}
			}
		},
	}
}
