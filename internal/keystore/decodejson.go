package keystore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// readMetadata converts to JSON, in the relaxed form of MongoDB Extended JSON
// 2.0: an ObjectId is {"$oid":…}, a date is {"$date":…}, numbers are numbers.
func readMetadata(m *memory, v bson.RawValue) (json.RawMessage, string) {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil, wrongType(v, "an embedded document")
	}
	m.scratch = slices.Grow(m.scratch[:0], 2*len(doc))
	if text, ok := appendJSON(m.scratch, v, 0); ok {
		return slices.Clip(slices.Clone(text)), ""
	}
	text, err := bson.MarshalExtJSON(doc, false, false)
	if err != nil || !json.Valid(text) || !utf8.Valid(text) {
		return nil, "cannot be written as JSON"
	}
	return slices.Clip(text), ""
}

// maxJSONDepth is the depth to which appendJSON goes: more than people nest.
const maxJSONDepth = 16

// appendJSON appends exactly what the driver's MarshalExtJSON makes of the same
// value, ten times as fast. False: the value is of an unusual type or not
// well-formed, or contains such a value, so that the driver must decide.
func appendJSON(b []byte, v bson.RawValue, depth int) ([]byte, bool) {
	switch v.Type {
	case bson.TypeString:
		text, ok := textBytes(v)
		return appendJSONText(b, text), ok && v.Value[len(v.Value)-1] == 0
	case bson.TypeInt32, bson.TypeInt64:
		n, ok := v.AsInt64OK()
		return strconv.AppendInt(b, n, 10), ok
	case bson.TypeBoolean:
		return strconv.AppendBool(b, v.Value[0] == 1), v.Value[0] <= 1
	case bson.TypeNull:
		return append(b, "null"...), true
	case bson.TypeDouble:
		return appendJSONDouble(b, v.Double())
	case bson.TypeDateTime:
		return appendJSONDate(b, v.DateTime())
	case bson.TypeObjectID:
		b = hex.AppendEncode(append(b, `{"$oid":"`...), v.Value)
		return append(b, `"}`...), true
	case bson.TypeEmbeddedDocument:
		return appendJSONList(b, v.Value, '{', '}', depth)
	case bson.TypeArray:
		return appendJSONList(b, v.Value, '[', ']', depth)
	}
	return b, false
}

// appendJSONList appends the elements of a document or an array.
func appendJSONList(b, doc []byte, first, last byte, depth int) ([]byte, bool) {
	w, ok := walkDocument(doc)
	if !ok || depth == maxJSONDepth {
		return b, false
	}
	b = append(b, first)
	for comma := false; w.more(); comma = true {
		name, v, ok := w.next()
		if !ok {
			return b, false
		}
		if comma {
			b = append(b, ',')
		}
		if first == '{' {
			b = append(appendJSONText(b, name), ':')
		}
		if b, ok = appendJSON(b, v, depth+1); !ok {
			return b, false
		}
	}
	return append(b, last), w.left == 1 && len(w.rest) == 1 && w.isClosed()
}

func appendJSONDouble(b []byte, f float64) ([]byte, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, false
	}
	from := len(b)
	b = strconv.AppendFloat(b, f, 'G', -1, 64)
	if !bytes.ContainsAny(b[from:], "E.") {
		b = append(b, ".0"...)
	}
	return b, true
}

// appendJSONDate leaves dates outside these years, which have another form, to
// the driver.
func appendJSONDate(b []byte, milliseconds int64) ([]byte, bool) {
	at := time.UnixMilli(milliseconds).UTC()
	if at.Year() < 1970 || at.Year() > 9999 {
		return b, false
	}
	b = append(b, `{"$date":"`...)
	b = at.AppendFormat(b, "2006-01-02T15:04:05.999Z07:00")
	return append(b, `"}`...), true
}

// appendJSONText appends a string. json.Marshal would escape other characters.
func appendJSONText(b, text []byte) []byte {
	b = append(b, '"')
	for len(text) > 0 {
		plain := plainLength(text)
		b, text = append(b, text[:plain]...), text[plain:]
		if len(text) == 0 {
			break
		}
		r, size := utf8.DecodeRune(text)
		b = appendEscaped(b, r)
		text = text[size:]
	}
	return append(b, '"')
}

// plainLength is how many bytes at the beginning of a text JSON contains as they
// are.
func plainLength(text []byte) int {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			return i
		}
		i += size
	}
	return len(text)
}

func appendEscaped(b []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	}
	var digits [2]byte
	binary.BigEndian.PutUint16(digits[:], uint16(r))
	return hex.AppendEncode(append(b, `\u`...), digits[:])
}
