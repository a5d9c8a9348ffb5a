package devmongo

import (
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// expression is a compiled aggregation expression.
type expression func(*scope) (any, error)

// scope holds the document that an expression looks at and the variables that
// are bound around it.
type scope struct {
	root bson.D
	name string
	bind any
	up   *scope
}

func newScope(root bson.D) *scope { return &scope{root: root} }

func (s *scope) with(name string, v any) *scope {
	return &scope{root: s.root, name: name, bind: v, up: s}
}

func (s *scope) variable(name string) any {
	switch name {
	case "ROOT", "CURRENT":
		return s.root
	case "REMOVE":
		return missing{}
	}
	for ; s != nil; s = s.up {
		if s.name == name {
			return s.bind
		}
	}
	return missing{}
}

// names are the variables that an expression may use, each with its value when
// that is known at once; nil when it is bound later.
type names map[string]any

// with returns the names and one more, to be bound later.
func (n names) with(name string) names {
	inner := maps.Clone(n)
	inner[name] = nil
	return inner
}

// variables are those that exist without being bound.
func (s *Server) variables() names {
	return names{"ROOT": nil, "CURRENT": nil, "REMOVE": nil, "NOW": bson.NewDateTimeFromTime(s.wallNow()), "CLUSTER_TIME": timestamp(s.oplog.clock)}
}

// compileExpr reads an expression.
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
		if strings.HasPrefix(x[0].Key, "$") {
			if len(x) > 1 {
				return nil, refuse(15983, "An object representing an expression must have exactly one field: the operator %s has a neighbour", x[0].Key)
			}
			return compileOperation(x[0].Key, x[0].Value, names)
		}
		return compileObject(x, names)
	}
	return constant(v), nil
}

func constant(v any) expression { return func(*scope) (any, error) { return v, nil } }

func compilePath(s string, names names) (expression, error) {
	if !strings.HasPrefix(s, "$") {
		return constant(s), nil
	}
	name, path := "CURRENT", s[1:]
	if strings.HasPrefix(s, "$$") {
		name, path, _ = strings.Cut(s[2:], ".")
		known, ok := names[name]
		if !ok {
			return nil, refuse(codeUnknownVariable, "Use of undefined variable: %s", name)
		}
		if known != nil && path == "" {
			return constant(known), nil
		}
	} else if path == "" {
		return nil, refuse(16872, "'$' by itself is not a valid FieldPath")
	}
	var parts []string
	if path != "" {
		parts = strings.Split(path, ".")
	}
	if slices.Contains(parts, "") {
		return nil, refuse(15998, "FieldPath field names may not be empty strings.")
	}
	return func(s *scope) (any, error) { return follow(s.variable(name), parts), nil }, nil
}

// follow walks a path as expressions do: an array on the way yields the array of
// what its elements have there, and numbers are names.
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

func compileObject(d bson.D, names names) (expression, error) {
	items := make([]expression, len(d))
	for i, e := range d {
		x, err := compileExpr(e.Value, names)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(e.Key, "$") || strings.Contains(e.Key, ".") {
			return nil, refuse(16412, "FieldPath field names may not start with '$' or contain '.': %s", e.Key)
		}
		items[i] = x
	}
	return func(s *scope) (any, error) {
		out := make(bson.D, 0, len(items))
		for i, x := range items {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			if !isMissing(v) {
				out = append(out, bson.E{Key: d[i].Key, Value: v})
			}
		}
		return out, nil
	}, nil
}

// compileOperation reads an operator: one with a syntax of its own, or one that
// computes with its evaluated arguments.
func compileOperation(name string, v any, names names) (expression, error) {
	if special := specialForm(name); special != nil {
		return special(v, names)
	}
	fn, ok := functionNamed(name)
	if !ok {
		return nil, refuse(codeInvalidPipelineOp, "Unrecognized expression '%s'", name)
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
