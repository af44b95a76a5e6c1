package sfoauthtest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// The part of the REST API that describes objects, and reads and writes their records.
//
// Sources: REST API Developer Guide, "Describe Global", "sObject Basic Information", "sObject Describe", "sObject Rows",
// "Status Codes and Error Responses". Choices, where it says nothing: the words behind an error's code.

// sobjects answers …/sobjects and what is below it; path is what follows.
func (o *Org) sobjects(r *request, path []string) *answer {
	if len(path) == 0 {
		return o.describeGlobal(r)
	}
	b := o.findObject(path[0])
	switch {
	case b == nil || len(path) > 2:
		return notFound()
	case len(path) == 1 && r.Method == http.MethodPost:
		return o.createRow(r, b)
	case len(path) == 2 && path[1] != "describe":
		return o.row(r, b, path[1])
	case !r.reads():
		return notAllowed(r, "HEAD,GET")
	case len(path) == 1:
		return ok200(map[string]any{"objectDescribe": b.describe(r), "recentItems": []any{}})
	default:
		full := b.describe(r)
		full["fields"] = b.describeFields()
		return ok200(full)
	}
}

func (o *Org) describeGlobal(r *request) *answer {
	if !r.reads() {
		return notAllowed(r, "HEAD,GET")
	}
	var list []any
	for _, b := range append(slices.Clone(o.objects), o.userObject()) {
		list = append(list, b.describe(r))
	}
	return ok200(map[string]any{"encoding": "UTF-8", "maxBatchSize": maxCollection, "sobjects": list})
}

func (b *object) describe(r *request) map[string]any {
	base := b.path(r)
	return map[string]any{
		"name": b.name, "label": b.name, "labelPlural": b.plural, "keyPrefix": b.prefix, "custom": false, "customSetting": false, "queryable": true,
		"retrieveable": true, "searchable": true, "createable": b.writable, "updateable": b.writable, "deletable": b.writable, "undeletable": false,
		"urls": map[string]string{"sobject": base, "describe": base + "/describe", "rowTemplate": base + "/{ID}"},
	}
}

func (b *object) describeFields() []any {
	var list []any
	for _, f := range b.fields {
		list = append(list, map[string]any{
			"name": f.name, "label": f.name, "type": f.kind, "length": f.length, "nillable": f.writable && !f.required,
			"createable": f.writable, "updateable": f.writable, "custom": false, "filterable": true, "sortable": true, "defaultedOnCreate": false,
		})
	}
	return list
}

func (b *object) path(r *request) string {
	return "/services/data/" + r.ids["version"] + "/sobjects/" + b.name
}

// attributed is a record with the attributes that say what it is.
func (b *object) attributed(r *request, values map[string]any, id string) map[string]any {
	values["attributes"] = map[string]string{"type": b.name, "url": b.path(r) + "/" + id}
	return values
}

// createRow answers POST …/sobjects/{name}.
func (o *Org) createRow(r *request, b *object) *answer {
	values, bad := r.json()
	switch {
	case bad != nil:
		return bad
	case !b.writable:
		return readOnly(r)
	}
	id, refused := o.create(b, values)
	if refused != nil {
		return refused.answer()
	}
	return &answer{
		status: http.StatusCreated, header: http.Header{"Location": {b.path(r) + "/" + id}},
		fields: map[string]any{"id": id, "success": true, "errors": []any{}},
	}
}

// row answers …/sobjects/{name}/{id}.
func (o *Org) row(r *request, b *object, id string) *answer {
	var refused *saveError
	switch {
	case r.reads():
		return b.retrieve(r, id)
	case r.Method != http.MethodPatch && r.Method != http.MethodDelete:
		return notAllowed(r, "DELETE,GET,HEAD,PATCH")
	case !b.writable:
		return readOnly(r)
	case r.Method == http.MethodDelete:
		refused = o.remove(b, id)
	default:
		values, bad := r.json()
		if bad != nil {
			return bad
		}
		refused = o.update(b, id, values)
	}
	if refused != nil {
		return refused.answer()
	}
	return &answer{status: http.StatusNoContent}
}

// retrieve answers with the fields that the request names, or with all.
func (b *object) retrieve(r *request, id string) *answer {
	found, refused := b.find(id)
	if refused != nil {
		return refused.answer()
	}
	values := map[string]any{}
	for _, f := range b.fields {
		values[f.name] = found[f.name]
	}
	if list := r.URL.Query().Get("fields"); list != "" {
		all := maps.Clone(values)
		clear(values)
		for name := range strings.SplitSeq(list, ",") {
			f, known := b.field(strings.TrimSpace(name))
			if !known {
				return restError(http.StatusBadRequest, "INVALID_FIELD", "No such column '"+name+"' on sobject of type "+b.name)
			}
			values[f.name] = all[f.name]
		}
	}
	return ok200(b.attributed(r, values, found.id()))
}

func (e *saveError) answer() *answer {
	fields := map[string]any{"errorCode": e.Code, "message": e.Message}
	if e.Fields != nil {
		fields["fields"] = e.Fields
	}
	return &answer{status: e.status, body: encodeJSON([]any{fields})}
}

func readOnly(r *request) *answer {
	return restError(http.StatusBadRequest, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "entity type cannot be changed by "+r.Method)
}
