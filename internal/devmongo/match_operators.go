package devmongo

import (
	"math"
	"regexp"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// compileOperator compiles one operator on the values at a path.
func compileOperator(path []string, name string, v any) (predicate, error) {
	switch name {
	case "$eq", "$gt", "$lt", "$lte":
		return compileComparison(path, name, v)
	case "$ne":
		p, err := compileComparison(path, "$eq", v)
		return negate(p), err
	case "$in":
		return compileIn(path, v)
	case "$nin":
		p, err := compileIn(path, v)
		return negate(p), err
	case "$not":
		return compileNot(path, v)
	case "$exists":
		return exists(path, isTrue(v)), nil
	case "$type":
		return compileType(path, v)
	case "$regex":
		return compileRegex(path, v)
	}
	return nil, unsupported(codeBadValue, "unknown operator: %s", name)
}

// elements is true when a value at the path, or an element of an array there, passes
// the test.
func elements(path []string, t test) predicate {
	return func(d bson.D) (bool, error) { return visit(d, path, func(v any) bool { return passes(v, t) }), nil }
}

func passes(v any, t test) bool {
	if t(v) {
		return true
	}
	if a, ok := v.(bson.A); ok {
		for _, e := range a {
			if t(e) {
				return true
			}
		}
	}
	return false
}

// compileComparison compares only values of the same type bracket, as MongoDB's
// queries do.
func compileComparison(path []string, name string, want any) (predicate, error) {
	switch want.(type) {
	case bson.Undefined:
		return nil, refuse(codeBadValue, "cannot compare to undefined")
	case bson.Regex, bson.MinKey, bson.MaxKey:
		return nil, unsupported(codeBadValue, "a %s in a filter", typeName(want))
	}
	return elements(path, func(v any) bool {
		if isMissing(v) {
			v = nil
		}
		return rank(v) == rank(want) && isNaN(v) == isNaN(want) && matches(name, compare(v, want))
	}), nil
}

// isNaN: a filter compares NaN with NaN only, although it is the least number of a sort.
func isNaN(v any) bool {
	switch n := v.(type) {
	case float64:
		return math.IsNaN(n)
	case bson.Decimal128:
		return n.IsNaN()
	}
	return false
}

// matches reports whether a result of compare satisfies a comparison operator.
func matches(name string, c int) bool {
	switch name {
	case "$gt":
		return c > 0
	case "$lt":
		return c < 0
	case "$lte":
		return c <= 0
	}
	return c == 0
}

func exists(path []string, want bool) predicate {
	return func(d bson.D) (bool, error) {
		return visit(d, path, func(v any) bool { return !isMissing(v) }) == want, nil
	}
}

func compileIn(path []string, v any) (predicate, error) {
	list, ok := v.(bson.A)
	if !ok {
		return nil, refuse(codeBadValue, "$in needs an array")
	}
	var branches []predicate
	for _, e := range list {
		if _, bad := isOperators(e); bad {
			return nil, refuse(codeBadValue, "cannot nest $ under $in")
		}
		p, err := compileField(path, e)
		if err != nil {
			return nil, err
		}
		branches = append(branches, p)
	}
	return anyOf(branches), nil
}

// compileNot takes operators. (MongoDB also takes a regular expression.)
func compileNot(path []string, v any) (predicate, error) {
	ops, isDocument := v.(bson.D)
	if !isDocument {
		return nil, refuse(codeBadValue, "$not needs a regex or a document")
	}
	if len(ops) == 0 {
		return nil, refuse(codeBadValue, "$not cannot be empty")
	}
	if _, ok := isOperators(ops); !ok {
		return nil, refuse(codeBadValue, "unknown operator: %s", ops[0].Key)
	}
	p, err := compileField(path, ops)
	return negate(p), err
}

// compileType takes a type by its name or number, or an array of them. "number" is the
// name of all numeric types.
func compileType(path []string, v any) (predicate, error) {
	list, ok := v.(bson.A)
	if !ok {
		list = bson.A{v}
	}
	if len(list) == 0 {
		return nil, refuse(codeFailedToParse, "$type must match at least one type")
	}
	names := map[string]bool{}
	for _, v := range list {
		found := typesNamed(v)
		if len(found) == 0 {
			return nil, unsupported(codeBadValue, "Unknown type name alias or code: %v", v)
		}
		for _, name := range found {
			names[name] = true
		}
	}
	return elements(path, func(v any) bool { return names[typeName(v)] }), nil
}

func typesNamed(v any) []string {
	if v == "number" {
		return []string{"double", "int", "long", "decimal"}
	}
	code, isCode := number(v)
	for _, k := range kinds[1:] {
		if k.name == v || (isCode && int64(k.code) == code) {
			return []string{k.name}
		}
	}
	return nil
}

// compileRegex takes a pattern without options. Regular expressions are Go's; use only
// syntax that PCRE shares.
func compileRegex(path []string, v any) (predicate, error) {
	pattern, ok := v.(string)
	if !ok {
		return nil, unsupported(codeBadValue, "$regex has to be a string")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, refuse(51091, "Regular expression is invalid: %s", err)
	}
	return elements(path, func(v any) bool {
		s, ok := v.(string)
		return ok && re.MatchString(s)
	}), nil
}
