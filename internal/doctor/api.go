package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var apiChecks = []check{
	{"api", "address", nil, (*session).address},
	{"api", "reachable", []string{"address"}, (*session).reachable},
	{"api", "allowed", []string{"credentials", "reachable"}, (*session).allowed},
	{"api", "token", []string{"allowed"}, (*session).vend},
}

const useAPIURL = "use the deployment's output ApiUrl, like https://<id>.execute-api.<region>.amazonaws.com/v1"

// address checks the API's URL without a request.
func (s *session) address(context.Context) outcome {
	u, err := url.Parse(strings.TrimSpace(s.URL))
	switch {
	case s.URL == "":
		return failed("the API's address is not set", "set SFTOKEN_URL, or pass --url: "+useAPIURL)
	case sftoken.UsesAgent(s.URL):
		fix := "pass --url: " + useAPIURL
		if sfoauth.IsLoopback(u.Hostname()) {
			fix += ". Or, for `sftoken local`, unset SFTOKEN_AGENT_TOKEN and SFTOKEN_AGENT_TOKEN_FILE"
		}
		return failed("the address is an agent's, which is not checked", fix)
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return failed("the address is not a URL", useAPIURL)
	case u.Scheme == "http" && !sfoauth.IsLoopback(u.Hostname()):
		return failed("with http the network can read the token", "use https://"+u.Host+u.Path)
	case strings.Contains(u.Path, "/tokens"):
		return failed("the address includes a path of the API",
			"end it before /tokens: "+s.URL[:strings.Index(s.URL, "/tokens")])
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return failed("the address has more than a scheme, a host and a stage", useAPIURL)
	case sftoken.RegionFromURL(s.URL) != "" && strings.Trim(u.Path, "/") == "":
		return failed("the address has no stage", "append the stage: "+strings.TrimRight(s.URL, "/")+"/v1")
	case s.region == "" && s.aws.Credentials != nil:
		return failed("the region is unknown: the address does not name it",
			"set AWS_REGION to the API's region, for the signature")
	case s.aws.Region != "" && s.aws.Region != s.region:
		return warning(fmt.Sprintf("%s is in %s, but AWS_REGION is %s", s.URL, s.region, s.aws.Region),
			"for `sftoken secret` and `sftoken rotate`, set AWS_REGION="+s.region+": the secret is in the API's region")
	}
	return ok(s.URL)
}

// reachable sends a request without a signature, which API Gateway must reject.
func (s *session) reachable(ctx context.Context) outcome {
	u, _ := url.Parse(strings.TrimSpace(s.URL)) // valid: address has parsed it
	address := strings.TrimRight(u.String(), "/") + "/tokens/" + url.PathEscape(s.App)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return failed("the address is not a URL", useAPIURL)
	}
	client := *s.apiClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return failed("cannot reach "+u.Host+": "+shortError(err), unreachable(err, u.Host))
	}
	defer resp.Body.Close()
	var body struct{ Error, Message string } // API Gateway writes "message" and "Message"
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(text, &body) // both stay empty if it is not JSON
	status := fmt.Sprintf("HTTP %d", resp.StatusCode)
	switch {
	case resp.StatusCode == http.StatusOK || body.Error != "":
		return failed("the API accepts unsigned requests",
			"require AWS_IAM on every method, as template.yaml does; `sam local start-api` by itself checks nothing")
	case resp.StatusCode == http.StatusForbidden && body.Message == "Forbidden":
		return noSuchAPI()
	case resp.StatusCode == http.StatusForbidden && body.Message != "":
		return ok("API Gateway rejects unsigned requests")
	case resp.StatusCode/100 == 3:
		return failed(u.Host+" redirects ("+status+")",
			"a proxy between here and AWS requires a login, or this is not the API: "+useAPIURL)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return warning("API Gateway returned "+status+": "+line(body.Message), "try again in a minute")
	}
	return failed(u.Host+" returned "+status+", which this API does not", useAPIURL)
}

// headerRecorder keeps the header of the last response.
type headerRecorder struct {
	base   http.RoundTripper
	header *http.Header
}

func (r headerRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.base.RoundTrip(req)
	if err == nil {
		*r.header = resp.Header
	}
	return resp, err
}

// allowed requests a token. This check is about whether API Gateway lets the request through; vend is about the
// function's response.
func (s *session) allowed(ctx context.Context) outcome {
	base := s.apiClient().Transport
	if base == nil {
		base = http.DefaultTransport
	}
	token, err := s.source(&http.Client{Transport: headerRecorder{base, &s.header}}).Fetch(ctx)
	var isAPIError bool
	s.denied, isAPIError = errors.AsType[*sftoken.Error](err)
	switch {
	case err == nil:
		s.vended = token
		if token.Cache == "miss" {
			s.logins++
		}
	case !isAPIError && s.header == nil:
		return failed("no response: "+shortError(err), "try again; if it persists, see the API's access log")
	case !isAPIError:
		return failed(shortError(err), useAPIURL)
	case s.denied.Code == "" && s.denied.Status == http.StatusForbidden:
		return s.gatewayDenial(s.denied.Description)
	case s.denied.Code == "" && s.denied.Status == http.StatusNotFound:
		return failed("HTTP 404, which this API does not return", useAPIURL)
	}
	return ok("IAM allows GET /tokens/" + s.App)
}

// vend reports the token function's response.
func (s *session) vend(ctx context.Context) outcome {
	if s.vended == nil {
		return s.vendError(ctx)
	}
	found := fmt.Sprintf("%s (%s), valid for %s, for %s", s.vended.ID, cmp.Or(s.vended.Cache, "unknown"),
		span(time.Until(s.vended.Expiry)), s.vended.InstanceURL)
	if s.vended.Cache == "stale" {
		return warning(found, "Salesforce cannot confirm it now: see the checks of Salesforce below")
	}
	return ok(found)
}

func (s *session) vendError(ctx context.Context) outcome {
	e := s.denied
	found := e.Code
	if e.SalesforceError != "" {
		found += ": Salesforce returned " + e.SalesforceError
	}
	if e.RequestID != "" {
		found += " [request " + e.RequestID + "]"
	}
	found = line(found)
	switch {
	case e.Code == "access_denied" && s.deniesAll(ctx):
		return skipped("allowedPrincipals is empty, so that no caller gets this app's tokens")
	case e.Code == "access_denied":
		return failed(found, "the app's owner must add "+s.callerName()+" to allowedPrincipals in its secret")
	case e.Code == "unknown_app":
		return failed(found, "check the app's name. The owner stores its secret with `sftoken secret put "+s.App+
			"`. If the secret exists, the function may not read it: see the function's log")
	case e.Code == "server_error":
		return failed(found, "this is a defect of sftoken: report it with the lines of this request in the function's log")
	case e.Code != "":
		return failed(found, line(e.Description))
	case e.Status == http.StatusTooManyRequests:
		return failed("API Gateway throttles requests",
			"try again in a minute; callers should reuse a token until it expires")
	case e.Status == http.StatusGatewayTimeout:
		return failed("the token function timed out [request "+e.RequestID+"]",
			"see secretsmanager_ms and salesforce_ms in the token function's log")
	}
	return failed(
		fmt.Sprintf("the token function failed: HTTP %d %s [request %s]", e.Status, line(e.Description), e.RequestID),
		"see the token function's log; an invalid setting makes the function exit at startup",
	)
}

// deniesAll reports whether the secret is readable and its allowedPrincipals denies every caller.
func (s *session) deniesAll(ctx context.Context) bool {
	version, err := s.reader().Read(ctx, s.App, appsecret.Current)
	return err == nil && version.PrincipalsErr == nil && version.AllowedPrincipals.DenyAll()
}
