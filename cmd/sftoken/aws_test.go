package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/sim/stack"
)

// mfaProfile configures a profile that assumes a role with an MFA device. It returns the code that STS receives.
func mfaProfile(t *testing.T) (code *string) {
	t.Helper()
	code = new(string)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*code = r.PostForm.Get("TokenCode")
		fmt.Fprint(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
			`<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>`+
			`<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	t.Cleanup(sts.Close)
	serveAPI(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, tokenResponse) })
	file := filepath.Join(t.TempDir(), "config")
	config := "[profile mfa]\nrole_arn = arn:aws:iam::222222222222:role/billing\nsource_profile = base\n" +
		"mfa_serial = arn:aws:iam::222222222222:mfa/anna\n" +
		"[profile base]\naws_access_key_id = AKIA\naws_secret_access_key = s\n"
	must(t, os.WriteFile(file, []byte(config), 0o600))
	for name, value := range map[string]string{"AWS_CONFIG_FILE": file, "AWS_PROFILE": "mfa",
		"AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""} {
		t.Setenv(name, value)
	}
	return code
}

func TestMFAWithoutTerminal(t *testing.T) {
	code := mfaProfile(t)
	for _, args := range [][]string{{"get", "crm", "--timeout", "5s"}, {"secret", "status", "crm"}} {
		if _, stderr, exit := command(t, "123456\n", args...); exit != exitFailed ||
			!strings.Contains(stderr, "requires an MFA code") || *code != "" {
			t.Errorf("%q: exit %d: %s", args, exit, stderr)
		}
	}
	if stdout, _, exit := command(t, "123456\n", "doctor", "crm"); exit != exitFailed ||
		!strings.Contains(strings.Join(strings.Fields(stdout), " "), "requires an MFA code") {
		t.Errorf("doctor: exit %d: %s", exit, stdout)
	}
}

// Behind a proxy that intercepts TLS, the certificates that AWS's clients trust must be trusted for the API too.
func TestCABundleAppliesToAPI(t *testing.T) {
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Missing Authentication Token"}`)
			return
		}
		fmt.Fprint(w, tokenResponse)
	}))
	api.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that does not trust it
	api.StartTLS()
	defer api.Close()
	s := &testStack{&stack.Stack{URL: api.URL + "/v1", AWSURL: api.URL}}
	s.useKey(t, billingKey)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	if _, stderr, code := command(t, "", "get", "crm", "--timeout", "5s"); code != exitFailed ||
		!strings.Contains(stderr, "certificate") {
		t.Errorf("without: exit %d: %s", code, stderr)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}),
		0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if stdout, stderr, code := command(t, "", "get", "crm", "-o", "token", "--timeout", "5s"); code != 0 ||
		stdout != "t\n" {
		t.Errorf("with: exit %d: %s", code, stderr)
	}
	if stdout, _, _ := command(t, "", "doctor", "crm"); !strings.Contains(stdout, "ok    reachable") {
		t.Errorf("doctor:\n%s", stdout)
	}
}
