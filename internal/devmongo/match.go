package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// predicate is a compiled filter. It fails only inside $expr.
type predicate func(bson.D) (bool, error)

// test is a compiled condition on one value.
type test func(any) bool

// compileFilter reads a query. Everything in it is checked, also when no
// document will ever be looked at.
func compileFilter(filter bson.D, names names) (predicate, error) {
	var all []predicate
	for _, e := range filter {
		var p predicate
		var err error
		if strings.HasPrefix(e.Key, "$") {
			p, err = compileTopLevel(e, names)
		} else {
			p, err = compileField(strings.Split(e.Key, "."), e.Value)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return allOf(all), nil
}

func allOf(list []predicate) predicate {
	return func(d bson.D) (bool, error) {
		for _, p := range list {
			if ok, err := p(d); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	}
}

func anyOf(list []predicate) predicate {
	return func(d bson.D) (bool, error) {
		for _, p := range list {
			if ok, err := p(d); err != nil || ok {
				return ok, err
			}
		}
		return false, nil
	}
}

func negate(p predicate) predicate {
	return func(d bson.D) (bool, error) {
		ok, err := p(d)
		return !ok, err
	}
}

func compileTopLevel(e bson.E, names names) (predicate, error) {
	switch e.Key {
	case "$and", "$or", "$nor":
		return compileBranches(e, names)
	case "$comment":
		return allOf(nil), nil
	case "$expr":
		x, err := compileExpr(e.Value, names)
		if err != nil {
			return nil, err
		}
		return func(d bson.D) (bool, error) {
			v, err := x(newScope(d))
			return truthy(v), err
		}, nil
	}
	return nil, refuse(codeBadValue, "unknown top level operator: %s", e.Key)
}

func compileBranches(e bson.E, names names) (predicate, error) {
	list, ok := e.Value.(bson.A)
	if !ok || len(list) == 0 {
		return nil, refuse(codeBadValue, "%s must be a nonempty array", e.Key)
	}
	var branches []predicate
	for _, v := range list {
		d, ok := v.(bson.D)
		if !ok {
			return nil, refuse(codeBadValue, "%s entries need to be full objects", e.Key)
		}
		p, err := compileFilter(d, names)
		if err != nil {
			return nil, err
		}
		branches = append(branches, p)
	}
	switch e.Key {
	case "$and":
		return allOf(branches), nil
	case "$or":
		return anyOf(branches), nil
	}
	return negate(anyOf(branches)), nil
}

func isOperators(v any) (bson.D, bool) {
	d, ok := v.(bson.D)
	return d, ok && len(d) > 0 && strings.HasPrefix(d[0].Key, "$")
}

func compileField(path []string, v any) (predicate, error) {
	ops, ok := isOperators(v)
	if !ok {
		if r, isRegex := v.(bson.Regex); isRegex {
			return compileRegex(path, r)
		}
		return compileOperator(path, "$eq", v, nil)
	}
	var all []predicate
	for _, e := range ops {
		p, err := compileOperator(path, e.Key, e.Value, ops)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return allOf(all), nil
}

func compileOperator(path []string, name string, v any, siblings bson.D) (predicate, error) {
	switch name {
	case "$eq", "$gt", "$gte", "$lt", "$lte":
		if _, bad := v.(bson.Undefined); bad {
			return nil, refuse(codeBadValue, "cannot compare to undefined")
		}
		return elements(path, comparison(name, v)), nil
	case "$ne":
		return negate(elements(path, comparison("$eq", v))), nil
	case "$in":
		return compileIn(path, v)
	case "$nin":
		p, err := compileIn(path, v)
		return negate(p), err
	case "$not":
		return compileNot(path, v)
	case "$exists":
		return exists(path, truthy(v)), nil
	case "$type":
		return compileType(path, v)
	case "$regex":
		return compileRegexOperator(path, v, siblings)
	case "$options":
		if isMissing(field(siblings, "$regex")) {
			return nil, refuse(codeBadValue, "$options needs a $regex")
		}
		return allOf(nil), nil
	}
	return nil, refuse(codeBadValue, "unknown operator: %s", name)
}

// elements holds when a value at the path, or an element of an array there,
// passes the test.
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

// comparison compares within one type bracket only, as queries do.
func comparison(name string, want any) test {
	return func(v any) bool {
		if isMissing(v) {
			v = nil
		}
		switch want.(type) {
		case bson.MinKey, bson.MaxKey:
		default:
			if rank(v) != rank(want) {
				return false
			}
		}
		return decides(name, compare(v, want))
	}
}

// decides is what a comparison operator says about a result of compare.
func decides(name string, c int) bool {
	switch name {
	case "$gt":
		return c > 0
	case "$gte":
		return c >= 0
	case "$lt":
		return c < 0
	case "$lte":
		return c <= 0
	case "$ne":
		return c != 0
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
	var any []predicate
	for _, e := range list {
		if _, bad := isOperators(e); bad {
			return nil, refuse(codeBadValue, "cannot nest $ under $in")
		}
		p, err := compileField(path, e)
		if err != nil {
			return nil, err
		}
		any = append(any, p)
	}
	return anyOf(any), nil
}

func compileNot(path []string, v any) (predicate, error) {
	if _, ok := v.(bson.Regex); !ok {
		if _, ok := isOperators(v); !ok {
			return nil, refuse(codeBadValue, "$not needs a regex or a document of operators")
		}
	}
	p, err := compileField(path, v)
	return negate(p), err
}
