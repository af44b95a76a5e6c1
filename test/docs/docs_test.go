// Package docs compares the documentation with the code and the template: links, names, settings, alarms, queries,
// timing. The commands and the diagrams are checked next to the code that they describe.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

const root = "../../"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// code returns the Go code in the folders, without tests.
func code(t *testing.T, folders ...string) string {
	t.Helper()
	var text strings.Builder
	for _, folder := range folders {
		files, err := filepath.Glob(root + folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", folder, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				text.WriteString(read(t, strings.TrimPrefix(file, root)))
			}
		}
	}
	return text.String()
}

func page(t *testing.T, path string) *mdtest.Page {
	t.Helper()
	return mdtest.Read(t, root+path)
}

func allPages(t *testing.T) []*mdtest.Page {
	t.Helper()
	return mdtest.ReadAll(t, root)
}

// inDocs reports whether the page is the README or below docs/.
func inDocs(page *mdtest.Page) bool {
	return page.Path == root+"README.md" || strings.HasPrefix(page.Path, root+"docs/")
}

func TestLinks(t *testing.T) {
	pages := allPages(t)
	anchors := map[string][]string{}
	for _, page := range pages {
		for _, h := range page.Headings {
			anchors[page.Path] = append(anchors[page.Path], anchor(h.Text))
		}
	}
	links := 0
	linked := map[string]bool{root + "README.md": true}
	for _, page := range pages {
		for _, link := range page.Links {
			if strings.Contains(link.Text, "://") {
				continue
			}
			links++
			target, fragment, _ := strings.Cut(link.Text, "#")
			path := page.Path
			if target != "" {
				path = filepath.Join(filepath.Dir(page.Path), target)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s:%d: broken link %s", page.Path, link.Line, link.Text)
				continue
			}
			if info.IsDir() { // GitHub shows its README
				path = filepath.Join(path, "README.md")
			}
			if fragment != "" && !slices.Contains(anchors[path], fragment) {
				t.Errorf("%s:%d: no heading for %s", page.Path, link.Line, link.Text)
			}
			linked[path] = linked[path] || path != page.Path
		}
	}
	if links < 60 {
		t.Errorf("found only %d links", links)
	}
	for _, page := range pages {
		if !linked[page.Path] {
			t.Errorf("no page links to %s", page.Path)
		}
	}
}

// anchor returns the fragment by which GitHub links to a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// TestNoConflictMarkers looks for what a merge leaves if it is not resolved.
func TestNoConflictMarkers(t *testing.T) {
	marker := regexp.MustCompile(`(?m)^(<{7} |={7}$|>{7} )`)
	for _, page := range allPages(t) {
		if found := marker.FindString(read(t, strings.TrimPrefix(page.Path, root))); found != "" {
			t.Errorf("%s has a line %s", page.Path, found)
		}
	}
}

func TestMakeHelp(t *testing.T) {
	help := exec.Command("make", "--no-print-directory", "help")
	help.Dir = root
	listed, err := help.CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v\n%s", err, listed)
	}
	targets := regexp.MustCompile(`(?m)^([^\s:#.]+):.*## (.*)`).FindAllStringSubmatch(read(t, "Makefile"), -1)
	if len(targets) < 15 {
		t.Errorf("found only %d targets", len(targets))
	}
	for _, target := range targets {
		line := `(?m)^  make ` + target[1] + ` +` + regexp.QuoteMeta(target[2]) + `$`
		if !regexp.MustCompile(line).Match(listed) {
			t.Errorf("make help does not list %s", target[1])
		}
	}
}

func TestMakeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	check := func(page string, line int, text string) {
		for _, match := range regexp.MustCompile(`(?:^|[;&|] *)make ([a-z][a-z0-9-]*)`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + match[1] + `:`).MatchString(makefile) {
				t.Errorf("%s:%d: the Makefile has no target %s", page, line, match[1])
			}
		}
	}
	for _, page := range allPages(t) {
		for _, code := range page.Code {
			check(page.Path, code.Line, code.Text)
		}
		for _, b := range page.Blocks {
			for line := range strings.Lines(b.Text) {
				check(page.Path, b.Line, strings.TrimSpace(line))
			}
		}
	}
}

func TestDecisionRecords(t *testing.T) {
	paths, err := filepath.Glob(root + "docs/explanation/decisions/0*.md")
	if err != nil || len(paths) < 10 {
		t.Fatalf("found %d decision records: %v", len(paths), err)
	}
	for i, path := range paths {
		page := mdtest.Read(t, path)
		var sections []string
		for _, h := range page.Headings[1:] {
			sections = append(sections, h.Text)
		}
		if !slices.Equal(sections, []string{"Context", "Decision", "Alternatives", "Consequences"}) {
			t.Errorf("%s has the sections %q", path, sections)
		}
		number := regexp.MustCompile(`^\D*0*(\d+)-`).FindStringSubmatch(filepath.Base(path))[1]
		if !strings.HasPrefix(page.Headings[0].Text, number+". ") || number != strconv.Itoa(i+1) {
			t.Errorf("%s is decision %d, its title is %q", path, i+1, page.Headings[0].Text)
		}
	}
}

// A block without a language is not run by the tests.
func TestBlocksHaveALanguage(t *testing.T) {
	for _, page := range allPages(t) {
		for _, b := range page.Blocks {
			if b.Language == "" && inDocs(page) {
				t.Errorf("%s:%d: the block has no language", page.Path, b.Line)
			}
		}
	}
}

// diagramLines are the lines after the first that a Mermaid diagram may have, by its first. They have no pitfalls: a
// semicolon, for example, would end the line.
var diagramLines = map[string]*regexp.Regexp{
	"sequenceDiagram": regexp.MustCompile(
		`^    (?:participant \w+ as [^;#]+|Note over \w+: [^;#]+|\w+--?>>\w+: [^;#]+)$`),
	"flowchart TD": regexp.MustCompile(`^    (?:\w+\["[\w/]+(?:<br/>[\w/]+)*"\]|\w+ --> \w+)$`),
}

func TestDiagrams(t *testing.T) {
	for _, page := range allPages(t) {
		for _, b := range page.Blocks {
			if b.Language != "mermaid" {
				continue
			}
			first, rest, _ := strings.Cut(strings.TrimSuffix(b.Text, "\n"), "\n")
			allowed := diagramLines[first]
			if allowed == nil {
				t.Errorf("%s:%d: %s", page.Path, b.Line+1, first)
				continue
			}
			for i, text := range strings.Split(rest, "\n") {
				if !allowed.MatchString(text) {
					t.Errorf("%s:%d: %s", page.Path, b.Line+2+i, text)
				}
			}
		}
	}
}

// TestThreatModelProofs checks that every threat names tests and that each of them exists.
func TestThreatModelProofs(t *testing.T) {
	exists := map[string]bool{}
	for pattern := range strings.FieldsSeq("*/*_test.go */*/*_test.go */*/*/*_test.go */*/*/*/*_test.go test/e2e/*.py") {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			declaration := regexp.MustCompile(`(?m)^\s*(?:func|def) ([Tt]est\w+)\(`)
			for _, match := range declaration.FindAllStringSubmatch(string(text), -1) {
				exists[match[1]] = true
			}
		}
	}
	rows := page(t, "docs/explanation/threat-model.md").TablesUnder(t, "Threats and defenses")[0]
	if len(rows) < 20 {
		t.Fatalf("found %d threats", len(rows))
	}
	for _, row := range rows {
		proofs := mdtest.Code(row[3])
		if len(proofs) == 0 {
			t.Errorf("no test proves the defense against: %s", row[0])
		}
		for _, proof := range proofs {
			name, script, isScript := strings.Cut(proof, "/") // TestScripts/put is a script of the command-line tool
			_, err := os.Stat(root + "cmd/sftoken/testdata/script/" + script + ".txtar")
			if !exists[name] || isScript && err != nil {
				t.Errorf("there is no test %s", proof)
			}
		}
	}
}

// TestReadmePython checks that the README calls functions that the copied module has.
func TestReadmePython(t *testing.T) {
	module := read(t, "examples/cross-account/python/sftoken.py")
	calls := 0
	for _, b := range page(t, "README.md").Blocks {
		for _, match := range regexp.MustCompile(`sftoken\.(\w+)\(`).FindAllStringSubmatch(b.Text, -1) {
			if b.Language != "python" {
				continue
			}
			calls++
			if !regexp.MustCompile(`(?m)^(?:def|class) ` + match[1] + `\b`).MatchString(module) {
				t.Errorf("sftoken.py has no %s", match[1])
			}
		}
	}
	if calls == 0 {
		t.Error("the README has no Python")
	}
}
