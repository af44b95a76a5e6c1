package jsontext

import (
	"strconv"
	"unicode/utf8"
)

// Object is a JSON object that is being written, field by field: begin with Object("{"), end with Close. Names are plain letters.
type Object []byte

// Name appends the name of a field, whose value the caller appends.
func (o Object) Name(name string) Object {
	if o[len(o)-1] != '{' {
		o = append(o, ',')
	}
	o = append(o, '"')
	o = append(o, name...)
	return append(o, `":`...)
}

// String appends a field.
func (o Object) String(name, value string) Object { return AppendString(o.Name(name), value) }

// Optional appends a field, or nothing where its value is empty.
func (o Object) Optional(name, value string) Object {
	if value == "" {
		return o
	}
	return o.String(name, value)
}

// Int appends a field.
func (o Object) Int(name string, value int64) Object {
	return strconv.AppendInt(o.Name(name), value, 10)
}

// Float appends a field. The value must be a number.
func (o Object) Float(name string, value float64) Object {
	return strconv.AppendFloat(o.Name(name), value, 'f', -1, 64)
}

// Open begins a field that is itself an object, up to the next Close.
func (o Object) Open(name string) Object { return append(o.Name(name), '{') }

// Close ends the object, or the one that was opened last.
func (o Object) Close() Object { return append(o, '}') }

// AppendString appends text as a JSON string (RFC 8259 section 7). Bytes that are not UTF-8 become U+FFFD.
func AppendString[B ~[]byte, T ~string | ~[]byte](b B, text T) B {
	b = append(b, '"')
	start := 0 // of what has not been appended yet
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRune([]byte(text[i:min(i+utf8.UTFMax, len(text))])); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, text[start:i]...)
		b = appendEscaped(b, c)
		i++
		start = i
	}
	b = append(b, text[start:]...)
	return append(b, '"')
}

func appendEscaped[B ~[]byte](b B, c byte) B {
	const hex = "0123456789abcdef"
	switch {
	case c >= utf8.RuneSelf:
		return append(b, "\ufffd"...)
	case c == '\n':
		return append(b, `\n`...)
	case c < ' ':
		return append(b, `\u00`+hex[c>>4:c>>4+1]+hex[c&15:c&15+1]...)
	default:
		return append(b, '\\', c)
	}
}
