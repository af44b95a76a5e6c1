package docs

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// commonFields are written with every line: by log/slog, and by internal/telemetry.
var commonFields = []string{"time", "level", "msg", "version"}

// loggedFields returns the names of the attributes and metrics that a package writes.
func loggedFields(t *testing.T, folder string) (fields, metrics []string) {
	t.Helper()
	files, err := filepath.Glob(root + folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", folder, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if attribute, isGroup := attributeName(n); isGroup {
					for _, argument := range n.Args[1:] {
						if call, ok := argument.(*ast.CallExpr); ok {
							name, _ := attributeName(call)
							fields = append(fields, attribute+"."+name)
						}
					}
					return false
				} else if attribute != "" {
					fields = append(fields, attribute)
				}
			case *ast.BasicLit:
				text, err := strconv.Unquote(n.Value)
				if err == nil && metricName.MatchString(text) && !slices.Contains(notMetrics, text) {
					metrics = append(metrics, text)
				}
			}
			return true
		})
	}
	return fields, metrics
}

var (
	metricName = regexp.MustCompile(`^[A-Z][a-z]+(?:[A-Z][a-z]+)*$`)
	// notMetrics are the other literals of these packages that look like a metric's name: units.
	notMetrics = []string{"Count", "Milliseconds", "Seconds"}
)

// attributeName returns the name in slog.String("name", …), slog.GroupAttrs("name", …) or add("name", …).
func attributeName(call *ast.CallExpr) (name string, isGroup bool) {
	function := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if pkg, ok := f.X.(*ast.Ident); ok && pkg.Name == "slog" {
			function = f.Sel.Name
		}
	case *ast.Ident:
		function = f.Name
	}
	if !slices.Contains(strings.Fields("add String Int Float64 Bool GroupAttrs"), function) || len(call.Args) < 2 {
		return "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	name, _ = strconv.Unquote(literal.Value)
	return name, function == "GroupAttrs"
}

// documentedFields returns the names in the tables of docs/reference/logs.md: the fields of TokenLogs, of RotateLogs
// and of ProbeLogs, and the metrics.
func documentedFields(t *testing.T) (tokenFields, rotateFields, probeFields, metrics []string) {
	t.Helper()
	logs := page(t, "docs/reference/logs.md")
	names := func(heading string) (names []string) {
		for _, row := range logs.TablesUnder(t, heading)[0] {
			names = append(names, mdtest.Code(row[0])...)
		}
		return names
	}
	return names("Token function"), names("Rotate function"), names("Probe function"), names("Metrics")
}

// TestLogFieldsAndMetrics compares the fields and metrics of docs/reference/logs.md with those that the functions
// write, and with the metrics that the template's alarms and dashboard use.
func TestLogFieldsAndMetrics(t *testing.T) {
	tokenFields, rotateFields, probeFields, metrics := documentedFields(t)
	written, tokenMetrics := loggedFields(t, "internal/tokenapi")
	compareNames(t, "fields of TokenLogs", tokenFields, slices.Concat(commonFields, written))
	written, rotateMetrics := loggedFields(t, "internal/rotateapi")
	compareNames(t, "fields of RotateLogs", rotateFields, slices.Concat(commonFields, written))
	written, probeMetrics := loggedFields(t, "internal/probeapi")
	compareNames(t, "fields of ProbeLogs", probeFields, slices.Concat(commonFields, written))
	compareNames(t, "metrics", metrics, slices.Concat(tokenMetrics, rotateMetrics, probeMetrics))
	if len(metrics) < 15 {
		t.Errorf("found only %d metrics", len(metrics))
	}

	used := regexp.MustCompile(
		`Namespace: sftoken\n +MetricName: (\w+)|"(\w+)\\" OR|OR \\"(\w+)\\"|MetricName=\\"(\w+)\\"|\["sftoken", "(\w+)"`)
	matches := used.FindAllStringSubmatch(read(t, "template.yaml"), -1)
	if len(matches) < 10 {
		t.Errorf("the template uses only %d metrics", len(matches))
	}
	for _, match := range matches {
		if name := strings.Join(match[1:], ""); !slices.Contains(metrics, name) {
			t.Errorf("the template uses the metric %s, which no function writes", name)
		}
	}
}

func compareNames(t *testing.T, what string, documented, written []string) {
	t.Helper()
	for _, list := range []*[]string{&documented, &written} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if !slices.Equal(documented, written) {
		t.Errorf("%s: the page has\n%q\nthe code\n%q", what, documented, written)
	}
}

var (
	stage      = regexp.MustCompile(`^(?:fields|filter|stats|sort|limit|parse) \S`)
	literal    = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|/(?:[^/\\]|\\.)*/`)
	number     = regexp.MustCompile(`\b\d+\w*`)
	identifier = regexp.MustCompile(`(as +)?(@?[A-Za-z_][\w.]*)(\(?)`)
	// keywords can be used in every query. Source: CloudWatch Logs User Guide, "CloudWatch Logs Insights language query
	// syntax".
	keywords  = strings.Fields("fields filter stats sort limit parse and or in like as by asc desc @timestamp @message")
	functions = strings.Fields("count count_distinct sum earliest latest pct bin ispresent")
)

// checkQuery checks that the query has only known stages and functions, and uses only fields of the log group.
func checkQuery(t *testing.T, where, query string, fields []string) {
	t.Helper()
	known := slices.Concat(keywords, fields)
	for line := range strings.SplitSeq(strings.TrimSpace(query), "\n") {
		for text := range strings.SplitSeq(strings.TrimPrefix(literal.ReplaceAllString(line, `""`), "| "), " | ") {
			if !stage.MatchString(text) {
				t.Errorf("%s: no such stage: %s", where, text)
			}
			if _, names, ok := strings.Cut(text, ` "" as `); ok && strings.HasPrefix(text, "parse ") {
				known = append(known, strings.Split(names, ", ")...)
			}
			for _, match := range identifier.FindAllStringSubmatch(number.ReplaceAllString(text, ""), -1) {
				name, isFunction := match[2], match[3] != ""
				switch {
				case match[1] != "":
					known = append(known, name)
				case isFunction && name != "in" && !slices.Contains(functions, name):
					t.Errorf("%s: no such function: %s", where, name)
				case !isFunction && !slices.Contains(known, name):
					t.Errorf("%s: no such field: %s", where, name)
				}
			}
		}
	}
}

// placeholders are the literals of the queries that a reader replaces.
var placeholders = []string{"crm", "ARN", "VERSION", "TOKEN_ID"}

// TestQueries checks the queries of the documentation and the dashboard. Each value that they compare
// with must stand in the code, since a query with a misspelt value finds nothing without an error.
func TestQueries(t *testing.T) {
	tokenFields, rotateFields, probeFields, metrics := documentedFields(t)
	template := read(t, "template.yaml")
	var accessFields []string
	format := regexp.MustCompile(`(?m)^ +Format: '(.*)'$`).FindStringSubmatch(template)[1]
	for _, match := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(format, -1) {
		accessFields = append(accessFields, match[1])
	}
	fields := map[string][]string{
		"TokenLogs":  slices.Concat(tokenFields, metrics),
		"RotateLogs": slices.Concat(rotateFields, metrics),
		"ProbeLogs":  slices.Concat(probeFields, metrics),
		"AccessLogs": accessFields,
	}
	written := code(t, "internal/tokenapi", "internal/rotateapi", "internal/probeapi", "internal/probe",
		"internal/vending", "internal/rotation", "pkg/sfoauth")
	check := func(where, group, query string) {
		if fields[group] == nil {
			t.Fatalf("%s: no log group %q", where, group)
		}
		checkQuery(t, where, query, fields[group])
		for _, match := range literal.FindAllStringSubmatch(query, -1) {
			value := match[1]
			if group != "AccessLogs" && !slices.Contains(placeholders, value) && !strings.ContainsAny(value, "*/") &&
				!strings.Contains(written, value) {
				t.Errorf("%s: the functions never write %q", where, value)
			}
		}
	}
	queries := 0
	groups := regexp.MustCompile("`((?:Token|Rotate|Probe|Access)Logs)`")
	for _, path := range []string{"docs/how-to/queries.md", "docs/how-to/controls.md", "docs/how-to/runbook.md"} {
		for _, b := range page(t, path).Blocks {
			if b.Language != "insights" {
				continue
			}
			queries++
			named := groups.FindAllStringSubmatch(b.Before, -1)
			if named == nil {
				t.Fatalf("%s:%d: the text before the query does not name a log group", path, b.Line)
			}
			check(b.Heading, named[len(named)-1][1], b.Text)
		}
	}
	for title, query := range dashboardQueries(t, template) {
		queries++
		source := regexp.MustCompile(`^SOURCE '\$\{(\w+)\}' \| `).FindStringSubmatch(query)
		if source == nil {
			t.Fatalf("dashboard: %s: no SOURCE in %q", title, query)
		}
		check("dashboard: "+title, source[1], query[len(source[0]):])
	}
	if queries < 40 {
		t.Errorf("found only %d queries", queries)
	}
}

// dashboardQueries returns the queries of the template's dashboard, by title.
func dashboardQueries(t *testing.T, template string) map[string]string {
	t.Helper()
	_, body, _ := strings.Cut(template, "DashboardBody:")
	parts := regexp.MustCompile(
		`\$\{(?:AppAlarms|Overdue|Replication|ProbeAlarms|TokenTableAlarm|TokenTableWidget|ProbeWidget)\}`)
	body = parts.ReplaceAllString(body, "")
	_, body, _ = strings.Cut(body, "{\"widgets\"")
	var dashboard struct {
		Widgets []struct {
			Type       string
			Properties struct{ Title, Query string }
		}
	}
	if err := json.NewDecoder(strings.NewReader("{\"widgets\"" + body)).Decode(&dashboard); err != nil {
		t.Fatalf("the dashboard is not JSON: %v", err)
	}
	queries := map[string]string{}
	for _, w := range dashboard.Widgets {
		if w.Type == "log" {
			queries[w.Properties.Title] = w.Properties.Query
		}
	}
	if len(queries) < 3 {
		t.Errorf("the dashboard has only the queries %q", slices.Collect(maps.Keys(queries)))
	}
	return queries
}

// TestTokenTableFailures checks that the functions write the errors of their own that the runbook explains.
func TestTokenTableFailures(t *testing.T) {
	written := code(t, "internal/tokenstore")
	own := 0
	for _, row := range page(t, "docs/how-to/runbook.md").TablesUnder(t, "TokenTableFails")[0] {
		for _, text := range mdtest.Code(row[0]) {
			if strings.Contains(text, " ") { // AWS's are single words
				own++
				if !strings.Contains(written, text) {
					t.Errorf("internal/tokenstore never writes %q", text)
				}
			}
		}
	}
	if own != 2 {
		t.Errorf("the runbook explains %d errors of internal/tokenstore", own)
	}
}

// TestRotationFailures checks that the functions write the causes that the runbook explains.
func TestRotationFailures(t *testing.T) {
	written := code(t, "internal/rotation", "internal/appsecret", "internal/loginbudget")
	written = regexp.MustCompile(`" \+\s+"`).ReplaceAllString(written, "") // a text over two lines
	rows := page(t, "docs/how-to/runbook.md").TablesUnder(t, "RotationFailed")[0]
	if len(rows) < 10 {
		t.Fatalf("the runbook explains %d causes", len(rows))
	}
	for _, row := range rows[:len(rows)-1] { // the last row is about other systems
		if !strings.Contains(written, row[0]) {
			t.Errorf("the functions never write %q", row[0])
		}
	}
}
