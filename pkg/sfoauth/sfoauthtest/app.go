package sfoauthtest

import (
	"fmt"
	"time"
)

// AppOptions is how an administrator has set up an app. The zero value is an app whose logins succeed, as a user of its
// own without special permissions. Each switch makes logins fail with the error that Salesforce gives for it.
type AppOptions struct {
	Name  string // empty: "App 1", "App 2", …
	RunAs *User  // the user that the app logs in as; nil: a new one
	Scope string // the scopes of its tokens; empty: "id api"

	FlowOff          bool // the client credentials flow is off
	NoRunAsUser      bool // no run-as user is set
	NoScopes         bool // no scope is selected
	NotInstalled     bool // the app is not installed in this org
	Blocked          bool // an administrator has blocked the app
	NotApproved      bool // the user has not approved the app
	NotAdminApproved bool // only approved users may use the app, and its user is not
	IPRestricted     bool // the client's address is outside the allowed ranges
	NoIntrospection  bool // introspection is refused, even of the app's own tokens
	IntrospectsAll   bool // introspection covers the tokens of other apps

	JWT         bool          // tokens are JWTs (RFC 9068) with an end of their own, which use does not extend
	JWTLifetime time.Duration // zero: 30 minutes
	ExtraFields bool          // token answers also have token_format, api_instance_url, sfdc_community_url and _id
}

// App is an app of the org with one consumer. Its methods are safe for concurrent use.
type App struct {
	ID         string // 0xI…
	ConsumerID string // 888…
	User       *User  // who it logs in as, unless Change has set another

	org     *Org
	options AppOptions
	primary *credentials
	staged  []*credentials // staged, or rotated out
}

// UserOptions is how an administrator has set up a user. The zero value is an active user without special permissions.
type UserOptions struct {
	Username string // empty: one like user1@sfoauthtest.example

	Inactive bool // logins are refused and sessions do not work
	Frozen   bool // logins succeed and what they return does not work
	// SessionsLocked makes every request come from another address than the login did, in an org that locks sessions
	// to the address from which they originated: logins succeed and what they return does not work.
	SessionsLocked bool
	LoginDenied    bool // logins are refused for another reason, such as login hours

	ExternalClientAppDeveloper bool // the permission External Client App Developer
	ViewClientSecret           bool // the permission View Client Secret
}

// User is a user of the org. Its methods are safe for concurrent use.
type User struct {
	ID string // 005…

	org     *Org
	options UserOptions
	logins  []time.Time // those of the last hour, oldest first
}

// AddApp adds an app, whose pair the token endpoint knows at once.
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

// AddUser adds a user, to be the run-as user of one or more apps.
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

// Change lets an administrator change the app's setup. It is given the present one, with the defaults filled in.
func (a *App) Change(change func(*AppOptions)) {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	change(&a.options)
	setDefault(&a.options.RunAs, a.User)
}

// Change lets an administrator change the user's setup.
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

// Credentials returns the main consumer key and secret, as Setup shows them.
func (a *App) Credentials() (key, secret string) {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	return a.primary.key, a.primary.secret
}

// Regenerate replaces the main pair as a person does in Setup: the old one stops working at once, and sessions live on.
// A pair beside it is left as it is, so that one staged before can still be rotated in. That is a choice: Salesforce does
// not say.
func (a *App) Regenerate() (key, secret string) {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	a.primary = a.org.newCredentials(a.org.config.PropagationDelay)
	return a.primary.key, a.primary.secret
}
