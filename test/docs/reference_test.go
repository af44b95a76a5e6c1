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

// settings returns the environment variables that the functions read, each with the functions that read it.
func settings(t *testing.T) map[string][]string {
	t.Helper()
	// The methods of settings.Env that have the names of their settings.
	shared := map[string][]string{}
	method := regexp.MustCompile(`(?s)\nfunc \(e \*Env\) (\w+)\(\)(.*?)\}\n`)
	for _, match := range method.FindAllStringSubmatch(code(t, "internal/settings"), -1) {
		for _, name := range regexp.MustCompile(`e\.(?:String|Int)\("([A-Z_]+)"`).FindAllStringSubmatch(match[2], -1) {
			shared[match[1]] = append(shared[match[1]], name[1])
		}
	}
	found := map[string][]string{}
	call := regexp.MustCompile(`env\.([A-Z]\w*)\((?:"([A-Z_]+)")?`)
	for _, function := range []string{"token", "rotate", "probe"} {
		for _, match := range call.FindAllStringSubmatch(code(t, "internal/"+function+"api"), -1) {
			names := shared[match[1]]
			if match[2] != "" {
				names = []string{match[2]}
			}
			for _, name := range names {
				found[name] = append(found[name], function)
			}
		}
	}
	return found
}

func TestSettings(t *testing.T) {
	template := read(t, "template.yaml")
	defaults := map[string]time.Duration{
		"SECRET_TTL": vending.DefaultSecretTTL, "MIN_TTL": vending.DefaultMinTTL,
		"CONFIRM_EVERY": vending.DefaultIntrospectInterval, "PROPAGATION": rotation.DefaultPropagation,
	}
	inCode := settings(t)
	var documented []string
	for _, row := range page(t, "docs/reference/settings.md").TablesUnder(t, "Environment variables")[0] {
		name := mdtest.Code(row[0])[0]
		documented = append(documented, name)
		of := strings.Join(inCode[name], " and ")
		if of == "token and rotate and probe" {
			of = "all"
		}
		if row[2] != of {
			t.Errorf("%s is a setting of %s, not of %s", name, of, row[2])
		}
		if want, ok := defaults[name]; ok {
			if got, err := time.ParseDuration(strings.Trim(row[1], "`")); err != nil || got != want {
				t.Errorf("the default of %s is %s, not %s", name, want, row[1])
			}
		}
		// Either its value, or what its condition is called after.
		parameter := regexp.MustCompile(`(?m)^ +` + name + `: (?:!Ref (\w+)$|!If \[Has(\w+), )`).FindStringSubmatch(template)
		if parameter == nil && row[3] != "" || parameter != nil && row[3] != "`"+parameter[1]+parameter[2]+"`" {
			t.Errorf("the template sets %s from %q, not from %s", name, parameter, row[3])
		}
	}
	slices.Sort(documented)
	if want := slices.Sorted(maps.Keys(inCode)); !slices.Equal(documented, want) {
		t.Errorf("settings %q, want %q", documented, want)
	}
}

func TestParameters(t *testing.T) {
	documented := map[string]string{}
	for _, row := range page(t, "docs/reference/settings.md").TablesUnder(t, "Template parameters")[0] {
		documented[strings.Trim(row[0], "`")] = strings.Trim(row[1], "`")
	}
	_, template, _ := strings.Cut(read(t, "template.yaml"), "\nParameters:\n")
	template, _, _ = strings.Cut(template, "\nConditions:\n")
	parameters := regexp.MustCompile(`(?m)^  (\w+):\n(?:    .*\n)*?    Default: (.*)$`).FindAllStringSubmatch(template, -1)
	if len(parameters) < 14 || len(parameters) != len(documented) {
		t.Fatalf("the template has %d parameters, docs/reference/settings.md has %d", len(parameters), len(documented))
	}
	for _, p := range parameters {
		name, value := p[1], strings.Trim(p[2], `"`)
		if got, ok := documented[name]; !ok || got != value {
			t.Errorf("docs/reference/settings.md: default of %s is %q (documented: %t), the template has %q",
				name, got, ok, value)
		}
	}
}

var alarmDefinition = regexp.MustCompile(`(?m)^  (\w+):\n    Type: AWS::CloudWatch::Alarm\n(?:    .*\n)*`)

func TestAlarms(t *testing.T) {
	template := read(t, "template.yaml")
	page := page(t, "docs/how-to/runbook.md")
	var inTemplate, inRunbook []string
	names := regexp.MustCompile(`(?m)^  (\w+):\n    Type: AWS::CloudWatch::(?:Composite)?Alarm$`)
	for _, match := range names.FindAllStringSubmatch(template, -1) {
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
		t.Errorf("found only %d alarms", len(alarms))
	}
	hasQuery := map[string]bool{}
	for _, b := range page.Blocks {
		hasQuery[b.Heading] = hasQuery[b.Heading] || b.Language == "insights"
	}
	for _, alarm := range alarms {
		if !strings.Contains(alarm[0], `: ${RunbookUrl}#`+strings.ToLower(alarm[1])+`"`) {
			t.Errorf("%s does not link to its section of the runbook", alarm[1])
		}
		if !strings.Contains(alarm[0], "AlarmActions: ") || !strings.Contains(alarm[0], "OKActions: ") {
			t.Errorf("%s does not notify when it fires and when it ends", alarm[1])
		}
		if !hasQuery[alarm[1]] {
			t.Errorf("the runbook has no query for %s", alarm[1])
		}
	}
}

// otherNames are names in capitals that are neither settings nor labels nor errors of Salesforce nor variables of the
// command-line tool.
var otherNames = []string{
	// API Gateway's response types: API Gateway Developer Guide, "Gateway response types for API Gateway".
	"MISSING_AUTHENTICATION_TOKEN", "INVALID_SIGNATURE", "EXPIRED_TOKEN", "ACCESS_DENIED", "WAF_FILTERED",
	"REQUEST_TOO_LARGE", "THROTTLED", "DEFAULT_4XX", "DEFAULT_5XX", "API_CONFIGURATION_ERROR", "INTEGRATION_FAILURE",
	"INTEGRATION_TIMEOUT", "DELETE", "POST", "GET", "NONE", "KEY",
	"REGIONAL", "PRIVATE", "CNAME", // its endpoint types, and a record of DNS
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NODE_USE_ENV_PROXY", "SO_PEERCRED",
	"CAPABILITY_IAM", "CAPABILITY_RESOURCE_POLICY", "CAPABILITY_AUTO_EXPAND", // what a deployment acknowledges
}

// packageVariables are the variables of package.sh, from the comment that lists them.
var packageVariables = regexp.MustCompile(`(?m)^#   ([A-Z_]+) +\S`)

// TestNames checks every name in capitals that stands in backticks.
func TestNames(t *testing.T) {
	known := slices.Concat(otherNames, slices.Collect(maps.Keys(settings(t))), []string{
		appsecret.Current, appsecret.Pending, appsecret.Previous,
		appsecret.Candidate, appsecret.Rejected, appsecret.Compromised,
	})
	for _, match := range packageVariables.FindAllStringSubmatch(read(t, "package.sh"), -1) {
		known = append(known, match[1])
	}
	source := code(t, "pkg/sfoauth", "pkg/sftoken", "cmd/sftoken") + read(t, "test/org/org_test.go")
	capitals := regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|^[A-Z]{3,}$`)
	for _, page := range allPages(t) {
		if !inDocs(page) {
			continue // other pages have names of their own
		}
		for _, code := range page.Code {
			for _, name := range capitals.FindAllString(code.Text, -1) {
				aws := strings.HasPrefix(name, "AWS_")
				if !aws && !slices.Contains(known, name) && !strings.Contains(source, `"`+name+`"`) {
					t.Errorf("%s:%d: unknown name %s", page.Path, code.Line, name)
				}
			}
		}
	}
}

// retired are words that the documentation no longer uses. The brackets keep this line out of a search for them.
var retired = regexp.MustCompile(`(?i)\b(?:me[n]d(?:s|ed)?|(?:some|no)[b]ody|who[e]ver|says w[h]ether|as it is told)\b`)

func TestRetiredWords(t *testing.T) {
	for _, page := range allPages(t) {
		for i, line := range strings.Split(read(t, strings.TrimPrefix(page.Path, root)), "\n") {
			if word := retired.FindString(line); word != "" {
				t.Errorf("%s:%d: %q is not plain technical English", page.Path, i+1, word)
			}
		}
	}
}
