package docs

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/tokenstore"
	"github.com/sftoken/sftoken/internal/vending"
)

var units = map[string]time.Duration{
	"millisecond": time.Millisecond, "second": time.Second,
	"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
}

// TestTiming compares the times of docs/reference/timing.md with the code and the template.
func TestTiming(t *testing.T) {
	template := read(t, "template.yaml")
	const longInterval = "rejectedCheckIntervalWithoutIntrospection"
	want := map[string]time.Duration{ // by the beginning of a row
		"the token function uses a new version": vending.DefaultSecretTTL,
		"the same, while Salesforce rejects":    durationOf(t, "internal/vending", "rereadInterval"),
		"an app that was unknown":               durationOf(t, "internal/vending", "unknownAppTTL"),
		"`expires_in` of a new token":           vending.DefaultTokenTTL,
		"`expires_in` after an introspection":   vending.DefaultIntrospectInterval,
		"a token is introspected":               vending.DefaultMinTTL,
		"`rejected=` triggers an introspection": durationOf(t, "internal/vending", "rejectedCheckInterval"),
		"`rejected=` triggers a login":          durationOf(t, "internal/vending", longInterval),
		"a request for a token ends":            durationOf(t, "internal/vending", "callTimeout"),
		"the Go client replaces":                durationOf(t, "pkg/sftoken", "expiryMargin"),
		"the rotate function retries":           rotation.DefaultPropagation,
		"tokens of compromised credentials":     vending.DefaultSecretTTL,
		"a lease of the token table lasts":      durationOf(t, "internal/vending", "salesforceTimeout") + time.Second,
		"a process without a token reads":       durationOf(t, "internal/vending", "minPoll"),
		"a failure without any response":        durationOf(t, "internal/vending", "unansweredFailureTTL"),
		"a call to the token table ends":        tokenstore.Timeout,
		"after an error of the token table":     tokenstore.BypassDuration,
		"NoDailyCheck fires":                    26 * time.Hour,
		"the daily check logs in":               24 * time.Hour,
	}
	for _, text := range []string{"Schedule: rate(1 day)", "Period: 3600 # CloudWatch allows", "EvaluationPeriods: 26\n"} {
		if !strings.Contains(template, text) {
			t.Errorf("the template does not have %q", text)
		}
	}
	for _, text := range []string{
		"(30*time.Second, 5*time.Minute)", "(time.Second, 30*time.Second)", // the backoff
		"leaseTime = salesforceTimeout + time.Second\n", "maxPoll = time.Second\n",
	} {
		if !strings.Contains(code(t, "internal/vending"), text) {
			t.Errorf("internal/vending does not have %s", text)
		}
	}
	compareTimes(t, "docs/reference/timing.md", "Timing", want)
}

// TestAgentTiming compares the times of docs/reference/agent.md with the code.
func TestAgentTiming(t *testing.T) {
	want := map[string]time.Duration{ // by the beginning of a row
		"a token is replaced":                  durationOf(t, "pkg/sftoken", "expiryMargin"),
		"the client whose request starts":      durationOf(t, "pkg/sftoken", "refreshPatience"),
		"`rejected=` with a token":             5 * time.Second,
		"an error is returned":                 durationOf(t, "internal/agent", "failurePause"),
		"a request for a token ends":           durationOf(t, "internal/agent", "fetchTimeout"),
		"requests in progress may take":        durationOf(t, "internal/agent", "shutdownTimeout"),
		"a client must send the header":        5 * time.Second,
		"a client must send its whole request": 10 * time.Second,
		"an idle connection is closed":         2 * time.Minute,
	}
	for folder, texts := range map[string][]string{
		"internal/agent": {
			"ReadHeaderTimeout: 5 * time.Second", "ReadTimeout: 10 * time.Second", "IdleTimeout: 2 * time.Minute",
			"maxApps = 100\n", "maxSocketPath = 103\n",
		},
		"pkg/sftoken": {"rejectedCheckInterval = 5*time.Second + 100*time.Millisecond\n"},
	} {
		for _, text := range texts {
			if !strings.Contains(code(t, folder), text) {
				t.Errorf("%s does not have %q", folder, text)
			}
		}
	}
	compareTimes(t, "docs/reference/agent.md", "What is cached", want)
}

// TestFailoverTiming compares the times of docs/explanation/regions.md with the code.
func TestFailoverTiming(t *testing.T) {
	want := map[string]time.Duration{ // by the beginning of a row
		"an address is slow":                durationOf(t, "pkg/sftoken", "slowAfter"),
		"the same, if the last request":     durationOf(t, "pkg/sftoken", "slowAgainAfter"),
		"an address that has failed":        durationOf(t, "pkg/sftoken", "minPause"),
		"this doubles with each failure in": durationOf(t, "pkg/sftoken", "maxPause"),
	}
	compareTimes(t, "docs/explanation/regions.md", "How clients fail over", want)
}

// compareTimes compares the times in the last table under the heading with want, which has the beginnings of rows.
func compareTimes(t *testing.T, path, heading string, want map[string]time.Duration) {
	t.Helper()
	found := 0
	tables := page(t, path).TablesUnder(t, heading)
	for _, row := range tables[len(tables)-1] {
		for prefix, duration := range want {
			if !strings.HasPrefix(row[0], prefix) {
				continue
			}
			found++
			match := regexp.MustCompile(`^(\d+) (millisecond|second|minute|hour|day)s?`).FindStringSubmatch(row[1])
			if match == nil {
				t.Errorf("%s: %q is not a time", row[0], row[1])
				continue
			}
			number, _ := strconv.Atoi(match[1])
			if got := time.Duration(number) * units[match[2]]; got != duration {
				t.Errorf("%s: %s says %s, the code %s", row[0], path, got, duration)
			}
		}
	}
	if found != len(want) {
		t.Errorf("%s: found %d of %d rows", path, found, len(want))
	}
}

// durationOf returns the value of a package's unexported constant, such as 5 * time.Second.
func durationOf(t *testing.T, folder, name string) time.Duration {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^\s*(?:const )?` + name + `\s+= (?:(\d+) \* )?time\.(\w+)`)
	match := declaration.FindStringSubmatch(code(t, folder))
	if match == nil {
		t.Fatalf("%s has no constant %s", folder, name)
	}
	number := 1
	if match[1] != "" {
		number, _ = strconv.Atoi(match[1])
	}
	return time.Duration(number) * units[strings.ToLower(match[2])]
}

// TestControlsTiming checks that docs/how-to/controls.md repeats rows of the table that TestTiming checks.
func TestControlsTiming(t *testing.T) {
	times := map[string]string{}
	for _, row := range page(t, "docs/reference/timing.md").TablesUnder(t, "Timing")[0] {
		times[row[0]] = row[1]
	}
	for _, row := range page(t, "docs/how-to/controls.md").TablesUnder(t, "How fast is a leak contained?")[0] {
		if times[row[0]] != row[1] {
			t.Errorf("docs/how-to/controls.md says %s: %s, docs/reference/timing.md %q", row[0], row[1], times[row[0]])
		}
	}
}
