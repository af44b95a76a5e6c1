package docs

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/test/docs/svgtest"
)

// TestPictures checks that every picture of docs/images/ is well-formed, small, complete in itself, and embedded in a
// page, and that every embedded picture has an alternative text.
func TestPictures(t *testing.T) {
	embedded := map[string]bool{}
	for _, page := range allPages(t) {
		for _, image := range page.Images {
			embedded[filepath.Join(filepath.Dir(page.Path), image.Path)] = true
			if len(image.Alt) < 20 {
				t.Errorf("%s:%d: the alternative text of %s is %q", page.Path, image.Line, image.Path, image.Alt)
			}
		}
	}
	paths, err := filepath.Glob(root + "docs/images/*")
	if err != nil || len(paths) < 4 {
		t.Fatalf("found %d pictures: %v", len(paths), err)
	}
	for _, path := range paths {
		text := read(t, strings.TrimPrefix(path, root))
		var svg struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
			Title   string   `xml:"title"`
		}
		if err := xml.Unmarshal([]byte(text), &svg); err != nil || svg.Title == "" {
			t.Errorf("%s: title %q: %v", path, svg.Title, err)
		}
		if !embedded[path] || len(text) > 150_000 {
			t.Errorf("%s: %d bytes, embedded in a page: %t", path, len(text), embedded[path])
		}
		if regexp.MustCompile(`<script|href=|@import|url\([^#]`).MatchString(text) {
			t.Errorf("%s needs more than itself, which GitHub does not load", path)
		}
	}
}

// TestArchitecturePicture checks that the picture shows parts that the template has.
func TestArchitecturePicture(t *testing.T) {
	template := read(t, "template.yaml")
	parts := regexp.MustCompile(`<g id="(\w+)">`).FindAllStringSubmatch(read(t, "docs/images/architecture.svg"), -1)
	if len(parts) < 7 {
		t.Errorf("found only %d parts", len(parts))
	}
	for _, part := range parts {
		if !regexp.MustCompile(`(?m)^ +` + part[1] + `:$`).MatchString(template) {
			t.Errorf("docs/images/architecture.svg shows %s, which template.yaml does not have", part[1])
		}
	}
}

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
