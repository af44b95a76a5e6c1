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

// TestTiming compares the times of docs/how-it-works.md with the code and the template.
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
	found := 0
	for _, row := range page(t, "docs/how-it-works.md").TablesUnder(t, "Timing")[0] {
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
				t.Errorf("%s: docs/how-it-works.md says %s, the code %s", row[0], got, duration)
			}
		}
	}
	if found != len(want) {
		t.Errorf("found %d of %d rows", found, len(want))
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

// TestControlsTiming checks that docs/controls.md repeats rows of the table that TestTiming checks.
func TestControlsTiming(t *testing.T) {
	times := map[string]string{}
	for _, row := range page(t, "docs/how-it-works.md").TablesUnder(t, "Timing")[0] {
		times[row[0]] = row[1]
	}
	for _, row := range page(t, "docs/controls.md").TablesUnder(t, "How fast is a leak contained?")[0] {
		if times[row[0]] != row[1] {
			t.Errorf("docs/controls.md says %s: %s, docs/how-it-works.md %q", row[0], row[1], times[row[0]])
		}
	}
}
