package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// line returns the first line of text, printable and cut to 300 characters. The lines after the first may be secret:
// AWS follows its message on a wrong signature with the request, the session token included.
func line(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = printable.Line(text)
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// shortError returns the text of an error from AWS, Salesforce or the network without the wrapping of this program.
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
		return "timed out"
	}
	return line(strings.TrimPrefix(err.Error(), "sftoken: "))
}

// salesforceError returns the response from Salesforce, or the error of a request that did not get there.
func salesforceError(e *sfoauth.Error) string {
	switch {
	case e.Code != "":
		return line(strings.TrimSuffix(e.Code+": "+e.Description, ": "))
	case e.Location != "":
		return fmt.Sprintf("%s redirects to %s (HTTP %d)", e.Host, line(e.Location), e.Status)
	case e.Err == nil:
		return fmt.Sprintf("%s returned HTTP %d", e.Host, e.Status)
	case e.Host != "":
		return line(e.Host + ": " + e.Err.Error())
	}
	return line(e.Err.Error())
}

// orgError returns the *sfoauth.Error that every failed call of package sfoauth returns.
func orgError(err error) *sfoauth.Error {
	e, _ := errors.AsType[*sfoauth.Error](err)
	return e
}

// errorCode returns the code of an error response from AWS. It is empty if there was no response.
func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// fixFor returns what to do about an error from Salesforce or on the way there.
func fixFor(e *sfoauth.Error) string {
	switch {
	case e.Code != "" && e.Hint() != "":
		return e.Hint()
	case e.Kind == sfoauth.Temporary && e.Status == 0:
		host, _, err := net.SplitHostPort(e.Host)
		if err != nil {
			host = e.Host
		}
		return unreachable(e.Err, host)
	case e.Kind == sfoauth.Temporary:
		return "Salesforce is down or busy: try again, and look for an outage on status.salesforce.com"
	case e.Kind == sfoauth.RateLimited:
		return "too many requests: wait a minute, and find out what else logs in with this app"
	case e.Kind == sfoauth.InvalidResponse:
		return "the response is not from Salesforce: check baseUri, and any proxy on the way"
	case e.Hint() != "":
		return e.Hint()
	}
	return "try again"
}

// unreachable returns what to do if host cannot be reached.
func unreachable(err error, host string) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "the name " + host + " does not resolve: check its spelling and, behind a VPN or in a VPC, the name servers"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "another server answers in place of " + host + ": check the proxy"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "this machine does not trust the certificate of " + host +
			": behind a proxy that intercepts TLS, trust its certificate authority"
	}
	return "let this machine reach " + host + ": check the firewall, the proxy (HTTPS_PROXY) and the VPC's routes"
}
