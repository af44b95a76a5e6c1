package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// session is one run of the checks, and what they have found so far.
type session struct {
	Config

	aws       aws.Config
	region    string // the API's, where its address says; that of the configuration otherwise
	callerARN string // who the caller is; empty: not known
	accountID string
	temporary bool // the caller's credentials are a session's

	header http.Header    // of the API's answer to the signed request
	vended *sftoken.Token // what the API handed out; nil: nothing
	denied *sftoken.Error // what it answered instead; nil: nothing

	secret  *appsecret.Secret  // as DescribeSecret shows it; nil: not shown
	value   sfoauth.Secret     // the value of AWSCURRENT; empty: not read
	version *appsecret.Version // the same; nil: not read, or malformed

	client     *sfoauth.Client // of version
	own        *sfoauth.Token  // of a login of the visit's own
	loginShown bool            // the API's token has shown that version works
	logins     int

	active      *sfoauth.Introspection // what Salesforce says of the token; nil: nothing
	inOrg      *orgCredentials        // what Salesforce holds of the app's pairs
}

// token is what Salesforce is asked with: the one that callers get, or that of the visit's own login; nil: there is none.
func (v *session) token() *sfoauth.Token {
	if v.vended == nil {
		return v.own
	}
	return &sfoauth.Token{AccessToken: v.vended.AccessToken, InstanceURL: v.vended.InstanceURL, Scope: v.vended.Scope}
}

// needsToken is what a check is that needs a token, where there is none.
func (v *session) needsToken() outcome {
	if v.URL == "" {
		return blockedBy("login")
	}
	return blockedBy("token")
}

// apiClient talks to the API.
func (v *session) apiClient() *http.Client {
	switch {
	case v.HTTPClient != nil:
		return v.HTTPClient
	case v.APIClient != nil:
		return v.APIClient(v.aws)
	}
	return http.DefaultClient
}

// answered says whether the token function has said something of the app, other than that there is no such app.
func (v *session) answered() bool {
	return v.vended != nil || v.denied != nil && v.denied.Code != "" && v.denied.Code != "unknown_app"
}

// line makes a text fit to be shown: one line of bounded length. AWS follows its message on a wrong signature with the request,
// the session's token included, on further lines.
func line(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = printable.Line(text)
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// shortError is what an error of AWS, of Salesforce or of the network says, without the wrapping that names this program's parts.
func shortError(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return line(api.ErrorCode() + ": " + api.ErrorMessage())
	}
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok {
		return salesforceError(refused)
	}
	if unread, ok := errors.AsType[*appsecret.Error](err); ok {
		err = unread.Err
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return line(err.Error())
}

// salesforceError is what Salesforce, or the way there, has answered.
func salesforceError(e *sfoauth.Error) string {
	switch {
	case e.Code != "":
		return line(strings.TrimSuffix(e.Code+": "+e.Description, ": "))
	case e.Location != "":
		return fmt.Sprintf("%s redirects to %s (HTTP %d)", e.Host, line(e.Location), e.Status)
	case e.Err == nil:
		return fmt.Sprintf("%s answers HTTP %d", e.Host, e.Status)
	case e.Host != "":
		return line(e.Host + ": " + e.Err.Error())
	}
	return line(e.Err.Error())
}

// code is the code of an error that AWS answered; empty: it answered none.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// unreachable says what to do about a network that does not let a request through to host.
func unreachable(err error, host string) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "there is no host " + host + ": check its spelling; behind a VPN or in a VPC, check the name servers"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "somebody else answers in the name of " + host + ": check the proxy between here and there"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate of " + host + " is signed by nobody who is trusted here: behind a proxy that opens TLS, trust its authority"
	}
	return "let this machine reach " + host + ": check the firewall, the proxy (HTTPS_PROXY) and the VPC's routes"
}

// span is a length of time, for a person.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return plural(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/(24*time.Hour)), "day")
}

// date is a day and an hour, in UTC as AWS's consoles and logs have it.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
