package localaws

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Principal is the owner of an access key.
type Principal struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // of a role's session; empty: a user's key
	Account         string // 12 digits
	ARN             string // arn:aws:iam::<account>:user/<name>, or arn:aws:sts::<account>:assumed-role/<role>/<session>
	UserID          string // AIDA…, or AROA…:<session>
	// Expires is when the session ends. Zero: never.
	Expires time.Time
	// Invoke are the API methods that the identity policy allows: METHOD/path, with * for any characters, such as
	// "GET/tokens/crm". Nil: none.
	Invoke []string
}

// Credentials returns a provider of p's key, for the SDK.
func (p Principal) Credentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)
}

// Keys are access keys of any accounts. It is safe for concurrent use.
type Keys struct {
	mu   sync.Mutex
	byID map[string]Principal
}

// NewKeys returns the keys of the principals.
func NewKeys(principals ...Principal) *Keys {
	k := &Keys{byID: map[string]Principal{}}
	for _, p := range principals {
		k.Add(p)
	}
	return k
}

// Add adds a key, or replaces the one with the same ID.
func (k *Keys) Add(p Principal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byID[p.AccessKeyID] = p
}

// AuthError is why AWS denies a request, with AWS's message.
type AuthError struct {
	Type    string // x-amzn-ErrorType, without "Exception"
	Message string
}

func (e *AuthError) Error() string { return e.Message }

// Errors of Verify. Source: API Gateway Developer Guide, "Gateway response types"; IAM User Guide, "Troubleshoot
// Signature Version 4 signing".
var (
	ErrMissingToken = &AuthError{"MissingAuthenticationToken", "Missing Authentication Token"}
	ErrIncomplete   = &AuthError{"IncompleteSignature",
		"Authorization header requires existence of 'Credential', 'SignedHeaders' and 'Signature' parameters, and of a date"}
	ErrUnknownKey   = &AuthError{"UnrecognizedClient", "The security token included in the request is invalid."}
	ErrExpiredToken = &AuthError{"ExpiredToken", "The security token included in the request is expired"}
	ErrSignature    = &AuthError{"InvalidSignature",
		"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key " +
			"and signing method."}
)

// skew is the tolerated difference between the clocks. Source: IAM User Guide, "Signature Version 4 signing elements".
const skew = 5 * time.Minute

const algorithm = "AWS4-HMAC-SHA256"

// Verify verifies a request's Signature Version 4, by signing it again with the SDK's signer, and returns who signed
// it. The caller has read the body.
func (k *Keys) Verify(r *http.Request, body []byte, service, region string, now time.Time) (Principal, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Principal{}, ErrMissingToken
	}
	parts := authorization(header)
	scope := strings.Split(parts["Credential"], "/")
	at, err := time.Parse(amzDate, r.Header.Get("X-Amz-Date"))
	if !strings.HasPrefix(header, algorithm) || err != nil || len(scope) != 5 ||
		parts["SignedHeaders"] == "" || parts["Signature"] == "" {
		return Principal{}, ErrIncomplete
	}
	signed := strings.Split(parts["SignedHeaders"], ";")
	k.mu.Lock()
	p, known := k.byID[scope[0]]
	k.mu.Unlock()
	switch {
	case !known || p.SessionToken != r.Header.Get("X-Amz-Security-Token"):
		return Principal{}, ErrUnknownKey
	case !p.Expires.IsZero() && !now.Before(p.Expires):
		return Principal{}, ErrExpiredToken
	case now.Sub(at).Abs() > skew:
		return Principal{}, clockSkewError(at, now)
	case !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-date"):
		return Principal{}, ErrIncomplete
	case scope[1] != at.Format("20060102") || scope[4] != "aws4_request":
		return Principal{}, ErrSignature
	case scope[2] != region:
		return Principal{}, &AuthError{ErrSignature.Type,
			fmt.Sprintf("Credential should be scoped to a valid region, not '%s'. ", scope[2])}
	case scope[3] != service:
		return Principal{}, &AuthError{ErrSignature.Type,
			fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", service)}
	}
	again, err := p.sign(r, body, signed, service, region, at)
	if err != nil || subtle.ConstantTimeCompare([]byte(again), []byte(parts["Signature"])) != 1 {
		return Principal{}, ErrSignature
	}
	return p, nil
}

// amzDate is the layout of X-Amz-Date. Source: IAM User Guide, "Elements of an AWS API request signature".
const amzDate = "20060102T150405Z"

// clockSkewError is for a request that was signed at a time too far from the service's.
func clockSkewError(at, now time.Time) *AuthError {
	signed, now := at.UTC().Format(amzDate), now.UTC()
	text := fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)", signed,
		now.Add(-skew).Format(amzDate), now.Format(amzDate))
	if at.After(now) {
		text = fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)", signed,
			now.Add(skew).Format(amzDate), now.Format(amzDate))
	}
	return &AuthError{ErrSignature.Type, text}
}

// sign returns the signature of the request's signed headers and body, if p signed them at the time.
func (p Principal) sign(
	r *http.Request, body []byte, signed []string, service, region string, at time.Time,
) (string, error) {
	again := r.Clone(r.Context())
	again.URL.Scheme, again.URL.Host, again.Host = "http", r.Host, r.Host
	again.Header = http.Header{}
	for _, name := range signed {
		if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if !slices.Contains(signed, "content-length") {
		again.ContentLength = 0
	}
	payload := fmt.Sprintf("%x", sha256.Sum256(body))
	if stated := r.Header.Get("X-Amz-Content-Sha256"); stated != "" && stated != payload {
		return "", ErrSignature
	}
	key := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
	err := v4.NewSigner().SignHTTP(r.Context(), key, again, payload, service, region, at)
	return authorization(again.Header.Get("Authorization"))["Signature"], err
}

// canonicalString is what API Gateway returns after a wrong signature: the canonical request, including the session
// token.
func canonicalString(r *http.Request, body []byte) string {
	signed := strings.Split(authorization(r.Header.Get("Authorization"))["SignedHeaders"], ";")
	var lines strings.Builder
	fmt.Fprintf(&lines, "%s\n%s\n%s\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		fmt.Fprintf(&lines, "%s:%s\n", name, value)
	}
	fmt.Fprintf(&lines, "\n%s\n%x", strings.Join(signed, ";"), sha256.Sum256(body))
	return fmt.Sprintf("\n\nThe Canonical String for this request should have been\n'%s'\n", lines.String())
}

// authorization parses the parameters of the header.
func authorization(header string) map[string]string {
	parts := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimPrefix(header, algorithm), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	return parts
}
