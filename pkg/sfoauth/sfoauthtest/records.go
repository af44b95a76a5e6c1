package sfoauthtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// object is an sObject: its fields, and its records in the order in which they were made.
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
	length     int  // of a text, in characters; zero: of no text
	required   bool // to create a record
	writable   bool
}

// record is the fields of one record by their names; those without a value are absent.
type record map[string]any

func (r record) id() string    { id, _ := r["Id"].(string); return id }
func (r record) deleted() bool { deleted, _ := r["IsDeleted"].(bool); return deleted }

// systemFields are those that every object has. Source: Object Reference, "System Fields".
var systemFields = []field{
	{name: "Id", kind: "id", length: 18}, {name: "IsDeleted", kind: "boolean"},
	{name: "CreatedDate", kind: "datetime"}, {name: "LastModifiedDate", kind: "datetime"}, {name: "SystemModstamp", kind: "datetime"},
}

// newObjects are the org's objects, with three accounts.
func (o *Org) newObjects() []*object {
	account := &object{name: "Account", plural: "Accounts", prefix: "001", writable: true, fields: append(slices.Clone(systemFields),
		field{name: "Name", kind: "string", length: 255, required: true, writable: true},
		field{name: "Industry", kind: "picklist", length: 255, writable: true},
		field{name: "Phone", kind: "phone", length: 40, writable: true},
		field{name: "Website", kind: "url", length: 255, writable: true},
		field{name: "AccountNumber", kind: "string", length: 40, writable: true},
		field{name: "NumberOfEmployees", kind: "int", writable: true},
	)}
	for i, name := range []string{"Acme", "Global Media", "Edge Communications"} {
		account.records = append(account.records, o.stamped(record{
			"Id": fmt.Sprintf("00100000000000%dAAA", i+1), "Name": name, "Industry": []string{"Manufacturing", "Media", "Electronics"}[i],
		}))
	}
	organization := &object{name: "Organization", plural: "Organizations", prefix: "00D", fields: append(slices.Clone(systemFields),
		field{name: "Name", kind: "string", length: 80}, field{name: "IsSandbox", kind: "boolean"},
	)}
	organization.records = []record{o.stamped(record{"Id": o.id, "Name": "Simulated org", "IsSandbox": false})}
	return []*object{account, organization}
}

// findObject finds an object without regard to case, or returns nil. The users are those of the org at this moment.
func (o *Org) findObject(name string) *object {
	if strings.EqualFold(name, "User") {
		return o.userObject()
	}
	for _, object := range o.objects {
		if strings.EqualFold(object.name, name) {
			return object
		}
	}
	return nil
}

func (o *Org) userObject() *object {
	users := &object{name: "User", plural: "Users", prefix: "005", fields: append(slices.Clone(systemFields),
		field{name: "Username", kind: "string", length: 80}, field{name: "IsActive", kind: "boolean"},
	)}
	for _, u := range o.users {
		users.records = append(users.records, o.stamped(record{"Id": u.ID, "Username": u.options.Username, "IsActive": !u.options.Inactive}))
	}
	return users
}

// stamped sets the system fields of a new record.
func (o *Org) stamped(r record) record {
	r["IsDeleted"], r["CreatedDate"] = false, datetime(o.config.Now())
	r["LastModifiedDate"], r["SystemModstamp"] = r["CreatedDate"], r["CreatedDate"]
	return r
}

func datetime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000+0000") }

func (b *object) field(name string) (field, bool) {
	i := slices.IndexFunc(b.fields, func(f field) bool { return strings.EqualFold(f.name, name) })
	if i < 0 {
		return field{}, false
	}
	return b.fields[i], true
}

// find returns the record with this id of 15 or 18 characters, or why there is none.
func (b *object) find(id string) (record, *saveError) {
	for _, r := range b.records {
		if !sameRecord(r.id(), id) {
			continue
		}
		if r.deleted() {
			return nil, &saveError{status: http.StatusNotFound, Code: "ENTITY_IS_DELETED", Message: "entity is deleted"}
		}
		return r, nil
	}
	return nil, &saveError{status: http.StatusNotFound, Code: "NOT_FOUND", Message: "The requested resource does not exist"}
}

// saveError is why one record was not saved.
type saveError struct {
	status  int
	Code    string   `json:"statusCode"`
	Message string   `json:"message"`
	Fields  []string `json:"fields"`
}

func unsaved(code, message string, fields ...string) *saveError {
	return &saveError{http.StatusBadRequest, code, message, append([]string{}, fields...)}
}

// check says whether the values may be written into a record, and returns them by the names that the fields really have.
func (b *object) check(values map[string]any, isNew bool) (record, *saveError) {
	checked := record{}
	for name, value := range values {
		f, known := b.field(name)
		text, isText := value.(string)
		number, isNumber := value.(float64)
		switch {
		case name == "attributes":
			continue
		case !known:
			return nil, unsaved("INVALID_FIELD", "No such column '"+name+"' on sobject of type "+b.name)
		case !f.writable:
			return nil, unsaved("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: "+f.name+
				". Please check the security settings of this field and verify that it is read/write for your profile or permission set.", f.name)
		case value == nil:
		case f.kind == "int" && (!isNumber || number != float64(int(number))), f.length > 0 && !isText:
			return nil, unsaved("JSON_PARSER_ERROR", "Cannot deserialize a value of "+f.name+": it is of type "+f.kind)
		case f.length > 0 && len([]rune(text)) > f.length:
			return nil, unsaved("STRING_TOO_LONG", fmt.Sprintf("%s: data value too large (max length=%d)", f.name, f.length), f.name)
		}
		checked[f.name] = value
	}
	for _, f := range b.fields {
		value, given := checked[f.name]
		if f.required && (isNew || given) && (value == nil || value == "") {
			return nil, unsaved("REQUIRED_FIELD_MISSING", "Required fields are missing: ["+f.name+"]", f.name)
		}
	}
	return checked, nil
}

// create makes a record and returns its id.
func (o *Org) create(b *object, values map[string]any) (string, *saveError) {
	fields, refused := b.check(values, true)
	if refused != nil {
		return "", refused
	}
	fields["Id"] = newID(b.prefix)
	b.records = append(b.records, o.stamped(fields))
	return fields.id(), nil
}

func (o *Org) update(b *object, id string, values map[string]any) *saveError {
	found, refused := b.find(id)
	if refused != nil {
		return refused
	}
	fields, refused := b.check(values, false)
	if refused != nil {
		return refused
	}
	for name, value := range fields {
		found[name] = value
	}
	o.touched(found)
	return nil
}

// remove puts a record into the recycle bin, where queryAll still finds it.
func (o *Org) remove(b *object, id string) *saveError {
	found, refused := b.find(id)
	if refused == nil {
		o.touched(found)
		found["IsDeleted"] = true
	}
	return refused
}

func (o *Org) touched(r record) {
	r["LastModifiedDate"] = datetime(o.config.Now())
	r["SystemModstamp"] = r["LastModifiedDate"]
}
