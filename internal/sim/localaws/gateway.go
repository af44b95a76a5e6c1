package localaws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Gateway is an API Gateway REST API with AWS_IAM authorization on the methods of /{stage}/tokens/{app}. It verifies
// signatures and permissions, and invokes the function with API Gateway's event (payload version 1.0). It is safe for
// concurrent use. Its fields must not change once it serves.
//
// Source: API Gateway Developer Guide, "Input format of a Lambda function for proxy integration" and "How API Gateway
// resource policies affect authorization workflow".
type Gateway struct {
	Account string // owner of the API
	Region  string
	APIID   string
	Stage   string
	Keys    *Keys
	// AllowedAccounts are other accounts that the API's resource policy allows.
	AllowedAccounts []string
	// Function handles the events.
	Function Invoker
	// Now returns the time, also for the Date header. Nil: time.Now.
	Now func() time.Time
}

const (
	maxPayload   = 10 << 20 // bytes of a request body
	organization = "o-localaws00"
)

var methods = []string{http.MethodGet, http.MethodPost, http.MethodDelete}

var appPath = regexp.MustCompile(`^/tokens/([^/]+)$`)

// gatewayError is an error response of API Gateway itself.
type gatewayError struct {
	status  int
	kind    string // x-amzn-ErrorType
	message string
	field   string // "message", or "Message" where IAM denies access
}

func (e *gatewayError) Error() string { return e.message }

func newError(status int, kind, message string) error {
	return &gatewayError{status, kind, message, "message"}
}

func forbidden(err error) error {
	failed, _ := errors.AsType[*AuthError](err)
	return newError(http.StatusForbidden, failed.Type+"Exception", failed.Message)
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := newUUID()
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.Header().Set("Date", g.now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Amz-Apigw-Id", strings.ReplaceAll(requestID[:13], "-", "")+"=")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		writeError(w, newError(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "Request Too Long"))
		return
	}
	principal, path, app, err := g.authorize(r, body)
	if err != nil {
		writeError(w, err)
		return
	}
	event, _ := json.Marshal(g.event(r, body, principal, path, app, requestID))
	// A client that disconnects does not stop the function.
	response, err := g.Function(context.WithoutCancel(r.Context()), event)
	if failed, ok := errors.AsType[*FunctionError](err); ok && failed.Type == timedOut {
		writeError(w, newError(http.StatusGatewayTimeout, "", "Endpoint request timed out"))
		return
	}
	if err != nil || !writeResponse(w, response) {
		writeError(w, newError(http.StatusBadGateway, "InternalServerErrorException", "Internal server error"))
	}
}

func writeError(w http.ResponseWriter, err error) {
	failed, _ := errors.AsType[*gatewayError](err)
	w.Header().Set("Content-Type", "application/json")
	if failed.kind != "" {
		w.Header().Set("X-Amzn-Errortype", failed.kind)
	}
	w.WriteHeader(failed.status)
	_ = json.NewEncoder(w).Encode(map[string]string{failed.field: failed.message})
}

// authorize returns who signed the request, and the app.
func (g *Gateway) authorize(r *http.Request, body []byte) (p Principal, path, app string, err error) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/"+g.Stage)
	match := appPath.FindStringSubmatch(path)
	switch {
	case !ok || path != "" && path[0] != '/': // not the stage
		return p, "", "", newError(http.StatusForbidden, "ForbiddenException", "Forbidden")
	case match == nil || !slices.Contains(methods, r.Method): // as for a missing signature
		return p, "", "", forbidden(ErrMissingToken)
	}
	p, err = g.Keys.Verify(r, body, "execute-api", g.Region, g.now())
	switch {
	case errors.Is(err, ErrSignature):
		return p, "", "", forbidden(&AuthError{ErrSignature.Type, ErrSignature.Message + canonicalString(r, body)})
	case err != nil:
		return p, "", "", forbidden(err)
	}
	resource := r.Method + path
	if policy := g.deniedBy(p, resource); policy != "" {
		text := fmt.Sprintf("User: %s is not authorized to perform: execute-api:Invoke on resource: "+
			"arn:aws:execute-api:%s:********%s:%s/%s/%s because no %s policy allows the execute-api:Invoke action",
			p.ARN, g.Region, g.Account[max(len(g.Account)-4, 0):], g.APIID, g.Stage, resource, policy)
		return p, "", "", &gatewayError{http.StatusForbidden, "AccessDeniedException", text, "Message"}
	}
	if app, err = url.PathUnescape(match[1]); err != nil {
		return p, "", "", newError(http.StatusBadRequest, "BadRequestException", "Bad Request")
	}
	return p, path, app, nil
}

func (g *Gateway) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}

// deniedBy returns the kind of policy that denies the invocation, empty if it is allowed. The identity policy must
// allow it, and for another account's principal the resource policy too.
func (g *Gateway) deniedBy(p Principal, resource string) string {
	if p.Account != g.Account && !slices.Contains(g.AllowedAccounts, p.Account) {
		return "resource-based"
	}
	if slices.ContainsFunc(p.Invoke, func(pattern string) bool {
		quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
		matched, err := regexp.MatchString("^"+quoted+"$", resource)
		return err == nil && matched
	}) {
		return ""
	}
	return "identity-based"
}

// event returns the function's event. Absent parameters are null, as in API Gateway.
func (g *Gateway) event(r *http.Request, body []byte, p Principal, path, app, requestID string) map[string]any {
	query := r.URL.Query()
	now := g.now()
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = "127.0.0.1"
	}
	header := maps.Clone(r.Header)
	header.Del("Authorization") // as API Gateway does with AWS_IAM; it keeps the session token
	header.Set("Host", r.Host)
	header.Set("X-Amzn-Trace-Id", fmt.Sprintf("Root=1-%08x-%s", now.Unix(), strings.ReplaceAll(requestID, "-", "")[:24]))
	header.Set("X-Forwarded-For", host)
	header.Set("X-Forwarded-Port", "443")
	header.Set("X-Forwarded-Proto", "https")
	var text any
	encoded := !utf8.Valid(body)
	switch {
	case encoded:
		text = base64.StdEncoding.EncodeToString(body)
	case len(body) > 0:
		text = string(body)
	}
	return map[string]any{
		"resource": "/tokens/{app}", "path": path, "httpMethod": r.Method,
		"headers": lastValues(header), "multiValueHeaders": header,
		"queryStringParameters": orNull(lastValues(query)), "multiValueQueryStringParameters": orNull(query),
		"pathParameters": map[string]string{"app": app}, "stageVariables": nil,
		"requestContext": map[string]any{
			"accountId": g.Account, "apiId": g.APIID, "deploymentId": "d3pl0y", "domainName": r.Host, "domainPrefix": g.APIID,
			"extendedRequestId": requestID[:8] + "=", "httpMethod": r.Method, "operationName": nil,
			"path": "/" + g.Stage + path, "protocol": "HTTP/1.1", "requestId": requestID, "resourceId": "tok3ns",
			"resourcePath": "/tokens/{app}", "stage": g.Stage,
			"requestTime": now.UTC().Format("02/Jan/2006:15:04:05 -0700"), "requestTimeEpoch": now.UnixMilli(),
			"identity": map[string]any{
				"accessKey": p.AccessKeyID, "accountId": p.Account, "caller": p.UserID, "user": p.UserID, "userArn": p.ARN,
				"principalOrgId": organization, "sourceIp": host, "userAgent": r.UserAgent(),
				"cognitoAuthenticationProvider": nil, "cognitoAuthenticationType": nil,
				"cognitoIdentityId": nil, "cognitoIdentityPoolId": nil,
			},
		},
		"body": text, "isBase64Encoded": encoded,
	}
}

// lastValues returns the last value of each name, for the single-value fields.
func lastValues(values map[string][]string) map[string]string {
	single := make(map[string]string, len(values))
	for name, all := range values {
		if len(all) > 0 {
			single[name] = all[len(all)-1]
		}
	}
	return single
}

func orNull[M ~map[string]V, V any](values M) any {
	if len(values) == 0 {
		return nil
	}
	return values
}

// writeResponse sends the function's response. It reports false if that is not a valid proxy response.
func writeResponse(w http.ResponseWriter, response []byte) bool {
	var a struct {
		StatusCode        int                 `json:"statusCode"`
		Headers           map[string]string   `json:"headers"`
		MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
		Body              string              `json:"body"`
		IsBase64Encoded   bool                `json:"isBase64Encoded"`
	}
	if err := json.Unmarshal(response, &a); err != nil || a.StatusCode < 100 || a.StatusCode > 599 {
		return false
	}
	body := []byte(a.Body)
	if a.IsBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(a.Body)
		if err != nil {
			return false
		}
		body = decoded
	}
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	for name, values := range a.MultiValueHeaders {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(a.StatusCode)
	if a.StatusCode != http.StatusNoContent {
		_, _ = w.Write(body)
	}
	return true
}
