package sfoauthtest

import (
	"fmt"
	"strings"
	"time"
)

// Config is what an org is made with. The zero value is an org with Salesforce's defaults.
type Config struct {
	// BaseURL is the org's My Domain, without a trailing slash: where id and instance_url point to. Empty: the scheme and
	// host of each request.
	BaseURL string
	// Now tells the time for sessions, limits and expiry dates. Nil: time.Now. The org advances nothing by itself.
	Now func() time.Time
	// SessionTimeout is how long a session lives without use: 15 minutes to 24 hours. Zero: 2 hours.
	SessionTimeout time.Duration
	// LoginsPerHour limits the logins of each user. Zero: 3,600.
	LoginsPerHour int
	// RequestsPerDay limits the REST requests of the org. Zero: 1,000,000.
	RequestsPerDay int
	// PropagationDelay is how long a pair made by App.Regenerate or by staging is unknown to the token endpoint; Salesforce
	// says 2 to 10 minutes. The pair that AddApp makes is known at once. Zero: none.
	PropagationDelay time.Duration
	// APIVersion is the newest version of the REST API, such as 65 for v65.0. Zero: 67.
	APIVersion int
	// SharedSessions makes a second login of an app as the same user return the session that still lives, with its token.
	// Salesforce does not document whether it does; a client must stand both.
	SharedSessions bool
	// LoginHost makes the org answer logins like login.salesforce.com, which does not support the flow. Requests whose Host
	// is login.salesforce.com or test.salesforce.com are answered so in any case.
	LoginHost bool
	// RESTSecretsDisabled switches off "Allow access to External Client App consumer secrets via REST API".
	RESTSecretsDisabled bool
	// FlatStaged makes the answers about a staged pair one object, where others wrap it in a list under
	// stagedCredentials. Both shapes have been seen.
	FlatStaged bool
	// EmptyStagedNotFound makes GET …/staged answer 404 where no pair is beside the main one, which public clients of
	// the same API expect. Salesforce does not document what it answers.
	EmptyStagedNotFound bool
	// SignWithPrimary makes the org sign every token with the secret of the app's primary credentials, also where the
	// login was with staged or rotated ones. Salesforce does not document which secret signs.
	SignWithPrimary bool
	// LoginDoesNotExtend makes a login that returns an existing session (SharedSessions) not count as use of it, so that
	// the session may have any time left, down to none. Salesforce does not document whether it counts.
	LoginDoesNotExtend bool
	// StagedCannotLogIn makes the token endpoint refuse a staged pair until it has been rotated.
	StagedCannotLogIn bool
	// StageAlongsideRotated lets a pair be staged while the last one rotated out is still there, so that there can be two.
	// Salesforce documents one slot, yet answers with a list.
	StageAlongsideRotated bool
	// RenamedTo is the base URL of the My Domain that replaces the present one. Requests to any other host get 301 to
	// it, and nothing is done for them. Empty: the org has not been renamed. Org.Rename sets it later.
	// Source: Salesforce Help, "My Domain Redirections".
	RenamedTo string
	// OnCall is called when a request has arrived, and again when the org has done what it asks for but not yet answered; not
	// again for one that a fault loses. It may block, call the org's methods, or end the process. Nil: none.
	OnCall func(Call)
}

// setDefaults fills in the defaults.
func (c *Config) setDefaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	setDefault(&c.SessionTimeout, 2*time.Hour)
	setDefault(&c.LoginsPerHour, 3600)
	setDefault(&c.RequestsPerDay, 1_000_000)
	setDefault(&c.APIVersion, 67)
	c.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	c.RenamedTo = strings.TrimSuffix(c.RenamedTo, "/")
	if c.SessionTimeout < 15*time.Minute || c.SessionTimeout > 24*time.Hour {
		panic(fmt.Sprintf("sfoauthtest: a session timeout of %v; Salesforce has 15 minutes to 24 hours", c.SessionTimeout))
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Phase is how far a request has come.
type Phase string

const (
	Arrived Phase = "arrived" // nothing has been done
	Done    Phase = "done"    // what it asks for has been done or refused; nothing has been answered
)

// Call is one request on its way, as Config.Watch sees it.
type Call struct {
	Endpoint Endpoint
	Phase    Phase
	Status   int // what the org is going to answer; zero when the request has arrived
}
