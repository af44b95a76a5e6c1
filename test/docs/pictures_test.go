package docs

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/test/docs/svgtest"
)

// TestFleetPicture draws the table "Logins against environments", whose numbers TestFleetLogins measures. Where
// UPDATE_GOLDEN is set, it writes the picture first.
func TestFleetPicture(t *testing.T) {
	const path = "docs/images/fleet-logins.svg"
	plot := svgtest.Plot{
		Title:    "Logins of one app against environments of the token function",
		Subtitle: "Solid lines: each environment has its own token. Dashed lines: SharedTokens=on.",
		X:        "environments", Y: "logins at Salesforce", Decades: [2]int{3, 5},
		Limit: 3600, LimitBy: "3,600 an hour: Salesforce's limit for a user",
	}
	rows := page(t, scalePage).TablesUnder(t, "Logins against environments")[0]
	for i, s := range []struct {
		name    string
		columns []int // which have the same numbers
	}{
		{"per deployment or rotation", []int{1, 3}}, {"an hour while rate-limited", []int{4}},
		{"an hour while credentials fail", []int{5}},
	} {
		without, with := svgtest.Series{Name: s.name, Color: i}, svgtest.Series{Name: s.name, Color: i, Dashed: true}
		for _, row := range rows {
			left, right, _ := strings.Cut(row[s.columns[0]], " / ")
			n := numbers(t, []string{row[0], left, right})
			without.Points = append(without.Points, [2]float64{n[0], n[1]})
			with.Points = append(with.Points, [2]float64{n[0], n[2]})
			for _, column := range s.columns {
				if row[column] != row[s.columns[0]] {
					t.Fatalf("%s environments: %q and %q need lines of their own", row[0], row[column], row[s.columns[0]])
				}
			}
		}
		plot.Series = append(plot.Series, without, with)
	}
	svg := plot.SVG()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(root+path, []byte(svg), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, path), svg); diff != "" {
		t.Errorf("%s differs (-picture +table). Run make pictures:\n%s", path, diff)
	}
}
