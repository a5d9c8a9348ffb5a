package devmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// index maps the canonical form of index keys to documents. It supports equality only;
// sorts do not use it.
type index struct {
	name   string
	key    bson.D
	spec   bson.D // as listIndexes shows it
	unique bool
	sparse bool
	// partial is the filter of documents in the index; partialFilter compiles it. Nil: all.
	partial       bson.D
	partialFilter predicate
	// expireAfter is a TTL in seconds, or negative for none.
	expireAfter int64
	entries     map[string][]*document
}

// indexKey is one key of one document. A document with an array has several.
type indexKey struct {
	text   string
	values []any
}

// isWhole reports whether the index has all documents.
func (x *index) isWhole() bool { return !x.sparse && x.partial == nil }

// keys returns the document's keys in the index, without duplicates.
func (x *index) keys(d bson.D) ([]indexKey, error) {
	if x.partial != nil {
		if in, err := x.partialFilter(d); err != nil || !in {
			return nil, err
		}
	}
	keys, arrays, present := []indexKey{{}}, 0, false
	for _, e := range x.key {
		values, isArray, found := indexValues(d, strings.Split(e.Key, "."))
		present = present || found
		if isArray {
			arrays++
		}
		keys = crossKeys(keys, values)
	}
	if arrays > 1 {
		return nil, refuse(codeParallelArrays, "cannot index parallel arrays")
	}
	if x.sparse && !present {
		return nil, nil
	}
	slices.SortFunc(keys, func(a, b indexKey) int { return strings.Compare(a.text, b.text) })
	return slices.CompactFunc(keys, func(a, b indexKey) bool { return a.text == b.text }), nil
}

func crossKeys(keys []indexKey, values []any) []indexKey {
	out := make([]indexKey, 0, len(keys)*len(values))
	for _, k := range keys {
		for _, v := range values {
			out = append(out, indexKey{text: k.text + canonical(v), values: append(slices.Clone(k.values), v)})
		}
	}
	return out
}

// indexValues returns the values of one field: the elements of an array, undefined for
// an empty array, null for a missing field.
func indexValues(d bson.D, path []string) (values []any, isArray, present bool) {
	visit(d, path, func(v any) bool {
		switch x := v.(type) {
		case missing:
			values = append(values, nil)
			return false
		case bson.A:
			isArray = true
			if len(x) == 0 {
				x = bson.A{bson.Undefined{}}
			}
			values = append(values, x...)
		default:
			values = append(values, v)
		}
		present = true
		return false
	})
	if len(values) == 0 {
		values = []any{nil}
	}
	return values, isArray || len(values) > 1, present
}

// conflict finds a key that another document has, if the index is unique.
func (x *index) conflict(keys []indexKey, self *document) (indexKey, bool) {
	if !x.unique {
		return indexKey{}, false
	}
	for _, k := range keys {
		for _, other := range x.entries[k.text] {
			if other != self {
				return k, true
			}
		}
	}
	return indexKey{}, false
}

func (x *index) add(keys []indexKey, doc *document) {
	for _, k := range keys {
		x.entries[k.text] = append(x.entries[k.text], doc)
	}
}

func (x *index) remove(keys []indexKey, doc *document) {
	for _, k := range keys {
		left := slices.DeleteFunc(x.entries[k.text], func(d *document) bool { return d == doc })
		if len(left) == 0 {
			delete(x.entries, k.text)
			continue
		}
		x.entries[k.text] = left
	}
}

// duplicate is the error for a second document with the same key.
func duplicate(ns namespace, name string, pattern bson.D, values []any) *Error {
	value := make(bson.D, len(pattern))
	for i, e := range pattern {
		value[i] = bson.E{Key: e.Key, Value: values[i]}
	}
	shown, _ := bson.MarshalExtJSON(value, false, false)
	e := refuse(codeDuplicateKey, "E11000 duplicate key error collection: %s index: %s dup key: %s", ns, name, shown)
	e.Extra = bson.D{{Key: "keyPattern", Value: pattern}, {Key: "keyValue", Value: value}}
	return e
}
