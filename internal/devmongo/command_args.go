package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// args reads the fields of a command or of an embedded document. It records the first
// error. finish rejects every field that was not read, so every command is strict.
type args struct {
	name string
	doc  bson.D
	used []string
	err  error
}

// newArgs rejects duplicate fields, as MongoDB does. (With two maxTimeMS, one of the
// application and one of its driver, it would be undefined which one applies.)
func newArgs(name string, doc bson.D) *args {
	a := &args{name: name, doc: doc}
	seen := make(map[string]struct{}, len(doc))
	for _, e := range doc {
		if _, twice := seen[e.Key]; twice {
			a.err = refuse(codeDuplicateField, "BSON field '%s.%s' is a duplicate field", name, e.Key)
			break
		}
		seen[e.Key] = struct{}{}
	}
	return a
}

// value returns the field, or missing.
func (a *args) value(key string) any {
	a.used = append(a.used, key)
	return field(a.doc, key)
}

// accept permits fields without reading them.
func (a *args) accept(keys ...string) { a.used = append(a.used, keys...) }

func (a *args) wrongType(key string, v any, want string) {
	if a.err == nil {
		a.err = refuse(codeTypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'", a.name, key, typeName(v), want)
	}
}

// str returns a string field, or "" if it is missing.
func (a *args) str(key string) string {
	v := a.value(key)
	s, ok := v.(string)
	if !ok && !isMissing(v) {
		a.wrongType(key, v, "string")
	}
	return s
}

// integer returns a whole number of any numeric type, or def if it is missing.
func (a *args) integer(key string, def int64) int64 {
	v := a.value(key)
	if isMissing(v) || v == nil {
		return def
	}
	n, ok := number(v)
	if !ok {
		a.wrongType(key, v, "long")
	}
	return n
}

// boolean returns a bool. A number other than zero counts as true.
func (a *args) boolean(key string) bool {
	v := a.value(key)
	switch v.(type) {
	case missing, bool, nil, int32, int64, float64:
		return isTrue(v)
	}
	a.wrongType(key, v, "bool")
	return false
}

// document returns an embedded document, or nil if it is missing.
func (a *args) document(key string) bson.D {
	v := a.value(key)
	d, ok := v.(bson.D)
	if !ok && !isMissing(v) {
		a.wrongType(key, v, "object")
	}
	return d
}

// required returns an embedded document that must not be missing.
func (a *args) required(key string) bson.D {
	d := a.document(key)
	if d == nil && a.err == nil {
		a.err = refuse(codeMissingField, "BSON field '%s.%s' is missing but a required field", a.name, key)
	}
	return d
}

// array returns an array, or nil if it is missing.
func (a *args) array(key string) bson.A {
	v := a.value(key)
	x, ok := v.(bson.A)
	if !ok && !isMissing(v) {
		a.wrongType(key, v, "array")
	}
	return x
}

// documents returns an array of documents.
func (a *args) documents(key string) []bson.D {
	list := a.array(key)
	out := make([]bson.D, 0, len(list))
	for _, v := range list {
		d, ok := v.(bson.D)
		if !ok {
			a.wrongType(key, v, "object")
			return nil
		}
		out = append(out, d)
	}
	return out
}

// finish returns the first error, or an error for a field that was not read.
func (a *args) finish() error {
	if a.err != nil {
		return a.err
	}
	for _, e := range a.doc {
		if !slices.Contains(a.used, e.Key) {
			return unsupported(codeUnknownField, "BSON field '%s.%s' is an unknown field", a.name, e.Key)
		}
	}
	return nil
}
