package svgtest

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// Output returns the command and the output of a terminal that SVG has drawn, without colors.
func Output(t testing.TB, path string) (command, output string) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	inRow := false
	for decoder := xml.NewDecoder(strings.NewReader(string(file))); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			for _, a := range token.Attr {
				if token.Name.Local == "text" && a.Name.Local == "class" {
					inRow = strings.HasSuffix(a.Value, "row")
					if a.Value == "row" {
						lines = append(lines, "")
					}
				}
			}
		case xml.EndElement:
			inRow = inRow && token.Name.Local != "text"
		case xml.CharData:
			if inRow {
				lines[len(lines)-1] += string(token)
			}
		}
	}
	if len(lines) < 10 || !strings.HasPrefix(lines[0], "$ ") {
		t.Fatalf("%s has %d lines of a terminal", path, len(lines))
	}
	return strings.TrimPrefix(lines[0], "$ "), strings.Join(lines[1:], "\n") + "\n"
}
