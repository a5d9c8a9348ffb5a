package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Values in this package are what decode returns: bson.D for a document, bson.A for an
// array, nil for null, and otherwise the type of Go or of package bson that marshals to
// the same bytes. missing represents a missing field, which differs from null.
type missing struct{}

// maxDepth is MongoDB's limit on nesting (the default of maxBSONDepth). It also bounds
// the recursion below, so that a document cannot exhaust the stack.
const maxDepth = 200

// maxDocument is MongoDB's limit on the size of a document, in bytes.
const maxDocument = 16 * 1024 * 1024

// decode reads and validates a whole document.
func decode(raw []byte) (bson.D, error) { return decodeDoc(raw, 0) }

func decodeDoc(raw []byte, depth int) (bson.D, error) {
	d := make(bson.D, 0, 8)
	err := eachElement(raw, depth, func(key string, v any) { d = append(d, bson.E{Key: key, Value: v}) })
	return d, err
}

func decodeArray(raw []byte, depth int) (bson.A, error) {
	a := make(bson.A, 0, 4)
	err := eachElement(raw, depth, func(_ string, v any) { a = append(a, v) })
	return a, err
}

func eachElement(raw []byte, depth int, yield func(string, any)) error {
	if depth > maxDepth {
		return refuse(codeOverflow, "BSON document exceeds the maximum nesting depth of %d", maxDepth)
	}
	doc, rest, ok := bsoncore.ReadDocument(raw)
	if !ok || len(rest) != 0 || len(doc) < 5 || doc[len(doc)-1] != 0 {
		return errBadBSON()
	}
	body := doc[4 : len(doc)-1]
	for len(body) > 0 {
		t, key, rest, ok := bsoncore.ReadHeader(body)
		if !ok {
			return errBadBSON()
		}
		v, rest, ok := bsoncore.ReadValue(rest, t)
		if !ok {
			return errBadBSON()
		}
		value, err := convert(v, depth)
		if err != nil {
			return err
		}
		yield(key, value)
		body = rest
	}
	return nil
}

func errBadBSON() error {
	return refuse(22, "Invalid BSON: a document is truncated or has a wrong length or type")
}

func convert(v bsoncore.Value, depth int) (any, error) {
	switch v.Type {
	case bsoncore.TypeEmbeddedDocument:
		return decodeDoc(v.Data, depth+1)
	case bsoncore.TypeArray:
		return decodeArray(v.Data, depth+1)
	case bsoncore.TypeCodeWithScope:
		code, scope, ok := v.CodeWithScopeOK()
		if !ok {
			return nil, errBadBSON()
		}
		inner, err := decodeDoc(scope, depth+1)
		return bson.CodeWithScope{Code: bson.JavaScript(code), Scope: inner}, err
	}
	if value, ok := convertScalar(v); ok {
		return value, nil
	}
	return nil, errBadBSON()
}

// convertScalar decodes the common types, for speed, and leaves the others to the
// driver.
func convertScalar(v bsoncore.Value) (value any, ok bool) {
	switch v.Type {
	case bsoncore.TypeDouble:
		return v.DoubleOK()
	case bsoncore.TypeString:
		return v.StringValueOK()
	case bsoncore.TypeInt32:
		return v.Int32OK()
	case bsoncore.TypeInt64:
		return v.Int64OK()
	case bsoncore.TypeBoolean:
		return v.BooleanOK()
	case bsoncore.TypeNull:
		return nil, true
	case bsoncore.TypeObjectID:
		id, ok := v.ObjectIDOK()
		return bson.ObjectID(id), ok
	case bsoncore.TypeDateTime:
		t, ok := v.DateTimeOK()
		return bson.DateTime(t), ok
	}
	err := bson.RawValue{Type: bson.Type(v.Type), Value: v.Data}.Unmarshal(&value)
	return value, err == nil
}

// encode is the inverse of decode. It fails if the document is too large.
func encode(d bson.D) (bson.Raw, error) {
	raw, err := bson.Marshal(d)
	if err != nil {
		return nil, refuse(codeBadValue, "cannot be stored as BSON: %s", err)
	}
	if len(raw) > maxDocument {
		return nil, refuse(codeObjectTooLarge, "BSONObj size: %d is invalid. Size must be between 0 and %d", len(raw), maxDocument)
	}
	return raw, nil
}

// field returns the first field of that name, or missing.
func field(d bson.D, key string) any {
	for i := range d {
		if d[i].Key == key {
			return d[i].Value
		}
	}
	return missing{}
}

// isMissing is also true for undefined, which MongoDB treats as missing.
func isMissing(v any) bool {
	switch v.(type) {
	case missing, bson.Undefined:
		return true
	}
	return false
}

// number returns the integer value of a number, if it is an integer.
func number(v any) (int64, bool) {
	switch n := v.(type) {
	case int32:
		return int64(n), true
	case int64:
		return n, true
	case float64:
		if n < -1<<63 || n >= 1<<63 {
			return 0, false
		}
		i := int64(n)
		return i, float64(i) == n
	}
	return 0, false
}

// isTrue reports whether MongoDB treats the value as true: every value except false, null, missing
// and zero.
func isTrue(v any) bool {
	switch x := v.(type) {
	case bool:
		return x
	case nil, missing, bson.Undefined:
		return false
	case int32:
		return x != 0
	case int64:
		return x != 0
	case float64:
		return x != 0
	case bson.Decimal128:
		return !x.IsZero()
	}
	return true
}
