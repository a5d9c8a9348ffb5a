package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// specialForm returns the compiler of an operator with its own syntax or evaluation
// order, or nil.
func specialForm(name string) func(any, names) (expression, error) {
	switch name {
	case "$literal":
		return func(v any, _ names) (expression, error) { return constant(v), nil }
	case "$let":
		return compileLet
	case "$map":
		return compileMap
	case "$and", "$or":
		return func(v any, names names) (expression, error) { return compileLogic(v, names, name == "$or") }
	}
	return nil
}

// formArgs reads the document that is the argument of a special form.
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

func compileMap(v any, names names) (expression, error) {
	a, err := formArgs("$map", v)
	if err != nil {
		return nil, err
	}
	as, input, in := a.str("as"), a.value("input"), a.value("in")
	if err := a.finish(); err != nil {
		return nil, err
	}
	if isMissing(input) {
		return nil, refuse(16880, "Missing 'input' parameter to $map")
	}
	if isMissing(in) {
		return nil, refuse(16882, "Missing 'in' parameter to $map")
	}
	if as == "" {
		as = "this"
	}
	list, err := compileExpr(input, names)
	if err != nil {
		return nil, err
	}
	each, err := compileExpr(in, names.with(as))
	return func(s *scope) (any, error) { return evaluateMap(s, as, list, each) }, err
}

func evaluateMap(s *scope, as string, list, each expression) (any, error) {
	v, err := list(s)
	if err != nil || nullish(v) {
		return nil, err
	}
	a, ok := v.(bson.A)
	if !ok {
		return nil, refuse(16883, "input to $map must be an array not %s", typeName(v))
	}
	out := make(bson.A, len(a))
	for i, e := range a {
		r, err := each(s.with(as, e))
		if err != nil {
			return nil, err
		}
		if !isMissing(r) {
			out[i] = r
		}
	}
	return out, nil
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
			if isTrue(v) == decides {
				return decides, nil
			}
		}
		return !decides, nil
	}, err
}

func nullish(v any) bool { return v == nil || isMissing(v) }
