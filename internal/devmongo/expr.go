package devmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// expression is a compiled aggregation expression.
type expression func(*scope) (any, error)

// scope holds the document that an expression reads and the variables that $let and
// $map bind around it.
type scope struct {
	root  bson.D
	name  string
	value any
	outer *scope
}

func newScope(root bson.D) *scope { return &scope{root: root} }

func (s *scope) with(name string, v any) *scope {
	return &scope{root: s.root, name: name, value: v, outer: s}
}

// variable returns a bound variable. compilePath has checked that it exists.
func (s *scope) variable(name string) any {
	for ; s != nil; s = s.outer {
		if s.name == name {
			return s.value
		}
	}
	return missing{}
}

// names are the variables that an expression may use.
type names []string

// with returns the names and one more.
func (n names) with(name string) names { return append(slices.Clip(n), name) }

// compileExpr compiles an expression.
func compileExpr(v any, names names) (expression, error) {
	switch x := v.(type) {
	case string:
		return compilePath(x, names)
	case bson.A:
		return compileArray(x, names)
	case bson.D:
		if len(x) == 0 {
			return constant(x), nil
		}
		if !strings.HasPrefix(x[0].Key, "$") {
			return nil, unsupported(codeNotImplemented, "objects with computed fields in expressions")
		}
		if len(x) > 1 {
			return nil, refuse(15983, "An object representing an expression must have exactly one field: found a second field after %s", x[0].Key)
		}
		return compileOperation(x[0].Key, x[0].Value, names)
	}
	return constant(v), nil
}

func constant(v any) expression { return func(*scope) (any, error) { return v, nil } }

// compilePath compiles a string: a field path ("$a.b"), a variable ("$$name.b"), or a
// constant.
func compilePath(s string, names names) (expression, error) {
	if !strings.HasPrefix(s, "$") {
		return constant(s), nil
	}
	name, path := "", s[1:]
	if strings.HasPrefix(s, "$$") {
		name, path, _ = strings.Cut(s[2:], ".")
		if !slices.Contains(names, name) {
			return nil, refuse(codeUnknownVariable, "Use of undefined variable: %s (devmongo supports no system variables)", name)
		}
	} else if path == "" {
		return nil, refuse(16872, "'$' by itself is not a valid FieldPath")
	}
	var parts []string
	if path != "" {
		parts = splitPath(path)
	}
	if slices.Contains(parts, "") {
		return nil, refuse(15998, "FieldPath field names may not be empty strings.")
	}
	return func(s *scope) (any, error) {
		if name == "" {
			return follow(s.root, parts), nil
		}
		return follow(s.variable(name), parts), nil
	}, nil
}

// follow reads a path as expressions do: an array on the way becomes the array of the
// values in its elements, and a number is a field name.
func follow(v any, path []string) any {
	if len(path) == 0 {
		return v
	}
	switch x := v.(type) {
	case bson.D:
		return follow(field(x, path[0]), path[1:])
	case bson.A:
		out := bson.A{}
		for _, e := range x {
			if inner := follow(e, path); !isMissing(inner) {
				out = append(out, inner)
			}
		}
		return out
	}
	return missing{}
}

func compileArray(list bson.A, names names) (expression, error) {
	items, err := compileAllExprs(list, names)
	return func(s *scope) (any, error) {
		out := make(bson.A, 0, len(items))
		for _, x := range items {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			if isMissing(v) {
				v = nil
			}
			out = append(out, v)
		}
		return out, nil
	}, err
}

func compileAllExprs(list bson.A, names names) ([]expression, error) {
	out := make([]expression, 0, len(list))
	for _, v := range list {
		x, err := compileExpr(v, names)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// compileOperation compiles an operator: one with its own syntax, or a function of
// evaluated arguments.
func compileOperation(name string, v any, names names) (expression, error) {
	if special := specialForm(name); special != nil {
		return special(v, names)
	}
	fn, ok := functionNamed(name)
	if !ok {
		return nil, unsupported(codeInvalidPipelineOp, "Unrecognized expression '%s'", name)
	}
	list, ok := v.(bson.A)
	if !ok {
		list = bson.A{v}
	}
	if len(list) < fn.least || (fn.most >= 0 && len(list) > fn.most) {
		return nil, refuse(16020, "Expression %s takes at least %d and at most %d arguments. %d were passed in.", name, fn.least, fn.most, len(list))
	}
	arguments, err := compileAllExprs(list, names)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (any, error) {
		values := make([]any, len(arguments))
		for i, x := range arguments {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			values[i] = v
		}
		return fn.apply(values)
	}, nil
}
