package docs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// settings are the names that the functions look up, with the functions that do.
func settings(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, function := range []string{"token", "rotate"} {
		for _, match := range regexp.MustCompile(`env\.[A-Z]\w*\("([A-Z_]+)"`).FindAllStringSubmatch(read(t, "internal/"+function+"api/start.go"), -1) {
			found[match[1]] = append(found[match[1]], function)
		}
	}
	for _, match := range regexp.MustCompile(`e\.(?:String|Int)\("([A-Z_]+)"`).FindAllStringSubmatch(read(t, "internal/settings/settings.go"), -1) {
		found[match[1]] = []string{"token", "rotate"}
	}
	return found
}

func TestTheSettingsOfTheReadme(t *testing.T) {
	template := read(t, "template.yaml")
	defaults := map[string]time.Duration{
		"SECRET_TTL": vending.DefaultSecretTTL, "MIN_TTL": vending.DefaultMinTTL, "CONFIRM_EVERY": vending.DefaultIntrospectInterval, "PROPAGATION": rotation.DefaultPropagation,
	}
	inCode := settings(t)
	var documented []string
	for _, row := range mdtest.Tables(mdtest.Read(t, root+"README.md").Section(t, "Settings"))[0] {
		name := mdtest.Code(row[0])[0]
		documented = append(documented, name)
		of := strings.Join(inCode[name], " and ")
		if of == "token and rotate" {
			of = "both"
		}
		if row[2] != of {
			t.Errorf("%s is of %s, not of %s", name, of, row[2])
		}
		if want, ok := defaults[name]; ok {
			if got, err := time.ParseDuration(strings.Trim(row[1], "`")); err != nil || got != want {
				t.Errorf("the default of %s is %s, not %s", name, want, row[1])
			}
		}
		parameter := regexp.MustCompile(`(?m)^ +` + name + `: !Ref (\w+)$`).FindStringSubmatch(template)
		if parameter == nil && row[3] != "" || parameter != nil && row[3] != "`"+parameter[1]+"`" {
			t.Errorf("the template sets %s by %q, not by %s", name, parameter, row[3])
		}
	}
	slices.Sort(documented)
	if want := slices.Sorted(maps.Keys(inCode)); !slices.Equal(documented, want) {
		t.Errorf("settings %q, want %q", documented, want)
	}
}

func TestTheAlarmsOfTheRunbook(t *testing.T) {
	template := read(t, "template.yaml")
	page := mdtest.Read(t, root+"docs/runbook.md")
	var inTemplate, inRunbook []string
	for _, match := range regexp.MustCompile(`(?m)^  (\w+):\n    Type: AWS::CloudWatch::(?:Composite)?Alarm$`).FindAllStringSubmatch(template, -1) {
		inTemplate = append(inTemplate, match[1])
	}
	section := ""
	for _, h := range page.Headings {
		if h.Level == 2 {
			section = h.Text
		}
		if h.Level == 3 && section == "Alarms" {
			inRunbook = append(inRunbook, h.Text)
		}
	}
	slices.Sort(inTemplate)
	slices.Sort(inRunbook)
	if len(inTemplate) < 22 || !slices.Equal(inTemplate, inRunbook) {
		t.Errorf("alarms of the template: %q\nof the runbook: %q", inTemplate, inRunbook)
	}
	alarms := alarmDefinition.FindAllStringSubmatch(template+read(t, "app.yaml"), -1)
	if len(alarms) < 35 {
		t.Errorf("only %d alarms were found", len(alarms))
	}
	for _, alarm := range alarms {
		if !strings.Contains(alarm[0], `: ${RunbookUrl}#`+strings.ToLower(alarm[1])+`"`) {
			t.Errorf("%s does not link to its section of the runbook", alarm[1])
		}
		if !strings.Contains(alarm[0], "AlarmActions: ") || !strings.Contains(alarm[0], "OKActions: ") {
			t.Errorf("%s does not notify when it fires and when it ends", alarm[1])
		}
	}
}

var alarmDefinition = regexp.MustCompile(`(?m)^  (\w+):\n    Type: AWS::CloudWatch::Alarm\n(?:    .*\n)*`)

// TestEveryAlarmHasAQuery looks for a query in each section about an alarm; cmd/sftoken runs them.
func TestEveryAlarmHasAQuery(t *testing.T) {
	asked := map[string]bool{}
	for _, b := range mdtest.Read(t, root+"docs/runbook.md").Blocks {
		asked[b.Heading] = asked[b.Heading] || b.Language == "insights"
	}
	for _, alarm := range alarmDefinition.FindAllStringSubmatch(read(t, "template.yaml"), -1) {
		if !asked[alarm[1]] {
			t.Errorf("the section %s has no query", alarm[1])
		}
	}
}

// TestMetrics checks the metrics of the code, those that the template looks at, and those of docs/queries.md against each other.
func TestMetrics(t *testing.T) {
	var inCode, documented []string
	for _, path := range []string{"internal/tokenapi/entry.go", "internal/rotateapi/handler.go"} {
		for _, match := range regexp.MustCompile(`\{Name: "(\w+)", Unit|\{"(\w+)", (?:out\.|err |usage\.|count\()`).FindAllStringSubmatch(read(t, path), -1) {
			inCode = append(inCode, match[1]+match[2])
		}
	}
	tables := mdtest.Tables(mdtest.Read(t, root+"docs/queries.md").Section(t, "The fields"))
	for _, row := range tables[len(tables)-1] {
		documented = append(documented, mdtest.Code(row[0])...)
	}
	slices.Sort(inCode)
	inCode = slices.Compact(inCode)
	slices.Sort(documented)
	if len(inCode) < 12 || !slices.Equal(inCode, documented) {
		t.Errorf("metrics of the code: %q\nof docs/queries.md: %q", inCode, documented)
	}
	template := read(t, "template.yaml")
	looked := regexp.MustCompile(`Namespace: sftoken\n +MetricName: (\w+)|"(\w+)\\" OR|OR \\"(\w+)\\"|MetricName=\\"(\w+)\\"`).FindAllStringSubmatch(template, -1)
	if len(looked) < 10 {
		t.Errorf("the template looks at %d metrics", len(looked))
	}
	for _, match := range looked {
		if name := strings.Join(match[1:], ""); !slices.Contains(inCode, name) {
			t.Errorf("the template looks at the metric %s, which nobody writes", name)
		}
	}
}

// names that are neither settings nor labels, nor errors of Salesforce.
var otherNames = []string{
	// API Gateway's response types: API Gateway Developer Guide, "Gateway response types for API Gateway".
	"MISSING_AUTHENTICATION_TOKEN", "INVALID_SIGNATURE", "EXPIRED_TOKEN", "ACCESS_DENIED", "WAF_FILTERED", "REQUEST_TOO_LARGE", "THROTTLED",
	"DEFAULT_4XX", "DEFAULT_5XX", "API_CONFIGURATION_ERROR", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT",
	"SFTOKEN_URL", "SF_ACCESS_TOKEN", "SF_INSTANCE_URL", "NO_COLOR", "ARCH", "DELETE", "POST", "GET", "APP", "TOKEN", "AWS_IAM", "NONE", "KEY",
}

// TestNames checks every name in capitals that stands in backticks.
func TestNames(t *testing.T) {
	known := slices.Concat(otherNames, slices.Collect(maps.Keys(settings(t))), []string{
		appsecret.Current, appsecret.Pending, appsecret.Previous, appsecret.Candidate, appsecret.Rejected, appsecret.Compromised,
	})
	errors := read(t, "pkg/sfoauth/errors.go")
	for _, page := range all(t) {
		if page.Path != root+"README.md" && !strings.HasPrefix(page.Path, root+"docs/") {
			continue // they have names of their own
		}
		for _, line := range page.Prose {
			for _, code := range mdtest.Code(line.Text) {
				for _, name := range regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|^[A-Z]{3,}$`).FindAllString(code, -1) {
					aws := strings.HasPrefix(name, "AWS_")
					if !aws && !slices.Contains(known, name) && !strings.Contains(errors, `"`+name+`"`) {
						t.Errorf("%s:%d: nothing is called %s", page.Path, line.Number, name)
					}
				}
			}
		}
	}
}
