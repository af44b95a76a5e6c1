package svgtest

import (
	"fmt"
	"math"
	"strings"
)

// Plot draws series of points whose axes are both logarithmic.
type Plot struct {
	Title    string
	Subtitle string
	X, Y     string // names of the axes
	Decades  [2]int // powers of ten on each axis, from 1
	Limit    float64
	LimitBy  string // what the limit is
	Series   []Series
}

// Series is a line of a plot.
type Series struct {
	Name   string
	Color  int // an index of the colors: 0 to 2
	Dashed bool
	Points [][2]float64
}

// The area between the axes.
const (
	plotLeft, plotTop, plotWidth, plotHeight = 84.0, 98.0, 440.0, 330.0
	pictureWidth, pictureHeight              = 800.0, 492.0
)

const plotStyle = `
svg { --back: #ffffff; --text: #1f2328; --soft: #59636e; --grid: #d8dee4;
      --c0: #0969da; --c1: #9a6700; --c2: #cf222e }
@media (prefers-color-scheme: dark) {
  svg { --back: #12171e; --text: #e6edf3; --soft: #9aa7b5; --grid: #303a45;
        --c0: #79c0ff; --c1: #e3b341; --c2: #ff7b72 }
}
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: var(--text) }
.soft { fill: var(--soft) } .title { font-size: 17px; font-weight: 600 } .end { text-anchor: end }
.middle { text-anchor: middle } .back { fill: var(--back); stroke: var(--grid) } .grid { stroke: var(--grid) }
.limit { stroke: var(--soft); stroke-dasharray: 2 3 } .dashed { stroke-dasharray: 7 5 }
polyline { fill: none; stroke-width: 2 }
.line0 { stroke: var(--c0) } .line1 { stroke: var(--c1) } .line2 { stroke: var(--c2) }
.dot0 { fill: var(--c0) } .dot1 { fill: var(--c1) } .dot2 { fill: var(--c2) }`

// SVG draws the plot.
func (p Plot) SVG() string {
	var b strings.Builder
	x := func(v float64) float64 { return plotLeft + math.Log10(v)/float64(p.Decades[0])*plotWidth }
	y := func(v float64) float64 { return plotTop + plotHeight - math.Log10(v)/float64(p.Decades[1])*plotHeight }
	text := func(class string, x, y float64, text string) {
		fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, x, y, escape(text))
	}
	line := func(class string, x1, y1, x2, y2 float64) {
		fmt.Fprintf(&b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
	}
	begin(&b, pictureWidth, pictureHeight, p.Title+": "+p.Subtitle, plotStyle)
	fmt.Fprintf(&b, `<rect class="back" x=".5" y=".5" width="%g" height="%g" rx="8"/>`+"\n",
		pictureWidth-1, pictureHeight-1)
	text("title", 24, 34, p.Title)
	text("soft", 24, 56, p.Subtitle)
	for i := range p.Decades[0] + 1 {
		v := math.Pow10(i)
		line("grid", x(v), plotTop, x(v), plotTop+plotHeight)
		text("soft middle", x(v), plotTop+plotHeight+20, grouped(v))
	}
	for i := range p.Decades[1] + 1 {
		v := math.Pow10(i)
		line("grid", plotLeft, y(v), plotLeft+plotWidth, y(v))
		text("soft end", plotLeft-8, y(v)+4, grouped(v))
	}
	text("middle", plotLeft+plotWidth/2, plotTop+plotHeight+44, p.X)
	text("soft", plotLeft, plotTop-10, p.Y)
	line("limit", plotLeft, y(p.Limit), plotLeft+plotWidth, y(p.Limit))
	text("soft", plotLeft+8, y(p.Limit)-6, p.LimitBy)
	for _, s := range p.Series {
		class := fmt.Sprintf("line%d", s.Color)
		if s.Dashed {
			class += " dashed"
		}
		fmt.Fprintf(&b, `<polyline class="%s" points="`, class)
		for _, point := range s.Points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(point[0]), y(point[1]))
		}
		b.WriteString(`"/>` + "\n")
		for _, point := range s.Points {
			fmt.Fprintf(&b, `<circle class="dot%d" cx="%.1f" cy="%.1f" r="3.5"/>`+"\n", s.Color, x(point[0]), y(point[1]))
		}
		last := s.Points[len(s.Points)-1]
		text(fmt.Sprintf("dot%d", s.Color), x(last[0])+12, y(last[1])+4, grouped(last[1])+" "+s.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// grouped formats a whole number with commas, as the pages do.
func grouped(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
