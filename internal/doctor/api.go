package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var apiChecks = []check{
	{"api", "address", nil, (*session).address},
	{"api", "reachable", []string{"address"}, (*session).reachable},
	{"api", "allowed", []string{"credentials", "reachable"}, (*session).allowed},
	{"api", "token", []string{"allowed"}, (*session).vend},
}

const apiURL = "take the ApiUrl that the deployment put out, like https://<id>.execute-api.<region>.amazonaws.com/v1"

// address looks at the API's URL, without a request.
func (v *session) address(context.Context) outcome {
	u, err := url.Parse(strings.TrimSpace(v.URL))
	switch {
	case v.URL == "":
		return failed("the API's address is not given", "set SFTOKEN_URL, or give --url: "+apiURL)
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return failed("the address is not a URL", apiURL)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return failed("http would show the token to everybody on the way", "write https://"+u.Host+u.Path)
	case strings.Contains(u.Path, "/tokens"):
		return failed("the address holds a path of the API", "end it before /tokens: "+v.URL[:strings.Index(v.URL, "/tokens")])
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return failed("the address holds more than scheme, host and stage", apiURL)
	case sftoken.RegionFromURL(v.URL) != "" && strings.Trim(u.Path, "/") == "":
		return failed("the address names no stage", "append the stage: "+strings.TrimRight(v.URL, "/")+"/v1")
	case v.region == "" && v.aws.Credentials != nil:
		return failed("the address does not name its region", "set AWS_REGION to the API's region, for the signature")
	case v.aws.Region != "" && v.aws.Region != v.region:
		return warning(fmt.Sprintf("%s; the API is in %s and AWS_REGION says %s", v.URL, v.region, v.aws.Region),
			"set AWS_REGION="+v.region+" for `sftoken secret` and `sftoken rotate`: the secret is where the API is")
	}
	return ok(v.URL)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// reachable asks without a signature, which API Gateway must refuse.
func (v *session) reachable(ctx context.Context) outcome {
	u, _ := url.Parse(strings.TrimSpace(v.URL)) // address has read it
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(u.String(), "/")+"/tokens/"+url.PathEscape(v.App), nil)
	if err != nil {
		return failed("the address is not a URL", apiURL)
	}
	client := *v.apiClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return failed(u.Host+" does not answer: "+shortError(err), unreachable(err, u.Host))
	}
	defer resp.Body.Close()
	var a struct{ Error, Message string } // API Gateway writes "message" and "Message"
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(body, &a) // what is no JSON says nothing
	switch {
	case resp.StatusCode == http.StatusOK || a.Error != "":
		return failed("the API answers requests that nobody has signed", "put AWS_IAM on every method, as template.yaml does; `sam local start-api` alone checks nothing")
	case resp.StatusCode == http.StatusForbidden && a.Message == "Forbidden":
		return noSuchAPI()
	case resp.StatusCode == http.StatusForbidden && a.Message != "":
		return ok("API Gateway refuses what is not signed")
	case resp.StatusCode/100 == 3:
		return failed(fmt.Sprintf("%s redirects (HTTP %d)", u.Host, resp.StatusCode), "somebody between here and AWS wants a log-in, or this is not the API: "+apiURL)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return warning(fmt.Sprintf("API Gateway answers HTTP %d: %s", resp.StatusCode, line(a.Message)), "try again in a minute")
	}
	return failed(fmt.Sprintf("%s answers HTTP %d, which this API does not", u.Host, resp.StatusCode), apiURL)
}

// headerRecorder keeps the header of the last answer.
type headerRecorder struct {
	base   http.RoundTripper
	header *http.Header
}

func (n headerRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := n.base.RoundTrip(req)
	if err == nil {
		*n.header = resp.Header
	}
	return resp, err
}

// allowed asks for a token. Whether API Gateway lets the request through is this check; what the function answers is the next.
func (v *session) allowed(ctx context.Context) outcome {
	base := v.apiClient().Transport
	if base == nil {
		base = http.DefaultTransport
	}
	config := v.aws.Copy()
	config.Region = v.region
	source := sftoken.NewTokenSource(config, v.URL, v.App, sftoken.WithHTTPClient(&http.Client{Transport: headerRecorder{base, &v.header}}))
	token, err := source.Fetch(ctx)
	var told bool
	v.denied, told = errors.AsType[*sftoken.Error](err)
	switch {
	case err == nil:
		v.vended = token
		if token.Cache == "miss" {
			v.logins++
		}
	case !told && v.header == nil:
		return failed("no answer: "+shortError(err), "try again; if it stays so, see the access log of the API")
	case !told:
		return failed(shortError(err), apiURL)
	case v.denied.Code == "" && v.denied.Status == http.StatusForbidden:
		return v.refusal(v.denied.Description)
	case v.denied.Code == "" && v.denied.Status == http.StatusNotFound:
		return failed("HTTP 404, which this API does not answer", apiURL)
	}
	return ok("IAM lets you GET /tokens/" + v.App)
}

// vend is what the token function has answered.
func (v *session) vend(ctx context.Context) outcome {
	if v.vended != nil {
		left := "good for " + span(time.Until(v.vended.Expiry))
		found := fmt.Sprintf("%s (%s), %s, for %s", v.vended.ID, cmp.Or(v.vended.Cache, "unknown"), left, v.vended.InstanceURL)
		if v.vended.Cache == "stale" {
			return warning(found, "Salesforce cannot confirm it now: see the checks of Salesforce below")
		}
		return ok(found)
	}
	e := v.denied
	found := e.Code
	if e.SalesforceError != "" {
		found += ": Salesforce says " + e.SalesforceError
	}
	if e.RequestID != "" {
		found += " [request " + e.RequestID + "]"
	}
	found = line(found)
	switch {
	case e.Code == "access_denied" && v.deniesAll(ctx):
		return skipped("allowedPrincipals is empty: nobody is to have this app's tokens")
	case e.Code == "access_denied":
		return failed(found, "the app's owner adds "+v.callerName()+" to allowedPrincipals in its secret")
	case e.Code == "unknown_app":
		return failed(found, "check the app's name; the owner stores it with `sftoken secret put "+v.App+"`; if it is there, the function may not read it: its log says why")
	case e.Code == "server_error":
		return failed(found, "a defect of sftoken: report it with the lines of this request in the function's log")
	case e.Code != "":
		return failed(found, line(e.Description))
	case e.Status == http.StatusTooManyRequests:
		return failed("API Gateway throttles", "try again in a minute; callers should reuse a token until it expires")
	case e.Status == http.StatusGatewayTimeout:
		return failed("the token function did not answer in time [request "+e.RequestID+"]", "see secretsmanager_ms and salesforce_ms in the token function's log")
	}
	return failed(fmt.Sprintf("the token function failed: HTTP %d %s [request %s]", e.Status, line(e.Description), e.RequestID),
		"see the token function's log: a setting that does not parse stops its start")
}

// deniesAll says whether the secret, where it can be read, keeps everybody from the app's tokens.
func (v *session) deniesAll(ctx context.Context) bool {
	version, err := appsecret.Reader{Client: v.secrets(), Prefix: v.Prefix}.Read(ctx, v.App, appsecret.Current)
	return err == nil && version.PrincipalsErr == nil && version.AllowedPrincipals.DenyAll()
}

// callerName is the caller as policies name it.
func (v *session) callerName() string {
	if v.callerARN == "" {
		return "your role"
	}
	return role(v.callerARN)
}
