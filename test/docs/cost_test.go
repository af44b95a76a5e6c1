package docs

import (
	"go/constant"
	"go/token"
	"go/types"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestCostArithmetic evaluates each row of docs/explanation/cost.md as a Go constant expression.
func TestCostArithmetic(t *testing.T) {
	tables := page(t, "docs/explanation/cost.md").TablesUnder(t, "Cost")
	if len(tables) != 10 || len(tables[1]) < 15 {
		t.Fatalf("found %d tables", len(tables))
	}
	values := map[string][]float64{} // the quantities of the first table, by letter, for each size
	for _, row := range tables[0] {
		values[row[0]] = numbers(t, row[2:])
		if _, formula, ok := strings.Cut(row[1], "millions: "); ok {
			check(t, row[0], formula, values)
		}
	}
	for _, table := range tables[1:] {
		checkSum(t, table, values)
	}
	sums := regexp.MustCompile(`(\d[\d,.]*(?: × \d[\d,.]*)+)\s+=\s+(\d[\d,]*(?:\.\d+)?)`)
	found := sums.FindAllStringSubmatch(read(t, "docs/explanation/cost.md"), -1)
	if len(found) < 3 {
		t.Errorf("found only %d products in the text", len(found))
	}
	for _, match := range found {
		values["row"] = numbers(t, match[2:])
		check(t, "row", match[1], values)
	}
}

// checkSum checks each row of a table, and its last one, which is the total.
func checkSum(t *testing.T, table [][]string, values map[string][]float64) {
	t.Helper()
	items, total := table[:len(table)-1], table[len(table)-1]
	if !strings.HasPrefix(total[0], "**") {
		t.Errorf("there is no total: %q", total)
	}
	sum := make([]float64, 3)
	for _, row := range items {
		values["row"] = numbers(t, row[2:])
		for size, cost := range check(t, "row", row[1], values) {
			sum[size] += cost
		}
	}
	for size, want := range numbers(t, total[2:]) {
		if math.Abs(sum[size]-want) > 0.0051 {
			t.Errorf("total: %v, want %.2f", want, sum[size])
		}
	}
}

func numbers(t *testing.T, cells []string) []float64 {
	t.Helper()
	var all []float64
	for _, cell := range cells {
		number, err := strconv.ParseFloat(strings.NewReplacer(",", "", "*", "").Replace(cell), 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, number)
	}
	return all
}

// check compares the values of name with the formula and returns what the formula yields for each size.
func check(t *testing.T, name, formula string, values map[string][]float64) []float64 {
	t.Helper()
	var results []float64
	for size, want := range values[name] {
		got := evaluate(t, formula, values, size)
		if math.Abs(got-want) > 0.0051 {
			t.Errorf("%s is %.4f, not %v", formula, got, want)
		}
		results = append(results, got)
	}
	return results
}

var (
	thousands = regexp.MustCompile(`(\d),(\d{3})`)
	integer   = regexp.MustCompile(`(^|[^.\d])(\d+)([^.\d]|$)`)
	letter    = regexp.MustCompile(`\b[A-Z]\b`)
)

func evaluate(t *testing.T, formula string, values map[string][]float64, size int) float64 {
	t.Helper()
	expression := strings.NewReplacer("×", "*", "÷", "/", "−", "-").Replace(formula)
	for thousands.MatchString(expression) {
		expression = thousands.ReplaceAllString(expression, "$1$2")
	}
	expression = integer.ReplaceAllString(expression, "$1$2.0$3") // no integer division
	expression = letter.ReplaceAllStringFunc(expression, func(name string) string {
		return strconv.FormatFloat(values[name][size], 'f', 6, 64)
	})
	result, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
	if err != nil {
		t.Fatalf("%s: %v", formula, err)
	}
	number, _ := constant.Float64Val(result.Value)
	return number
}

func TestAlarmCount(t *testing.T) {
	text := read(t, "docs/explanation/cost.md") + read(t, "docs/how-to/deploy.md")
	template := read(t, "template.yaml")
	perStack, perApp, replicated, shared, probe := 0, 0, 0, 0, 0
	for _, alarm := range alarmDefinition.FindAllString(template, -1) {
		switch {
		case strings.Contains(alarm, "\n    Condition: HasReplicas\n"):
			replicated++
		case strings.Contains(alarm, "\n    Condition: HasSharedTokens\n"):
			shared++
		case strings.Contains(alarm, "\n    Condition: HasProbe\n"):
			probe++
		case strings.Contains(alarm, "${AppName}"):
			perApp++
		default:
			perStack++
		}
	}
	for pattern, want := range map[string][]int{
		`alarms: (\d+) for the stack, (\d+) for each app`: {perStack, perApp},
		`(\d+) alarms for the stack and (\d+) for each app, (\d+) more for each app with .ReplicaRegions., ` +
			`(\d+) more with\s.SharedTokens., and (\d+) more with .ProbeS`: {
			perStack, perApp, replicated, shared, probe,
		},
		`alarms: (\d+) with ProbeSchedule \| 0.10 × (\d+) `:                   {probe, probe},
		`alarms: (\d+) with SharedTokens \| 0.10 × (\d+) `:                    {shared, shared},
		`alarms: (\d+) with ReplicaRegions for each app \| 0.10 × (\d+) × A `: {replicated, replicated},
		// The standby stack has no schedule, and so no RotationOverdue.
		`alarms of the standby stack: (\d+), and (\d+) for each app`: {perStack, perApp - 1},
	} {
		match := regexp.MustCompile(pattern).FindStringSubmatch(text)
		for i, n := range want {
			if match == nil || match[i+1] != strconv.Itoa(n) {
				t.Errorf("%q: the template has %d alarms", match, want)
				break
			}
		}
	}
}
