// A simulated org for tests in another language. It serves the org on a free port of this machine. Commands arrive on
// standard input and responses go to standard output, one JSON object a line, until standard input ends.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// command is a line of standard input.
type command struct {
	Do       string // app, credentials, regenerate, change, inject_fault, clear_faults, stats or secrets
	App      string // the app's name
	Rotates  bool   // of app: its user may change the app's credentials through the API
	FlowOff  bool   // of change
	Frozen   bool   // of change: the app's user is frozen
	Endpoint string // of inject_fault: an sfoauthtest.Endpoint
	Fault    string // of inject_fault: the name of one of sfoauthtest.AllFaults
	Times    int    // of inject_fault; zero: until clear_faults
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	org := sfoauthtest.New(sfoauthtest.Config{})
	server, err := org.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	responses := json.NewEncoder(os.Stdout)
	if err := responses.Encode(map[string]string{"url": server.URL, "orgId": org.ID()}); err != nil {
		return err
	}
	apps := map[string]*sfoauthtest.App{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		response, err := execute(org, apps, c)
		if err != nil {
			response = map[string]string{"error": err.Error()}
		}
		if err := responses.Encode(response); err != nil {
			return err
		}
	}
	return nil
}

func execute(org *sfoauthtest.Org, apps map[string]*sfoauthtest.App, c command) (any, error) {
	app := apps[c.App]
	if app == nil && (c.Do == "regenerate" || c.Do == "change" || c.Do == "credentials") {
		return nil, fmt.Errorf("no app %q", c.App)
	}
	switch c.Do {
	case "app":
		app = org.AddApp(sfoauthtest.AppOptions{Name: c.App})
		app.User.Change(func(u *sfoauthtest.UserOptions) {
			u.ExternalClientAppDeveloper, u.ViewClientSecret = c.Rotates, c.Rotates
		})
		apps[c.App] = app
		return describe(app), nil
	case "credentials":
		return describe(app), nil
	case "regenerate":
		app.Regenerate()
		return describe(app), nil
	case "change":
		app.Change(func(o *sfoauthtest.AppOptions) { o.FlowOff = c.FlowOff })
		app.User.Change(func(u *sfoauthtest.UserOptions) { u.Frozen = c.Frozen })
		return nil, nil
	case "inject_fault":
		return nil, injectFault(org, c)
	case "clear_faults":
		org.ClearFaults()
		return nil, nil
	case "stats":
		return org.Stats(), nil
	case "secrets":
		return org.Secrets(), nil
	default:
		return nil, fmt.Errorf("unknown command %q", c.Do)
	}
}

func describe(app *sfoauthtest.App) map[string]string {
	key, secret := app.Credentials()
	return map[string]string{
		"appId": app.ID, "consumerId": app.ConsumerID, "consumerKey": key, "consumerSecret": secret,
	}
}

func injectFault(org *sfoauthtest.Org, c command) error {
	for _, f := range sfoauthtest.AllFaults() {
		if f.String() == c.Fault {
			org.InjectFault(sfoauthtest.Endpoint(c.Endpoint), f, c.Times)
			return nil
		}
	}
	return fmt.Errorf("no fault %q", c.Fault)
}
