package sfoauthtest

import (
	"maps"
	"net/http"
	"strings"
)

// maxCollection is how many records one request writes.
const maxCollection = 200

// save writes or deletes one record, and returns its id.
type save func() (string, *saveError)

// collection answers …/composite/sobjects, which writes many records: with as many results, in the same order.
//
// Sources: REST API Developer Guide, "Create Records Using sObject Collections", "Update …", "Delete …"; SOAP API Developer Guide,
// "StatusCode". That too many are refused with EXCEEDED_ID_LIMIT is a choice.
func (o *Org) collection(r *request) *answer {
	var saves []save
	allOrNone := r.URL.Query().Get("allOrNone") == "true"
	switch r.Method {
	case http.MethodDelete:
		for id := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
			saves = append(saves, func() (string, *saveError) { return id, o.removeByID(id) })
		}
	case http.MethodPost, http.MethodPatch:
		body, bad := r.json()
		if bad != nil {
			return bad
		}
		allOrNone, _ = body["allOrNone"].(bool)
		records, _ := body["records"].([]any)
		for _, one := range records {
			saves = append(saves, func() (string, *saveError) { return o.saveOne(r.Method, one) })
		}
	default:
		return notAllowed(r, "DELETE,PATCH,POST")
	}
	switch {
	case len(saves) == 0:
		return restError(http.StatusBadRequest, "INVALID_INPUT", "the request has no records")
	case len(saves) > maxCollection:
		return restError(http.StatusBadRequest, "EXCEEDED_ID_LIMIT", "record limit reached. cannot submit more than 200 records into this call")
	}
	return &answer{status: http.StatusOK, body: encodeJSON(o.saveAll(saves, allOrNone))}
}

// saveResult is what came of one record.
type saveResult struct {
	ID      string       `json:"id,omitempty"`
	Success bool         `json:"success"`
	Errors  []*saveError `json:"errors"`
}

// saveAll saves all that can be saved, or nothing where that is wanted and one cannot.
func (o *Org) saveAll(saves []save, allOrNone bool) []saveResult {
	undo := func() {}
	if allOrNone {
		undo = o.snapshot()
	}
	results, failed := make([]saveResult, len(saves)), false
	for i, save := range saves {
		id, refused := save()
		if refused == nil {
			results[i] = saveResult{id, true, []*saveError{}}
			continue
		}
		failed = true
		results[i].Errors = []*saveError{unsaved(refused.Code, refused.Message, refused.Fields...)}
	}
	if !failed || !allOrNone {
		return results
	}
	undo()
	for i := range results {
		if results[i].Success {
			results[i] = saveResult{Errors: []*saveError{unsaved("ALL_OR_NONE_OPERATION_ROLLED_BACK",
				"Record rolled back because not all records were valid and the request was using AllOrNone header")}}
		}
	}
	return results
}

// saveOne creates or changes one record, whose attributes say what it is.
func (o *Org) saveOne(method string, one any) (string, *saveError) {
	values, _ := one.(map[string]any)
	attributes, _ := values["attributes"].(map[string]any)
	kind, _ := attributes["type"].(string)
	b := o.findObject(kind)
	if b == nil || !b.writable {
		return "", unsaved("INVALID_TYPE", "sObject type '"+kind+"' is not supported.")
	}
	if method == http.MethodPost {
		return o.create(b, values)
	}
	var id string
	values = maps.Clone(values)
	for name, value := range values {
		if strings.EqualFold(name, "Id") {
			id, _ = value.(string)
			delete(values, name)
		}
	}
	return id, o.update(b, id, values)
}

func (o *Org) removeByID(id string) *saveError {
	for _, b := range o.objects {
		if b.writable && strings.HasPrefix(id, b.prefix) {
			return o.remove(b, id)
		}
	}
	return unsaved("MALFORMED_ID", "malformed id "+id)
}

// snapshot returns what puts all records back as they are now.
func (o *Org) snapshot() (undo func()) {
	before := map[*object][]record{}
	for _, b := range o.objects {
		for _, r := range b.records {
			before[b] = append(before[b], maps.Clone(r))
		}
	}
	return func() {
		for b, records := range before {
			b.records = records
		}
	}
}
