package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// equality is a path and the values of which it must have one.
type equality struct {
	path   string
	values []any
}

// equalities returns the conditions that an index can answer: equality with values
// that have an index key.
func equalities(filter bson.D) []equality {
	var out []equality
	for _, e := range filter {
		if e.Key == "$and" {
			list, _ := e.Value.(bson.A)
			for _, v := range list {
				d, _ := v.(bson.D)
				out = append(out, equalities(d)...)
			}
			continue
		}
		if values, ok := equalValues(e.Value); ok && !strings.HasPrefix(e.Key, "$") {
			out = append(out, equality{path: e.Key, values: values})
		}
	}
	return out
}

func equalValues(v any) ([]any, bool) {
	if ops, ok := isOperators(v); ok {
		if eq := field(ops, "$eq"); !isMissing(eq) {
			return indexable(eq)
		}
		if in, ok := field(ops, "$in").(bson.A); ok {
			return indexable(in...)
		}
		return nil, false
	}
	return indexable(v)
}

// indexable returns the values, unless an index does not have one of them as a whole.
func indexable(values ...any) ([]any, bool) {
	for _, v := range values {
		switch v.(type) {
		case bson.A, bson.Undefined:
			return nil, false
		}
	}
	return values, true
}
