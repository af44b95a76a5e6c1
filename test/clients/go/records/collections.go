package records

import (
	"maps"
	"net/http"
	"strings"
)

// maxCollection is how many records one request writes.
const maxCollection = 200

// save writes or deletes one record and returns its id.
type save func() (string, *saveError)

// collection serves …/composite/sobjects, which writes many records and returns one result for each, in their order.
//
// Sources: REST API Developer Guide, "Create Records Using sObject Collections", "Update …", "Delete …"; SOAP API
// Developer Guide, "StatusCode". The code for too many records is a choice.
func (h *Handler) collection(r *request) *response {
	var saves []save
	allOrNone := r.URL.Query().Get("allOrNone") == "true"
	switch r.Method {
	case http.MethodDelete:
		for id := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
			saves = append(saves, func() (string, *saveError) { return id, h.removeByID(id) })
		}
	case http.MethodPost, http.MethodPatch:
		body, bad := r.json()
		if bad != nil {
			return bad
		}
		allOrNone, _ = body["allOrNone"].(bool)
		records, _ := body["records"].([]any)
		for _, one := range records {
			saves = append(saves, func() (string, *saveError) { return h.saveOne(r.Method, one) })
		}
	default:
		return notAllowed(r, "DELETE,PATCH,POST")
	}
	switch {
	case len(saves) == 0:
		return restError(http.StatusBadRequest, "INVALID_INPUT", "the request has no records")
	case len(saves) > maxCollection:
		return restError(http.StatusBadRequest, "EXCEEDED_ID_LIMIT",
			"record limit reached. cannot submit more than 200 records into this call")
	}
	return ok200(h.saveAll(saves, allOrNone))
}

// saveResult is the result for one record.
type saveResult struct {
	ID      string       `json:"id,omitempty"`
	Success bool         `json:"success"`
	Errors  []*saveError `json:"errors"`
}

// saveAll saves the records that are valid, or none of them where allOrNone is set and one is not.
func (h *Handler) saveAll(saves []save, allOrNone bool) []saveResult {
	undo := func() {}
	if allOrNone {
		undo = h.snapshot()
	}
	results, failed := make([]saveResult, len(saves)), false
	for i, save := range saves {
		id, failedSave := save()
		if failedSave == nil {
			results[i] = saveResult{id, true, []*saveError{}}
			continue
		}
		failed = true
		results[i].Errors = []*saveError{notSaved(failedSave.Code, failedSave.Message, failedSave.Fields...)}
	}
	if !failed || !allOrNone {
		return results
	}
	undo()
	for i := range results {
		if results[i].Success {
			results[i] = saveResult{Errors: []*saveError{notSaved("ALL_OR_NONE_OPERATION_ROLLED_BACK",
				"Record rolled back because not all records were valid and the request was using AllOrNone header")}}
		}
	}
	return results
}

// saveOne creates or changes one record, whose attributes name its type.
func (h *Handler) saveOne(method string, one any) (string, *saveError) {
	values, _ := one.(map[string]any)
	attributes, _ := values["attributes"].(map[string]any)
	kind, _ := attributes["type"].(string)
	o := h.findObject(kind)
	if o == nil || !o.writable {
		return "", notSaved("INVALID_TYPE", "sObject type '"+kind+"' is not supported.")
	}
	if method == http.MethodPost {
		return h.create(o, values)
	}
	var id string
	values = maps.Clone(values)
	for name, value := range values {
		if strings.EqualFold(name, "Id") {
			id, _ = value.(string)
			delete(values, name)
		}
	}
	return id, h.update(o, id, values)
}

func (h *Handler) removeByID(id string) *saveError {
	for _, o := range h.objects {
		if o.writable && strings.HasPrefix(id, o.prefix) {
			return h.remove(o, id)
		}
	}
	return notSaved("MALFORMED_ID", "malformed id "+id)
}

// snapshot returns a function that restores all records as they are now.
func (h *Handler) snapshot() (undo func()) {
	before := map[*object][]record{}
	for _, o := range h.objects {
		for _, r := range o.records {
			before[o] = append(before[o], maps.Clone(r))
		}
	}
	return func() {
		for o, records := range before {
			o.records = records
		}
	}
}
