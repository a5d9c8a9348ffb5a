package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// function is an operator that computes with evaluated arguments. A negative most
// means any number of arguments.
type function struct {
	least, most int
	apply       func([]any) (any, error)
}

func functionNamed(name string) (function, bool) {
	switch name {
	case "$eq", "$gt", "$lt":
		return function{2, 2, func(a []any) (any, error) { return matches(name, compare(a[0], a[1])), nil }}, true
	case "$not":
		return function{1, 1, func(a []any) (any, error) { return !isTrue(a[0]), nil }}, true
	case "$ifNull":
		return function{2, -1, ifNull}, true
	case "$size":
		return function{1, 1, size}, true
	case "$arrayElemAt":
		return function{2, 2, arrayElemAt}, true
	case "$objectToArray":
		return function{1, 1, objectToArray}, true
	case "$setUnion":
		return function{0, -1, setUnion}, true
	case "$setIntersection":
		return function{0, -1, setIntersection}, true
	case "$setIsSubset":
		return function{2, 2, setIsSubset}, true
	case "$split":
		return function{2, 2, splitString}, true
	}
	return function{}, false
}

func ifNull(a []any) (any, error) {
	for _, v := range a {
		if !nullish(v) {
			return v, nil
		}
	}
	return a[len(a)-1], nil
}

func size(a []any) (any, error) {
	list, ok := a[0].(bson.A)
	if !ok {
		return nil, refuse(17124, "The argument to $size must be an array, but was of type: %s", typeName(a[0]))
	}
	return int32(len(list)), nil
}

func arrayElemAt(a []any) (any, error) {
	if nullish(a[0]) || nullish(a[1]) {
		return nil, nil
	}
	list, ok := a[0].(bson.A)
	if !ok {
		return nil, refuse(28689, "$arrayElemAt's first argument must be an array, but is %s", typeName(a[0]))
	}
	i, ok := number(a[1])
	if !ok {
		return nil, refuse(28690, "$arrayElemAt's second argument must be a numeric value, but is %s", typeName(a[1]))
	}
	if i < 0 {
		i += int64(len(list))
	}
	if i < 0 || i >= int64(len(list)) {
		return missing{}, nil
	}
	return list[i], nil
}

func objectToArray(a []any) (any, error) {
	if nullish(a[0]) {
		return nil, nil
	}
	d, ok := a[0].(bson.D)
	if !ok {
		return nil, refuse(40390, "$objectToArray requires a document input, found: %s", typeName(a[0]))
	}
	out := make(bson.A, 0, len(d))
	for _, e := range d {
		out = append(out, bson.D{{Key: "k", Value: e.Key}, {Key: "v", Value: e.Value}})
	}
	return out, nil
}

func contains(list bson.A, v any) bool {
	for _, e := range list {
		if compare(e, v) == 0 {
			return true
		}
	}
	return false
}

func setUnion(a []any) (any, error) {
	out := bson.A{}
	for _, v := range a {
		list, ok := v.(bson.A)
		if nullish(v) {
			return nil, nil
		} else if !ok {
			return nil, refuse(17043, "All operands of $setUnion must be arrays. One argument is of type: %s", typeName(v))
		}
		for _, e := range list {
			if !contains(out, e) {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// setIntersection returns the elements that are in every array, each once.
func setIntersection(a []any) (any, error) {
	out := bson.A{}
	for i, v := range a {
		list, ok := v.(bson.A)
		if nullish(v) {
			return nil, nil
		} else if !ok {
			return nil, refuse(17047, "All operands of $setIntersection must be arrays. One argument is of type: %s", typeName(v))
		}
		kept := bson.A{}
		for _, e := range list {
			if (i == 0 || contains(out, e)) && !contains(kept, e) {
				kept = append(kept, e)
			}
		}
		out = kept
	}
	return out, nil
}

func setIsSubset(a []any) (any, error) {
	x, okX := a[0].(bson.A)
	y, okY := a[1].(bson.A)
	if !okX || !okY {
		return nil, refuse(17046, "both operands of $setIsSubset must be arrays, not %s and %s", typeName(a[0]), typeName(a[1]))
	}
	for _, e := range x {
		if !contains(y, e) {
			return false, nil
		}
	}
	return true, nil
}

func splitString(a []any) (any, error) {
	if nullish(a[0]) || nullish(a[1]) {
		return nil, nil
	}
	s, ok := a[0].(string)
	if !ok {
		return nil, refuse(40085, "$split requires an expression that evaluates to a string as a first argument, found: %s", typeName(a[0]))
	}
	by, ok := a[1].(string)
	if !ok || by == "" {
		return nil, refuse(40086, "$split requires an expression that evaluates to a non-empty string as a second argument, found: %s", typeName(a[1]))
	}
	out := bson.A{}
	for _, part := range strings.Split(s, by) {
		out = append(out, part)
	}
	return out, nil
}
