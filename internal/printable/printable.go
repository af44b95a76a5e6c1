// Package printable makes untrusted text, such as an error from an API, safe to show at a terminal. It replaces what a
// terminal would interpret as a command and what would change the order of the text.
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

// Line is Safe for text that must stay on one line: it trims space and turns tabs and line feeds into spaces.
func Line(text string) string {
	return Safe(strings.TrimSpace(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(text)))
}

// unsafe reports whether a terminal may do anything but show r in its place. Source: ECMA-48 for control characters,
// Unicode Standard Annex 9 for bidirectional text.
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
