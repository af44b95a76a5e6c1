// Package jsontext reads and writes the little JSON that every request meets, without reflection: encoding/json takes longer for
// it than everything else that a cached vend does. What happens once in a while is left to encoding/json.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

var errJSON = errors.New("not a JSON object")

// Members calls visit with the name and the raw value of each member of a JSON object. Values that nobody looks at are passed
// over and not checked, which is what makes this several times faster than encoding/json: most of an event is headers.
// null has no members.
func Members(object []byte, visit func(name, value []byte) error) error {
	i := space(object, 0)
	if bytes.HasPrefix(object[i:], []byte("null")) {
		return nil
	}
	if i == len(object) || object[i] != '{' {
		return errJSON
	}
	i = space(object, i+1)
	if i < len(object) && object[i] == '}' {
		return nil
	}
	for {
		nameEnd := end(object, i)
		colon := space(object, nameEnd)
		if nameEnd < 0 || object[i] != '"' || colon == len(object) || object[colon] != ':' {
			return errJSON
		}
		start := space(object, colon+1)
		stop := end(object, start)
		if stop < 0 {
			return errJSON
		}
		// A name with an escape in it is none that is looked for.
		if err := visit(object[i+1:nameEnd-1], object[start:stop]); err != nil {
			return err
		}
		i = space(object, stop)
		switch {
		case i < len(object) && object[i] == ',':
			i = space(object, i+1)
		case i < len(object) && object[i] == '}':
			return nil
		default:
			return errJSON
		}
	}
}

// space returns where the white space that begins at i ends.
func space(data []byte, i int) int {
	for i >= 0 && i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return max(i, 0)
}

// end returns where the value that begins at i ends; -1: nowhere.
func end(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	switch data[i] {
	case '"':
		return stringEnd(data, i)
	case '{', '[':
		return nestedEnd(data, i)
	case ',', ':', '}', ']':
		return -1
	}
	for i < len(data) && bytes.IndexByte([]byte(",:}] \n\t\r"), data[i]) < 0 {
		i++
	}
	return i
}

// stringEnd looks for the next quote that no backslash escapes.
func stringEnd(data []byte, begin int) int {
	for i := begin + 1; ; i++ {
		quote := bytes.IndexByte(data[min(i, len(data)):], '"')
		if quote < 0 {
			return -1
		}
		i += quote
		escapes := i
		for data[escapes-1] == '\\' { // the opening quote is in front of them
			escapes--
		}
		if (i-escapes)%2 == 0 {
			return i + 1
		}
	}
}

func nestedEnd(data []byte, i int) int {
	for depth := 0; i < len(data); {
		switch data[i] {
		case '"':
			if i = stringEnd(data, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// Text returns a JSON string's text; null is empty.
func Text(value []byte) (string, error) {
	if string(value) == "null" {
		return "", nil
	}
	n := len(value)
	if n >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value) {
		return string(value[1 : n-1]), nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", errJSON
	}
	return s, nil
}
