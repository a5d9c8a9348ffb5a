package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// predicate is a compiled filter. Only $expr can make it fail.
type predicate func(bson.D) (bool, error)

// test is a compiled condition on one value.
type test func(any) bool

// compileFilter compiles a query filter. It checks all of it, even if there are no
// documents.
func compileFilter(filter bson.D) (predicate, error) {
	var all []predicate
	for _, e := range filter {
		var p predicate
		var err error
		if strings.HasPrefix(e.Key, "$") {
			p, err = compileTopLevel(e)
		} else {
			p, err = compileField(splitPath(e.Key), e.Value)
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

func compileTopLevel(e bson.E) (predicate, error) {
	switch e.Key {
	case "$and", "$or":
		return compileBranches(e)
	case "$expr":
		x, err := compileExpr(e.Value, nil)
		if err != nil {
			return nil, err
		}
		return func(d bson.D) (bool, error) {
			v, err := x(newScope(d))
			return isTrue(v), err
		}, nil
	}
	return nil, unsupported(codeBadValue, "unknown top level operator: %s", e.Key)
}

func compileBranches(e bson.E) (predicate, error) {
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
		p, err := compileFilter(d)
		if err != nil {
			return nil, err
		}
		branches = append(branches, p)
	}
	if e.Key == "$and" {
		return allOf(branches), nil
	}
	return anyOf(branches), nil
}

// isOperators reports whether the value is a document of operators, such as
// {$gt: 1}.
func isOperators(v any) (bson.D, bool) {
	d, ok := v.(bson.D)
	return d, ok && len(d) > 0 && strings.HasPrefix(d[0].Key, "$")
}

func compileField(path []string, v any) (predicate, error) {
	ops, ok := isOperators(v)
	if !ok {
		return compileOperator(path, "$eq", v)
	}
	var all []predicate
	for _, e := range ops {
		p, err := compileOperator(path, e.Key, e.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return allOf(all), nil
}
