package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// specialForm returns the reader of an operator that does not simply evaluate
// its arguments, or nil.
func specialForm(name string) func(any, names) (expression, error) {
	switch name {
	case "$literal":
		return func(v any, _ names) (expression, error) { return constant(v), nil }
	case "$let":
		return compileLet
	case "$map", "$filter":
		return func(v any, names names) (expression, error) { return compileEach(name, v, names) }
	case "$cond":
		return compileCond
	case "$and", "$or":
		return func(v any, names names) (expression, error) { return compileLogic(v, names, name == "$or") }
	}
	return nil
}

// formArgs opens the document that a special form takes.
func formArgs(name string, v any) (*args, error) {
	d, ok := v.(bson.D)
	if !ok {
		return nil, refuse(codeFailedToParse, "%s only supports an object as its argument", name)
	}
	return newArgs(name, d), nil
}

func compileLet(v any, names names) (expression, error) {
	a, err := formArgs("$let", v)
	if err != nil {
		return nil, err
	}
	vars, in := a.document("vars"), a.value("in")
	if err := a.finish(); err != nil {
		return nil, err
	}
	if vars == nil {
		return nil, refuse(16876, "Missing 'vars' parameter to $let")
	}
	if isMissing(in) {
		return nil, refuse(16877, "Missing 'in' parameter to $let")
	}
	inner := names
	bound := make([]expression, len(vars))
	for i, e := range vars {
		if bound[i], err = compileExpr(e.Value, names); err != nil {
			return nil, err
		}
		inner = inner.with(e.Key)
	}
	body, err := compileExpr(in, inner)
	return func(s *scope) (any, error) {
		next := s
		for i, x := range bound {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			next = next.with(vars[i].Key, v)
		}
		return body(next)
	}, err
}

// compileEach reads $map and $filter.
func compileEach(name string, v any, names names) (expression, error) {
	a, err := formArgs(name, v)
	if err != nil {
		return nil, err
	}
	as, input, key := a.str("as"), a.value("input"), "in"
	if name == "$filter" {
		key = "cond"
	}
	body := a.value(key)
	if err := a.finish(); err != nil {
		return nil, err
	}
	if isMissing(input) || isMissing(body) {
		return nil, refuse(16880, "Missing 'input' or '%s' parameter to %s", key, name)
	}
	if as == "" {
		as = "this"
	}
	list, err := compileExpr(input, names)
	if err != nil {
		return nil, err
	}
	each, err := compileExpr(body, names.with(as))
	return func(s *scope) (any, error) { return evaluateEach(s, name, as, list, each) }, err
}

func evaluateEach(s *scope, name, as string, list, each expression) (any, error) {
	v, err := list(s)
	if err != nil || nullish(v) {
		return nil, err
	}
	a, ok := v.(bson.A)
	if !ok {
		return nil, refuse(16883, "input to %s must be an array not %s", name, typeName(v))
	}
	out := make(bson.A, 0, len(a))
	for _, e := range a {
		r, err := each(s.with(as, e))
		if err != nil {
			return nil, err
		}
		switch {
		case name == "$filter" && truthy(r):
			out = append(out, e)
		case name == "$map" && isMissing(r):
			out = append(out, nil)
		case name == "$map":
			out = append(out, r)
		}
	}
	return out, nil
}

func compileCond(v any, names names) (expression, error) {
	parts, ok := v.(bson.A)
	if !ok {
		a, err := formArgs("$cond", v)
		if err != nil {
			return nil, err
		}
		parts = bson.A{a.value("if"), a.value("then"), a.value("else")}
		if err := a.finish(); err != nil {
			return nil, err
		}
	}
	if len(parts) != 3 || isMissing(parts[0]) || isMissing(parts[1]) || isMissing(parts[2]) {
		return nil, refuse(16020, "Expression $cond takes exactly 3 arguments")
	}
	x, err := compileAllExprs(parts, names)
	return func(s *scope) (any, error) {
		c, err := x[0](s)
		if err != nil {
			return nil, err
		}
		if truthy(c) {
			return x[1](s)
		}
		return x[2](s)
	}, err
}

// compileLogic reads $and and $or, which stop at the first operand that decides.
func compileLogic(v any, names names, decides bool) (expression, error) {
	list, ok := v.(bson.A)
	if !ok {
		list = bson.A{v}
	}
	operands, err := compileAllExprs(list, names)
	return func(s *scope) (any, error) {
		for _, x := range operands {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			if truthy(v) == decides {
				return decides, nil
			}
		}
		return !decides, nil
	}, err
}

func nullish(v any) bool { return v == nil || isMissing(v) }
