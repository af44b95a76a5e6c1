package sfoauthtest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const html = "text/html;charset=UTF-8"

// response is a response that has not been written yet. Either fields or body is set.
type response struct {
	status int
	kind   string         // content type; empty: JSON
	header http.Header    // in addition to the content type
	fields map[string]any // encoded as JSON
	body   []byte
	secret string // the consumer secret that signs fields; empty: not signed
}

// bytes returns the encoded body.
func (a *response) bytes() []byte {
	if a.fields == nil {
		return a.body
	}
	return encodeJSON(a.fields)
}

// encodeForm turns fields into a form, with spaces as %20 as Salesforce writes them.
func (a *response) encodeForm() {
	form := url.Values{}
	for name, value := range a.fields {
		if text, ok := value.(string); ok {
			form.Set(name, text)
		}
	}
	a.kind, a.fields = "application/x-www-form-urlencoded;charset=UTF-8", nil
	a.body = []byte(strings.ReplaceAll(form.Encode(), "+", "%20"))
}

// encodeXML turns fields into an XML document.
func (a *response) encodeXML() {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><OAuth>`)
	for _, name := range slices.Sorted(maps.Keys(a.fields)) {
		fmt.Fprintf(&b, "<%s>", name)
		_ = xml.EscapeText(&b, fmt.Append(nil, a.fields[name])) // a bytes.Buffer never fails
		fmt.Fprintf(&b, "</%s>", name)
	}
	b.WriteString("</OAuth>")
	a.kind, a.fields, a.body = "application/xml;charset=UTF-8", nil, b.Bytes()
}

func encodeJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // values are strings, numbers, lists and maps
	}
	return text
}

// ok200 is a success with JSON fields.
func ok200(fields map[string]any) *response {
	return &response{status: http.StatusOK, fields: fields}
}

// oauthError is an error of the OAuth endpoints. Its status is always 400, also where RFC 6749 section 5.2 allows or
// requires 401.
func oauthError(code, description string) *response {
	fields := map[string]any{"error": code, "error_description": description}
	return &response{status: http.StatusBadRequest, fields: fields}
}

// restError is an error of the REST API: a list of one.
func restError(status int, code, message string) *response {
	return &response{status: status, body: encodeJSON([]map[string]string{{"message": message, "errorCode": code}})}
}

// htmlPage is a web page, as Salesforce's edge sends it.
func htmlPage(status int, page string) *response {
	return &response{status: status, kind: html, body: []byte(page)}
}

// redirect is a redirect to another URL.
func redirect(status int, to string) *response {
	return &response{status: status, kind: html, header: http.Header{"Location": {to}}}
}

// write sends the response.
func (a *response) write(w http.ResponseWriter) {
	text := a.start(w)
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // fails if the client has closed the connection
}

// start sets the headers and returns the body.
func (a *response) start(w http.ResponseWriter) []byte {
	maps.Copy(w.Header(), a.header)
	kind := a.kind
	if kind == "" {
		kind = "application/json;charset=UTF-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-cache,must-revalidate,max-age=0,no-store,private")
	return a.bytes()
}

// accepts reports whether the request's Accept header lists the media type.
func accepts(r *http.Request, mediaType string) bool {
	for _, value := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			if isMediaType(part, mediaType) {
				return true
			}
		}
	}
	return false
}
