package printable

import (
	"testing"
	"unicode/utf8"
)

func TestSafe(t *testing.T) {
	for text, want := range map[string]string{
		"plain, with \"quotes\" and é, 日本, … and 🙂": "plain, with \"quotes\" and é, 日本, … and 🙂",
		"two\nlines\tand a tab":                     "two\nlines\tand a tab",
		"\x1b[2J\x1b]0;title\x07":                   "\ufffd[2J\ufffd]0;title\ufffd",
		"back\bspace, \rreturn, \x00, \x7f":         "back\ufffdspace, \ufffdreturn, \ufffd, \ufffd",
		"a C1 control: \u009b31m":                   "a C1 control: \ufffd31m",
		"as a byte: \x9b31m":                        "as a byte: \ufffd31m",
		"right to left: \u202egpj.exe\u2066\u200f":  "right to left: \ufffdgpj.exe\ufffd\ufffd",
		"another line\u2028here":                    "another line\ufffdhere",
	} {
		if got := Safe(text); got != want {
			t.Errorf("Safe(%q) = %q, want %q", text, got, want)
		}
	}
	if got := Line(" one\r\ntwo\tthree\x1b[0m\n"); got != "one two three\ufffd[0m" {
		t.Errorf("Line: %q", got)
	}
}

func FuzzSafe(f *testing.F) {
	f.Add("\x1b[31m\u202e\x9b")
	f.Fuzz(func(t *testing.T, text string) {
		got := Safe(text)
		if !utf8.ValidString(got) || Safe(got) != got {
			t.Errorf("%q", got)
		}
		for _, r := range Line(text) {
			if unsafe(r) {
				t.Errorf("%q has %q", Line(text), r)
			}
		}
	})
}
