package docs

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/tokenstore"
)

const scalePage = "docs/explanation/scale.md"

var (
	scaleRates = []float64{1, 100, 1000, 10_000} // requests per second
	scaleApps  = []float64{1, 10, 100, 500}
)

// TestScale computes the tables of docs/explanation/scale.md. Where UPDATE_GOLDEN is set, it writes them first.
func TestScale(t *testing.T) {
	m := newScale(t)
	for _, table := range []struct {
		heading string
		number  int // among the tables under the heading
		rows    []string
	}{
		{"What to change at which size", 0, forEach(scaleRates, m.callers)},
		{"Environments", 0, forEach(scaleRates, m.environments)},
		{"Load", 0, m.load()},
		{"Quotas", 0, m.quotas()},
		{"Cost per million tokens", 0, m.costs(m.cost)},
		{"Cost per million tokens", 1, m.costs(m.tableCost)},
	} {
		checkTable(t, table.heading, table.number, table.rows)
	}
}

// TestScaleProse checks the numbers that stand in the text of docs/explanation/scale.md.
func TestScaleProse(t *testing.T) {
	attempts, _ := newScale(t).refusals()
	text := read(t, scalePage)
	for _, want := range []string{
		fmt.Sprintf("up to %.0f attempts", attempts), fmt.Sprintf("1 to %d versions", 1+len(appsecret.FallbackLabels)),
		fmt.Sprintf("at %d logins", loginbudget.DefaultBurst+loginbudget.DefaultPerHour),
		fmt.Sprintf("up to %.0f introspections", time.Hour.Seconds()/untilIntrospection.Seconds()),
		fmt.Sprintf("bypasses it for %.0f seconds", tokenstore.BypassDuration.Seconds()),
		fmt.Sprintf("up to %.0f seconds", durationOf(t, "internal/vending", "callTimeout").Seconds()),
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\n", " "), want) {
			t.Errorf("%s does not have %q", scalePage, want)
		}
	}
}

// checkTable compares the rows of a table with those that were computed.
func checkTable(t *testing.T, heading string, number int, rows []string) {
	t.Helper()
	text := read(t, scalePage)
	begin := strings.Index(text, "\n## "+heading+"\n")
	if begin < 0 {
		t.Fatalf("%s has no heading %q", scalePage, heading)
	}
	tables := regexp.MustCompile(`(?m)^\|.*\n\|[ |-]+\n((?:\|.*\n)*)`).FindAllStringSubmatchIndex(text[begin:], -1)
	if number >= len(tables) {
		t.Fatalf("%s has no table %d under %q", scalePage, number, heading)
	}
	begin, end := begin+tables[number][2], begin+tables[number][3]
	got, want := text[begin:end], strings.Join(rows, "")
	switch {
	case got == want:
	case os.Getenv("UPDATE_GOLDEN") != "":
		if err := os.WriteFile(root+scalePage, []byte(text[:begin]+want+text[end:]), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s, %q (-page +computed). If the change is intended, run with UPDATE_GOLDEN=1:\n%s", scalePage, heading,
			cmp.Diff(got, want))
	}
}

func (m *scale) callers(rate float64) string {
	const perCaller = 6 // requests an hour: docs/explanation/cost.md, quantity C
	return row(figure(rate), figure(rate*time.Hour.Seconds()/perCaller))
}

func (m *scale) environments(rate float64) string {
	after := figure(m.wanted(rate))
	if m.wanted(rate) > m.started(rate) {
		after += ", of which Lambda starts " + figure(m.started(rate))
	}
	return row(figure(rate), figure(m.busy(rate)), figure(m.planned(rate)), after)
}

func (m *scale) load() (rows []string) {
	for _, rate := range scaleRates {
		for _, apps := range scaleApps {
			n := m.planned(rate)
			introspections, shared := m.introspections(rate, apps)
			reads, writes := m.tableCalls(rate, apps)
			rows = append(rows, row(figure(rate), figure(apps),
				pair(m.started(rate)*apps, apps),
				pair(n*apps/m.lifeHours(), 0),
				pair(introspections, shared),
				figure(m.secretReads(rate, apps)), figure(reads), figure(writes),
				m.first(rate, apps, always, "")))
		}
	}
	return rows
}

// first names the quota, or the quotas, of which most is used.
func (m *scale) first(rate, apps float64, when, table string) string {
	var names []string
	most := 0.0
	for _, s := range m.shares(rate, apps) {
		if s.when != always && s.when != when || s.table != "" && s.table != table {
			continue
		}
		if s.used > most*1.001 {
			names, most = nil, s.used
		}
		service, _, _ := strings.Cut(s.quota, ",")
		if s.used > most*0.999 && !slices.Contains(names, service) {
			names = append(names, service)
		}
	}
	return strings.Join(names, ", ") + " " + percent(most)
}

func (m *scale) quotas() (rows []string) {
	for i, s := range m.shares(scaleRates[0], 1) {
		cells := []string{s.quota, strings.TrimSuffix(s.when+", "+s.table, ", ")}
		for _, rate := range scaleRates {
			cells = append(cells, percent(m.shares(rate, 1)[i].used))
		}
		rows = append(rows, row(cells...))
	}
	for _, s := range []share{
		{when: always}, {when: deployed, table: without}, {when: deployed, table: with},
		{when: refused, table: without}, {when: refused, table: with},
	} {
		cells := []string{"**the first**", strings.TrimSuffix(s.when+", "+s.table, ", ")}
		for _, rate := range scaleRates {
			cells = append(cells, m.first(rate, 1, s.when, s.table))
		}
		rows = append(rows, row(cells...))
	}
	return rows
}

func (m *scale) costs(cost func(rate, apps float64) float64) (rows []string) {
	for _, rate := range scaleRates {
		cells := []string{figure(rate)}
		for _, apps := range scaleApps {
			cells = append(cells, strconv.FormatFloat(cost(rate, apps), 'f', 2, 64))
		}
		rows = append(rows, row(cells...))
	}
	return rows
}

func forEach(values []float64, line func(float64) string) (rows []string) {
	for _, value := range values {
		rows = append(rows, line(value))
	}
	return rows
}

func row(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

func pair(without, with float64) string { return figure(without) + " / " + figure(with) }

// figure writes a number with a comma before every three digits, and a small one with a fraction.
func figure(n float64) string {
	if n < 10 && n != math.Trunc(n) {
		return strconv.FormatFloat(n, 'g', 2, 64)
	}
	text := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func percent(share float64) string {
	switch {
	case share < 0.001:
		return "< 0.1 %"
	case share < 0.1:
		return strconv.FormatFloat(100*share, 'f', 1, 64) + " %"
	}
	return figure(100*share) + " %"
}

// parseAmount returns a number, and a time in seconds.
func parseAmount(t *testing.T, text string) float64 {
	t.Helper()
	amount, unit, _ := strings.Cut(text, " ")
	value, err := strconv.ParseFloat(strings.ReplaceAll(amount, ",", ""), 64)
	if err != nil {
		t.Fatal(err)
	}
	scale, ok := map[string]float64{"": 1, "KB": 1, "ms": 0.001, "hours": time.Hour.Seconds()}[unit]
	if !ok {
		t.Fatalf("unknown unit in %q", text)
	}
	return value * scale
}
