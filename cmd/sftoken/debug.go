package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/printable"
)

// debugLog prints a line for each attempt of an HTTP request: the output of --debug. The line has no header but the
// request's ID, no body and no query but the ID of a rejected token, because those may be secret.
type debugLog struct {
	started time.Time

	mu sync.Mutex
	w  io.Writer
}

func newDebugLog(w io.Writer) *debugLog { return &debugLog{started: time.Now(), w: w} }

type debugKey struct{}

func withDebugLog(ctx context.Context, log *debugLog) context.Context {
	return context.WithValue(ctx, debugKey{}, log)
}

// debugLogOf returns the log of the command with this context, or nil without --debug.
func debugLogOf(ctx context.Context) *debugLog {
	log, _ := ctx.Value(debugKey{}).(*debugLog)
	return log
}

// attempt is one attempt of an HTTP request.
type attempt struct {
	method, url string
	operation   string         // of an AWS service, like STS.GetCallerIdentity; empty for other services
	response    *http.Response // nil if there was none
	err         error
	took        time.Duration
}

// print prints an attempt that has just ended.
func (l *debugLog) print(a attempt) {
	line := fmt.Sprintf("debug: %.3fs %s %s", time.Since(l.started).Seconds(), a.method, a.url)
	if a.operation != "" {
		line += " " + a.operation
	}
	took := a.took.Round(time.Millisecond)
	if a.response == nil {
		line += fmt.Sprintf(" failed after %s: %s", took, singleLine.Replace(printable.TransportError(a.err)))
	} else {
		line += fmt.Sprintf(" %d in %s", a.response.StatusCode, took)
		if id := requestID(a.response.Header); id != "" {
			line += ", request " + id
		}
	}
	prefix := ""
	if isTerminal(l.w) {
		prefix = "\r\x1b[K" // removes what progress shows
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s%s\n", prefix, printable.Line(line))
}

var tokenID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// shownURL returns scheme, host and path of a URL, and the ID of a rejected token.
func shownURL(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	text := shown.String()
	if rejected := u.Query().Get("rejected"); tokenID.MatchString(rejected) {
		text += "?rejected=" + rejected
	}
	return text
}

// requestID returns the ID that AWS or Salesforce gave a request, or "".
func requestID(header http.Header) string {
	for _, name := range []string{"X-Amzn-Requestid", "X-Amz-Request-Id", "X-Sfdc-Request-Id"} {
		if id := header.Get(name); id != "" && len(id) <= 100 {
			return id
		}
	}
	return ""
}

// apiOptions makes the SDK print the requests of its clients, also of those that get credentials.
func (l *debugLog) apiOptions() []func(*middleware.Stack) error {
	record := func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		started := time.Now()
		out, metadata, err := next.HandleDeserialize(ctx, in)
		if request, ok := in.Request.(*smithyhttp.Request); ok {
			a := attempt{method: cmp.Or(request.Method, http.MethodGet), err: err, took: time.Since(started)}
			if response, ok := out.RawResponse.(*smithyhttp.Response); ok && response.StatusCode != 0 { // 0: there was none
				a.response = response.Response
			}
			if service := awsmiddleware.GetServiceID(ctx); service != "" {
				a.url = shownURL(request.URL)
				a.operation = strings.ReplaceAll(service, " ", "") + "." + awsmiddleware.GetOperationName(ctx)
			} else { // a container's credentials, whose path is secret: Amazon ECS Developer Guide, "Task IAM role"
				a.url = request.URL.Scheme + "://" + request.URL.Host + "/…"
			}
			l.print(a)
		}
		return out, metadata, err
	}
	return []func(*middleware.Stack) error{func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Debug", record), middleware.After)
	}}
}

// debugClient is an HTTP client of the SDK that carries the log to apiHTTPClient. It prints nothing itself: the SDK
// does, with the names of the operations.
type debugClient struct {
	*awshttp.BuildableClient
	log *debugLog
}

// debugTransport prints the requests to the API and to Salesforce.
type debugTransport struct {
	base http.RoundTripper
	log  *debugLog
}

// RoundTrip implements http.RoundTripper.
func (t *debugTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	started := time.Now()
	response, err := t.base.RoundTrip(request)
	t.log.print(attempt{
		method: request.Method, url: shownURL(request.URL), response: response, err: err, took: time.Since(started),
	})
	return response, err
}

// salesforceClient returns the client for requests to Salesforce.
func salesforceClient(cmd *cobra.Command) *http.Client {
	if log := debugLogOf(cmd.Context()); log != nil {
		return &http.Client{Transport: &debugTransport{http.DefaultTransport, log}}
	}
	return http.DefaultClient
}
