package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// function is an operator that computes with evaluated arguments; most is
// negative when there may be any number.
type function struct {
	least, most int
	apply       func([]any) (any, error)
}

func functionNamed(name string) (function, bool) {
	for _, find := range []func(string) (function, bool){comparisonFunction, arrayFunction, setFunction, stringFunction, numberFunction} {
		if fn, ok := find(name); ok {
			return fn, true
		}
	}
	return function{}, false
}

func pure(n int, f func(a []any) any) (function, bool) {
	return function{least: n, most: n, apply: func(a []any) (any, error) { return f(a), nil }}, true
}

func comparisonFunction(name string) (function, bool) {
	switch name {
	case "$eq":
		return pure(2, func(a []any) any { return compare(a[0], a[1]) == 0 })
	case "$ne":
		return pure(2, func(a []any) any { return compare(a[0], a[1]) != 0 })
	case "$gt":
		return pure(2, func(a []any) any { return compare(a[0], a[1]) > 0 })
	case "$gte":
		return pure(2, func(a []any) any { return compare(a[0], a[1]) >= 0 })
	case "$lt":
		return pure(2, func(a []any) any { return compare(a[0], a[1]) < 0 })
	case "$lte":
		return pure(2, func(a []any) any { return compare(a[0], a[1]) <= 0 })
	case "$cmp":
		return pure(2, func(a []any) any { return int32(compare(a[0], a[1])) })
	case "$not":
		return pure(1, func(a []any) any { return !truthy(a[0]) })
	case "$type":
		return pure(1, func(a []any) any { return typeName(a[0]) })
	case "$ifNull":
		return function{2, -1, func(a []any) (any, error) {
			for _, v := range a {
				if !nullish(v) {
					return v, nil
				}
			}
			return a[len(a)-1], nil
		}}, true
	}
	return function{}, false
}

func arrayFunction(name string) (function, bool) {
	switch name {
	case "$isArray":
		return pure(1, func(a []any) any { _, ok := a[0].(bson.A); return ok })
	case "$size":
		return function{1, 1, func(a []any) (any, error) {
			list, ok := a[0].(bson.A)
			if !ok {
				return nil, refuse(17124, "The argument to $size must be an array, but was of type: %s", typeName(a[0]))
			}
			return int32(len(list)), nil
		}}, true
	case "$in":
		return function{2, 2, func(a []any) (any, error) {
			list, ok := a[1].(bson.A)
			if !ok {
				return nil, refuse(40081, "$in requires an array as a second argument, found: %s", typeName(a[1]))
			}
			return contains(list, a[0]), nil
		}}, true
	case "$arrayElemAt":
		return function{2, 2, arrayElemAt}, true
	case "$objectToArray":
		return function{1, 1, objectToArray}, true
	case "$concatArrays":
		return function{0, -1, func(a []any) (any, error) {
			out := bson.A{}
			for _, v := range a {
				list, ok := v.(bson.A)
				if nullish(v) {
					return nil, nil
				} else if !ok {
					return nil, refuse(28664, "$concatArrays only supports arrays, not %s", typeName(v))
				}
				out = append(out, list...)
			}
			return out, nil
		}}, true
	}
	return function{}, false
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

func setFunction(name string) (function, bool) {
	switch name {
	case "$setUnion":
		return function{0, -1, setUnion}, true
	case "$setIsSubset":
		return function{2, 2, func(a []any) (any, error) {
			x, okX := a[0].(bson.A)
			y, okY := a[1].(bson.A)
			if !okX || !okY {
				return nil, refuse(17046, "both operands of $setIsSubset must be arrays, not %s and %s", typeName(a[0]), typeName(a[1]))
			}
			return subset(x, y), nil
		}}, true
	case "$setEquals":
		return function{2, 2, func(a []any) (any, error) {
			x, okX := a[0].(bson.A)
			y, okY := a[1].(bson.A)
			if !okX || !okY {
				return nil, refuse(17044, "All operands of $setEquals must be arrays")
			}
			return subset(x, y) && subset(y, x), nil
		}}, true
	}
	return function{}, false
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

func subset(x, y bson.A) bool {
	for _, e := range x {
		if !contains(y, e) {
			return false
		}
	}
	return true
}

func stringFunction(name string) (function, bool) {
	switch name {
	case "$split":
		return function{2, 2, splitString}, true
	case "$concat":
		return function{0, -1, func(a []any) (any, error) {
			var b strings.Builder
			for _, v := range a {
				s, ok := v.(string)
				if nullish(v) {
					return nil, nil
				} else if !ok {
					return nil, refuse(16702, "$concat only supports strings, not %s", typeName(v))
				}
				b.WriteString(s)
			}
			return b.String(), nil
		}}, true
	case "$toLower":
		return pure(1, func(a []any) any { return strings.ToLower(text(a[0])) })
	case "$toUpper":
		return pure(1, func(a []any) any { return strings.ToUpper(text(a[0])) })
	}
	return function{}, false
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
	if !ok {
		return nil, refuse(40086, "$split requires an expression that evaluates to a string as a second argument, found: %s", typeName(a[1]))
	}
	if by == "" {
		return nil, refuse(40087, "$split requires a non-empty separator")
	}
	out := bson.A{}
	for _, part := range strings.Split(s, by) {
		out = append(out, part)
	}
	return out, nil
}

func numberFunction(name string) (function, bool) {
	switch name {
	case "$add":
		return function{0, -1, func(a []any) (any, error) { return fold(a, addNumbers, int32(0)) }}, true
	case "$multiply":
		return function{0, -1, func(a []any) (any, error) { return fold(a, multiplyNumbers, int32(1)) }}, true
	case "$subtract":
		return function{2, 2, func(a []any) (any, error) {
			if nullish(a[0]) || nullish(a[1]) {
				return nil, nil
			}
			if x, ok := a[0].(bson.DateTime); ok {
				if y, ok := a[1].(bson.DateTime); ok {
					return int64(x - y), nil
				}
			}
			negative, err := multiplyNumbers(a[1], int32(-1))
			if err != nil {
				return nil, err
			}
			return addNumbers(a[0], negative)
		}}, true
	}
	return function{}, false
}

func fold(values []any, f func(a, b any) (any, error), start any) (any, error) {
	sum := start
	for _, v := range values {
		if nullish(v) {
			return nil, nil
		}
		next, err := f(sum, v)
		if err != nil {
			return nil, err
		}
		sum = next
	}
	return sum, nil
}
