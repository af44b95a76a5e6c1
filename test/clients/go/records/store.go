package records

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// object is an sObject: its fields, and its records in the order of their creation.
type object struct {
	name, plural string
	prefix       string // of its records' ids
	fields       []field
	writable     bool
	records      []record
}

// field is a field of an object. Its kind is the type that a describe names.
type field struct {
	name, kind string
	length     int  // of a text, in characters; zero: not a text
	required   bool // to create a record
	writable   bool
}

// record maps field names to values; fields without a value are absent.
type record map[string]any

func (r record) id() string    { id, _ := r["Id"].(string); return id }
func (r record) deleted() bool { deleted, _ := r["IsDeleted"].(bool); return deleted }

// systemFields are the fields of every object. Source: Object Reference, "System Fields".
var systemFields = []field{
	{name: "Id", kind: "id", length: 18}, {name: "IsDeleted", kind: "boolean"},
	{name: "CreatedDate", kind: "datetime"}, {name: "LastModifiedDate", kind: "datetime"},
	{name: "SystemModstamp", kind: "datetime"},
}

// newObjects returns the objects of the org with this id: three accounts, and the organization and the user of the
// first request, which are read-only.
func (h *Handler) newObjects(org, user, username string) []*object {
	account := &object{name: "Account", plural: "Accounts", prefix: "001", writable: true}
	account.fields = slices.Concat(systemFields, []field{
		{name: "Name", kind: "string", length: 255, required: true, writable: true},
		{name: "Industry", kind: "picklist", length: 255, writable: true},
		{name: "Phone", kind: "phone", length: 40, writable: true},
		{name: "Website", kind: "url", length: 255, writable: true},
		{name: "AccountNumber", kind: "string", length: 40, writable: true},
		{name: "NumberOfEmployees", kind: "int", writable: true},
	})
	industries := []string{"Manufacturing", "Media", "Electronics"}
	for i, name := range []string{"Acme", "Global Media", "Edge Communications"} {
		id := fmt.Sprintf("00100000000000%dAAA", i+1)
		account.records = append(account.records, h.stamped(record{"Id": id, "Name": name, "Industry": industries[i]}))
	}
	organization := &object{name: "Organization", plural: "Organizations", prefix: "00D"}
	organization.fields = slices.Concat(systemFields, []field{
		{name: "Name", kind: "string", length: 80}, {name: "IsSandbox", kind: "boolean"},
		{name: "InstanceName", kind: "string", length: 5}, {name: "OrganizationType", kind: "picklist", length: 40},
		{name: "NamespacePrefix", kind: "string", length: 15}, {name: "TrialExpirationDate", kind: "datetime"},
	})
	organization.records = []record{h.stamped(record{
		"Id": org, "Name": "Simulated org", "IsSandbox": false, "InstanceName": "SIM1",
		"OrganizationType": "Developer Edition",
	})}
	users := &object{name: "User", plural: "Users", prefix: "005"}
	users.fields = slices.Concat(systemFields, []field{{name: "Username", kind: "string", length: 80}})
	users.records = []record{h.stamped(record{"Id": user, "Username": username})}
	return []*object{account, organization, users}
}

// findObject finds an object without regard to case. It returns nil if there is none.
func (h *Handler) findObject(name string) *object {
	for _, o := range h.objects {
		if strings.EqualFold(o.name, name) {
			return o
		}
	}
	return nil
}

// stamped sets the system fields of a new record.
func (h *Handler) stamped(r record) record {
	h.touch(r)
	r["IsDeleted"], r["CreatedDate"] = false, r["LastModifiedDate"]
	return r
}

func datetime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000+0000") }

func (o *object) field(name string) (field, bool) {
	i := slices.IndexFunc(o.fields, func(f field) bool { return strings.EqualFold(f.name, name) })
	if i < 0 {
		return field{}, false
	}
	return o.fields[i], true
}

// sameID reports whether two ids, in the form of 15 or 18 characters, are the same record's.
func sameID(a, b string) bool { return len(a) >= 15 && len(b) >= 15 && a[:15] == b[:15] }

// find returns the record with this id, or why there is none.
func (o *object) find(id string) (record, *saveError) {
	for _, r := range o.records {
		if !sameID(r.id(), id) {
			continue
		}
		if r.deleted() {
			return nil, &saveError{status: http.StatusNotFound, Code: "ENTITY_IS_DELETED", Message: "entity is deleted"}
		}
		return r, nil
	}
	return nil, &saveError{
		status: http.StatusNotFound, Code: "NOT_FOUND", Message: "The requested resource does not exist",
	}
}

// saveError reports why a record was not saved.
type saveError struct {
	status  int
	Code    string   `json:"statusCode"`
	Message string   `json:"message"`
	Fields  []string `json:"fields"`
}

func notSaved(code, message string, fields ...string) *saveError {
	return &saveError{http.StatusBadRequest, code, message, append([]string{}, fields...)}
}

// check reports why values may not be written into a record, or returns them by the fields' own names.
func (o *object) check(values map[string]any, isNew bool) (record, *saveError) {
	checked := record{}
	for name, value := range values {
		f, known := o.field(name)
		text, isText := value.(string)
		number, isNumber := value.(float64)
		switch {
		case name == "attributes":
			continue
		case !known:
			return nil, notSaved("INVALID_FIELD", "No such column '"+name+"' on sobject of type "+o.name)
		case !f.writable:
			return nil, notSaved("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: "+f.name+
				". Please check the security settings of this field and verify that it is read/write for your profile or "+
				"permission set.", f.name)
		case value == nil:
		case f.kind == "int" && (!isNumber || number != float64(int(number))), f.length > 0 && !isText:
			return nil, notSaved("JSON_PARSER_ERROR", "Cannot deserialize a value of "+f.name+": it is of type "+f.kind)
		case f.length > 0 && len([]rune(text)) > f.length:
			message := fmt.Sprintf("%s: data value too large (max length=%d)", f.name, f.length)
			return nil, notSaved("STRING_TOO_LONG", message, f.name)
		}
		checked[f.name] = value
	}
	for _, f := range o.fields {
		value, given := checked[f.name]
		if f.required && (isNew || given) && (value == nil || value == "") {
			return nil, notSaved("REQUIRED_FIELD_MISSING", "Required fields are missing: ["+f.name+"]", f.name)
		}
	}
	return checked, nil
}

// create makes a record and returns its id.
func (h *Handler) create(o *object, values map[string]any) (string, *saveError) {
	fields, failed := o.check(values, true)
	if failed != nil {
		return "", failed
	}
	fields["Id"] = o.prefix + rand.Text()[:12] + "AAA" // the last three need not repeat the case: the org does not check
	o.records = append(o.records, h.stamped(fields))
	return fields.id(), nil
}

func (h *Handler) update(o *object, id string, values map[string]any) *saveError {
	found, failed := o.find(id)
	if failed != nil {
		return failed
	}
	fields, failed := o.check(values, false)
	if failed != nil {
		return failed
	}
	maps.Copy(found, fields)
	h.touch(found)
	return nil
}

// remove puts a record into the recycle bin, where queryAll still finds it.
func (h *Handler) remove(o *object, id string) *saveError {
	found, failed := o.find(id)
	if failed == nil {
		h.touch(found)
		found["IsDeleted"] = true
	}
	return failed
}

func (h *Handler) touch(r record) {
	r["LastModifiedDate"] = datetime(h.now())
	r["SystemModstamp"] = r["LastModifiedDate"]
}
