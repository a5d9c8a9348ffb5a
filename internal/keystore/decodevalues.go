package keystore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// A reader converts a value into T, or returns a problem: words, without the
// value, that follow the field's name.
type reader[T any] func(v bson.RawValue) (T, string)

// into stores what read returns in place. After a problem, place keeps its zero
// value.
func into[T any](place *T, read reader[T]) func(bson.RawValue) string {
	return func(v bson.RawValue) string {
		value, problem := read(v)
		if problem == "" {
			*place = value
		}
		return problem
	}
}

// nullable reads null as the zero value, like a field that is absent.
func nullable[T any](read reader[T]) reader[T] {
	return func(v bson.RawValue) (T, string) {
		if v.Type == bson.TypeNull {
			var zero T
			return zero, ""
		}
		return read(v)
	}
}

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

// readID returns the text of an id. Ids of different types can have the same
// text: 7 and "7" are the same user.
func readID(v bson.RawValue) (string, string) {
	text, problem := idText(v)
	if problem == "" {
		if err := apikey.ValidID(text); err != nil {
			return "", "cannot be read: " + err.Error()
		}
	}
	return text, problem
}

func idText(v bson.RawValue) (text, problem string) {
	switch v.Type {
	case bson.TypeString:
		if text, ok := stringOf(v); ok {
			return text, ""
		}
	case bson.TypeObjectID:
		if id, ok := v.ObjectIDOK(); ok {
			return id.Hex(), ""
		}
	case bson.TypeInt32, bson.TypeInt64:
		if number, ok := v.AsInt64OK(); ok {
			return strconv.FormatInt(number, 10), ""
		}
	case bson.TypeBinary:
		if subtype, data, ok := v.BinaryOK(); ok && subtype == bson.TypeBinaryUUID && len(data) == 16 {
			return uuidText(data), ""
		}
		return "", "is binary data other than a UUID of subtype 4, a string, ObjectId, UUID or integer is needed"
	}
	return "", wrongType(v, "a string, ObjectId, UUID or integer")
}

// uuidText returns the text form of RFC 9562, section 4.
func uuidText(u []byte) string {
	return fmt.Sprintf("%s-%s-%s-%s-%s", hex.EncodeToString(u[:4]), hex.EncodeToString(u[4:6]),
		hex.EncodeToString(u[6:8]), hex.EncodeToString(u[8:10]), hex.EncodeToString(u[10:16]))
}

// stringOf reads only a string, not a similar type (symbol, code).
func stringOf(v bson.RawValue) (string, bool) {
	if v.Type != bson.TypeString || v.Validate() != nil {
		return "", false
	}
	return v.StringValueOK()
}

func readName(v bson.RawValue) (string, string) {
	name, ok := stringOf(v)
	if !ok {
		return "", wrongType(v, "a string")
	}
	if err := apikey.ValidName(name); err != nil {
		return "", "cannot be read: " + err.Error()
	}
	return name, ""
}

// readScopes returns a non-nil slice for an array without elements: an empty
// list of scopes is not the same as an absent one.
func readScopes(v bson.RawValue) ([]string, string) {
	return readStrings(v, func(text string) (string, error) { return text, apikey.ValidScope(text) })
}

func readNetworks(v bson.RawValue) ([]netip.Prefix, string) {
	return readStrings(v, apikey.ParseNetwork)
}

// readStrings reads an array of strings, each by parse. The first element that
// cannot be read makes the whole array unreadable.
func readStrings[T any](v bson.RawValue, parse func(string) (T, error)) ([]T, string) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil, wrongType(v, "an array of strings")
	}
	values, err := array.Values()
	if err != nil {
		return nil, "is not valid BSON"
	}
	list := make([]T, 0, len(values))
	for i, element := range values {
		text, ok := stringOf(element)
		if !ok {
			return nil, fmt.Sprintf("element %d %s", i, wrongType(element, "a string"))
		}
		item, err := parse(text)
		if err != nil {
			return nil, fmt.Sprintf("element %d cannot be read: %v", i, err)
		}
		list = append(list, item)
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

// readMetadata converts to JSON, in the relaxed form of MongoDB Extended JSON
// 2.0: an ObjectId is {"$oid":…}, a date is {"$date":…}, numbers are numbers.
func readMetadata(v bson.RawValue) (json.RawMessage, string) {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil, wrongType(v, "an embedded document")
	}
	text, err := bson.MarshalExtJSON(doc, false, false)
	if err != nil || !json.Valid(text) || !utf8.Valid(text) {
		return nil, "cannot be written as JSON"
	}
	return text, ""
}
