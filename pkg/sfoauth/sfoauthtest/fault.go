package sfoauthtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is one way in which an endpoint fails. Functions of this package return faults; Org.InjectFault activates them.
type Fault struct {
	name    string
	matches func(Endpoint) bool // nil: every endpoint

	delay   time.Duration                            // before the request is handled
	dropped bool                                     // the request is not handled and gets no response
	replace func(*Org, *request) *response           // the request is not handled and gets this response
	modify  func(*Org, *response, *request)          // the request is handled and its response modified
	send    func(http.ResponseWriter, faultResponse) // sends the response
}

// injectedFault is an active fault.
type injectedFault struct {
	Fault
	remaining int // requests; zero: until cleared
}

// String returns the fault's name, which is unique among AllFaults.
func (f Fault) String() string { return f.name }

// AppliesTo reports whether the fault affects the endpoint.
func (f Fault) AppliesTo(e Endpoint) bool { return f.matches == nil || f.matches(e) }

// Commits reports whether the org handles the request, although its response is lost or wrong.
func (f Fault) Commits() bool { return !f.dropped && f.replace == nil }

// NoFault lets a request pass. InjectFault(e, NoFault(), 3) makes the next fault start with the fourth request.
func NoFault() Fault { return Fault{name: "none"} }

// InjectFault applies the fault to the next n requests to the endpoint. If n is zero, it applies to all requests until
// ClearFaults. Faults of one endpoint queue up; those of AllEndpoints apply after the endpoint's own.
func (o *Org) InjectFault(e Endpoint, f Fault, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults[e] = append(o.faults[e], &injectedFault{f, n})
}

// ClearFaults clears the faults of the endpoints, or all faults if there are no arguments, and releases the requests
// that hang or wait. Faults of AllEndpoints are cleared with all others only.
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

// takeFault returns the fault of the next request to the endpoint.
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

// Latency delays the handling of a request by d. The org handles it even if the client gives up before.
func Latency(d time.Duration) Fault { return Fault{name: "latency of " + d.String(), delay: d} }

// Hang neither handles the request nor responds, until the client gives up or ClearFaults is called.
func Hang() Fault { return Fault{name: "hang", dropped: true, send: hang} }

// HangAfterCommit handles the request and does not respond.
func HangAfterCommit() Fault { return Fault{name: "hang after the change", send: hang} }

// Reset resets the connection without handling the request.
func Reset() Fault { return Fault{name: "reset", dropped: true, send: reset} }

// ResetAfterCommit handles the request and resets the connection, so that the response to a success is lost.
func ResetAfterCommit() Fault { return Fault{name: "reset after the change", send: reset} }

// Truncate handles the request, announces the whole response, and closes the connection in the middle of the body.
func Truncate() Fault { return Fault{name: "truncated body", send: truncate} }

// TruncateHeader handles the request and closes the connection within the response header.
func TruncateHeader() Fault { return Fault{name: "truncated header", send: truncateHeader} }

// NotHTTP handles the request and responds with something that is not HTTP.
func NotHTTP() Fault { return Fault{name: "not HTTP", send: notHTTP} }

// BodyOnly handles the request and sends the body without status line and header. A client's error may quote it.
func BodyOnly() Fault { return Fault{name: "body without a header", send: bodyOnly} }

// BodyAsHeader handles the request and sends the body in place of the header, one field per line.
func BodyAsHeader() Fault {
	return Fault{name: "body as a header", matches: hasBody, send: bodyAsHeader}
}

func hasBody(e Endpoint) bool { return e != Revoke && e != Delete }

// Trickle handles the request and sends the body one byte per interval.
func Trickle(interval time.Duration) Fault {
	return Fault{
		name:    "trickling body",
		matches: hasBody,
		send:    func(w http.ResponseWriter, s faultResponse) { trickle(w, s, interval) },
	}
}

// modified returns a fault that modifies the response.
func modified(name string, modify func(*response, *request)) Fault {
	return Fault{name: name, modify: func(_ *Org, a *response, r *request) { modify(a, r) }}
}

// OversizedBody sends the right response after size bytes of white space, which JSON allows.
func OversizedBody(size int) Fault {
	return modified("huge body", func(a *response, _ *request) { a.pad(size) })
}

// OversizedGzip is OversizedBody with gzip, for clients that accept it. On the wire it is a thousandth as large.
func OversizedGzip(size int) Fault {
	return modified("huge compressed body", func(a *response, r *request) {
		a.pad(size)
		a.compress(r)
	})
}

// OversizedHeader sends the right response with a header of size bytes.
func OversizedHeader(size int) Fault {
	return modified("huge header", func(a *response, _ *request) { a.setHeader("X-Padding", strings.Repeat("x", size)) })
}

// Body handles the request and responds with 200 and text, as a web page if text begins with "<".
func Body(text string) Fault {
	return modified("body "+text, func(a *response, _ *request) {
		a.status, a.kind, a.fields, a.body = http.StatusOK, "", nil, []byte(text)
		if strings.HasPrefix(text, "<") {
			a.kind = html
		}
	})
}

// Field logs in and sets a field of the token response to value, or removes it if value is nil. Unless the field is the
// signature, the response is signed again, so that nothing else is wrong.
func Field(name string, value any) Fault {
	return tokenFault("token response with another "+name, name != "signature", func(o *Org, a *response, _ *request) {
		a.fields[name] = value
		if value == nil {
			delete(a.fields, name)
		}
	})
}

// OtherUser logs in and responds with the id of another user of the org.
func OtherUser() Fault {
	return tokenFault("token of another user", true, func(o *Org, a *response, r *request) {
		a.fields["id"] = r.base + "/id/" + o.id + "/" + newID("005")
	})
}

// OtherOrg logs in and responds with the id of a user of another org.
func OtherOrg() Fault {
	return tokenFault("token of another org", true, func(_ *Org, a *response, r *request) {
		a.fields["id"] = r.base + "/id/" + newID("00D") + "/" + newID("005")
	})
}

// EndSession logs in and ends the session at once, as an administrator or another holder of the token may. The response
// is valid, so AllFaults does not include this fault.
func EndSession() Fault {
	return tokenFault("session that ends at once", false, func(o *Org, a *response, _ *request) {
		if token, ok := a.fields["access_token"].(string); ok {
			o.sessions[token].ended = true
		}
	})
}

// WrongSignature logs in and responds with a signature that another secret made.
func WrongSignature() Fault {
	return tokenFault("wrong signature", true, func(_ *Org, a *response, _ *request) { a.secret = randomText(64) })
}

// tokenFault returns a fault that changes a successful token response, and signs it again if sign is set.
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
