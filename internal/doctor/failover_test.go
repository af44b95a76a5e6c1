package doctor_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// addRegion adds the address of the API in a second region.
func (w *harness) addRegion(api *localaws.Gateway) {
	api.Region = "eu-west-1"
	w.config.URL += "," + w.serve(api) + "/v1#eu-west-1"
}

var failoverSetups = []setup{
	{name: "a second region that is down", change: func(w *harness) {
		badGateway := func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }
		w.config.URL += "," + w.serve(http.HandlerFunc(badGateway)) + "/v1#eu-west-1"
		w.config.Timeout /= 5
	}, cause: "failover", status: doctor.Warning, found: "HTTP 502", fix: "with this address alone"},
	{name: "a second region whose API the caller may not use", as: caller, change: func(w *harness) {
		api := w.gateway()
		api.AllowedAccounts = nil
		w.addRegion(api)
	}, cause: "failover", status: doctor.Warning, found: "HTTP 403", fix: "the API of each region"},
	{name: "a second address with a wrong region", change: func(w *harness) {
		w.config.URL += "," + w.api() + "/v1#eu-west-1"
	}, cause: "failover", status: doctor.Warning, found: "HTTP 403", fix: "with this address alone"},
	{name: "a second address that is not a URL", change: func(w *harness) { w.config.URL += ",eu" },
		cause: "failover", found: "must be a URL", fix: "refuses the whole list"},
	{name: "a second address that is an agent's", change: func(w *harness) {
		w.config.URL += ",unix:///run/sftoken/agent.sock"
	}, cause: "failover", found: "must be the only one", fix: "refuses the whole list"},
	{name: "a second region that hangs, and a third", change: func(w *harness) {
		ended := make(chan struct{})
		hang := func(http.ResponseWriter, *http.Request) { <-ended }
		w.config.URL += "," + w.serve(http.HandlerFunc(hang)) + "/v1#eu-west-1"
		w.Cleanup(func() { close(ended) })
		w.addRegion(w.gateway())
		w.config.Timeout /= 5
	}, cause: "failover", status: doctor.Warning, found: " gives tokens: ", fix: "with this address alone"},
	{name: "a first address with a malformed region", change: func(w *harness) { w.config.URL += "#east" },
		cause: "address", found: "more than a scheme", fix: "output ApiUrl"},
	{name: "a second region and no credentials", change: func(w *harness) {
		w.unsetCredentials()
		w.addRegion(w.gateway())
	}, setsEnv: true, cause: "credentials", found: "no AWS credentials", fix: "aws sso login"},
}

// TestFailoverIsReported: the checks are of the first address, and the others must give tokens.
func TestFailoverIsReported(t *testing.T) {
	t.Parallel()
	w := newHarness(t, sfoauthtest.Config{}, nil)
	if find(doctor.Run(t.Context(), w.config), "failover").Status != "" {
		t.Error("a single address has a check failover")
	}
	first := w.config.URL
	w.config.URL += "#" + region
	w.addRegion(w.gateway())
	report := doctor.Run(t.Context(), w.config)
	if got := find(report, "address"); got.Status != doctor.OK || got.Found != first {
		t.Errorf("address: %+v", got)
	}
	if got := find(report, "failover"); got.Status != doctor.OK || !strings.Contains(got.Found, " gives tokens: ") {
		t.Errorf("failover: %+v", got)
	}
	if report.URL != w.config.URL {
		t.Errorf("the report is of %s", report.URL)
	}
}
