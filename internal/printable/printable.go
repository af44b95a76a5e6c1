// Package printable makes text from elsewhere, such as an error of an API, safe to show at a terminal. What a
// terminal would take for a command, or what would show text in another order than it has, is replaced.
package printable

import (
	"strings"
	"unicode"
)

// Safe returns text with U+FFFD in place of each control character (C0 and C1, DEL), each character that changes the
// direction of text, each line or paragraph separator, and each byte that is not UTF-8. Tabs and line feeds stay.
func Safe(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || !unsafe(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// Line is Safe for text that must stay in one line: tabs and line feeds become spaces, and space around it is cut.
func Line(text string) string {
	return Safe(strings.TrimSpace(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(text)))
}

// unsafe reports whether a terminal may do something else with r than show it in its place. Source: ECMA-48 for the
// controls, Unicode Standard Annex 9 for the characters of bidirectional text.
func unsafe(r rune) bool {
	switch {
	case unicode.IsControl(r):
		return true
	case r == '\u061c', r == '\u200e', r == '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	default:
		return r == '\u2028' || r == '\u2029'
	}
}
