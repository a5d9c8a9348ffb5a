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

// compileAssignments compiles computed fields. A nested document that is not an
// expression continues the path.
func compileAssignments(prefix []string, d bson.D) ([]assignment, error) {
	var out []assignment
	for _, e := range d {
		parts, err := splitUpdatePath(e.Key)
		if err != nil {
			return nil, err
		}
		path := append(append([]string(nil), prefix...), parts...)
		if nested, ok := e.Value.(bson.D); ok && len(nested) > 0 && !strings.HasPrefix(nested[0].Key, "$") {
			inner, err := compileAssignments(path, nested)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		x, err := compileExpr(e.Value, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, assignment{path: path, value: x})
	}
	return out, nil
}

func compileSet(spec bson.D) (stage, error) {
	list, err := compileAssignments(nil, spec)
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

// assign sets a path as $set does in a pipeline: in every element of an array on the
// way, and replacing a value on the way that is not a document.
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
