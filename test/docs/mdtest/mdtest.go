// Package mdtest parses Markdown pages for tests that compare the documentation with the code.
package mdtest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
)

// Page is one Markdown file. It is immutable.
type Page struct {
	Path     string
	Headings []Heading
	Blocks   []Block
	Links    []Span // their destinations, and those of images
	Images   []Image
	Code     []Span // inline code
	Tables   []Table
}

// Heading is a heading of a page.
type Heading struct {
	Level int // 1: the page's title
	Text  string
	Line  int
}

// Block is a code block.
type Block struct {
	Heading  string // the nearest heading above; empty if there is none
	Before   string // the text between the block and the heading or block before it
	Language string // empty if the fence names none; "indented" for a block without a fence
	Text     string // ends in a newline
	Line     int
}

// Span is a piece of text within a page.
type Span struct {
	Text string
	Line int
}

// Image is an embedded picture.
type Image struct {
	Path string // relative to the page
	Alt  string // the text for readers who do not see it
	Line int
}

// Table holds a table's rows without its head. A cell is Markdown.
type Table struct {
	Rows [][]string
	Line int
}

// Read parses the page at path. It fails the test if a fence is not closed.
func Read(t testing.TB, path string) *Page {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &Page{Path: path}
	line := func(offset int) int { return bytes.Count(source[:offset], []byte("\n")) + 1 }
	raw := func(n ast.Node) string { return string(n.Lines().Value(source)) }
	content := func(n ast.Node) string { // without line breaks and markup
		var all []byte
		_ = ast.Walk(n, func(part ast.Node, entering bool) (ast.WalkStatus, error) {
			if text, ok := part.(*ast.Text); ok && entering {
				all = append(all, text.Value(source)...)
				if text.SoftLineBreak() {
					all = append(all, ' ')
				}
			}
			return ast.WalkContinue, nil
		})
		return strings.ReplaceAll(string(all), "\n", " ")
	}
	previous := 0 // offset of the end of the last heading or block
	addBlock := func(n ast.Node, language string) {
		b := Block{Before: string(source[previous:n.Pos()]), Language: language, Text: raw(n), Line: line(n.Pos())}
		if len(p.Headings) > 0 {
			b.Heading = p.Headings[len(p.Headings)-1].Text
		}
		p.Blocks = append(p.Blocks, b)
		previous = n.Lines().At(n.Lines().Len() - 1).Stop
	}
	doc := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader(source))
	err = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			p.Headings = append(p.Headings, Heading{n.Level, raw(n), line(n.Pos())})
			previous = n.Lines().At(0).Stop
		case *ast.FencedCodeBlock:
			addBlock(n, string(n.Language(source)))
			if !bytes.HasPrefix(bytes.TrimSpace(source[previous:]), []byte("```")) {
				t.Errorf("%s:%d: the fence is not closed", path, line(n.Pos()))
			}
		case *ast.CodeBlock:
			addBlock(n, "indented")
		case *ast.Link:
			p.Links = append(p.Links, Span{string(n.Destination), line(n.Pos())})
		case *ast.Image:
			p.Links = append(p.Links, Span{string(n.Destination), line(n.Pos())})
			p.Images = append(p.Images, Image{string(n.Destination), content(n), line(n.Pos())})
		case *ast.CodeSpan:
			p.Code = append(p.Code, Span{content(n), line(n.Pos())})
		case *east.Table:
			p.Tables = append(p.Tables, Table{Line: line(n.Pos())})
		case *east.TableRow:
			var cells []string
			for cell := n.FirstChild(); cell != nil; cell = cell.NextSibling() {
				cells = append(cells, strings.TrimSpace(raw(cell)))
			}
			table := &p.Tables[len(p.Tables)-1]
			table.Rows = append(table.Rows, cells)
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ReadAll parses every page of the repository whose root is given.
func ReadAll(t testing.TB, root string) []*Page {
	t.Helper()
	var pages []*Page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != root ||
			entry.Name() == "testdata" || entry.Name() == "node_modules"):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			pages = append(pages, Read(t, path))
		}
		return nil
	})
	if err != nil || len(pages) < 20 {
		t.Fatalf("found %d pages: %v", len(pages), err)
	}
	return pages
}

// TablesUnder returns the rows of each table between the heading and the next one of its level. It fails the test if
// there is none.
func (p *Page) TablesUnder(t testing.TB, heading string) [][][]string {
	t.Helper()
	var tables [][][]string
	for i, h := range p.Headings {
		if h.Text != heading {
			continue
		}
		end := 1 << 30
		for _, next := range p.Headings[i+1:] {
			if next.Level <= h.Level {
				end = next.Line
				break
			}
		}
		for _, table := range p.Tables {
			if h.Line < table.Line && table.Line < end {
				tables = append(tables, table.Rows)
			}
		}
	}
	if len(tables) == 0 {
		t.Fatalf("%s: no table under the heading %q", p.Path, heading)
	}
	return tables
}

var code = regexp.MustCompile("`([^`]+)`")

// Code returns the inline code of a table's cell.
func Code(cell string) []string {
	var spans []string
	for _, match := range code.FindAllStringSubmatch(cell, -1) {
		spans = append(spans, match[1])
	}
	return spans
}

// Diagrams returns the Mermaid diagrams under the heading. It fails the test if there is none.
func (p *Page) Diagrams(t testing.TB, heading string) []Block {
	t.Helper()
	var diagrams []Block
	for _, b := range p.Blocks {
		if b.Heading == heading && b.Language == "mermaid" {
			diagrams = append(diagrams, b)
		}
	}
	if len(diagrams) == 0 {
		t.Fatalf("%s: no diagram under the heading %q", p.Path, heading)
	}
	return diagrams
}

// Arrows returns the messages of a sequence diagram from one participant to others, in order, each with the participant
// that receives it: "S: GetSecretValue".
func (b Block) Arrows(from string, to ...string) []string {
	arrow := regexp.MustCompile(`(?m)^ *` + from + `->>(` + strings.Join(to, "|") + `): (.*)$`)
	var messages []string
	for _, match := range arrow.FindAllStringSubmatch(b.Text, -1) {
		messages = append(messages, match[1]+": "+match[2])
	}
	return messages
}
