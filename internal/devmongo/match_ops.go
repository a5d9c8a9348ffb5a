package devmongo

import (
	"regexp"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// typeNames are the aliases of $type with their numbers. Source: the BSON types
// page of MongoDB's manual.
var typeNames = map[string]int32{
	"double": 1, "string": 2, "object": 3, "array": 4, "binData": 5, "undefined": 6, "objectId": 7, "bool": 8, "date": 9, "null": 10,
	"regex": 11, "dbPointer": 12, "javascript": 13, "symbol": 14, "javascriptWithScope": 15, "int": 16, "timestamp": 17, "long": 18,
	"decimal": 19, "minKey": -1, "maxKey": 127,
}

// typeName is the alias of a value's type, or "missing".
func typeName(v any) string {
	switch v.(type) {
	case missing:
		return "missing"
	case float64:
		return "double"
	case string:
		return "string"
	case bson.D:
		return "object"
	case bson.A:
		return "array"
	case bson.Binary:
		return "binData"
	case bson.Undefined:
		return "undefined"
	case bson.ObjectID:
		return "objectId"
	case bool:
		return "bool"
	case bson.DateTime:
		return "date"
	case nil:
		return "null"
	case int32:
		return "int"
	case int64:
		return "long"
	case bson.Timestamp:
		return "timestamp"
	case bson.Decimal128:
		return "decimal"
	}
	return rareTypeName(v)
}

func rareTypeName(v any) string {
	switch v.(type) {
	case bson.Regex:
		return "regex"
	case bson.DBPointer:
		return "dbPointer"
	case bson.JavaScript:
		return "javascript"
	case bson.Symbol:
		return "symbol"
	case bson.CodeWithScope:
		return "javascriptWithScope"
	case bson.MinKey:
		return "minKey"
	}
	return "maxKey"
}

func compileType(path []string, v any) (predicate, error) {
	list, ok := v.(bson.A)
	if !ok {
		list = bson.A{v}
	}
	want := map[string]bool{}
	for _, t := range list {
		if err := addType(want, t); err != nil {
			return nil, err
		}
	}
	return elements(path, func(v any) bool { return want[typeName(v)] }), nil
}

func addType(want map[string]bool, t any) error {
	if name, ok := t.(string); ok {
		if name == "number" {
			want["int"], want["long"], want["double"], want["decimal"] = true, true, true, true
			return nil
		}
		if _, known := typeNames[name]; !known {
			return refuse(codeBadValue, "Unknown type name alias: %s", name)
		}
		want[name] = true
		return nil
	}
	n, ok := number(t)
	for name, code := range typeNames {
		if ok && int64(code) == n {
			want[name] = true
			return nil
		}
	}
	return refuse(codeBadValue, "Invalid numerical type code: %v", t)
}

func compileArrayOperator(path []string, name string, v any) (predicate, error) {
	switch name {
	case "$size":
		n, ok := number(v)
		if !ok || n < 0 {
			return nil, refuse(codeFailedToParse, "Failed to parse $size. Expected a non-negative number")
		}
		return whole(path, func(a bson.A) (bool, error) { return int64(len(a)) == n, nil }), nil
	case "$all":
		return compileAll(path, v)
	}
	cond, ok := v.(bson.D)
	if !ok {
		return nil, refuse(codeBadValue, "$elemMatch needs an Object")
	}
	p, err := compileElement(cond, nil)
	if err != nil {
		return nil, err
	}
	return whole(path, func(a bson.A) (bool, error) {
		for _, e := range a {
			if ok, err := p(e); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}), nil
}

// whole holds when a value at the path is an array that passes.
func whole(path []string, t func(bson.A) (bool, error)) predicate {
	return func(d bson.D) (ok bool, err error) {
		visit(d, path, func(v any) bool {
			if a, isArray := v.(bson.A); isArray && !ok && err == nil {
				ok, err = t(a)
			}
			return ok || err != nil
		})
		return ok, err
	}
}

func compileAll(path []string, v any) (predicate, error) {
	list, ok := v.(bson.A)
	if !ok {
		return nil, refuse(codeBadValue, "$all needs an array")
	}
	if len(list) == 0 {
		return anyOf(nil), nil
	}
	var all []predicate
	for _, e := range list {
		if _, bad := isOperators(e); bad {
			return nil, refuse(codeNotImplemented, "devmongo has no operators in $all")
		}
		p, err := compileField(path, e)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return allOf(all), nil
}

// compileElement makes a condition on an array's element: a document's fields,
// or operators on the element itself.
func compileElement(cond bson.D, names names) (func(any) (bool, error), error) {
	if _, ok := isOperators(cond); ok && cond[0].Key != "$and" && cond[0].Key != "$or" && cond[0].Key != "$nor" {
		p, err := compileField([]string{"v"}, cond)
		return func(e any) (bool, error) { return p(bson.D{{Key: "v", Value: e}}) }, err
	}
	p, err := compileFilter(cond, names)
	return func(e any) (bool, error) {
		d, ok := e.(bson.D)
		if !ok {
			return false, nil
		}
		return p(d)
	}, err
}

func compileRegexOperator(path []string, v any, siblings bson.D) (predicate, error) {
	options, _ := field(siblings, "$options").(string)
	switch r := v.(type) {
	case string:
		return compileRegex(path, r, options)
	case bson.Regex:
		return compileRegex(path, r.Pattern, r.Options+options)
	}
	return nil, refuse(codeBadValue, "$regex has to be a string")
}

func compileRegex(path []string, pattern, options string) (predicate, error) {
	for _, c := range options {
		if c != 'i' && c != 'm' && c != 's' {
			return nil, refuse(51108, "invalid flag in regex options: %s", options)
		}
	}
	if options != "" {
		pattern = "(?" + options + ")" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, refuse(51091, "Regular expression is invalid: %s", err)
	}
	return elements(path, func(v any) bool {
		switch s := v.(type) {
		case string:
			return re.MatchString(s)
		case bson.Regex:
			return s.Pattern == pattern && s.Options == options
		}
		return false
	}), nil
}
