package records

import (
	"maps"
	"net/http"
	"strings"
)

// The part of the REST API that describes objects, and reads and writes their records.
//
// Sources: REST API Developer Guide, "Describe Global", "sObject Basic Information", "sObject Describe", "sObject
// Rows", "Status Codes and Error Responses". The messages that go with an error's code are a choice.

// sobjects serves …/sobjects and the resources below it.
func (h *Handler) sobjects(r *request) *response {
	path := r.path
	if len(path) == 0 {
		return h.describeGlobal(r)
	}
	o := h.findObject(path[0])
	switch {
	case o == nil || len(path) > 2:
		return notFound()
	case len(path) == 1 && r.Method == http.MethodPost:
		return h.createRow(r, o)
	case len(path) == 2 && path[1] != "describe":
		return h.row(r, o, path[1])
	case !r.reads():
		return notAllowed(r, "HEAD,GET")
	case len(path) == 1:
		return ok200(map[string]any{"objectDescribe": o.describe(r), "recentItems": []any{}})
	default:
		full := o.describe(r)
		full["fields"] = o.describeFields()
		return ok200(full)
	}
}

func (h *Handler) describeGlobal(r *request) *response {
	if !r.reads() {
		return notAllowed(r, "HEAD,GET")
	}
	var list []any
	for _, o := range h.objects {
		list = append(list, o.describe(r))
	}
	return ok200(map[string]any{"encoding": "UTF-8", "maxBatchSize": maxCollection, "sobjects": list})
}

func (o *object) describe(r *request) map[string]any {
	base := o.path(r)
	return map[string]any{
		"name": o.name, "label": o.name, "labelPlural": o.plural, "keyPrefix": o.prefix, "custom": false,
		"customSetting": false, "queryable": true, "retrieveable": true, "searchable": true, "undeletable": false,
		"createable": o.writable, "updateable": o.writable, "deletable": o.writable,
		"urls": map[string]string{"sobject": base, "describe": base + "/describe", "rowTemplate": base + "/{ID}"},
	}
}

func (o *object) describeFields() []any {
	var list []any
	for _, f := range o.fields {
		list = append(list, map[string]any{
			"name": f.name, "label": f.name, "type": f.kind, "length": f.length, "nillable": f.writable && !f.required,
			"createable": f.writable, "updateable": f.writable, "custom": false, "filterable": true, "sortable": true,
			"defaultedOnCreate": false,
		})
	}
	return list
}

func (o *object) path(r *request) string {
	return r.base + "/sobjects/" + o.name
}

// withAttributes adds the attributes that name a record's type and address.
func (o *object) withAttributes(r *request, values map[string]any, id string) map[string]any {
	values["attributes"] = map[string]string{"type": o.name, "url": o.path(r) + "/" + id}
	return values
}

// createRow serves POST …/sobjects/{name}.
func (h *Handler) createRow(r *request, o *object) *response {
	values, bad := r.json()
	switch {
	case bad != nil:
		return bad
	case !o.writable:
		return readOnly(r)
	}
	id, failed := h.create(o, values)
	if failed != nil {
		return failed.response()
	}
	return &response{
		status: http.StatusCreated, location: o.path(r) + "/" + id,
		value: map[string]any{"id": id, "success": true, "errors": []any{}},
	}
}

// row serves …/sobjects/{name}/{id}.
func (h *Handler) row(r *request, o *object, id string) *response {
	var failed *saveError
	switch {
	case r.reads():
		return o.retrieve(r, id)
	case r.Method != http.MethodPatch && r.Method != http.MethodDelete:
		return notAllowed(r, "DELETE,GET,HEAD,PATCH")
	case !o.writable:
		return readOnly(r)
	case r.Method == http.MethodDelete:
		failed = h.remove(o, id)
	default:
		values, bad := r.json()
		if bad != nil {
			return bad
		}
		failed = h.update(o, id, values)
	}
	if failed != nil {
		return failed.response()
	}
	return &response{status: http.StatusNoContent}
}

// retrieve returns the fields that the request names, or all.
func (o *object) retrieve(r *request, id string) *response {
	found, failed := o.find(id)
	if failed != nil {
		return failed.response()
	}
	values := map[string]any{}
	for _, f := range o.fields {
		values[f.name] = found[f.name]
	}
	if list := r.URL.Query().Get("fields"); list != "" {
		all := maps.Clone(values)
		clear(values)
		for name := range strings.SplitSeq(list, ",") {
			f, known := o.field(strings.TrimSpace(name))
			if !known {
				return restError(http.StatusBadRequest, "INVALID_FIELD", "No such column '"+name+"' on sobject of type "+o.name)
			}
			values[f.name] = all[f.name]
		}
	}
	return ok200(o.withAttributes(r, values, found.id()))
}

func (e *saveError) response() *response {
	fields := map[string]any{"errorCode": e.Code, "message": e.Message}
	if e.Fields != nil {
		fields["fields"] = e.Fields
	}
	return &response{status: e.status, value: []any{fields}}
}

func readOnly(r *request) *response {
	message := "entity type cannot be changed by " + r.Method
	return restError(http.StatusBadRequest, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
}
