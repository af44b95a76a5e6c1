package tokenapi

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestErrorResponses(t *testing.T) {
	t.Parallel()
	for code, want := range map[vending.Code]int{
		vending.InvalidRequest: 400, unsupportedGrantType: 400, vending.AccessDenied: 403, vending.UnknownApp: 404,
		methodNotAllowed:    405,
		vending.ServerError: 500, vending.AppMisconfigured: 502, vending.BadUpstreamResponse: 502,
		vending.TemporarilyUnavailable: 503,
	} {
		for wait, retryAfter := range map[time.Duration]string{0: "", time.Second: "1", 6500 * time.Millisecond: "7"} {
			e := auditEvent{requestID: "req-1", err: &vending.Error{
				Code: code, Description: "a <description>", SalesforceError: "invalid_grant", RetryAfter: wait,
			}}
			var got response
			must(t, json.Unmarshal(e.response(), &got))
			headers := headers{ContentType: "application/json", CacheControl: "no-store", RetryAfter: retryAfter}
			if code == methodNotAllowed {
				headers.Allow = "GET, POST, DELETE"
			}
			if got.StatusCode != want || got.Headers != headers {
				t.Errorf("%s: %d, %+v; want %d, %+v", code, got.StatusCode, got.Headers, want, headers)
			}
			var body errorBody
			must(t, json.Unmarshal([]byte(got.Body), &body))
			if body != (errorBody{code, "a <description>", "invalid_grant", "req-1"}) {
				t.Errorf("%s: %+v", code, body)
			}
		}
	}
}

func TestSignatureIsNotReturned(t *testing.T) {
	run(t, options{app: sfoauthtest.AppOptions{ExtraFields: true}}, func(t *testing.T, h *harness) {
		a := h.get()
		if a.body["signature"] != nil {
			t.Error("callers get the signature, with which they can guess consumer secrets")
		}
		if a.text("api_instance_url") != "https://api.salesforce.com" {
			t.Errorf("api_instance_url is %q", a.text("api_instance_url"))
		}
		if a.status != http.StatusOK || a.body["expires_in"] != vending.DefaultTokenTTL.Seconds() {
			t.Errorf("%s expires in %v", a, a.body["expires_in"])
		}
	})
}
