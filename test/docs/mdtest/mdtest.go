// Package mdtest reads the documentation for the tests that hold it against the code: what stands in fences, tables, headings and
// diagrams. What is true is up to those tests.
package mdtest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Page is one Markdown file. It is immutable.
type Page struct {
	Path     string
	Headings []Heading
	Blocks   []Block
	Prose    []Line // every line outside of blocks, headings included
}

// Heading begins a section.
type Heading struct {
	Level int // 1: the page's title
	Text  string
	Line  int
}

// Block is a fenced block.
type Block struct {
	Heading  string // that it stands under; empty: none
	Before   string // the prose between it and the heading or the block before
	Language string // empty: it does not say
	Text     string // ends in a newline
	Line     int    // of its first fence
}

// Line is one line of a page, counted from 1.
type Line struct {
	Number int
	Text   string
}

var heading = regexp.MustCompile(`^(#+) +(.*)$`)

// Read reads a page. A block without an end fails the test.
func Read(t testing.TB, path string) *Page {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &Page{Path: path}
	var open *Block
	var before []string
	under := ""
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch found := heading.FindStringSubmatch(line); {
		case fence && open != nil:
			p.Blocks = append(p.Blocks, *open)
			open, before = nil, nil
		case fence:
			open = &Block{Heading: under, Before: strings.Join(before, "\n"), Language: language, Line: i + 1}
		case open != nil:
			open.Text += line + "\n"
		default:
			p.Prose = append(p.Prose, Line{i + 1, line})
			before = append(before, line)
			if found != nil {
				under, before = found[2], nil
				p.Headings = append(p.Headings, Heading{len(found[1]), found[2], i + 1})
			}
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block does not end", path, open.Line)
	}
	return p
}

// Section returns the prose under the heading, up to the next one of its level. A heading that there is not fails the test.
func (p *Page) Section(t testing.TB, text string) []Line {
	t.Helper()
	for i, h := range p.Headings {
		if h.Text != text {
			continue
		}
		end := 1 << 30
		for _, next := range p.Headings[i+1:] {
			if next.Level <= h.Level {
				end = next.Line
				break
			}
		}
		var lines []Line
		for _, line := range p.Prose {
			if line.Number > h.Line && line.Number < end {
				lines = append(lines, line)
			}
		}
		return lines
	}
	t.Fatalf("%s has no section %q", p.Path, text)
	return nil
}

// Tables returns the rows of each table among the lines, without its head, cell by cell.
func Tables(lines []Line) [][][]string {
	var tables [][][]string
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line.Text, "| ---"):
			tables = append(tables, nil)
		case strings.HasPrefix(line.Text, "|") && i > 0 && strings.HasPrefix(lines[i-1].Text, "|"):
			var cells []string
			for _, cell := range strings.Split(strings.Trim(line.Text, "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			tables[len(tables)-1] = append(tables[len(tables)-1], cells)
		}
	}
	return tables
}

var code = regexp.MustCompile("`([^`]+)`")

// Code returns what stands in backticks in a text.
func Code(text string) []string {
	var all []string
	for _, found := range code.FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	return all
}

// Diagrams returns the page's diagrams under the heading. Where there are none, the test fails.
func (p *Page) Diagrams(t testing.TB, heading string) []Block {
	t.Helper()
	var all []Block
	for _, b := range p.Blocks {
		if b.Heading == heading && b.Language == "mermaid" {
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no diagram under %q", p.Path, heading)
	}
	return all
}

// Arrows returns the texts at a sequence diagram's arrows from one participant to others, in order, with a colon behind the other:
// "S: GetSecretValue".
func (b Block) Arrows(from string, to ...string) []string {
	arrow := regexp.MustCompile(`(?m)^ *` + from + `->>(` + strings.Join(to, "|") + `): (.*)$`)
	var all []string
	for _, found := range arrow.FindAllStringSubmatch(b.Text, -1) {
		all = append(all, found[1]+": "+found[2])
	}
	return all
}
