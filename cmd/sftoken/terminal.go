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
)

// terminal writes for a person: no wider than 80 columns, and in colour on a terminal where NO_COLOR is not set.
type terminal struct {
	io.Writer
	colored bool
	width   int
}

func newTerminal(w io.Writer) *terminal {
	s := &terminal{Writer: w, width: 80}
	if columns, terminal := columns(w); terminal {
		s.colored = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" // https://no-color.org
		s.width = min(max(columns, 40), s.width)
	}
	return s
}

// columns returns how wide the terminal is that w is; false: it is none.
func columns(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width == 0 {
		width = 80
	}
	return width, true
}

// The colours are the terminal's own, so that they fit its background.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
	bold   = "1"
)

func (s *terminal) color(text, colour string) string {
	if !s.colored {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// column writes a text behind a head: its lines begin at the column where the head ends, or at indent where the head is longer.
func (s *terminal) column(head string, indent int, text string) {
	fmt.Fprint(s, head, strings.Join(wrap(text, s.width-indent), "\n"+strings.Repeat(" ", indent)), "\n")
}

// wrap breaks a text into lines of so many characters, at its spaces. What stands in backquotes is not broken, so that it can be
// copied, unless it is longer than a line; a longer word stands alone.
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
	for _, word := range strings.Fields(text) {
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

// displayWidth is how many columns a text takes. Its colours take none.
func displayWidth(text string) int {
	n := utf8.RuneCountInString(text)
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "\x1b[")
		if !found {
			return n
		}
		colour, _, _ := strings.Cut(after, "m")
		n -= len("\x1b[") + len(colour) + len("m")
		rest = after
	}
}

// progress tells somebody at a terminal what is waited for, once it takes longer than a second. Elsewhere it is silent.
type progress struct {
	w io.Writer

	mu    sync.Mutex
	timer *time.Timer
	shown bool
}

func newProgress(w io.Writer) *progress {
	if _, terminal := columns(w); !terminal {
		w = nil
	}
	return &progress{w: w}
}

// wait begins to wait for something, in place of what was waited for before.
func (p *progress) wait(what string) {
	p.done()
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.timer != nil {
			fmt.Fprintf(p.w, "… %s", what)
			p.shown = true
		}
	})
}

// done ends the wait, and takes off the terminal what was written there.
func (p *progress) done() {
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
