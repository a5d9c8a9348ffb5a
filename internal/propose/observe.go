package propose

import (
	"hash/maphash"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
)

// Values longer than these, in bytes, are none of what a role holds, and
// inspecting them would only cost time.
const (
	maxHashText  = 512
	maxListBytes = 64 << 10
)

// notScopes are characters of JSON and of lists with commas. keytail would read
// such a text as scopes, but not as those that are meant.
const notScopes = `{}[]",;`

// trait is something that one value could be.
type trait uint16

const (
	isTrue trait = 1 << iota
	// isTime is any date, because no other form could hold one. isSeconds and
	// isMillis are numbers that are a plausible date in that unit.
	isTime
	isSeconds
	isMillis
	// isFuture is one of the three that has not come yet.
	isFuture
	isZero
	isEmpty
	isScopeList
	isScopeText
	isNetworks
	isName
)

// value is what one field of one document shows, without the value.
type value struct {
	kind   bson.Type
	traits trait
	// encodings are those in which it is the 32 bytes of a hash. If there are
	// none, shape is what it could be instead.
	encodings []keystore.HashEncoding
	shape     keystore.Shape
	// id is the form of an id, empty if it cannot be one.
	id keystore.IDForm
	// sum distinguishes values of one run.
	sum uint64
	// inside is the path of a hash within the value, without the field's name.
	// Empty: none was found.
	inside string
}

func (v *value) is(t trait) bool { return v.traits&t != 0 }

// present reports whether there is a value other than null.
func (v *value) present() bool { return v.kind != 0 && v.kind != bson.TypeNull }

// document is what one document shows, by field.
type document map[string]value

// observer turns documents into what they show at a time.
type observer struct {
	seed maphash.Seed
	now  time.Time
}

// maxFields limits what is kept of one document.
const maxFields = 200

// document reports whether it has seen all fields.
func (o observer) document(raw bson.Raw) (d document, all bool) {
	elements, err := raw.Elements()
	d, all = make(document, min(len(elements), maxFields)), err == nil
	for _, e := range elements {
		switch name := e.Key(); {
		case name == "_id":
		case len(d) < maxFields && nameable(name):
			d[name] = o.value(e.Value())
		default:
			all = false
		}
	}
	return d, all
}

func (o observer) value(raw bson.RawValue) value {
	v := value{kind: raw.Type, shape: keystore.ShapeOther}
	switch raw.Type {
	case bson.TypeString, bson.TypeBinary, bson.TypeSymbol:
		o.text(&v, raw)
	case bson.TypeArray:
		v.list(raw)
	case bson.TypeEmbeddedDocument:
		v.inside = hashInside(raw)
	case bson.TypeBoolean:
		v.set(isTrue, raw.Boolean())
	case bson.TypeDateTime:
		v.set(isTime, true)
		v.set(isFuture, raw.Time().After(o.now))
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		v.number(raw, o.now)
	}
	v.id, _ = keystore.IDFormOf(raw)
	return v
}

func (v *value) set(t trait, is bool) {
	if is {
		v.traits |= t
	}
}

func (o observer) text(v *value, raw bson.RawValue) {
	if len(raw.Value) > maxHashText {
		return
	}
	v.sum = maphash.Bytes(o.seed, raw.Value)
	v.encodings, v.shape = keystore.InspectHash(raw)
	if raw.Type != bson.TypeString {
		return
	}
	v.set(isScopeText, keystore.ScopesText.Reads(raw) && !strings.ContainsAny(raw.StringValue(), notScopes))
	v.set(isName, keystore.ReadsName(raw))
}

func (v *value) list(raw bson.RawValue) {
	v.inside = hashInside(raw)
	if len(raw.Value) > maxListBytes {
		return
	}
	elements, err := raw.Array().Values()
	v.set(isEmpty, err == nil && len(elements) == 0)
	v.set(isScopeList, keystore.ScopesArray.Reads(raw))
	v.set(isNetworks, keystore.ReadsNetworks(raw))
}

func (v *value) number(raw bson.RawValue, now time.Time) {
	n, _ := raw.AsInt64OK()
	v.set(isZero, n == 0)
	v.set(isSeconds, keystore.ExpiresUnix.Reads(raw) && keystore.IsPlausibleDate(time.Unix(n, 0)))
	v.set(isMillis, keystore.ExpiresUnixMilli.Reads(raw) && keystore.IsPlausibleDate(time.UnixMilli(n)))
	v.set(isFuture, v.is(isSeconds) && time.Unix(n, 0).After(now) || v.is(isMillis) && time.UnixMilli(n).After(now))
}

// Limits of the search for a hash in embedded documents and arrays.
const (
	maxDepth  = 4
	maxInside = 200
)

// hashInside returns the path of the first hash within a document or an array.
// Fields whose names cannot be shown are not searched.
func hashInside(raw bson.RawValue) (found string) {
	left := maxInside
	walk(raw, "", maxDepth, &left, func(path string, v bson.RawValue) bool {
		if isHash(v) {
			found = path
		}
		return found != ""
	})
	return found
}

// walk calls visit with the path and the value of each element within a document
// or an array, until visit returns true. left is how many elements it may visit.
func walk(raw bson.RawValue, path string, depth int, left *int, visit func(path string, v bson.RawValue) bool) bool {
	var inner bson.Raw
	list := raw.Type == bson.TypeArray
	switch {
	case depth == 0:
		return false
	case list:
		inner = bson.Raw(raw.Array())
	case raw.Type == bson.TypeEmbeddedDocument:
		inner = raw.Document()
	default:
		return false
	}
	elements, _ := inner.Elements()
	for _, e := range elements {
		if *left--; *left < 0 {
			return true
		}
		step := path + "[]"
		if !list {
			if step = path + "." + e.Key(); !nameable(e.Key()) {
				continue
			}
		}
		if visit(step, e.Value()) || walk(e.Value(), step, depth-1, left, visit) {
			return true
		}
	}
	return false
}

func isHash(raw bson.RawValue) bool {
	if raw.Type != bson.TypeString && raw.Type != bson.TypeBinary || len(raw.Value) > maxHashText {
		return false
	}
	encodings, _ := keystore.InspectHash(raw)
	return encodings != nil
}
