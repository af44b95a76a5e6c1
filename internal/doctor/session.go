package doctor

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// session is one run of the checks, and what they have found so far.
type session struct {
	Config
	addresses []string // of the API in each region; Config.URL is the first one, without its region

	aws       aws.Config
	region    string // that of the API's address, or else of the AWS configuration
	callerARN string // empty if unknown
	accountID string
	temporary bool // the caller's AWS credentials have a session token

	header http.Header    // of the API's response to the signed request
	vended *sftoken.Token // from the API; nil if it returned none
	denied *sftoken.Error // from the API in place of a token

	secret  *appsecret.Secret  // the metadata; nil if not readable
	value   sfoauth.Secret     // of AWSCURRENT; empty if not readable
	version *appsecret.Version // the parsed value; nil if not readable or malformed

	client     *sfoauth.Client // logs in with version
	ownToken   *sfoauth.Token  // of a login by this run
	loginAt    time.Time       // when this run logged in, or was refused for its address; else zero
	loginShown bool            // the API's new token shows that version logs in
	logins     int

	active *sfoauth.Introspection // of the token; nil if unknown
	inOrg  *orgCredentials        // the app's credentials as the org has them
	userID string                 // of the token's user; empty if unknown
	shared bool                   // the token table can be used
}

// token returns the API's token or, if there is none, that of the run's own login. It may be nil.
func (s *session) token() *sfoauth.Token {
	if s.vended == nil {
		return s.ownToken
	}
	return &sfoauth.Token{
		AccessToken: s.vended.AccessToken, InstanceURL: s.vended.InstanceURL, Scope: s.vended.Scope,
	}
}

// needsToken is the outcome of a check that needs a token if there is none.
func (s *session) needsToken() outcome {
	if s.URL == "" {
		return blockedBy("login")
	}
	return blockedBy("token")
}

// apiClient returns the HTTP client for the API.
func (s *session) apiClient() *http.Client {
	switch {
	case s.APIClient != nil:
		return s.APIClient(s.aws)
	case s.HTTPClient != nil:
		return s.HTTPClient
	}
	return http.DefaultClient
}

// source returns a source of the app's tokens from the API at the first address.
func (s *session) source(client *http.Client) *sftoken.TokenSource {
	return sftoken.NewTokenSource(s.aws, s.addresses[0], s.App, sftoken.WithHTTPClient(client))
}

// reader returns a reader of the apps' secrets.
func (s *session) reader() appsecret.Reader {
	return appsecret.Reader{Client: s.secrets(), Prefix: s.Prefix}
}

// callerName is the caller as policies name it. The ARN of an assumed role's session holds the role's name and a name
// that the caller has chosen for the session.
func (s *session) callerName() string {
	if s.callerARN == "" {
		return "your role"
	}
	head, rest, session := strings.Cut(s.callerARN, ":assumed-role/")
	if !session {
		return s.callerARN
	}
	name, _, _ := strings.Cut(rest, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + name
}

// span formats a duration in one unit.
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

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// date formats a time in UTC, as AWS's consoles and logs do.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
