package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/sftoken/sftoken/internal/printable"
)

// terminal formats text for a person, no wider than 80 columns. It uses colors if the writer is a terminal and
// NO_COLOR is not set.
type terminal struct {
	io.Writer
	colored bool
	width   int
}

func newTerminal(w io.Writer) *terminal {
	s := &terminal{Writer: w, width: 80}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		s.colored = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" // https://no-color.org
		s.width = min(max(columns(f), 40), s.width)
	}
	return s
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns returns the width of a terminal.
func columns(terminal *os.File) int {
	width, _, err := term.GetSize(int(terminal.Fd()))
	if err != nil || width == 0 {
		return 80
	}
	return width
}

// SGR codes of the terminal's own colors, which suit its background.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
	bold   = "1"
	plain  = "0"
)

func (t *terminal) color(text, code string) string {
	if !t.colored || code == plain {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// column writes head and, after it, text in lines that begin at the column indent.
func (t *terminal) column(head string, indent int, text string) {
	fmt.Fprint(t, head, strings.Join(wrap(text, t.width-indent), "\n"+strings.Repeat(" ", indent)), "\n")
}

// warn prints a warning, which may quote untrusted text.
func (t *terminal) warn(text string) { t.column("warning: ", len("warning: "), printable.Line(text)) }

// wrap breaks a text at its spaces into lines of at most width characters. A command in backquotes stays on one line,
// so that it can be copied, unless it is longer than a line.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range words(text, width) {
		switch {
		case line == "":
			line = word
		case displayWidth(line)+1+displayWidth(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

func words(text string, width int) []string {
	var all []string
	open := false
	for word := range strings.FieldsSeq(text) {
		if last := len(all) - 1; open && displayWidth(all[last])+1+displayWidth(word) <= width {
			all[last] += " " + word
		} else {
			all = append(all, word)
		}
		if strings.Count(word, "`")%2 == 1 {
			open = !open
		}
	}
	return all
}

// displayWidth returns the number of columns that a text takes, without its color codes.
func displayWidth(text string) int {
	n := utf8.RuneCountInString(text)
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "\x1b[")
		if !found {
			return n
		}
		code, _, _ := strings.Cut(after, "m")
		n -= len("\x1b[") + len(code) + len("m")
		rest = after
	}
}

// progress shows at a terminal what a command waits for if it takes longer than a second. Elsewhere it prints nothing.
type progress struct {
	w io.Writer

	mu    sync.Mutex
	timer *time.Timer
	shown bool
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w}
}

// start shows a new text, in place of the previous one.
func (p *progress) start(text string) {
	p.stop()
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.timer != nil {
			fmt.Fprintf(p.w, "… %s", text)
			p.shown = true
		}
	})
}

// stop removes the text.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
