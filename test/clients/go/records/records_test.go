package records_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/clients/go/records"
)

const data = "/services/data/v65.0/"

// harness calls the REST API of an org with one token.
type harness struct {
	*testing.T
	org     *sfoauthtest.Org
	handler http.Handler
	token   string
}

func newHarness(t *testing.T) *harness {
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	org := sfoauthtest.New(sfoauthtest.Config{BaseURL: "https://acme.my.salesforce.com", Now: now, RequestsPerDay: 1000})
	token := org.AddApp(sfoauthtest.AppOptions{}).NewToken()
	return &harness{t, org, records.New(org, now), token}
}

// reply is a response, with a JSON object decoded.
type reply struct {
	status int
	body   string
	fields map[string]any
	header http.Header
}

func (r reply) text(field string) string { s, _ := r.fields[field].(string); return s }

func (r reply) errorCode() string {
	var list []struct{ ErrorCode string }
	if json.Unmarshal([]byte(r.body), &list) == nil && len(list) == 1 {
		return list[0].ErrorCode
	}
	return ""
}

func (h *harness) do(method, path, body string, header map[string]string) reply {
	h.Helper()
	req := httptest.NewRequest(method, "https://acme.my.salesforce.com"+path, strings.NewReader(body))
	for name, value := range header {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	h.handler.ServeHTTP(rec, req)
	r := reply{status: rec.Code, body: rec.Body.String(), header: rec.Header()}
	_ = json.Unmarshal(rec.Body.Bytes(), &r.fields)
	return r
}

// call sends a request with the token and a JSON body; an empty one: none.
func (h *harness) call(method, path, body string) reply {
	h.Helper()
	header := map[string]string{"Authorization": "Bearer " + h.token}
	if body != "" {
		header["Content-Type"] = "application/json"
	}
	return h.do(method, path, body, header)
}

func query(soql string) string { return data + "query?q=" + url.QueryEscape(soql) }

// names returns the names of the records that a query returns.
func (h *harness) names(path string) []string {
	h.Helper()
	got := h.call("GET", path, "")
	if got.status != http.StatusOK {
		h.Fatalf("%s: %d %s", path, got.status, got.body)
	}
	var names []string
	rows, _ := got.fields["records"].([]any)
	for _, row := range rows {
		name, _ := row.(map[string]any)["Name"].(string)
		names = append(names, name)
	}
	return names
}

// What the handler does not serve, and every token, is the org's.
func TestOrgDecides(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, test := range []struct {
		path   string
		status int
		want   string // the error code, or part of the response
	}{
		{data + "limits", 200, `"DailyApiRequests":{"Max":1000,"Remaining":999}`},
		{data + "nothing", 404, "NOT_FOUND"},
		{query("SELECT Id, name FROM account LIMIT 1"), 200,
			`"Name":"Acme","attributes":{"type":"Account","url":"/services/data/v65.0/sobjects/Account/001000000000001AAA"}`},
		{query("select count() from Account"), 200, `"totalSize":3`},
		{query("SELECT Id FROM Organization"), 200, h.org.ID()},
		{query("DELETE Account"), 400, "MALFORMED_QUERY"},
		{query("SELECT Id FROM Nothing"), 400, "INVALID_TYPE"},
		{query("SELECT Nothing FROM Organization"), 400, "INVALID_FIELD"},
		{"/services/data/v30.0/query?q=", 404, "NOT_FOUND"},
	} {
		if r := h.call("GET", test.path, ""); r.status != test.status || !strings.Contains(r.body, test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.path, r.status, r.body, test.status, test.want)
		}
	}
	if got := h.call("GET", data+"sobjects", "").header.Get("Sforce-Limit-Info"); got != "api-usage=9/1000" {
		t.Errorf("limit info %q", got)
	}
	if violations := h.org.Violations(); violations != nil {
		t.Errorf("violations %q", violations)
	}
	h.org.RevokeAll()
	if r := h.call("GET", query("SELECT Id FROM Account"), ""); r.status != 401 || r.errorCode() != "INVALID_SESSION_ID" {
		t.Errorf("with a dead token: %d %s", r.status, r.body)
	}
}

func TestRecordLifecycle(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	created := r.call("POST", data+"sobjects/Account", `{"Name":"Umbrella","NumberOfEmployees":7,"phone":"1"}`)
	id := created.text("id")
	if created.status != http.StatusCreated || len(id) != 18 || created.fields["success"] != true ||
		created.header.Get("Location") != data+"sobjects/Account/"+id {
		t.Fatalf("created: %d %s %s", created.status, created.body, created.header.Get("Location"))
	}
	got := r.call("GET", data+"sobjects/Account/"+id[:15], "")
	if got.status != 200 || got.text("Name") != "Umbrella" || got.fields["NumberOfEmployees"] != 7.0 ||
		got.text("Phone") != "1" ||
		got.fields["Industry"] != nil ||
		got.text("CreatedDate") != "2026-01-02T03:04:05.000+0000" {
		t.Errorf("read: %d %s", got.status, got.body)
	}
	got = r.call("PATCH", data+"sobjects/account/"+id, `{"Industry":"Biotechnology","Phone":null}`)
	if got.status != http.StatusNoContent || got.body != "" {
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
		if got := r.call(method, data+"sobjects/Account/"+id, "{}"); got.status != http.StatusNotFound ||
			got.errorCode() != "ENTITY_IS_DELETED" {
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
	if violations := r.org.Violations(); violations != nil {
		t.Errorf("violations %q", violations)
	}
}

func TestSaveErrors(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
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
		{"POST", "Organization", `{}`, 400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"},
		{"PATCH", "Account/001000000000009AAA", `{}`, 404, "NOT_FOUND"},
		{"GET", "Account/001", "", 404, "NOT_FOUND"},
		{"GET", "Account" + acme + "?fields=Nothing", "", 400, "INVALID_FIELD"},
		{"GET", "Account" + acme + "/more", "", 404, "NOT_FOUND"},
		{"PUT", "Account" + acme, `{}`, 405, "Allowed are DELETE,GET,HEAD,PATCH"},
		{"DELETE", "Account", "", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "Account/describe", `{}`, 405, "METHOD_NOT_ALLOWED"},
	} {
		if got := r.call(test.method, data+"sobjects/"+test.path, test.body); got.status != test.status ||
			!strings.Contains(got.body, test.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", test.method, test.path, test.body, got.status, got.body, test.status,
				test.want)
		}
	}
	if got := r.names(data + "query?q=SELECT+Name+FROM+Account"); !slices.Equal(got,
		[]string{"Acme", "Global Media", "Edge Communications"}) {
		t.Errorf("the accounts are now %q", got)
	}
}

func TestCompressedBody(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(`{"Name":"Umbrella"}`))
	_ = z.Close()
	header := map[string]string{
		"Authorization":    "Bearer " + r.token,
		"Content-Type":     "application/json",
		"Content-Encoding": "gzip",
	}
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

// save writes a collection and returns the error code and the id of each record of a collection; saved records have
// no code.
func (h *harness) save(method, path, body string) (codes, ids []string) {
	h.Helper()
	got := h.call(method, path, body)
	var list []struct {
		ID      string
		Success bool
		Errors  []struct {
			StatusCode string
			Fields     []string
		}
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != http.StatusOK {
		h.Fatalf("%d %s", got.status, got.body)
	}
	for _, one := range list {
		code := ""
		if len(one.Errors) > 0 {
			code = one.Errors[0].StatusCode
		}
		if one.Success != (code == "") || one.Success != (one.ID != "") {
			h.Errorf("%+v", one)
		}
		codes, ids = append(codes, code), append(ids, one.ID)
	}
	return codes, ids
}

func TestCollections(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	const path = data + "composite/sobjects"
	good, bad := `{"attributes":{"type":"Account"},"Name":"Umbrella"}`, `{"attributes":{"type":"Account"}}`
	codes, _ := r.save("POST", path, `{"allOrNone":true,"records":[`+good+","+bad+`]}`)
	if !slices.Equal(codes, []string{"ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"}) ||
		len(r.names(data+"query?q=SELECT+Name+FROM+Account")) != 3 {
		t.Errorf("all or none: %q", codes)
	}
	codes, ids := r.save("POST", path+"/", `{"allOrNone":false,"records":[`+good+","+bad+`,{"Name":"untyped"},`+good+`]}`)
	if !slices.Equal(codes, []string{"", "REQUIRED_FIELD_MISSING", "INVALID_TYPE", ""}) {
		t.Errorf("allOrNone false: %q", codes)
	}
	changed := `{"attributes":{"type":"Account"},"id":"` + ids[0] + `","Industry":"Media"}`
	missing := `{"attributes":{"type":"Account"},"Id":"001000000000009AAA"}`
	codes, _ = r.save("PATCH", path, `{"records":[`+changed+`,`+missing+`]}`)
	if !slices.Equal(codes, []string{"", "NOT_FOUND"}) {
		t.Errorf("changed: %q", codes)
	}
	if got := r.call("GET", data+"sobjects/Account/"+ids[0], ""); got.text("Industry") != "Media" {
		t.Errorf("after the change: %s", got.body)
	}
	codes, _ = r.save("DELETE", path+"?allOrNone=true&ids="+ids[0]+",001000000000009AAA", "")
	if !slices.Equal(codes, []string{"ALL_OR_NONE_OPERATION_ROLLED_BACK", "NOT_FOUND"}) ||
		r.call("GET", data+"sobjects/Account/"+ids[0], "").status != 200 {
		t.Errorf("deleted, all or none: %q", codes)
	}
	codes, _ = r.save("DELETE", path+"?ids="+ids[0]+",nothing,"+ids[3], "")
	if !slices.Equal(codes, []string{"", "MALFORMED_ID", ""}) ||
		len(r.names(data+"query?q=SELECT+Name+FROM+Account")) != 3 {
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

func TestQueryBatches(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
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
			got := r.do("GET", path, "",
				map[string]string{"Authorization": "Bearer " + r.token, "Sforce-Query-Options": test.option})
			rows, _ := got.fields["records"].([]any)
			sizes = append(sizes, len(rows))
			path = got.text("nextRecordsUrl")
			if got.status != 200 || got.fields["totalSize"] != 2203.0 || got.fields["done"] != (path == "") ||
				path != "" && !strings.HasPrefix(path, data+"query/01g") {
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
	t.Parallel()
	r := newHarness(t)
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
	t.Parallel()
	r := newHarness(t)
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
	if got.text("name") != "Account" || got.fields["createable"] != true || len(fields) < 8 ||
		!strings.Contains(got.body, `"name":"NumberOfEmployees"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", data+"sobjects/Organization", ""); got.status != 200 ||
		!strings.Contains(got.body, `"createable":false`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", "/"+query("SELECT Username FROM User"), ""); got.status != 200 ||
		!strings.Contains(got.body, `"Username":"user1@sfoauthtest.example"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", query("SELECT id FROM User")+"&columns=true", ""); got.status != 200 ||
		!strings.Contains(got.body, `"columnName":"Id"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.call("GET", data+"sobjects/Nothing/describe", ""); got.status != http.StatusNotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
}
