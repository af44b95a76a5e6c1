package sfoauthtest_test

import (
	"strings"
	"testing"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const jobs = "/services/async/65.0/job"

func TestBulk(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := w.token()
	inJSON := map[string]string{"X-SFDC-Session": token, "Content-Type": "application/json"}
	inXML := map[string]string{"X-SFDC-Session": token, "Content-Type": "application/xml"}
	made := w.do("POST", jobs, `{"operation":"query","object":"Account"}`, inJSON)
	if made.status != 201 || made.text("id")[:3] != "750" || made.text("state") != "Open" {
		t.Fatalf("a job: %d %s", made.status, made.body)
	}
	if got := w.do("GET", jobs+"/"+made.text("id"), "", map[string]string{"X-SFDC-Session": token, "Accept": "application/json"}); got.status != 200 || got.text("object") != "Account" {
		t.Errorf("its details: %d %s", got.status, got.body)
	}
	const inXMLBody = `<jobInfo xmlns="http://www.force.com/2009/06/asyncapi/dataload"><operation>insert</operation><object>Account</object></jobInfo>`
	if got := w.do("POST", jobs, inXMLBody, inXML); got.status != 201 || !strings.Contains(got.body, "<operation>insert</operation>") {
		t.Errorf("a job in XML: %d %s", got.status, got.body)
	}
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", jobs, `{"operation":"query"}`, "ClientInputError"},
		{"POST", jobs, `{`, "ClientInputError"},
		{"GET", jobs + "/750000000000000AAA", "", "InvalidJob"},
		{"GET", jobs, "", "InvalidUrl"},
		{"POST", strings.Replace(jobs, "65.0", "v65.0", 1), "{}", "InvalidUrl"},
		{"POST", strings.Replace(jobs, "65.0", "99.0", 1), "{}", "InvalidUrl"},
	} {
		if got := w.do(c.method, c.path, c.body, inJSON); got.status != 400 || got.text("exceptionCode") != c.want {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.path, got.status, got.body, c.want)
		}
	}
	if improper := w.org.Violations(); improper != nil {
		t.Errorf("improper: %v", improper)
	}
}

func TestBulkAndADeadSession(t *testing.T) {
	w := newWorld(t, sfoauthtest.Config{}, sfoauthtest.AppOptions{})
	token := w.token()
	w.org.KillSession(token)
	if got := w.do("POST", jobs, "{}", map[string]string{"X-SFDC-Session": token, "Content-Type": "application/json"}); got.status != 400 || got.text("exceptionCode") != "InvalidSessionId" {
		t.Errorf("in JSON: %d %s", got.status, got.body)
	}
	got := w.do("GET", jobs, "", map[string]string{"X-SFDC-Session": token})
	if got.status != 400 || !strings.Contains(got.body, "<exceptionCode>InvalidSessionId</exceptionCode>") || !strings.Contains(got.header.Get("Content-Type"), "xml") {
		t.Errorf("in XML: %d %s", got.status, got.body)
	}
	live := w.token()
	if got := w.do("GET", jobs, "", map[string]string{"Authorization": "Bearer " + live}); got.status != 400 {
		t.Errorf("a token in the Authorization header alone: %d", got.status)
	}
	w.do("GET", "/services/data/v65.0", "", map[string]string{"X-SFDC-Session": live})
	if improper := w.org.Violations(); len(improper) != 1 || !strings.Contains(improper[0], "X-Sfdc-Session") {
		t.Errorf("a token in this header at the REST API: %v", improper)
	}
}
