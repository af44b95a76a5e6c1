// Tests that hold the documentation against the code and the template: links, names, settings, alarms. What it says to type is run in
// cmd/sftoken, which also asks its queries; the diagrams and the errors are compared beside the code that they are about.
package docs

import (
	"io/fs"
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

// all returns every page of the repository.
func all(t *testing.T) []*mdtest.Page {
	t.Helper()
	var found []*mdtest.Page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != root || entry.Name() == "testdata" || entry.Name() == "node_modules"):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			found = append(found, mdtest.Read(t, path))
		}
		return nil
	})
	if err != nil || len(found) < 20 {
		t.Fatalf("%d pages were found: %v", len(found), err)
	}
	return found
}

var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

func TestLinks(t *testing.T) {
	anchors := map[string][]string{} // of each page
	for _, page := range all(t) {
		for _, h := range page.Headings {
			anchors[page.Path] = append(anchors[page.Path], anchor(h.Text))
		}
	}
	links := 0
	for _, page := range all(t) {
		for _, line := range page.Prose {
			for _, match := range link.FindAllStringSubmatch(line.Text, -1) {
				if strings.Contains(match[1], "://") {
					continue
				}
				links++
				target, fragment, _ := strings.Cut(match[1], "#")
				path := page.Path
				if target != "" {
					path = filepath.Join(filepath.Dir(page.Path), target)
				}
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s:%d: %s leads nowhere", page.Path, line.Number, match[1])
				} else if fragment != "" && !slices.Contains(anchors[path], fragment) {
					t.Errorf("%s:%d: there is no heading for %s", page.Path, line.Number, match[1])
				}
			}
		}
	}
	if links < 60 {
		t.Errorf("only %d links were found", links)
	}
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// A page that nobody is led to is not read.
func TestEveryPageIsLinked(t *testing.T) {
	linked := map[string]bool{filepath.Clean(root + "README.md"): true}
	for _, page := range all(t) {
		for _, line := range page.Prose {
			for _, match := range link.FindAllStringSubmatch(line.Text, -1) {
				target, _, _ := strings.Cut(match[1], "#")
				path := filepath.Join(filepath.Dir(page.Path), target)
				if info, err := os.Stat(path); err == nil && info.IsDir() { // GitHub shows its README
					path = filepath.Join(path, "README.md")
				}
				if target != "" && path != page.Path {
					linked[path] = true
				}
			}
		}
	}
	for _, page := range all(t) {
		if !linked[filepath.Clean(page.Path)] {
			t.Errorf("no page leads to %s", page.Path)
		}
	}
}

// A target that `make help` does not list is not found.
func TestMakeHelp(t *testing.T) {
	help := exec.Command("make", "--no-print-directory", "help")
	help.Dir = root
	listed, err := help.CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v\n%s", err, listed)
	}
	targets := regexp.MustCompile(`(?m)^([^\s:#.]+):.*## (.*)`).FindAllStringSubmatch(read(t, "Makefile"), -1)
	if len(targets) < 15 {
		t.Errorf("only %d targets were found", len(targets))
	}
	for _, target := range targets {
		if !regexp.MustCompile(`(?m)^  make ` + target[1] + ` +` + regexp.QuoteMeta(target[2]) + `$`).Match(listed) {
			t.Errorf("make help does not list %s", target[1])
		}
	}
}

func TestMakeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	check := func(page string, line int, text string) {
		for _, match := range regexp.MustCompile(`(?:^|[;&|] *)make ([a-z][a-z0-9-]*)`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + match[1] + `:`).MatchString(makefile) {
				t.Errorf("%s:%d: the Makefile has no %s", page, line, match[1])
			}
		}
	}
	for _, page := range all(t) {
		for _, line := range page.Prose {
			for _, code := range mdtest.Code(line.Text) {
				check(page.Path, line.Number, code)
			}
		}
		for _, b := range page.Blocks {
			for line := range strings.Lines(b.Text) {
				check(page.Path, b.Line, strings.TrimSpace(line))
			}
		}
	}
}

// TestTheArchitectureOfTheReadme holds the table of the folders against the folders.
func TestTheArchitectureOfTheReadme(t *testing.T) {
	text := strings.Builder{}
	for _, line := range mdtest.Read(t, root+"README.md").Section(t, "Architecture") {
		text.WriteString(line.Text + "\n")
	}
	documented := mdtest.Code(text.String())
	for _, pattern := range []string{"functions/*", "pkg/*", "internal/*", "cmd/*"} {
		folders, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			if name := strings.TrimPrefix(folder, root) + "/"; !slices.Contains(documented, name) {
				t.Errorf("the README does not say what %s is", name)
			}
		}
	}
	for _, name := range documented {
		if _, err := os.Stat(root + name); err != nil && strings.HasSuffix(name, "/") {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestDecisions(t *testing.T) {
	paths, err := filepath.Glob(root + "docs/decisions/0*.md")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d decisions: %v", len(paths), err)
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
			t.Errorf("%s is the decision number %d and is called %q", path, i+1, page.Headings[0].Text)
		}
	}
}

// What is not said to be a shell's is not tried.
func TestBlocksSayTheirLanguage(t *testing.T) {
	for _, page := range all(t) {
		for _, b := range page.Blocks {
			if b.Language == "" && (page.Path == root+"README.md" || strings.HasPrefix(page.Path, root+"docs/")) {
				t.Errorf("%s:%d: the block does not say its language", page.Path, b.Line)
			}
		}
	}
}

// TestDiagrams keeps to what Mermaid surely reads: a semicolon, for one, ends a line.
func TestDiagrams(t *testing.T) {
	line := regexp.MustCompile(`^    (?:participant \w+ as [^;#]+|Note over \w+: [^;#]+|\w+--?>>\w+: [^;#]+)$`)
	for _, page := range all(t) {
		for _, b := range page.Blocks {
			if b.Language != "mermaid" {
				continue
			}
			lines := strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n")
			for i, text := range lines {
				if i == 0 && text != "sequenceDiagram" || i > 0 && !line.MatchString(text) {
					t.Errorf("%s:%d: %s", page.Path, b.Line+1+i, text)
				}
			}
		}
	}
}

// TestTheProofsOfTheThreatModel checks that every threat names tests, and that each of them exists.
func TestTheProofsOfTheThreatModel(t *testing.T) {
	exists := map[string]bool{}
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go", "test/e2e/*.py"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range regexp.MustCompile(`(?m)^\s*(?:func|def) ([Tt]est\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				exists[match[1]] = true
			}
		}
	}
	rows := mdtest.Tables(mdtest.Read(t, root+"docs/threat-model.md").Section(t, "Threats, and what defends"))[0]
	if len(rows) < 20 {
		t.Fatalf("%d threats", len(rows))
	}
	for _, row := range rows {
		proofs := mdtest.Code(row[3])
		if len(proofs) == 0 {
			t.Errorf("no test proves what defends against: %s", row[0])
		}
		for _, proof := range proofs {
			if !exists[proof] {
				t.Errorf("there is no test %s", proof)
			}
		}
	}
}
