// Package svgtest draws the pictures of docs/images/ that show what the code does: terminals and plots. Tests draw them
// and compare them with the code.
package svgtest

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Terminal is a command with its output at a terminal.
type Terminal struct {
	Title   string // what the picture shows
	Command string
	Output  string // may have SGR codes; no other control sequences
	Columns int
	Rows    int  // of the window, through which more rows scroll in an endless loop. Zero: as many as there are
	AtOnce  bool // the loop starts with a full window
}

// Sizes in pixels, and the pace at which rows appear.
const (
	cellWidth, rowHeight = 8.4, 18.0
	margin, bar          = 16.0, 34.0
	perRow, pause        = 0.4, 6.0 // seconds
)

// A row's text starts at x and has the class of its color. GitHub shows the picture with its own background in both of
// its themes, because an image follows the theme of the system and not the one that is chosen at GitHub.
const terminalStyle = `
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
       fill: #d6dde6; white-space: pre }
.bar { fill: #1f2630 } .back { fill: #12171e } .edge { fill: none; stroke: #465160 }
.title { text-anchor: middle; fill: #9aa7b5 } .prompt { fill: #79c0ff } .bold { font-weight: bold }
.red { fill: #ff7b72 } .green { fill: #56d364 } .yellow { fill: #e3b341 } .faint { fill: #8b98a6 }`

var classes = map[string]string{"31": "red", "32": "green", "33": "yellow", "2": "faint", "1": "bold", "0": "", "": ""}

// span is a piece of a row in one color.
type span struct{ class, text string }

// SVG draws the terminal.
func (d Terminal) SVG() (string, error) {
	rows := [][]span{{{"prompt", "$ "}, {"bold", d.Command}}}
	wrapped := map[int]bool{} // rows that continue the one above
	for line := range strings.Lines(strings.ReplaceAll(d.Output, "\r\n", "\n")) {
		spans, err := parse(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return "", err
		}
		for i, row := range d.wrap(spans) {
			wrapped[len(rows)] = i > 0
			rows = append(rows, row)
		}
	}
	shown := d.Rows
	if shown == 0 {
		shown = len(rows)
	}
	width, height := float64(d.Columns)*cellWidth+2*margin, bar+float64(shown)*rowHeight+margin
	var b strings.Builder
	begin(&b, width, height, d.Title, terminalStyle+d.animation(len(rows), shown))
	fmt.Fprintf(&b, `<clipPath id="screen"><rect y="%[1]g" width="%[2]g" height="%[3]g"/></clipPath>
<rect class="back" width="%[2]g" height="%[4]g" rx="8"/>
<path class="bar" d="M0 26V8a8 8 0 0 1 8-8H%[5]ga8 8 0 0 1 8 8V26z"/>
<text class="title" x="%[6]g" y="18">%[7]s</text>
<rect class="edge" x=".5" y=".5" width="%[8]g" height="%[9]g" rx="8"/>
<g clip-path="url(#screen)"><g id="rows">
`, bar, width, float64(shown)*rowHeight, height, width-8, width/2, escape(d.Command), width-1, height-1)
	for i, row := range rows {
		class := "row"
		if wrapped[i] {
			class = "wrapped row"
		}
		fmt.Fprintf(&b, `<text class="%s" y="%g" xml:space="preserve">`, class, bar+float64(i)*rowHeight+13)
		column := 0
		for _, s := range row {
			n := utf8.RuneCountInString(s.text)
			class := ""
			if s.class != "" {
				class = ` class="` + s.class + `"`
			}
			fmt.Fprintf(&b, `<tspan%s x="%.1f" textLength="%.1f">%s</tspan>`, class,
				margin+float64(column)*cellWidth, float64(n)*cellWidth, escape(s.text))
			column += n
		}
		b.WriteString("</text>\n")
	}
	if shown < len(rows) {
		fmt.Fprintf(&b, `<rect id="cover" class="back" x="1" y="%g" width="%g" height="%g"/>`+"\n", bar, width-2,
			float64(len(rows))*rowHeight)
	}
	b.WriteString("</g></g>\n</svg>\n")
	return b.String(), nil
}

// begin writes an element svg up to its style. title is what the picture shows, for readers who do not see it.
func begin(b *strings.Builder, width, height float64, title, style string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" width="%[1]g" height="%[2]g" `+
		`role="img">`+"\n<title>%[3]s</title>\n<style>%[4]s\n</style>\n", width, height, escape(title), style)
}

// animation uncovers the rows one after the other, and scrolls them from the moment at which the window is full. A
// viewer without animations, or who wants none, sees the first rows.
func (d Terminal) animation(rows, shown int) string {
	if shown >= rows {
		return ""
	}
	first, before := 1, 1.2
	if d.AtOnce {
		first, before = shown, pause
	}
	seconds := func(row int) float64 { return before + float64(row-first)*perRow } // until row is shown
	total := seconds(rows) + pause
	at := func(row int) float64 { return seconds(row) / total * 100 }
	return fmt.Sprintf(`
#cover { visibility: hidden }
@media not (prefers-reduced-motion: reduce) {
  #cover { visibility: visible; animation: cover %.1[1]fs infinite } #rows { animation: scroll %.1[1]fs infinite }
}
@keyframes cover {
  0%% { transform: translateY(%[2]gpx) }
  %.2[3]f%% { transform: translateY(%[2]gpx); animation-timing-function: steps(%[4]d) }
  %.2[5]f%%, 100%% { transform: translateY(%[6]gpx) }
}
@keyframes scroll {
  0%% { transform: none }
  %.2[7]f%% { transform: none; animation-timing-function: steps(%[8]d) }
  %.2[5]f%%, 100%% { transform: translateY(%[9]gpx) }
}`, total, float64(first)*rowHeight, at(first), rows-first, at(rows), float64(rows)*rowHeight,
		at(shown), rows-shown, -float64(rows-shown)*rowHeight)
}

// parse splits a line at its SGR codes.
func parse(line string) ([]span, error) {
	var spans []span
	class := ""
	for line != "" {
		text, rest, found := strings.Cut(line, "\x1b[")
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			return nil, fmt.Errorf("a control character in %q", text)
		}
		if text != "" {
			spans = append(spans, span{class, text})
		}
		if !found {
			break
		}
		code, after, _ := strings.Cut(rest, "m")
		name, ok := classes[code]
		if !ok {
			return nil, fmt.Errorf("no color for the control sequence %q", code)
		}
		class, line = name, after
	}
	return spans, nil
}

// wrap breaks a line at the right edge, as a terminal does.
func (d Terminal) wrap(line []span) [][]span {
	rows := [][]span{nil}
	left := d.Columns
	for _, s := range line {
		for text := []rune(s.text); len(text) > 0; {
			if left == 0 {
				rows, left = append(rows, nil), d.Columns
			}
			n := min(left, len(text))
			rows[len(rows)-1] = append(rows[len(rows)-1], span{s.class, string(text[:n])})
			text, left = text[n:], left-n
		}
	}
	return rows
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}
