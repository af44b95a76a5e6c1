// This file checks what docs/deploy.md says of the template, and its arithmetic.
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

// section returns the text under a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("deploy.md has no section %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rows returns the cells of a section's tables.
func rows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

var parameter = regexp.MustCompile(`(?m)^  (\w+):\n(?:    .*\n)*?    Default: (.*)$`)

func TestEachParameterIsInTheTable(t *testing.T) {
	told := map[string]string{}
	for _, row := range rows(section(t, read(t, "docs/deploy.md"), "Parameters")) {
		told[strings.Trim(row[0], "`")] = strings.Trim(row[1], "`")
	}
	_, template, _ := strings.Cut(read(t, "template.yaml"), "\nParameters:\n")
	template, _, _ = strings.Cut(template, "\nConditions:\n")
	all := parameter.FindAllStringSubmatch(template, -1)
	if len(all) < 14 {
		t.Fatalf("%d parameters in the template", len(all))
	}
	for _, p := range all {
		name, value := p[1], strings.Trim(p[2], `"`)
		if got, ok := told[name]; !ok || got != value {
			t.Errorf("deploy.md says of %s: default %q (in the table: %t), the template %q", name, got, ok, value)
		}
	}
}

func TestTheAlarmsAreCounted(t *testing.T) {
	text := section(t, read(t, "docs/deploy.md"), "What it costs")
	said := regexp.MustCompile(`alarms: (\d+) of the stack, (\d+) for each app`).FindStringSubmatch(text)
	template := read(t, "template.yaml")
	all := regexp.MustCompile(`(?m)^      AlarmDescription: (.*)$`).FindAllStringSubmatch(template, -1)
	apps := 0
	for _, alarm := range all {
		if strings.Contains(alarm[1], "${AppName}") {
			apps++
		}
	}
	if said == nil || said[1] != strconv.Itoa(len(all)-apps) || said[2] != strconv.Itoa(apps) {
		t.Errorf("deploy.md says %q, the template has %d alarms of the stack and %d for each app", said, len(all)-apps, apps)
	}
}

// TestTheCostsAddUp works out each row's arithmetic, as Go's own constants, which write it almost alike.
func TestTheCostsAddUp(t *testing.T) {
	values := map[string][]float64{}
	sum := make([]float64, 3)
	items := 0
	for _, row := range rows(section(t, read(t, "docs/deploy.md"), "What it costs")) {
		if len(row) != 5 || row[2] == "small" {
			continue
		}
		var want []float64
		for _, cell := range row[2:] {
			number, err := strconv.ParseFloat(strings.NewReplacer(",", "", "*", "").Replace(cell), 64)
			if err != nil {
				t.Fatalf("%s: %v", row[0], err)
			}
			want = append(want, number)
		}
		_, arithmetic, isNumber := strings.Cut(row[1], "millions: ")
		switch {
		case len(row[0]) == 1 && !isNumber:
			values[row[0]] = want
			continue
		case strings.HasPrefix(row[0], "**all**"):
			for i := range sum {
				if math.Abs(sum[i]-want[i]) > 0.0051 {
					t.Errorf("all: %v, and the rows make %.2f", row[i+2], sum[i])
				}
			}
			if items < 14 {
				t.Errorf("%d items", items)
			}
			return
		case !isNumber:
			arithmetic = row[1]
			items++
		}
		for i := range want {
			got := evaluate(t, arithmetic, values, i)
			if math.Abs(got-want[i]) > 0.0051 {
				t.Errorf("%s: %s is %.4f, not %s", row[0], arithmetic, got, row[i+2])
			}
			if !isNumber {
				sum[i] += got
			}
		}
		if isNumber {
			values[row[0]] = want
		}
	}
	t.Error("no line for all of it")
}

var (
	thousands = regexp.MustCompile(`(\d),(\d{3})`)
	whole     = regexp.MustCompile(`(^|[^.\d])(\d+)([^.\d]|$)`)
)

func evaluate(t *testing.T, arithmetic string, values map[string][]float64, size int) float64 {
	t.Helper()
	expression := strings.NewReplacer("×", "*", "÷", "/", "−", "-").Replace(arithmetic)
	for thousands.MatchString(expression) {
		expression = thousands.ReplaceAllString(expression, "$1$2")
	}
	expression = whole.ReplaceAllString(expression, "$1$2.0$3") // no division of whole numbers
	for name, value := range values {
		expression = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(expression, strconv.FormatFloat(value[size], 'f', 6, 64))
	}
	result, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
	if err != nil {
		t.Fatalf("%s: %v", arithmetic, err)
	}
	number, _ := constant.Float64Val(result.Value)
	return number
}
