package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// stage is one compiled step of an aggregation pipeline.
type stage func([]bson.D) ([]bson.D, error)

// compileStages reads a pipeline; allow refuses the stages that have no place in
// it.
func compileStages(list bson.A, names names, allow func(name string) error) ([]stage, error) {
	var stages []stage
	for _, v := range list {
		d, ok := v.(bson.D)
		if !ok {
			return nil, refuse(codeTypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		if len(d) != 1 {
			return nil, refuse(40323, "A pipeline stage specification object must contain exactly one field.")
		}
		st, err := compileStage(d[0], names)
		if err != nil {
			return nil, err
		}
		if err := allow(d[0].Key); err != nil {
			return nil, err
		}
		stages = append(stages, st)
	}
	return stages, nil
}

func runStages(stages []stage, docs []bson.D) ([]bson.D, error) {
	for _, st := range stages {
		var err error
		if docs, err = st(docs); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func compileStage(e bson.E, names names) (stage, error) {
	d, isDoc := e.Value.(bson.D)
	switch e.Key {
	case "$match", "$sort", "$project", "$addFields", "$set", "$group":
		if !isDoc {
			return nil, refuse(15959, "the %s specification must be an object, not %s", e.Key, typeName(e.Value))
		}
	}
	switch e.Key {
	case "$match":
		p, err := compileFilter(d, names)
		return matchStage(p), err
	case "$sort":
		return compileSortStage(d)
	case "$limit", "$skip":
		return compileWindow(e)
	case "$project":
		if len(d) == 0 {
			return nil, refuse(51272, "Invalid $project :: caused by :: projection specification must have at least one field")
		}
		p, err := compileProjection(d)
		return eachDocument(func(d bson.D) (bson.D, error) { return p(d), nil }), err
	case "$addFields", "$set":
		return compileAddFields(d, names)
	case "$unset":
		return compileUnset(e.Value)
	case "$count":
		return compileCount(e.Value)
	case "$group":
		return compileGroup(d, names)
	case "$changeStream":
		return nil, refuse(40602, "$changeStream is only valid as the first stage in the pipeline")
	case "$out":
		return nil, refuse(40601, "$out can only be the final stage in the pipeline")
	}
	return nil, refuse(codeUnknownStage, "Unrecognized pipeline stage name: '%s'", e.Key)
}

func eachDocument(f func(bson.D) (bson.D, error)) stage {
	return func(docs []bson.D) ([]bson.D, error) {
		out := make([]bson.D, len(docs))
		for i, d := range docs {
			r, err := f(d)
			if err != nil {
				return nil, err
			}
			out[i] = r
		}
		return out, nil
	}
}

func matchStage(p predicate) stage {
	return func(docs []bson.D) ([]bson.D, error) {
		var out []bson.D
		for _, d := range docs {
			ok, err := p(d)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, d)
			}
		}
		return out, nil
	}
}

func compileSortStage(spec bson.D) (stage, error) {
	if len(spec) == 0 {
		return nil, refuse(15976, "$sort stage must have at least one sort key")
	}
	order, err := compileSort(spec)
	return func(docs []bson.D) ([]bson.D, error) {
		rows := make([]*row, len(docs))
		for i, d := range docs {
			rows[i] = &row{d: d}
		}
		order(rows)
		for i, r := range rows {
			docs[i] = r.d
		}
		return docs, nil
	}, err
}

func compileWindow(e bson.E) (stage, error) {
	n, ok := number(e.Value)
	if !ok || n < 0 || (n == 0 && e.Key == "$limit") {
		code := int32(15956)
		if e.Key == "$limit" {
			code = 15958
		}
		return nil, refuse(code, "the argument of %s must be a positive number", e.Key)
	}
	if e.Key == "$skip" {
		return func(docs []bson.D) ([]bson.D, error) { return window(docs, n, 0), nil }, nil
	}
	return func(docs []bson.D) ([]bson.D, error) { return window(docs, 0, n), nil }, nil
}

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

func compileCount(v any) (stage, error) {
	name, ok := v.(string)
	if !ok || name == "" || strings.HasPrefix(name, "$") || strings.Contains(name, ".") {
		return nil, refuse(40156, "the count field must be a non-empty string without '$' and '.'")
	}
	return func(docs []bson.D) ([]bson.D, error) {
		if len(docs) == 0 {
			return nil, nil
		}
		return []bson.D{{{Key: name, Value: int32(len(docs))}}}, nil
	}, nil
}

// compileGroup reads a $group whose only accumulator is $sum: what counting
// needs.
func compileGroup(d bson.D, names names) (stage, error) {
	if len(d) == 0 || d[0].Key != "_id" {
		return nil, refuse(15955, "a group specification must include an _id, here as its first field")
	}
	values := make(bson.A, len(d))
	for i, e := range d {
		if values[i] = e.Value; i == 0 {
			continue
		}
		spec, ok := isOperators(e.Value)
		if !ok || len(spec) != 1 {
			return nil, refuse(40234, "The field '%s' must be an accumulator object", e.Key)
		}
		if spec[0].Key != "$sum" {
			return nil, refuse(15952, "unknown group operator '%s'", spec[0].Key)
		}
		values[i] = spec[0].Value
	}
	list, err := compileAllExprs(values, names)
	return func(docs []bson.D) ([]bson.D, error) { return group(docs, d, list) }, err
}

func group(docs []bson.D, spec bson.D, list []expression) ([]bson.D, error) {
	var out []bson.D
	places := map[string]int{}
	for _, d := range docs {
		s := newScope(d)
		key, err := list[0](s)
		if err != nil {
			return nil, err
		}
		if isMissing(key) {
			key = nil
		}
		i, ok := places[canonical(key)]
		if !ok {
			i = len(out)
			places[canonical(key)] = i
			g := bson.D{{Key: "_id", Value: key}}
			for _, e := range spec[1:] {
				g = append(g, bson.E{Key: e.Key, Value: int32(0)})
			}
			out = append(out, g)
		}
		for j, x := range list[1:] {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			if !isNumber(v) {
				continue // only numbers count
			}
			if out[i][j+1].Value, err = addNumbers(out[i][j+1].Value, v); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
