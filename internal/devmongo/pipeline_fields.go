package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// assignment is one computed field.
type assignment struct {
	path  []string
	value expression
}

// compileAssignments reads computed fields; a nested document that is not an
// expression is a path.
func compileAssignments(prefix []string, d bson.D, names names) ([]assignment, error) {
	var out []assignment
	for _, e := range d {
		parts, err := splitUpdatePath(e.Key)
		if err != nil {
			return nil, err
		}
		path := append(append([]string(nil), prefix...), parts...)
		if nested, ok := e.Value.(bson.D); ok && len(nested) > 0 && !strings.HasPrefix(nested[0].Key, "$") {
			inner, err := compileAssignments(path, nested, names)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		x, err := compileExpr(e.Value, names)
		if err != nil {
			return nil, err
		}
		out = append(out, assignment{path: path, value: x})
	}
	return out, nil
}

func compileAddFields(d bson.D, names names) (stage, error) {
	list, err := compileAssignments(nil, d, names)
	return eachDocument(func(doc bson.D) (bson.D, error) {
		out := doc
		for _, a := range list {
			v, err := a.value(newScope(doc))
			if err != nil {
				return nil, err
			}
			out = assign(out, a.path, v).(bson.D)
		}
		return out, nil
	}), err
}

// assign sets a path as $addFields does: in every element of an array on the
// way, and in place of whatever is not a document.
func assign(at any, path []string, v any) any {
	if len(path) == 0 {
		return v
	}
	if a, ok := at.(bson.A); ok {
		out := make(bson.A, len(a))
		for i, e := range a {
			out[i] = assign(e, path, v)
		}
		return out
	}
	d, _ := at.(bson.D)
	out := make(bson.D, 0, len(d)+1)
	found := false
	for _, e := range d {
		if e.Key == path[0] {
			found = true
			e.Value = assign(e.Value, path[1:], v)
		}
		if !isMissing(e.Value) {
			out = append(out, e)
		}
	}
	if next := assign(missing{}, path[1:], v); !found && !isMissing(next) {
		out = append(out, bson.E{Key: path[0], Value: next})
	}
	return out
}

func compileUnset(v any) (stage, error) {
	list, ok := v.(bson.A)
	if !ok {
		list = bson.A{v}
	}
	if len(list) == 0 {
		return nil, refuse(31119, "$unset specification must be a string or an array with at least one field")
	}
	spec := bson.D{}
	for _, f := range list {
		name, ok := f.(string)
		if !ok || name == "" {
			return nil, refuse(31002, "$unset specification must be a string or an array containing only string values")
		}
		spec = append(spec, bson.E{Key: name, Value: false})
	}
	p, err := compileProjection(spec)
	if err != nil {
		return nil, err
	}
	return eachDocument(func(d bson.D) (bson.D, error) { return p(d), nil }), nil
}
