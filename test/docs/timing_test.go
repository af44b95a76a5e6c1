package docs

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/vending"
)

// TestTiming compares the times of docs/how-it-works.md with the code and the template.
func TestTiming(t *testing.T) {
	template := read(t, "template.yaml")
	want := map[string]time.Duration{ // by the beginning of a row
		"the token function uses a new version": vending.DefaultSecretTTL,
		"the same, while Salesforce rejects":    durationOf(t, "internal/vending", "rereadEvery"),
		"an app that was unknown":               durationOf(t, "internal/vending", "unknownFor"),
		"`expires_in` of a new token":           vending.DefaultTokenTTL,
		"`expires_in` after an introspection":   vending.DefaultIntrospectInterval,
		"a token is introspected":               vending.DefaultMinTTL,
		"`rejected=` triggers an introspection": durationOf(t, "internal/vending", "rejectedEvery"),
		"`rejected=` triggers a login":          durationOf(t, "internal/vending", "blindEvery"),
		"a request for a token ends":            durationOf(t, "internal/vending", "flightTime"),
		"the Go client replaces":                durationOf(t, "pkg/sftoken", "margin"),
		"the rotate function retries":           rotation.DefaultPropagation,
		"tokens of compromised credentials":     vending.DefaultSecretTTL,
		"NoDailyCheck fires":                    26 * time.Hour,
		"the daily check logs in":               24 * time.Hour,
	}
	for _, text := range []string{"Schedule: rate(1 day)", "Period: 3600 # CloudWatch allows", "EvaluationPeriods: 26\n"} {
		if !strings.Contains(template, text) {
			t.Errorf("the template does not have %q", text)
		}
	}
	units := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}
	found := 0
	for _, row := range page(t, "docs/how-it-works.md").TablesUnder(t, "Timing")[0] {
		for prefix, duration := range want {
			if !strings.HasPrefix(row[0], prefix) {
				continue
			}
			found++
			match := regexp.MustCompile(`^(\d+) (second|minute|hour|day)s?$`).FindStringSubmatch(row[1])
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
	files, err := filepath.Glob(root + folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	declaration := regexp.MustCompile(`(?m)^\s*(?:const )?` + name + `\s+= (?:(\d+) \* )?time\.(Second|Minute|Hour)`)
	for _, file := range files {
		match := declaration.FindStringSubmatch(read(t, strings.TrimPrefix(file, root)))
		if match == nil {
			continue
		}
		number, err := strconv.Atoi(match[1])
		if err != nil {
			number = 1
		}
		return time.Duration(number) * map[string]time.Duration{"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}[match[2]]
	}
	t.Fatalf("%s has no constant %s", folder, name)
	return 0
}
