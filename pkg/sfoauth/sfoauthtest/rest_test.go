package sfoauthtest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const data = "/services/data/v65.0/"

// rest is a world in which one token calls the REST API.
type rest struct {
	*world
	token string
}

func newREST(t *testing.T) *rest {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	return &rest{w, w.token()}
}

// call sends a request with a JSON body; an empty one: none.
func (r *rest) call(method, path, body string) reply {
	r.Helper()
	header := map[string]string{"Authorization": "Bearer " + r.token}
	if body != "" {
		header["Content-Type"] = "application/json"
	}
	return r.do(method, path, body, header)
}

// names returns the names that a query found, in its order.
func (r *rest) names(path string) []string {
	r.Helper()
	got := r.call("GET", path, "")
	if got.status != http.StatusOK {
		r.Fatalf("%s: %d %s", path, got.status, got.body)
	}
	var names []string
	rows, _ := got.fields["records"].([]any)
	for _, row := range rows {
		name, _ := row.(map[string]any)["Name"].(string)
		names = append(names, name)
	}
	return names
}

func TestRecordsLiveFromCreateToDelete(t *testing.T) {
	r := newREST(t)
	created := r.call("POST", data+"sobjects/Account", `{"Name":"Umbrella","NumberOfEmployees":7,"phone":"1"}`)
	id := created.text("id")
	if created.status != http.StatusCreated || len(id) != 18 || created.fields["success"] != true || created.header.Get("Location") != data+"sobjects/Account/"+id {
		t.Fatalf("created: %d %s %s", created.status, created.body, created.header.Get("Location"))
	}
	got := r.call("GET", data+"sobjects/Account/"+id[:15], "")
	if got.status != 200 || got.text("Name") != "Umbrella" || got.fields["NumberOfEmployees"] != 7.0 || got.text("Phone") != "1" ||
		got.fields["Industry"] != nil || got.text("CreatedDate") != "2026-01-02T03:04:05.000+0000" {
		t.Errorf("read: %d %s", got.status, got.body)
	}
	if got := r.call("PATCH", data+"sobjects/account/"+id, `{"Industry":"Biotechnology","Phone":null}`); got.status != http.StatusNoContent || got.body != "" {
		t.Errorf("changed: %d %s", got.status, got.body)
	}
	got = r.call("GET", data+"sobjects/Account/"+id+"?fields=Industry,Phone", "")
	if got.text("Industry") != "Biotechnology" || got.fields["Phone"] != nil || len(got.fields) != 3 {
		t.Errorf("read after the change: %s", got.body)
	}
	if got := r.call("DELETE", data+"sobjects/Account/"+id, ""); got.status != http.StatusNoContent {
		t.Errorf("deleted: %d %s", got.status, got.body)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if got := r.call(method, data+"sobjects/Account/"+id, "{}"); got.status != http.StatusNotFound || got.errorCode() != "ENTITY_IS_DELETED" {
			t.Errorf("%s after that: %d %s", method, got.status, got.body)
		}
	}
	find := "?q=SELECT+Name,IsDeleted+FROM+Account+WHERE+Name='umbrella'"
	if found := r.names(data + "query/" + find); len(found) != 0 {
		t.Errorf("query finds the deleted record")
	}
	if found := r.names(data + "queryAll/" + find); len(found) != 1 {
		t.Errorf("queryAll does not find the deleted record")
	}
	if improper := r.org.Violations(); improper != nil {
		t.Errorf("improper: %q", improper)
	}
}

func TestWhatCannotBeSaved(t *testing.T) {
	r := newREST(t)
	const acme = "/001000000000001AAA"
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string // the error's code, and what else
	}{
		{"POST", "Account", `{}`, 400, `"errorCode":"REQUIRED_FIELD_MISSING","fields":["Name"]`},
		{"POST", "Account", `{"Name":""}`, 400, "REQUIRED_FIELD_MISSING"},
		{"PATCH", "Account" + acme, `{"Name":null}`, 400, "REQUIRED_FIELD_MISSING"},
		{"POST", "Account", `{"Name":"x","Nothing":1}`, 400, `"errorCode":"INVALID_FIELD"`},
		{"POST", "Account", `{"Name":"x","Id":"001000000000009AAA"}`, 400, "INVALID_FIELD_FOR_INSERT_UPDATE"},
		{"PATCH", "Account" + acme, `{"CreatedDate":"2026-01-01"}`, 400, "INVALID_FIELD_FOR_INSERT_UPDATE"},
		{"POST", "Account", `{"Name":5}`, 400, "JSON_PARSER_ERROR"},
		{"POST", "Account", `{"Name":"x","NumberOfEmployees":1.5}`, 400, "JSON_PARSER_ERROR"},
		{"POST", "Account", `{"Name":`, 400, "JSON_PARSER_ERROR"},
		{"POST", "Account", `{"Name":"` + strings.Repeat("é", 256) + `"}`, 400, "STRING_TOO_LONG"},
		{"POST", "Account", "", 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"POST", "Nothing", `{}`, 404, "NOT_FOUND"},
		{"POST", "User", `{}`, 400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"},
		{"PATCH", "Account/001000000000009AAA", `{}`, 404, "NOT_FOUND"},
		{"GET", "Account/001", "", 404, "NOT_FOUND"},
		{"GET", "Account" + acme + "?fields=Nothing", "", 400, "INVALID_FIELD"},
		{"GET", "Account" + acme + "/more", "", 404, "NOT_FOUND"},
		{"PUT", "Account" + acme, `{}`, 405, "Allowed are DELETE,GET,HEAD,PATCH"},
		{"DELETE", "Account", "", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "Account/describe", `{}`, 405, "METHOD_NOT_ALLOWED"},
	} {
		if got := r.call(test.method, data+"sobjects/"+test.path, test.body); got.status != test.status || !strings.Contains(got.body, test.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", test.method, test.path, test.body, got.status, got.body, test.status, test.want)
		}
	}
	if got := r.names(data + "query?q=SELECT+Name+FROM+Account"); !slices.Equal(got, []string{"Acme", "Global Media", "Edge Communications"}) {
		t.Errorf("the accounts are now %q", got)
	}
}

func TestCompressedBody(t *testing.T) {
	r := newREST(t)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(`{"Name":"Umbrella"}`))
	_ = z.Close()
	header := map[string]string{"Authorization": "Bearer " + r.token, "Content-Type": "application/json", "Content-Encoding": "gzip"}
	if got := r.do("POST", data+"sobjects/Account", b.String(), header); got.status != http.StatusCreated {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do("GET", data+"limits", "", header); got.status != http.StatusOK {
		t.Errorf("without a body: %d %s", got.status, got.body)
	}
	if got := r.do("POST", data+"sobjects/Account", "not gzip", header); got.status != http.StatusBadRequest {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// results are the codes of the errors of a collection, empty where a record was saved.
func results(t *testing.T, got reply) (codes, ids []string) {
	t.Helper()
	var list []struct {
		ID      string
		Success bool
		Errors  []struct {
			StatusCode string
			Fields     []string
		}
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, one := range list {
		code := ""
		if len(one.Errors) > 0 {
			code = one.Errors[0].StatusCode
		}
		if one.Success != (code == "") || one.Success != (one.ID != "") {
			t.Errorf("%+v", one)
		}
		codes, ids = append(codes, code), append(ids, one.ID)
	}
	return codes, ids
}

func TestCollections(t *testing.T) {
	r := newREST(t)
	const path = data + "composite/sobjects"
	good, bad := `{"attributes":{"type":"Account"},"Name":"Umbrella"}`, `{"attributes":{"type":"Account"}}`
	codes, _ := results(t, r.call("POST", path, `{"allOrNone":true,"records":[`+good+","+bad+`]}`))
	if !slices.Equal(codes, []string{"ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"}) || len(r.names(data+"query?q=SELECT+Name+FROM+Account")) != 3 {
		t.Errorf("all or none: %q", codes)
	}
	codes, ids := results(t, r.call("POST", path+"/", `{"allOrNone":false,"records":[`+good+","+bad+`,{"Name":"untyped"},`+good+`]}`))
	if !slices.Equal(codes, []string{"", "REQUIRED_FIELD_MISSING", "INVALID_TYPE", ""}) {
		t.Errorf("each for itself: %q", codes)
	}
	codes, _ = results(t, r.call("PATCH", path, `{"records":[{"attributes":{"type":"Account"},"id":"`+ids[0]+`","Industry":"Media"},{"attributes":{"type":"Account"},"Id":"001000000000009AAA"}]}`))
	if !slices.Equal(codes, []string{"", "NOT_FOUND"}) {
		t.Errorf("changed: %q", codes)
	}
	if got := r.call("GET", data+"sobjects/Account/"+ids[0], ""); got.text("Industry") != "Media" {
		t.Errorf("after the change: %s", got.body)
	}
	codes, _ = results(t, r.call("DELETE", path+"?allOrNone=true&ids="+ids[0]+",001000000000009AAA", ""))
	if !slices.Equal(codes, []string{"ALL_OR_NONE_OPERATION_ROLLED_BACK", "NOT_FOUND"}) || r.call("GET", data+"sobjects/Account/"+ids[0], "").status != 200 {
		t.Errorf("deleted, all or none: %q", codes)
	}
	codes, _ = results(t, r.call("DELETE", path+"?ids="+ids[0]+",nothing,"+ids[3], ""))
	if !slices.Equal(codes, []string{"", "MALFORMED_ID", ""}) || len(r.names(data+"query?q=SELECT+Name+FROM+Account")) != 3 {
		t.Errorf("deleted: %q", codes)
	}
	for body, want := range map[string]string{
		`{"records":[]}`: "INVALID_INPUT", `{"records":[` + strings.Repeat(good+",", 200) + good + `]}`: "EXCEEDED_ID_LIMIT",
	} {
		if got := r.call("POST", path, body); got.status != http.StatusBadRequest || got.errorCode() != want {
			t.Errorf("%d %s, want %s", got.status, got.body, want)
		}
	}
	if got := r.call("GET", path, ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.status)
	}
}

func TestQueriesComeInBatches(t *testing.T) {
	r := newREST(t)
	for range 11 {
		var records []string
		for range 200 {
			records = append(records, `{"attributes":{"type":"Account"},"Name":"Umbrella"}`)
		}
		r.call("POST", data+"composite/sobjects", `{"records":[`+strings.Join(records, ",")+`]}`)
	}
	for _, test := range []struct {
		option string
		path   string
		sizes  []int
	}{
		{"", "query", []int{2000, 203}},
		{"batchSize=1100", "queryAll", []int{1100, 1100, 3}},
		{"batchSize=5000", "query", []int{2000, 203}},
		{"batchSize=1", "query", append(slices.Repeat([]int{200}, 11), 3)},
	} {
		var sizes []int
		path := data + test.path + "/?q=SELECT+Id+FROM+Account"
		for path != "" {
			got := r.do("GET", path, "", map[string]string{"Authorization": "Bearer " + r.token, "Sforce-Query-Options": test.option})
			rows, _ := got.fields["records"].([]any)
			sizes = append(sizes, len(rows))
			path = got.text("nextRecordsUrl")
			if got.status != 200 || got.fields["totalSize"] != 2203.0 || got.fields["done"] != (path == "") || path != "" && !strings.HasPrefix(path, data+"query/01g") {
				t.Fatalf("%d, done %v, next %q", got.status, got.fields["done"], path)
			}
		}
		if !slices.Equal(sizes, test.sizes) {
			t.Errorf("%s %s: %d", test.path, test.option, sizes)
		}
	}
	first := r.call("GET", data+"query?q=SELECT+Id+FROM+Account", "").text("nextRecordsUrl")
	for range 10 {
		r.call("GET", data+"query?q=SELECT+Id+FROM+Account", "")
	}
	for _, path := range []string{first, data + "query/01gnothing-200", data + "query/x"} {
		if got := r.call("GET", path, ""); got.status != http.StatusBadRequest || got.errorCode() != "INVALID_QUERY_LOCATOR" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestSOQL(t *testing.T) {
	r := newREST(t)
	r.call("POST", data+"sobjects/Account", `{"Name":"O'Hara 100%","NumberOfEmployees":10}`)
	r.call("POST", data+"sobjects/Account", `{"Name":"bit","NumberOfEmployees":9}`)
	for soql, want := range map[string]string{
		"WHERE Name = 'acme'":                                            "Acme",
		"WHERE Id = '001000000000001'":                                   "Acme",
		"where Industry LIKE '%ic%' and name != 'x'":                     "Edge Communications",
		"WHERE Name LIKE 'b_t'":                                          "bit",
		`WHERE Name = 'O\'Hara 100%'`:                                    "O'Hara 100%",
		"WHERE NumberOfEmployees = 10":                                   "O'Hara 100%",
		"WHERE Industry = null AND NumberOfEmployees <> 10":              "bit",
		"WHERE IsDeleted = false ORDER BY Name LIMIT 2":                  "Acme,bit",
		"WHERE Name IN ('Acme', 'Global Media') ORDER BY Name DESC":      "Global Media,Acme",
		"WHERE NumberOfEmployees != null ORDER BY NumberOfEmployees ASC": "bit,O'Hara 100%",
		"LIMIT 0": "",
	} {
		if got := strings.Join(r.names(query("SELECT Id, Name FROM Account "+soql)), ","); got != want {
			t.Errorf("%s: %q, want %q", soql, got, want)
		}
	}
	for soql, want := range map[string]string{
		"SELECT Id":                                     "MALFORMED_QUERY",
		"SELECT Id FROM Account WHERE":                  "MALFORMED_QUERY",
		"SELECT Id FROM Account WHERE Name = Acme":      "MALFORMED_QUERY",
		"SELECT Id FROM Account WHERE Name IN 'Acme'":   "MALFORMED_QUERY",
		"SELECT Id FROM Account WHERE Name IN ('Acme'":  "MALFORMED_QUERY",
		"SELECT Id FROM Account WHERE Name > 'Acme'":    "MALFORMED_QUERY",
		"SELECT Id FROM Account LIMIT x":                "MALFORMED_QUERY",
		"SELECT Id FROM Account GROUP BY Name":          "MALFORMED_QUERY",
		"SELECT Id FROM Account WHERE Nothing = 'Acme'": "INVALID_FIELD",
		"SELECT Id FROM Account ORDER BY Nothing":       "INVALID_FIELD",
	} {
		if got := r.call("GET", query(soql), ""); got.status != http.StatusBadRequest || got.errorCode() != want {
			t.Errorf("%s: %d %s", soql, got.status, got.body)
		}
	}
	if got := r.call("POST", query("SELECT Id FROM Account"), ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", got.status)
	}
}

func TestDescribe(t *testing.T) {
	r := newREST(t)
	var names []string
	all, _ := r.call("GET", data+"sobjects", "").fields["sobjects"].([]any)
	for _, one := range all {
		names = append(names, fmt.Sprint(one.(map[string]any)["name"]))
	}
	if !slices.Equal(names, []string{"Account", "Organization", "User"}) {
		t.Errorf("objects %q", names)
	}
	got := r.call("GET", data+"sobjects/account/describe/", "")
	fields, _ := got.fields["fields"].([]any)
	if got.text("name") != "Account" || got.fields["createable"] != true || len(fields) < 8 || !strings.Contains(got.body, `"name":"NumberOfEmployees"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", data+"sobjects/User", ""); got.status != 200 || !strings.Contains(got.body, `"createable":false`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", data+"sobjects/Nothing/describe", ""); got.status != http.StatusNotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestIdentityURL(t *testing.T) {
	r := newREST(t)
	home := r.call("GET", strings.TrimSuffix(data, "/"), "")
	got := r.call("GET", home.text("identity")+"?format=json", "")
	if got.status != 200 || got.text("id") != home.text("identity") || got.text("user_id") != r.app.User.ID || got.text("username") != r.app.User.Username() || got.text("organization_id") != r.org.ID() {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", "/id/"+r.org.ID()+"/005000000000001AAA", ""); got.status != http.StatusForbidden || got.body != "Wrong_Org" {
		t.Errorf("another user's: %d %s", got.status, got.body)
	}
	r.org.RevokeAll()
	if got := r.call("GET", home.text("identity"), ""); got.status != http.StatusForbidden || got.body != "Bad_OAuth_Token" {
		t.Errorf("with a dead token: %d %s", got.status, got.body)
	}
}
