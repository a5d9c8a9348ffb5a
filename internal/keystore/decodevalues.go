package keystore

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// wrongType returns the problem of a value of the wrong type.
func wrongType(v bson.RawValue, need string) string {
	if v.Type == bson.TypeNull {
		return "is null, " + need + " is needed"
	}
	return "is of type " + v.Type.String() + ", " + need + " is needed"
}

func readBoolean(v bson.RawValue) (bool, string) {
	if value, ok := v.BooleanOK(); ok {
		return value, ""
	}
	return false, wrongType(v, "a boolean")
}

// The functions below read a value, or return a problem: words, without the
// value, that follow the field's name.

// readID returns the text of an id. Ids of different types can have the same
// text: 7 and "7" are the same user.
func readID(m *memory, v bson.RawValue) (string, string) {
	var buffer [idBuffer]byte
	bytes, problem := idText(buffer[:0], v)
	if problem != "" {
		return "", problem
	}
	text := m.text(bytes)
	if err := apikey.ValidID(text); err != nil {
		return "", "cannot be read: " + err.Error()
	}
	return text, ""
}

// idBuffer is enough for the forms of most ids.
const idBuffer = 64

// idText returns the text of an id. It is a view of the value, or it is in b.
func idText(b []byte, v bson.RawValue) (text []byte, problem string) {
	switch v.Type {
	case bson.TypeString:
		if text, ok := textBytes(v); ok {
			return text, ""
		}
	case bson.TypeObjectID:
		if id, ok := v.ObjectIDOK(); ok {
			return hex.AppendEncode(b, id[:]), ""
		}
	case bson.TypeInt32, bson.TypeInt64:
		if number, ok := v.AsInt64OK(); ok {
			return strconv.AppendInt(b, number, 10), ""
		}
	case bson.TypeBinary:
		if subtype, data, ok := v.BinaryOK(); ok && subtype == bson.TypeBinaryUUID && len(data) == 16 {
			return append(b, uuidText(data)...), ""
		}
		return nil, "is binary data other than a UUID of subtype 4, a string, ObjectId, UUID or integer is needed"
	}
	return nil, wrongType(v, "a string, ObjectId, UUID or integer")
}

// uuidText returns the text form of RFC 9562, section 4.
func uuidText(u []byte) string {
	text := make([]byte, 0, 36)
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, []byte{b})
	}
	return string(text)
}

// textBytes reads only a string, not a similar type (symbol, code). The result is
// a view of the value.
func textBytes(v bson.RawValue) ([]byte, bool) {
	if v.Type != bson.TypeString || len(v.Value) <= lengthBytes {
		return nil, false
	}
	length := int64(binary.LittleEndian.Uint32(v.Value))
	if length == 0 || length > int64(len(v.Value)-lengthBytes) {
		return nil, false
	}
	return v.Value[lengthBytes : lengthBytes+length-1], true
}

func stringOf(v bson.RawValue) (string, bool) {
	text, ok := textBytes(v)
	return string(text), ok
}

func readName(m *memory, v bson.RawValue) (string, string) {
	text, ok := textBytes(v)
	if !ok {
		return "", wrongType(v, "a string")
	}
	name := m.text(text)
	if err := apikey.ValidName(name); err != nil {
		return "", "cannot be read: " + err.Error()
	}
	return name, ""
}

// readScopes returns a non-nil slice for an array without elements: an empty
// list of scopes is not the same as an absent one.
func readScopes(m *memory, v bson.RawValue) ([]string, string) {
	return readTexts(v, m.list, func(text []byte) (string, error) {
		scope := m.text(text)
		return scope, apikey.ValidScope(scope)
	})
}

func readNetworks(m *memory, v bson.RawValue) ([]netip.Prefix, string) {
	makeList := func(n int) []netip.Prefix { return make([]netip.Prefix, n) }
	return readTexts(v, makeList, func(text []byte) (netip.Prefix, error) { return apikey.ParseNetwork(m.text(text)) })
}

// readTexts reads an array of strings, each by parse. The first element that
// cannot be read makes the whole array unreadable.
func readTexts[T any](v bson.RawValue, makeList func(n int) []T, parse func([]byte) (T, error)) ([]T, string) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil, wrongType(v, "an array of strings")
	}
	n, ok := countValues(array)
	if !ok {
		return nil, "is not valid BSON"
	}
	list := makeList(n)
	w, _ := walk(array)
	for i := range list {
		_, element, _ := w.next()
		text, ok := textBytes(element)
		if !ok {
			return nil, fmt.Sprintf("element %d %s", i, wrongType(element, "a string"))
		}
		var err error
		if list[i], err = parse(text); err != nil {
			return nil, fmt.Sprintf("element %d cannot be read: %v", i, err)
		}
	}
	return list, ""
}

// earliestExpiry and latestExpiry limit the result of reading an expiry. BSON
// dates reach from 292 million years before 1970 to as many after it. The zero
// Time, which means "never" in a record, is one of these dates, and RFC 3339,
// the form of times in responses, ends with the year 9999. No verdict before
// the year 9999 depends on the difference.
var (
	earliestExpiry = time.Time{}.Add(time.Millisecond)
	latestExpiry   = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
)

func readExpiry(v bson.RawValue) (time.Time, string) {
	milliseconds, ok := v.DateTimeOK()
	if !ok {
		return time.Time{}, wrongType(v, "a date")
	}
	bounded := min(max(milliseconds, earliestExpiry.UnixMilli()), latestExpiry.UnixMilli())
	return time.UnixMilli(bounded).UTC(), ""
}
