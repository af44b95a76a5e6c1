// A simulated org for tests in another language. It serves the org on a free port of this machine and does what it is told, one
// JSON object a line on standard input, answering with one a line, until standard input ends. Secrets pass through pipes alone.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// command is one line of standard input.
type command struct {
	Do       string // app, pair, regenerate, change, fail, heal, seen, secrets
	App      string // the app's name
	Pair     bool   // of app: its user may change the app's pair through the API
	FlowOff  bool   // of change
	Frozen   bool   // of change: the app's user is frozen
	Endpoint string // of fail: an sfoauthtest.Endpoint
	Fault    string // of fail: the name of one of sfoauthtest.AllFaults
	Times    int    // of fail; zero: until heal
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
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(map[string]string{"url": server.URL, "orgId": org.ID()}); err != nil {
		return err
	}
	apps := map[string]*sfoauthtest.App{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		answer, err := obey(org, apps, c)
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

func obey(org *sfoauthtest.Org, apps map[string]*sfoauthtest.App, c command) (any, error) {
	app := apps[c.App]
	if app == nil && (c.Do == "regenerate" || c.Do == "change" || c.Do == "pair") {
		return nil, fmt.Errorf("no app %q", c.App)
	}
	switch c.Do {
	case "app":
		app = org.AddApp(sfoauthtest.AppOptions{Name: c.App})
		app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = c.Pair, c.Pair })
		apps[c.App] = app
		return describe(app), nil
	case "pair":
		return describe(app), nil
	case "regenerate":
		app.Regenerate()
		return describe(app), nil
	case "change":
		app.Change(func(o *sfoauthtest.AppOptions) { o.FlowOff = c.FlowOff })
		app.User.Change(func(u *sfoauthtest.UserOptions) { u.Frozen = c.Frozen })
	case "fail":
		return nil, fail(org, c)
	case "heal":
		org.ClearFaults()
	case "seen":
		return org.Stats(), nil
	case "secrets":
		return org.Secrets(), nil
	default:
		return nil, fmt.Errorf("unknown command %q", c.Do)
	}
	return nil, nil
}

func describe(app *sfoauthtest.App) map[string]string {
	key, secret := app.Credentials()
	return map[string]string{"appId": app.ID, "consumerId": app.ConsumerID, "consumerKey": key, "consumerSecret": secret}
}

func fail(org *sfoauthtest.Org, c command) error {
	for _, f := range sfoauthtest.AllFaults() {
		if f.String() == c.Fault {
			org.InjectFault(sfoauthtest.Endpoint(c.Endpoint), f, c.Times)
			return nil
		}
	}
	return fmt.Errorf("no fault %q", c.Fault)
}
