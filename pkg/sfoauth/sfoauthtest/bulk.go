package sfoauthtest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// job is a job of Bulk API 1.0. Nothing runs in it.
type job struct {
	id, operation, object string
}

// bulk answers Bulk API 1.0 as far as a token matters to it: a job can be made and looked at. Its errors have a form
// and codes of their own, and a dead session is a 400. Answers are JSON where the request's Content-Type or Accept
// is, and XML otherwise.
//
// Source: Bulk API 2.0 and Bulk API Developer Guide, "Set a Session Header", "Create a Job", "Get Job Details",
// "Errors". That a token in the Authorization header alone is not taken is a choice: the guide names X-SFDC-Session
// only.
func (o *Org) bulk(r *request) *answer {
	s := o.sessions[r.Header.Get("X-SFDC-Session")]
	if !o.works(s) {
		return bulkError(r, http.StatusBadRequest, "InvalidSessionId", "Invalid session id")
	}
	o.touch(s)
	version, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, asyncPath), "/")
	r.ids = map[string]string{"version": "v" + version}
	id, found := strings.CutPrefix(path, "job/")
	switch {
	case o.version(r) == 0:
		return bulkError(r, http.StatusBadRequest, "InvalidUrl", "The URL does not name a version")
	case path == "job" && r.Method == http.MethodPost:
		return o.makeJob(r)
	case found && r.Method == http.MethodGet:
		i := slices.IndexFunc(o.jobs, func(j *job) bool { return sameRecord(j.id, id) })
		if i < 0 {
			return bulkError(r, http.StatusBadRequest, "InvalidJob", "Unable to find job for id: "+id)
		}
		return o.jobInfo(r, http.StatusOK, o.jobs[i])
	default:
		return bulkError(r, http.StatusBadRequest, "InvalidUrl", "The URL does not name a resource")
	}
}

const asyncPath = "/services/async/"

func (o *Org) makeJob(r *request) *answer {
	var body struct {
		Operation string `json:"operation" xml:"operation"`
		Object    string `json:"object" xml:"object"`
	}
	err := json.Unmarshal([]byte(r.text), &body)
	if !strings.Contains(r.Header.Get("Content-Type"), "json") {
		err = xml.Unmarshal([]byte(r.text), &body)
	}
	if err != nil || body.Operation == "" || body.Object == "" {
		return bulkError(r, http.StatusBadRequest, "ClientInputError", "operation and object are required")
	}
	j := &job{newID("750"), body.Operation, body.Object}
	o.jobs = append(o.jobs, j)
	return o.jobInfo(r, http.StatusCreated, j)
}

func (o *Org) jobInfo(r *request, status int, j *job) *answer {
	return bulkAnswer(r, "jobInfo", status, map[string]any{"id": j.id, "operation": j.operation, "object": j.object, "state": "Open"})
}

func bulkError(r *request, status int, code, message string) *answer {
	return bulkAnswer(r, "error", status, map[string]any{"exceptionCode": code, "exceptionMessage": message})
}

func bulkAnswer(r *request, root string, status int, fields map[string]any) *answer {
	a := &answer{status: status, fields: fields}
	if !strings.Contains(r.Header.Get("Content-Type"), "json") && !accepts(r.Request, "application/json") {
		a.encodeXML(root, fmt.Sprintf(` xmlns=%q`, "http://www.force.com/2009/06/asyncapi/dataload"))
	}
	return a
}
