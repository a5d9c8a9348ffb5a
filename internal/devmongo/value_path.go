package devmongo

import (
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// visit calls yield for each value that a dotted path addresses in a query. It stops
// and returns true when yield returns true. An array on the way is entered by index and
// element by element. A missing field yields missing. An array at the end of the path
// is yielded as one value.
func visit(v any, path []string, yield func(any) bool) bool {
	if len(path) == 0 {
		return yield(v)
	}
	switch x := v.(type) {
	case bson.D:
		next := field(x, path[0])
		if isMissing(next) {
			return yield(missing{})
		}
		return visit(next, path[1:], yield)
	case bson.A:
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(x) && visit(x[i], path[1:], yield) {
			return true
		}
		for _, e := range x {
			if d, ok := e.(bson.D); ok && visit(d, path, yield) {
				return true
			}
		}
		return false
	}
	return yield(missing{})
}

// lookup returns the value at a path of field names and array indexes. Unlike visit it
// finds one value, as updates need it.
func lookup(v any, path []string) any {
	for _, name := range path {
		switch x := v.(type) {
		case bson.D:
			v = field(x, name)
		case bson.A:
			i, ok := arrayIndex(name)
			if !ok || i >= len(x) {
				return missing{}
			}
			v = x[i]
		default:
			return missing{}
		}
	}
	return v
}

// arrayIndex parses a path element that can be an array index.
func arrayIndex(name string) (int, bool) {
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < 1<<20 && strconv.Itoa(i) == name
}

// splitUpdatePath splits a path, and rejects those that an update must not use.
func splitUpdatePath(path string) ([]string, error) {
	if path == "" {
		return nil, refuse(codeEmptyFieldName, "An empty update path is not valid.")
	}
	parts := strings.Split(path, ".")
	for _, p := range parts {
		if p == "" {
			return nil, refuse(codeEmptyFieldName, "The update path '%s' contains an empty field name, which is not allowed.", path)
		}
		if strings.HasPrefix(p, "$") {
			if p == "$" || strings.HasPrefix(p, "$[") {
				return nil, unsupported(codeNotImplemented, "the positional operator in '%s'", path)
			}
			return nil, refuse(codeDollarPrefixed, "The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update's replacement document.", p, path)
		}
	}
	return parts, nil
}
