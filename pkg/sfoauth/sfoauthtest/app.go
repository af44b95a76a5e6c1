package sfoauthtest

import (
	"fmt"
	"net/netip"
	"time"
)

// AppOptions is the setup of an app. The zero value is an app that can log in, as a new user without special
// permissions. Most switches make logins fail with Salesforce's error for that setup.
type AppOptions struct {
	Name  string // default: "App 1", "App 2", …
	RunAs *User  // the run-as user; default: a new one
	Scope string // the scopes of its tokens; default: "id api"

	FlowOff          bool // the client credentials flow is off
	NoRunAsUser      bool // no run-as user is set
	NoScopes         bool // no scope is selected
	NotInstalled     bool // the app is not installed in this org
	Blocked          bool // an administrator has blocked the app
	NotApproved      bool // the user has not approved the app
	NotAdminApproved bool // only approved users may use the app, and its user is not
	IPRestricted     bool // the client's address is outside the allowed ranges
	NoIntrospection  bool // the app may not introspect tokens, not even its own
	IntrospectsAll   bool // the app may introspect the tokens of other apps

	JWT         bool          // tokens are JWTs (RFC 9068), which use does not extend
	JWTLifetime time.Duration // default: 30 minutes
	ExtraFields bool          // responses also have token_format, api_instance_url, sfdc_community_url and …_id
}

// App is an app of the org with one consumer. Its methods are safe for concurrent use.
type App struct {
	ID         string // 0xI…
	ConsumerID string // 888…
	User       *User  // the run-as user when the app was added

	org     *Org
	options AppOptions
	primary *credentials
	staged  []*credentials // or rotated
}

// UserOptions is the setup of a user. The zero value is an active user without special permissions.
type UserOptions struct {
	Username string // default: user1@sfoauthtest.example, …

	Inactive bool // logins fail and sessions are not active
	Frozen   bool // logins succeed, but the REST API rejects the sessions
	// SessionsLocked simulates an org that locks sessions to the IP address of the login, and requests from another
	// address: logins succeed, but the REST API rejects the sessions.
	SessionsLocked bool
	LoginDenied    bool // logins fail for another reason, such as login hours

	// LoginIPRanges are the login IP ranges of the user's profile: logins from other addresses fail. Empty: none is set.
	LoginIPRanges []netip.Prefix

	ExternalClientAppDeveloper bool // the permission External Client App Developer
	ViewClientSecret           bool // the permission View Client Secret
	ManageUsers                bool // the permission Manage Users: the user sees the login history of others
	NoLoginHistory             bool // the user may not read LoginHistory, not even its own records
}

// User is a user of the org. Its methods are safe for concurrent use.
type User struct {
	ID string // 005…

	org     *Org
	options UserOptions
	logins  []time.Time // of the last hour, oldest first
	history []loginRecord
}

// AddApp adds an app. The token endpoint knows its credentials at once.
func (o *Org) AddApp(options AppOptions) *App {
	o.mu.Lock()
	defer o.mu.Unlock()
	setDefault(&options.Name, fmt.Sprintf("App %d", len(o.apps)+1))
	setDefault(&options.Scope, "id api")
	setDefault(&options.JWTLifetime, 30*time.Minute)
	if options.RunAs == nil {
		options.RunAs = o.addUser(UserOptions{})
	}
	app := &App{
		ID: newID("0xI"), ConsumerID: newID("888"), User: options.RunAs,
		org: o, options: options, primary: o.newCredentials(0),
	}
	o.apps = append(o.apps, app)
	return app
}

// AddUser adds a user, for AppOptions.RunAs.
func (o *Org) AddUser(options UserOptions) *User {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.addUser(options)
}

func (o *Org) addUser(options UserOptions) *User {
	setDefault(&options.Username, fmt.Sprintf("user%d@sfoauthtest.example", len(o.users)+1))
	user := &User{ID: newID("005"), org: o, options: options}
	o.users = append(o.users, user)
	return user
}

// Change changes the app's setup. change gets the current options, including defaults.
func (a *App) Change(change func(*AppOptions)) {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	change(&a.options)
	setDefault(&a.options.RunAs, a.User)
}

// Change changes the user's setup. change gets the current options.
func (u *User) Change(change func(*UserOptions)) {
	u.org.mu.Lock()
	defer u.org.mu.Unlock()
	change(&u.options)
}

// Username returns the user's name.
func (u *User) Username() string {
	u.org.mu.Lock()
	defer u.org.mu.Unlock()
	return u.options.Username
}

// Credentials returns the primary consumer key and secret, as Setup shows them.
func (a *App) Credentials() (key, secret string) {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	return a.primary.key, a.primary.secret
}

// Regenerate replaces the primary credentials as a person does in Setup. The old ones stop working at once; sessions
// continue. Staged credentials stay and can still be promoted, which is a choice.
func (a *App) Regenerate() (key, secret string) {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	a.primary = a.org.newCredentials(a.org.config.PropagationDelay)
	return a.primary.key, a.primary.secret
}
