package docs

import (
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

func TestArchitectureTable(t *testing.T) {
	var documented []string
	for _, table := range page(t, "docs/development.md").TablesUnder(t, "Packages and folders") {
		for _, row := range table {
			documented = append(documented, mdtest.Code(row[0])...)
		}
	}
	for _, pattern := range []string{"functions/*", "pkg/*", "internal/*", "internal/sim/*", "cmd/*"} {
		folders, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			name := strings.TrimPrefix(folder, root) + "/"
			info, err := os.Stat(folder)
			if err == nil && info.IsDir() && name != "internal/sim/" && !slices.Contains(documented, name) {
				t.Errorf("docs/development.md does not describe %s", name)
			}
		}
	}
	for _, name := range documented {
		if _, err := os.Stat(root + name); err != nil && strings.HasSuffix(name, "/") {
			t.Errorf("docs/development.md describes %s, which does not exist", name)
		}
	}
}

// importsOf returns the packages of this module that the package imports, without those of its tests.
func importsOf(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(root + folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s is no package (%v)", folder, err)
	}
	found := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if path, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "github.com/sftoken/sftoken/"); ok {
				found[path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestPackagePicture compares the picture of the packages with the imports: each arrow is an import, each import is an
// arrow or a path of arrows, and the picture has every package of the programs.
func TestPackagePicture(t *testing.T) {
	text := page(t, "docs/development.md").Diagrams(t, "The packages in one picture")[0].Text
	nodeOf, packages := map[string]string{}, map[string][]string{}
	for _, match := range regexp.MustCompile(`(?m)^    (\w+)\["(.*)"\]$`).FindAllStringSubmatch(text, -1) {
		packages[match[1]] = strings.Split(match[2], "<br/>")
		for _, folder := range packages[match[1]] {
			nodeOf[folder] = match[1]
		}
	}
	arrows := map[string][]string{}
	for _, match := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+)$`).FindAllStringSubmatch(text, -1) {
		if packages[match[1]] == nil || packages[match[2]] == nil {
			t.Errorf("%s: there is no such package", match[0])
		}
		arrows[match[1]] = append(arrows[match[1]], match[2])
	}
	var reaches func(from, to string) bool
	reaches = func(from, to string) bool {
		return from == to || slices.ContainsFunc(arrows[from], func(next string) bool { return reaches(next, to) })
	}
	imports := map[string]bool{} // between nodes
	seen := map[string]bool{}
	var visit func(folder string)
	visit = func(folder string) {
		if seen[folder] {
			return
		}
		seen[folder] = true
		if nodeOf[folder] == "" {
			t.Errorf("the picture lacks %s", folder)
		}
		for _, imported := range importsOf(t, folder) {
			imports[nodeOf[folder]+" "+nodeOf[imported]] = true
			if !reaches(nodeOf[folder], nodeOf[imported]) {
				t.Errorf("%s imports %s, which the picture does not allow", folder, imported)
			}
			visit(imported)
		}
	}
	for _, program := range []string{"cmd/sftoken", "functions/token", "functions/rotate", "functions/probe"} {
		visit(program)
	}
	for from, list := range arrows {
		for _, to := range list {
			if !imports[from+" "+to] {
				t.Errorf("the picture has %s --> %s, which is no import", from, to)
			}
		}
	}
	for folder := range nodeOf {
		if !seen[folder] {
			t.Errorf("the picture has %s, which no program imports", folder)
		}
	}
}

// TestDevelopmentNames checks that the files in the tables of docs/development.md declare the functions and types that
// are named beside them, and that every path on the page exists.
func TestDevelopmentNames(t *testing.T) {
	p := page(t, "docs/development.md")
	names := 0
	for _, heading := range []string{
		"A request's way through the code", "A rotation's way through the code", "Where state lives",
	} {
		for _, row := range p.TablesUnder(t, heading)[0] {
			var code strings.Builder
			var declared []string
			for _, span := range slices.Concat(mdtest.Code(row[1]), mdtest.Code(row[2])) {
				if !strings.Contains(span, "/") {
					declared = append(declared, span)
					continue
				}
				paths := []string{root + span}
				if strings.HasSuffix(span, "/") {
					paths, _ = filepath.Glob(root + span + "*.go")
				}
				for _, path := range paths {
					code.WriteString(read(t, strings.TrimPrefix(path, root)))
				}
			}
			for _, name := range declared {
				names++
				declaration := `(?m)^(?:func (?:\([^)]*\) )?|type )` + name + `\b`
				if !regexp.MustCompile(declaration).MatchString(code.String()) {
					t.Errorf("%s: %s declares no %s", row[0], row[1], name)
				}
			}
		}
	}
	if names < 50 {
		t.Errorf("found only %d names", names)
	}
	inRepository := regexp.MustCompile(`^(?:cmd|docs|events|examples|functions|internal|pkg|salesforce|test)/`)
	for _, span := range p.Code {
		if !inRepository.MatchString(span.Text) {
			continue
		}
		if _, err := os.Stat(root + span.Text); err != nil {
			t.Errorf("%s:%d: %v", p.Path, span.Line, err)
		}
	}
}
