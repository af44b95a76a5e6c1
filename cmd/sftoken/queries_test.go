package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestTheQueriesOfTheDocs lets real processes live through a story and asks docs/queries.md, docs/runbook.md and the dashboard about it.
func TestTheQueriesOfTheDocs(t *testing.T) {
	s := tellAStory(t)
	asked := map[string]bool{}
	for _, page := range []string{"queries.md", "runbook.md"} {
		for _, b := range mdtest.Read(t, "../../docs/"+page).Blocks {
			if b.Language != "insights" {
				continue
			}
			asked[b.Heading] = true
			t.Run(page+": "+b.Heading, func(t *testing.T) {
				group := regexp.MustCompile("`((?:Token|Rotate|Access)Logs)`").FindAllStringSubmatch(b.Before, -1)
				if group == nil {
					t.Fatalf("the text before the query, %q, does not name a log group", b.Before)
				}
				rows := s.ask(t, group[len(group)-1][1], b.Text)
				if page == "queries.md" {
					s.compare(t, b.Heading, rows)
				}
			})
		}
	}
	for heading := range s.answers {
		if !asked[heading] {
			t.Errorf("docs/queries.md does not ask %q", heading)
		}
	}
	t.Run("fields", func(t *testing.T) { s.compareFields(t) })
	for title, query := range dashboardQueries(t) {
		t.Run("dashboard: "+title, func(t *testing.T) {
			source := regexp.MustCompile(`^SOURCE '\$\{(\w+)\}' \| `).FindStringSubmatch(query)
			if source == nil {
				t.Fatalf("no SOURCE in %q", query)
			}
			if len(s.ask(t, source[1], query[len(source[0]):])) == 0 {
				t.Error("the widget is empty")
			}
		})
	}
}

func (s *story) ask(t *testing.T, group, query string) []row {
	t.Helper()
	lines := s.groups[group]
	if lines == nil {
		t.Fatalf("there is no log group %s", group)
	}
	rows, err := lines.run(s.names.Replace(query))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func (s *story) compare(t *testing.T, heading string, rows []row) {
	t.Helper()
	want, ok := s.answers[heading]
	if !ok {
		t.Fatalf("no answer to %q is known", heading)
	}
	for _, w := range want {
		if !slices.ContainsFunc(rows, func(r row) bool { return w.partOf(r) }) {
			t.Errorf("no row with %v among %d:", w, len(rows))
			for _, r := range rows {
				delete(r, "@message")
				t.Logf("  %v", r)
			}
		}
	}
}

// compareFields holds the tables of fields and metrics against the lines.
func (s *story) compareFields(t *testing.T) {
	t.Helper()
	var tables [][]string // the names in the first column of each
	for _, table := range mdtest.Tables(mdtest.Read(t, "../../docs/queries.md").Section(t, "The fields")) {
		var names []string
		for _, cells := range table {
			names = append(names, mdtest.Code(cells[0])...)
		}
		tables = append(tables, names)
	}
	if len(tables) != 3 {
		t.Fatalf("%d tables", len(tables))
	}
	for i, group := range []string{"TokenLogs", "RotateLogs"} {
		documented := slices.Concat(tables[i], tables[2])
		for name := range s.groups[group].known {
			if !strings.HasPrefix(name, "@") && !strings.HasPrefix(name, "_aws.") && !slices.Contains(documented, name) {
				t.Errorf("%s: the field %s is not documented", group, name)
			}
		}
		for _, name := range tables[i] {
			if !s.groups[group].known[name] {
				t.Errorf("%s: no line has the field %s", group, name)
			}
		}
	}
	for _, name := range tables[2] {
		if !s.groups["TokenLogs"].known[name] && !s.groups["RotateLogs"].known[name] {
			t.Errorf("no line has the metric %s", name)
		}
	}
}

func (r row) partOf(whole row) bool {
	for name, value := range r {
		pattern, ok := value.(*regexp.Regexp)
		if text, _ := whole[name].(string); ok && !pattern.MatchString(text) || !ok && whole[name] != value {
			return false
		}
	}
	return true
}

// dashboardQueries returns the queries of the template's dashboard, by title.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(template), "DashboardBody:")
	_, body, _ = strings.Cut(strings.NewReplacer("${AppAlarms}", "", "${Overdue}", "").Replace(body), "{\"widgets\"")
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
	return queries
}
