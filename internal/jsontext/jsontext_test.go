package jsontext

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestAppendString(t *testing.T) {
	for text, want := range map[string]string{
		"":                 `""`,
		"plain":            `"plain"`,
		`say "no" \ yes`:   `"say \"no\" \\ yes"`,
		"a\tb\nc\x00\x1f":  `"a\u0009b\nc\u0000\u001f"`,
		"ü€😀<&>":           `"ü€😀<&>"`,
		"bad\xff\xe2\x82!": "\"bad\ufffd\ufffd\ufffd!\"",
		"\u2028\x7f\ufffd": "\"\u2028\x7f\ufffd\"",
	} {
		if got := string(AppendString([]byte(nil), text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if got := string(AppendString([]byte("x="), []byte(text))); got != "x="+want {
			t.Errorf("%q as bytes: %s", text, got)
		}
	}
}

func TestObject(t *testing.T) {
	got := string(Object("{").String("a", "b").Optional("none", "").Open("in").Close().Open("deep").Int("n", -7).Open("er").Float("f", 0.125).Close().Close().Close())
	if want := `{"a":"b","in":{},"deep":{"n":-7,"er":{"f":0.125}}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzAppendString compares with what encoding/json reads.
func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "plain", "\\\"", "\x00\n\x7f", "ü\xff", "\xe2\x82", "\xed\xa0\x80"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got, want string
		theirs, _ := json.Marshal(text)
		if err := json.Unmarshal(AppendString([]byte(nil), text), &got); err != nil {
			t.Fatal(err)
		}
		if _ = json.Unmarshal(theirs, &want); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// FuzzMembers compares with encoding/json, for whatever is an object to it. What it refuses may be taken: values are not checked.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{`{}`, ` null `, `{"a":1,"b":"\\","c":{"d":["}",{}]}}`, `{"a":"\"","b" : [ ] }`, `{"a":tru,"b"}`, `{"a"`, `{"a":"\`, `["a"]`, `{,}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		got := map[string]string{}
		err := Members(object, func(name, value []byte) error {
			got[string(name)] = string(value)
			if value[0] == '"' {
				checkText(t, value)
			}
			return nil
		})
		var raw map[string]json.RawMessage
		if json.Unmarshal(object, &raw) != nil || strings.Contains(string(object), `\`) && !sameNames(raw, got) {
			return // not an object to encoding/json, or names with escapes
		}
		want := map[string]string{}
		for name, value := range raw {
			want[name] = string(value)
		}
		if err != nil || !maps.Equal(got, want) && !strings.Contains(string(object), "\ufffd") && json.Valid(object) && utf8Names(raw) {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	})
}

// utf8Names says whether no name had bytes that encoding/json has replaced.
func utf8Names(raw map[string]json.RawMessage) bool {
	for name := range raw {
		if strings.Contains(name, "\ufffd") {
			return false
		}
	}
	return true
}

func sameNames(raw map[string]json.RawMessage, got map[string]string) bool {
	for name := range raw {
		if _, ok := got[name]; !ok {
			return false
		}
	}
	return len(raw) == len(got)
}

// checkText compares what Text makes of a value with encoding/json, where that takes it.
func checkText(t *testing.T, value []byte) {
	var want string
	if json.Unmarshal(value, &want) != nil {
		return
	}
	if got, err := Text(value); err != nil || got != want {
		t.Errorf("%q: %q, %v, want %q", value, got, err, want)
	}
}
