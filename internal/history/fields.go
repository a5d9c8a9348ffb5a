package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// field is one member of a line's object. raw is its value as it stands in the line,
// without the quotes of a string that has no escapes.
type field struct {
	name []byte
	raw  []byte
	kind kind
}

type kind uint8

const (
	text kind = iota
	escaped
	number
	other // true, false, null, an array, an object
)

// maxFields is far more than a record has. Each field is compared with all before it.
const maxFields = 64

var (
	errNotObject = errors.New("it is not a JSON object on one line: if the recording was interrupted while it wrote the line, delete it")
	errMark      = errors.New("it begins with a byte order mark, which JSON does not have: write the file as UTF-8 without one")
	errList      = errors.New("it is a list: write one JSON object on each line, without brackets and commas around them")
)

// fields appends the members of the object in a line. They are valid until the line
// changes. A million lines are read in seconds because strings are not copied; what is rare is
// left to encoding/json.
func fields(to []field, line []byte) ([]field, error) {
	p := parser{rest: line}
	if !utf8.Valid(line) {
		return nil, errors.New("it is not UTF-8: decompress the file, or write it as UTF-8")
	}
	switch {
	case p.token('{'):
	case bytes.HasPrefix(line, []byte("\ufeff")):
		return nil, errMark
	case p.token('['):
		return nil, errList
	default:
		return nil, errNotObject
	}
	for more := !p.token('}'); more; {
		f, err := p.member()
		if err != nil {
			return nil, err
		}
		if len(to) == maxFields {
			return nil, fmt.Errorf("it has more than %d fields", maxFields)
		}
		for _, before := range to {
			if bytes.Equal(before.name, f.name) {
				return nil, fmt.Errorf("it has the field %q twice", f.name)
			}
		}
		to = append(to, f)
		switch {
		case p.token(','):
		case p.token('}'):
			more = false
		default:
			return nil, errNotObject
		}
	}
	if p.space(); len(p.rest) > 0 {
		return nil, errors.New("something follows its JSON object: write one object on each line")
	}
	return to, nil
}

// parser consumes a line from its start.
type parser struct{ rest []byte }

func (p *parser) space() {
	for len(p.rest) > 0 {
		switch p.rest[0] {
		case ' ', '\t', '\r', '\n':
			p.rest = p.rest[1:]
		default:
			return
		}
	}
}

// token consumes a character, and the white space before it.
func (p *parser) token(c byte) bool {
	if p.space(); len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// member consumes a name and its value.
func (p *parser) member() (f field, err error) {
	p.space()
	name, kind, ok := p.text()
	if !ok || kind != text || !p.token(':') {
		return f, errNotObject
	}
	if hasKey(name) {
		return f, errors.New("the name of a field looks like the text of an API key: treat this file as a secret")
	}
	f.name = name
	if p.space(); len(p.rest) == 0 {
		return f, errNotObject
	}
	if p.rest[0] == '"' {
		f.raw, f.kind, ok = p.text()
	} else {
		f.raw, f.kind, ok = p.value()
	}
	if !ok {
		return f, fmt.Errorf("the value of the field %q is not JSON: delete a line that was cut short, and leave out a number that JSON does not have, such as NaN", name)
	}
	return f, nil
}

// text consumes a string.
func (p *parser) text() (raw []byte, k kind, ok bool) {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		return nil, text, false
	}
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"' && k == text:
			raw, p.rest = p.rest[1:i], p.rest[i+1:]
			return raw, text, true
		case c == '"':
			raw, p.rest = p.rest[:i+1], p.rest[i+1:]
			return raw, escaped, json.Valid(raw)
		case c == '\\':
			k = escaped
			i++
		case c < ' ':
			return nil, text, false
		}
	}
	return nil, text, false
}

// value consumes anything but a string.
func (p *parser) value() (raw []byte, k kind, ok bool) {
	depth, end := 0, 0
	for ; end < len(p.rest); end++ {
		switch p.rest[end] {
		case '"':
			inner := parser{p.rest[end:]}
			if _, _, ok := inner.text(); !ok {
				return nil, other, false
			}
			end = len(p.rest) - len(inner.rest) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth < 0 || depth == 0 && p.rest[end] == ',' {
			break
		}
	}
	raw, p.rest = bytes.TrimSpace(p.rest[:end]), p.rest[end:]
	if k = other; len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		k = number
	}
	return raw, k, json.Valid(raw)
}

// secrets refuses the text of a key in the value of any field, also within lists and objects.
func secrets(members []field) error {
	for i := range members {
		f := &members[i]
		value := f.raw
		if bytes.IndexByte(value, '\\') >= 0 {
			var decoded any
			if err := json.Unmarshal(f.raw, &decoded); err != nil {
				return err
			}
			value = fmt.Append(nil, decoded) // with what its escapes stand for
		}
		if hasKey(value) {
			return secret(string(f.name))
		}
	}
	return nil
}

// isNull reports whether the value is null, which means the same as no field.
func (f *field) isNull() bool { return f.kind == other && string(f.raw) == "null" }

// string returns the text of a string.
func (f *field) string() (string, error) {
	switch f.kind {
	case text:
		return string(f.raw), nil
	case escaped:
		var s string
		err := json.Unmarshal(f.raw, &s)
		return s, err
	case number, other:
	}
	return "", fmt.Errorf("the field %s must be a text", f.name)
}

func (f *field) time() (t time.Time, err error) {
	if f.kind == text {
		err = t.UnmarshalText(f.raw)
	}
	if f.kind != text || err != nil {
		return t, fmt.Errorf("the field %s must be a time with its zone, such as 2026-11-30T17:22:35.123456Z (RFC 3339)", f.name)
	}
	return t.UTC(), nil
}

func (f *field) number() (float64, error) {
	if f.kind == number {
		if value, err := strconv.ParseFloat(string(f.raw), 64); err == nil {
			return value, nil
		}
	}
	return 0, fmt.Errorf("the field %s must be a number", f.name)
}

func (f *field) strings() (list []string, err error) {
	if f.kind != other || json.Unmarshal(f.raw, &list) != nil || list == nil {
		return nil, fmt.Errorf("the field %s must be a list of texts", f.name)
	}
	return list, nil
}

func (f *field) bool() (value bool, err error) {
	if f.kind != other || json.Unmarshal(f.raw, &value) != nil {
		return false, fmt.Errorf("the field %s must be true or false", f.name)
	}
	return value, nil
}
