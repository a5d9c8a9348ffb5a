package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// equality is a path and the values that it must have one of.
type equality struct {
	path   string
	values []any
}

// equalities finds the conditions that an index can answer: equality with
// values that an index holds whole.
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
			return wholeValues(eq)
		}
		if in, ok := field(ops, "$in").(bson.A); ok {
			return wholeValues(in...)
		}
		return nil, false
	}
	return wholeValues(v)
}

func wholeValues(values ...any) ([]any, bool) {
	for _, v := range values {
		switch v.(type) {
		case bson.A, bson.Regex, bson.Undefined, bson.MinKey, bson.MaxKey:
			return nil, false
		}
	}
	return values, true
}
