package sfoauthtest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Config configures an org. The zero value has Salesforce's defaults.
type Config struct {
	// BaseURL is the org's My Domain, without a trailing slash, for id and instance_url. If empty, they have the scheme
	// and host of each request.
	BaseURL string
	// Now returns the time for sessions, limits and expiry dates. If nil, it is time.Now.
	Now func() time.Time
	// SessionTimeout ends a session that is not used, after 15 minutes to 24 hours. If zero, it is 2 hours.
	SessionTimeout time.Duration
	// OrganizationType and IsSandbox are the fields of the org's record of Organization. If OrganizationType is empty, it
	// is "Developer Edition".
	OrganizationType string
	IsSandbox        bool
	// LoginsPerHour limits the logins of each user. If zero, it is 3,600.
	LoginsPerHour int
	// RequestsPerDay limits the REST requests of the org. If zero, it is 1,000,000.
	RequestsPerDay int
	// PropagationDelay is how long regenerated and staged credentials are unknown to the token endpoint; Salesforce says
	// 2 to 10 minutes. The first credentials of an app are known at once.
	PropagationDelay time.Duration
	// APIVersion is the newest version of the REST API, such as 65 for v65.0. If zero, it is 67.
	APIVersion int
	// SharedSessions makes a second login of an app as the same user return the token of the active session. Salesforce
	// does not document whether it does.
	SharedSessions bool
	// RESTSecretsDisabled switches off "Allow access to External Client App consumer secrets via REST API".
	RESTSecretsDisabled bool
	// FlatStaged makes responses about staged credentials a single object instead of a list under stagedCredentials.
	// Both forms have been seen.
	FlatStaged bool
	// EmptyStagedNotFound makes GET …/staged respond with 404 if there are no staged credentials, which public clients of
	// the API expect. Salesforce does not document the response.
	EmptyStagedNotFound bool
	// SignWithPrimary makes the org sign every token with the secret of the app's primary credentials, even after a login
	// with others. Salesforce does not document which secret signs.
	SignWithPrimary bool
	// LoginDoesNotExtend keeps a login that returns a shared session (SharedSessions) from extending it. Salesforce does
	// not document whether it does.
	LoginDoesNotExtend bool
	// StagedCannotLogIn makes the token endpoint reject staged credentials until they are promoted.
	StagedCannotLogIn bool
	// StageAlongsideRotated allows staging while rotated credentials exist. Salesforce documents that an app has at most
	// one set of staged or rotated credentials, but responds with a list.
	StageAlongsideRotated bool
	// SourceIP returns the address from which the org sees a request, for login IP ranges and the login history. If nil,
	// it is that of the connection. Clients on one machine have different addresses only with SourceIP.
	SourceIP func(*http.Request) string
	// OnCall is called when a request arrives, and again when the org has handled it but not yet responded. A request
	// that a fault drops is not handled. OnCall may block, call the org's methods, or end the process. It may be nil.
	OnCall func(Call)
}

func (c *Config) setDefaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	setDefault(&c.SessionTimeout, 2*time.Hour)
	setDefault(&c.OrganizationType, "Developer Edition")
	setDefault(&c.LoginsPerHour, 3600)
	setDefault(&c.RequestsPerDay, 1_000_000)
	setDefault(&c.APIVersion, 67)
	c.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	if c.SessionTimeout < 15*time.Minute || c.SessionTimeout > 24*time.Hour {
		panic(fmt.Sprintf("sfoauthtest: session timeout %v: want 15 minutes to 24 hours", c.SessionTimeout))
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Phase is a stage in the handling of a request.
type Phase string

// The phases of a request.
const (
	Arrived Phase = "arrived" // not handled yet
	Done    Phase = "done"    // handled; no response sent yet
)

// Call is the argument of Config.OnCall.
type Call struct {
	Endpoint Endpoint
	Phase    Phase
	Status   int // HTTP status of the response; zero in phase Arrived
}
