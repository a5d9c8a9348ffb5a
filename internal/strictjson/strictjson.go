// Package strictjson reads JSON objects from other programs. encoding/json would accept
// "VALID" as the name of the field valid, and of two fields with the same name it would
// use the last, where an intermediary may have used the first.
//
// It is based on gjson: the streaming decoder of encoding/json needs seven times the
// allocations for a verdict, and encoding/json/v2, which can reject duplicate names, is
// experimental.
package strictjson

import (
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

var (
	// ErrNotObject means that the text is not exactly one JSON object in UTF-8.
	ErrNotObject = errors.New("not one JSON object")
	// ErrDuplicateField means that the object has two fields with the same name.
	ErrDuplicateField = errors.New("a field occurs twice")
	// ErrTooManyFields means that the object has more than MaxFields fields.
	ErrTooManyFields = errors.New("too many fields")
)

// MaxFields is the maximum number of fields of an object: it bounds the work of
// comparing their names.
const MaxFields = 256

// Fields calls read for each field of the JSON object in text, in their order, and stops
// at its first error. Names are case sensitive, and compared after their escapes are
// decoded. Nested objects are not checked for duplicates.
func Fields(text []byte, read func(name string, value gjson.Result) error) error {
	if !utf8.Valid(text) || !json.Valid(text) {
		return ErrNotObject
	}
	object := gjson.ParseBytes(text)
	if !object.IsObject() {
		return ErrNotObject
	}
	var err error
	names := make([]string, 0, 16)
	object.ForEach(func(name, value gjson.Result) bool {
		switch {
		case len(names) == MaxFields:
			err = ErrTooManyFields
		case slices.Contains(names, name.Str):
			err = ErrDuplicateField
		default:
			names = append(names, name.Str)
			err = read(name.Str, value)
		}
		return err == nil
	})
	return err
}
